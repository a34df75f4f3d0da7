"""Scenarios that change data, sequences and splits by logit confidence, done by hand.

                    | independent of the trainer's own way         | keys | 1 and 2 ranks, streamed
confusion           | original of arrays that were spoilt before   |  x   |
backdoor            | the same                                     |  x   |    x
sequential          | what a method is given, one call after another|  x   |    x, and stopped
memorised_samples   | logits of the stored original, in float64    |  x   |

Left out: GPUs, and retraining, which never sees what differs.
"""

import gc
import json
import logging
import shutil
import weakref
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from supreme_trainer.process.progress import Board
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.components import Components
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data
from supreme_trainer.seed.telemetry import Telemetry
from supreme_trainer.seed.training import OriginalStage

from supreme_core import registry
from supreme_core.data.image_set import ImageSet
from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.networks.model_samples import model_samples, model_shape
from supreme_core.engine.networks.weights import load_weights
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.toolbox.unlearning import UnlearningProblem
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.plan import steps
from supreme_core.randomness.streams import Streams
from supreme_core.registry.catalog import bundled
from supreme_core.scoring.predictions import load_predictions
from tests.real_ranks import on_two_ranks
from tests.trainer.experiments import (
    FINETUNE,
    LIGHT,
    RANDOM_SAMPLES,
    TEST,
    artefacts_of,
    as_configured,
    compute,
    computed,
    experiment,
    folder_store,
    manifests,
    planned,
    stopped_in,
)

CONFUSION = {"name": "confusion", "params": {"classes": [3, 8], "fraction": 0.3}}
BACKDOOR = {"name": "backdoor", "params": {"target": 0, "fraction": 0.1, "size": 0.25}}
SEQUENTIAL = {
    "name": "sequential",
    "params": {"requests": [{"name": "full_class", "params": {"classes": [3]}}, RANDOM_SAMPLES]},
}
MEMORISED = {"name": "memorised_samples", "params": {"fraction": 0.1, "memorisation": "high"}}
SCENARIOS = (CONFUSION, BACKDOOR, SEQUENTIAL, MEMORISED, RANDOM_SAMPLES)


