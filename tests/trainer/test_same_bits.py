"""The same experiment gives the same bits, however it is computed.

    ranks       1 in this process, images on the device | 2 (gloo) under torchrun, images streamed,
                through the real command
    seeds       one after the other | two at a time, through the real command
    methods     all | in the reverse order, on what they start from | two of them, from nothing
    store       a folder | an S3 server

Compared: sha256 of all weights and predictions, every metric and distance as stored, and the
sha256 of summary.json without what is measured with a clock. All six methods take part in the
first. Left out: GPUs, numbers of ranks above two (test_ranks.py), and which of ranks and streaming
is to blame (tests/core/engine/test_numerics.py, test_streaming.py).
"""

import shutil

import pytest

from supreme_core.plan import default_metrics
from supreme_core.registry import catalog
from supreme_core.scoring.predictions import load_predictions
from tests.cluster import s3_server as s3
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_LABELS,
    RANDOM_SAMPLES,
    SIX_METHODS,
    SSD,
    TEST,
    TRAIN,
    artefacts_of,
    compute,
    computed,
    experiment,
    finish,
    folder_of,
    folder_store,
    results_of,
    run,
    summary_digest,
    summary_of,
)

SEEDS = (260, 261)
TRAINING = {"microBatches": 2, "batchSize": 320}
SLOW = "mia_entropy"
METRICS = [
    {"name": metric.name} for metric in default_metrics(catalog.bundled()) if metric.name != SLOW
]
"""All by default but one that takes as long as a training, and is a function of predictions."""


WITH_BATCH_NORM = {
    "name": "timm/test_resnet",
    "params": {
        "inputSize": 8,
        "arguments": {"channels": [4, 4, 4, 4], "stem_width": 4, "stem_type": ""},
    },
}
"""A ResNet of a block for each of its four stages."""


def work(**changes):
    fields = {"methods": SIX_METHODS, "training": TRAINING, "metrics": METRICS}
    return experiment(**{"model": WITH_BATCH_NORM, **fields, **changes})


ONE_SEED = work()
STREAMED = work(execution={"dataPlacement": "Streamed"})
LOG = "seed=260/attempt=0/run.log"
TWO_SEEDS = work(model=LIGHT, seeds=SEEDS, methods=[RANDOM_LABELS], metrics=[{"name": "accuracy"}])


@pytest.fixture(scope="module")
def one_at_a_time(tmp_path_factory):
    """TWO_SEEDS, computed in this process one after the other."""
    folder = tmp_path_factory.mktemp("one-at-a-time")
    finish(TWO_SEEDS, folder_store(folder))
    return folder


@pytest.fixture(scope="module")
def on_one_rank(tmp_path_factory):
    """ONE_SEED, computed in this process."""
    folder = tmp_path_factory.mktemp("one-rank")
    finish(ONE_SEED, folder_store(folder))
    return folder


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory):
    """ONE_SEED with streamed images, through the real command."""
    return run_well(STREAMED, tmp_path_factory.mktemp("ranks"), "--ranks", 2)


@pytest.fixture(scope="module")
def two_at_a_time(tmp_path_factory):
    return run_well(TWO_SEEDS, tmp_path_factory.mktemp("parallel"), "--parallel", 2)


def run_well(document, folder, *options):
    """The store after the real command, in which no method failed. Whether so little training comes
    out as a collapse depends on the processor."""
    store = run(document, folder, *options)
    failures = summary_of(folder_store(store), document).failures
    assert {failure.kind for failure in failures} <= {"collapsed", "undefined"}
    return store


def of(artefacts, *stages):
    """The part of some stages."""
    return {key: left for key, left in artefacts.items() if key[0] in stages}


def all_of(folder):
    return artefacts_of(folder_store(folder))


def test_two_ranks_train_the_same_weights_as_one(on_one_rank, on_two_ranks):
    ours, theirs = (
        of(all_of(folder), "originals", "retrained") for folder in (on_one_rank, on_two_ranks)
    )
    assert theirs == ours
    assert len(ours) == 3


def test_every_method_unlearns_to_the_same_bits_on_two_ranks(on_one_rank, on_two_ranks):
    ours, theirs = (of(all_of(folder), "unlearned") for folder in (on_one_rank, on_two_ranks))
    assert theirs == ours
    assert len(ours) == 6 + 5  # unsir forgets classes only


def test_two_ranks_measure_the_same_numbers_as_one(on_one_rank, on_two_ranks):
    assert all_of(on_two_ranks) == all_of(on_one_rank)
    assert summary_digest(folder_store(on_two_ranks), STREAMED) == (
        summary_digest(folder_store(on_one_rank), ONE_SEED)
    )


def test_two_seeds_at_a_time_give_the_same_bits_as_one_after_the_other(
    one_at_a_time, two_at_a_time
):
    assert all_of(two_at_a_time) == all_of(one_at_a_time)
    assert summary_digest(folder_store(two_at_a_time), TWO_SEEDS) == (
        summary_digest(folder_store(one_at_a_time), TWO_SEEDS)
    )


def test_streamed_images_give_the_bits_of_resident_ones_under_the_same_keys(
    on_one_rank, on_two_ranks
):
    """The seed's log says that its images are streamed."""
    assert all_of(on_two_ranks) == all_of(on_one_rank)
    assert "images are streamed\n" in (folder_of(on_two_ranks, STREAMED) / LOG).read_text()


def test_methods_in_the_reverse_order_give_the_same_bits(on_one_rank, tmp_path):
    """The store has what all methods start from, and nothing of any of them; what came before a
    method comes after it."""
    store = shutil.copytree(on_one_rank, tmp_path / "store")
    for stage in (store / "objects").iterdir():
        if stage.name not in ("datasets", "originals", "retrained"):
            shutil.rmtree(stage)

    turned = work(scenarios=[FULL_CLASS], methods=SIX_METHODS[::-1])
    result = compute(turned, folder_store(store))

    found, everything = all_of(store), all_of(on_one_rank)
    assert found == {key: everything[key] for key in found}
    assert computed(result)["unlearned"] == 6
    assert not {"datasets", "originals", "retrained"} & computed(result).keys()


def test_methods_and_scenarios_in_another_order_give_the_same_bits(on_one_rank, tmp_path):
    turned = work(scenarios=[RANDOM_SAMPLES, FULL_CLASS], methods=[SSD, FINETUNE])
    compute(turned, folder_store(tmp_path))

    single, everything = all_of(tmp_path), all_of(on_one_rank)
    assert single == {key: everything[key] for key in single}


SHORT = work(model=LIGHT, scenarios=[FULL_CLASS], methods=[FINETUNE])


@pytest.mark.parametrize("store", [f"s3-{s3.kind()}"], indirect=True)
def test_a_folder_and_an_s3_server_get_the_same_bits(store, tmp_path):
    folder = folder_store(tmp_path)
    for each in (folder, store):
        finish(SHORT, each)

    assert artefacts_of(store) == artefacts_of(folder)
    assert summary_digest(store, SHORT) == summary_digest(folder, SHORT)


def test_another_seed_gives_other_weights_and_other_forgotten_samples(one_at_a_time):
    first, second = results_of(one_at_a_time, TWO_SEEDS)

    weights = [
        files["weights.safetensors"] for files, _ in of(all_of(one_at_a_time), "originals").values()
    ]
    assert weights[0] != weights[1]
    assert forgotten(first)["random_samples"] != forgotten(second)["random_samples"]
    assert forgotten(first)["full_class"] == forgotten(second)["full_class"]


def test_defect_05_evaluation_on_two_ranks_counts_every_sample_exactly_once(on_two_ranks):
    """355 test samples in batches of 256 do not divide by two ranks; nothing is padded."""
    files = list(on_two_ranks.glob("objects/*/*/*/predictions-*.safetensors"))
    counts = {
        (len(sets["forget"]) + len(sets["retain"]), len(sets["test"]))
        for sets in map(load_predictions, files)
    }
    assert counts == {(TRAIN, TEST)}


def test_defect_06_all_ranks_forget_the_same_samples_as_a_single_process(on_one_rank, on_two_ranks):
    """Were the forget sets of two ranks different, Retrained would have other bits."""
    (ours,), (theirs,) = (results_of(folder, ONE_SEED) for folder in (on_one_rank, on_two_ranks))
    assert forgotten(theirs) == forgotten(ours)


@pytest.mark.parametrize("method", ["ssd", "lfssd"])
def test_defect_13_importances_do_not_depend_on_the_number_of_ranks(
    on_one_rank, on_two_ranks, method
):
    (ours,), (theirs,) = (results_of(folder, ONE_SEED) for folder in (on_one_rank, on_two_ranks))
    assert numbers_of(theirs, method) == numbers_of(ours, method)


def test_defect_18_what_is_forgotten_depends_on_the_seed_alone(on_one_rank, tmp_path):
    """Neither the model nor the methods before it nor other draws change it."""
    other = work(
        model={"name": "resnet18", "params": {"width": 4}},
        methods=[SSD],
        scenarios=[RANDOM_SAMPLES],
        metrics=[{"name": "accuracy"}],
        training={"epochs": 0},
    )

    result = compute(other, folder_store(tmp_path)).to_document()

    (ours,) = results_of(on_one_rank, ONE_SEED)
    assert forgotten(result)["random_samples"] == forgotten(ours)["random_samples"]


def forgotten(result):
    """Scenario to the digest of its forget set."""
    return {cell["scenario"]: cell["forgetDigest"] for cell in result["cells"]}


def numbers_of(result, method):
    """Every number of a method that is no measurement, by scenario and row."""
    measured = ("wall_seconds", "device_seconds", "peak_memory_bytes", "speed_up")
    return {
        (run["scenario"], row): value
        for run in result["runs"]
        for row, value in run["metrics"].items()
        if run["method"] == method and row not in measured
    }