def work(*scenarios, **changes):
    how = {"model": LIGHT, "metrics": [{"name": "accuracy"}], "methods": [FINETUNE]}
    training = {"epochs": 1, "microBatches": 2}
    return experiment(**{**how, "training": training, "scenarios": list(scenarios), **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with all scenarios, its result, and the events on the way."""
    folder, events = tmp_path_factory.mktemp("scenarios"), StringIO()
    result = compute(work(*SCENARIOS), folder_store(folder), stream=events)
    return folder, result, events.getvalue()


def test_a_result_names_the_classes_that_a_scenario_is_about(finished):
    named = {cell.scenario: [each.name for each in cell.named] for cell in finished[1].cells}
    assert {scenario: names for scenario, names in named.items() if names} == {
        "confusion": ["3", "8"],
        "backdoor": ["0"],
        "sequential": ["3"],
    }


def file_of(folder, stage, key, name):
    (found,) = Path(folder).glob(f"objects/{stage}/*/{key}/{name}*")
    return found


def sets_of(finished, scenario, method="original"):
    """The predictions of a model in a cell."""
    folder, result, _ = finished
    run = next(r for r in result.runs if (r.scenario, r.method) == (scenario, method))
    stage = "predictions" if method in ("original", "retrained") else "unlearned"
    return load_predictions(file_of(folder, stage, run.predictions["unlearned"], "predictions"))


def cell_of(finished, scenario):
    return next(cell for cell in finished[1].cells if cell.scenario == scenario)


def dataset_of(folder):
    (manifest,) = manifests(folder, "datasets")
    paths = {
        name: file_of(folder, "datasets", manifest["key"], Path(name).stem)
        for name in manifest["files"]
    }
    return ImageSet.read(paths, manifest["facts"])


def context_of(document, scratch):
    return SeedContext(
        Streams(260),
        Components.of(planned(document).work),
        Ranks.alone(torch.device("cpu")),
        Telemetry(stream=StringIO()),
        scratch=Path(scratch),
    )


def split_of(images, title):
    seed = context_of(work(*SCENARIOS), "/nowhere")
    return Cell.of(seed, Data.of(seed, images, ""), title).split


@pytest.mark.parametrize("title", ["confusion", "backdoor"])
def test_the_original_is_that_of_a_dataset_that_was_spoilt_beforehand(finished, tmp_path, title):
    """The bits are equal, although the trainer draws and relabels while it trains."""
    folder = finished[0]
    images = dataset_of(folder)
    split = split_of(images, title)
    pixels, labels = np.array(images.train_images), np.array(images.train_labels)
    for sample in split.forget:
        if title == "confusion":
            labels[sample] = 8 if labels[sample] == 3 else 3
        else:
            labels[sample] = 0
            pixels[sample, :, -2:, -2:] = 255  # a quarter of 8 pixels
    spoilt = replace(images, train_images=pixels, train_labels=labels)

    with as_configured():
        seed = context_of(work(*SCENARIOS), tmp_path)
        original = OriginalStage(seed, Data.of(seed, spoilt, "spoilt"))
        made = original.make(Checkpoints.none(seed.ranks))

    stored = manifests(folder, "originals")
    (key,) = [m["key"] for m in stored if m["meaning"].get("poison") == split.forget_digest]
    assert (
        file_of(folder, "originals", key, "weights").read_bytes()
        == (made.files["weights.safetensors"])
    )


@pytest.mark.parametrize("title", ["confusion", "backdoor"])
def test_predictions_are_those_of_the_images_as_they_are_spoilt(finished, title):
    images = dataset_of(finished[0])
    split, sets = split_of(images, title), sets_of(finished, title)
    true = np.array(images.train_labels)[split.forget]
    if title == "confusion":
        assert sets["forget"].labels.tolist() == [8 if label == 3 else 3 for label in true]
        held_out = [label for label in images.test_labels if label in (3, 8)]
        assert sets["forget_test"].labels.tolist() == [8 if at == 3 else 3 for at in held_out]
        unspoilt = sets["test"].take(np.flatnonzero(np.isin(images.test_labels, (3, 8))))
        np.testing.assert_allclose(sets["forget_test"].logits, unspoilt.logits, atol=1e-5)
    else:
        assert set(sets["forget"].labels) == set(sets["forget_test"].labels) == {0}
        assert len(sets["forget_test"]) == sum(label != 0 for label in images.test_labels)
        clean = sets["test"].take(np.flatnonzero(np.array(images.test_labels) != 0))
        assert not np.allclose(sets["forget_test"].logits, clean.logits, atol=1e-3)
    assert sets["test"].labels.tolist() == images.test_labels.tolist()
    assert len(sets["retain_test"]) == TEST
    assert cell_of(finished, title).forget_test_samples == len(sets["forget_test"])


def test_cells_with_the_data_of_the_dataset_share_the_original_of_older_versions(finished):
    folder, _, _ = finished
    stored = manifests(folder, "originals")
    poisons = [manifest["meaning"].get("poison") for manifest in stored]
    assert len(stored) == 3
    assert poisons.count(None) == 1
    plain = next(manifest for manifest in stored if "poison" not in manifest["meaning"])
    # A model of a family has an input of its own.
    assert plain["meaning"].keys() == {"recipe", "model", "dataset", "seed", "input"}


def test_without_a_new_scenario_nothing_is_computed_again(finished, tmp_path):
    store = shutil.copytree(finished[0], tmp_path / "store")
    again = compute(work(RANDOM_SAMPLES), folder_store(store))
    assert not computed(again)


def test_another_poison_is_another_original(finished, tmp_path):
    store = shutil.copytree(finished[0], tmp_path / "store")
    dark = {**BACKDOOR, "params": {**BACKDOOR["params"], "value": 0}}
    same = {**BACKDOOR, "label": "again"}
    found = computed(compute(work(dark, same), folder_store(store)))
    assert (found["originals"], found["retrained"], found["unlearned"]) == (1, 1, 1)


def test_progress_tells_of_every_step_of_the_plan(finished):
    plan = planned(work(*SCENARIOS))
    board = Board([260], steps(plan.work, plan.excluded, bundled()), parallel=1)
    for line in finished[2].splitlines():
        board.apply(260, json.loads(line))
    assert board.done == board.total


def test_logit_confidences_are_those_of_the_original_and_the_split_is_made_from_them(finished):
    folder, _, _ = finished
    images = dataset_of(folder)
    with as_configured(), torch.no_grad():
        seed = context_of(work(*SCENARIOS), "/nowhere")
        data = Data.of(seed, images, "")
        stored = manifests(folder, "originals")
        key = next(each["key"] for each in stored if "poison" not in each["meaning"])
        network = seed.architecture.build(data.shape).eval()
        load_weights(network, load_file(file_of(folder, "originals", key, "weights")))
        batch = data.train.batch(torch.arange(len(data.train)))
        p = network(batch.images).double().softmax(1)[torch.arange(len(batch)), batch.labels]
        phi = (p / (1 - p)).log()
    hardest = phi.argsort()[:144]
    forgotten = sets_of(finished, "memorised_samples")["forget"]
    np.testing.assert_allclose(
        np.sort(forgotten.logit_confidence), phi[hardest].sort().values, rtol=1e-3
    )


def test_a_sequence_shares_retrained_with_whoever_forgets_the_same(finished, tmp_path):
    store = shutil.copytree(finished[0], tmp_path / "store")
    class_three, seven = (
        {"name": "full_class", "params": {"classes": [number]}} for number in (3, 7)
    )
    one_way, other_way = (
        {"name": "sequential", "label": label, "params": {"requests": requests}}
        for label, requests in (("a", [class_three, seven]), ("b", [seven, class_three]))
    )
    at_once = {"name": "full_class", "params": {"classes": [3, 7]}}
    found = computed(compute(work(one_way, other_way, at_once), folder_store(store)))
    assert (found["retrained"], found["unlearned"]) == (1, 3)


def test_a_program_without_the_trainer_gets_the_numbers_that_the_trainer_stored(finished):
    """The bits are the same, of a method that is asked twice."""
    images = dataset_of(finished[0])
    split, spec = split_of(images, "sequential"), planned(work(*SCENARIOS)).work
    (key,) = {
        manifest["meaning"]["original"]
        for manifest in manifests(finished[0], "unlearned")
        if manifest["meaning"]["split"] == split.digest
    }
    with as_configured() as device:
        architecture = Architecture.of(registry.model.resolve(spec.model, at="model"))
        shape = model_shape(images, architecture)
        networks = NetworkFactory(architecture=architecture, shape=shape, device=device)
        train, test = model_samples(images, architecture, device, "Resident")
        numerics = NumericsPolicy.of(spec.training, Ranks.alone(device))
        problem = UnlearningProblem(
            networks=networks, train=train, split=split, forgets="samples", numerics=numerics
        )
        unlearned = problem.unlearn(
            registry.method.resolve(spec.methods[0], at="method"),
            networks.with_weights(load_file(file_of(finished[0], "originals", key, "weights"))),
            seed=Streams(260).unlearning(0, "finetune"),
        )
        logits = predict(unlearned, test, classes=shape.classes, ranks=Ranks.alone(device))
    stored = sets_of(finished, "sequential", "finetune")["test"].logits
    assert np.array_equal(logits, stored)


class TestRequests:
    """A method that notes what it is given, and leaves a trace in the model."""

    @pytest.fixture
    def computed_by(self, monkeypatch, finished, tmp_path):
        """Compute the scenario with a function in place of the method."""

        def compute_by(function):
            entry = replace(registry.method.get("finetune"), function=function, version=99)
            monkeypatch.setitem(registry.method._entries, "finetune", entry)
            store = shutil.copytree(finished[0], tmp_path / "store")
            compute(work(SEQUENTIAL), folder_store(store))

        return compute_by

    @pytest.fixture
    def given(self, computed_by):
        seen = []

        def noting(task, params):
            head = list(task.model.parameters())[-1]
            seen.append((task, head.detach().clone()))
            with torch.no_grad():
                head.add_(1.0)

        computed_by(noting)
        return seen

    def test_each_is_asked_for_on_the_model_that_the_one_before_left(self, given):
        (_, before), (_, after) = given
        assert torch.equal(after, before + 1.0)

    def test_it_is_given_the_request_and_what_is_retained_after_it(self, given, finished):
        split = split_of(dataset_of(finished[0]), "sequential")
        gone = []
        for (task, _), request in zip(given, split.requests, strict=True):
            gone += request.forget.tolist()
            assert task.forget.ids.tolist() == request.forget.tolist()
            assert task.retain.ids.tolist() == sorted(set(range(1442)) - set(gone))
            assert task.forget_classes == (3,)
        assert sorted(gone) == split.forget.tolist()

    def test_each_has_random_numbers_and_a_network_of_its_own(self, given):
        (first, _), (second, _) = given
        assert first.seed != second.seed
        assert first.model is not second.model
        assert not any(module.training for module in second.model.modules())

    def test_the_network_of_one_request_is_gone_at_the_next(self, computed_by):
        """Weights and gradients of the first would take memory of the device from all others."""
        networks, left = [], []

        def noting(task, params):
            gc.collect()
            left.append([network for network in networks if network() is not None])
            networks.append(weakref.ref(task.model))

        computed_by(noting)
        assert left == [[], []]


def test_stopped_inside_its_second_request_a_method_goes_on_to_the_same_bits(
    finished, tmp_path, caplog
):
    folder = shutil.copytree(finished[0], tmp_path / "store")
    shutil.rmtree(folder / "objects" / "unlearned")
    storage = folder_store(folder)
    with stopped_in("finetune", call=2, step=3) as interruption:
        compute(work(SEQUENTIAL), storage, interruption=interruption)
    assert len(list(folder.glob("objects/unlearned/*/*/checkpoint"))) == 1
    with caplog.at_level(logging.INFO):
        compute(work(SEQUENTIAL), storage)
    assert "going on after step 3" in caplog.text
    (key,) = {key for key in artefacts_of(storage) if key[0] == "unlearned"}
    assert artefacts_of(storage)[key] == artefacts_of(folder_store(finished[0]))[key]


def compute_on(ranks, folder):
    document = work(BACKDOOR, SEQUENTIAL, execution={"dataPlacement": "Streamed"})
    compute(document, folder_store(folder), ranks=ranks)


def test_two_ranks_with_streamed_images_give_the_bits_of_one(finished, tmp_path):
    on_two_ranks(compute_on, tmp_path)
    some, everything = (artefacts_of(folder_store(each)) for each in (tmp_path, finished[0]))
    assert some == {key: everything[key] for key in some}
