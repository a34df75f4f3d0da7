"""Results of a store in Python: what `load` gives is what the trainers and the report say.

frame        every number of every run, with settings; failed runs without values
gaps         those of the summary | verdicts
curves       of the trainings of references and methods, in a table of their own and in frame
predictions  of references and methods | model | images as a model sees them
evaluate     on the models of an experiment: the numbers of the experiment
folders      published ones without stages: what followed from these stays, if it is of the results
errors       the argument, what came, and the nearest
imports      nothing but what is used: no torch for numbers, and a message where pandas is missing

Left out: what the numbers mean (tests/core/analysis) and stores on S3 (tests/core/store).
"""

import json
import re
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import supreme_core
from supreme_core import registry
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.data.image_set import ImageSet, dataset_meaning
from supreme_core.errors import SpecError
from supreme_core.publishing.publish import publish, read_published, summarise
from supreme_core.publishing.stored_run import stage_of
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.results import ResultReader, write_order, write_result
from supreme_core.system import ending
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    SSD,
    compute,
    copied,
    experiment,
    folder_store,
    planned,
)

SEEDS = (260, 261)
METRICS = ("accuracy", "average_gap", "js_divergence", "layer_distance", "nomus")
"""Metrics of each kind: of a set and of none, of two models, of weights, with random numbers."""
ROWS = 12
"""Numbers of each finished model."""
DOCUMENT = experiment(
    seeds=SEEDS,
    methods=[FINETUNE, {**SSD, "label": "mild", "params": {"alpha": 20}}],
    scenarios=[FULL_CLASS],
    metrics=[{"name": name} for name in METRICS],
    model=LIGHT,
    storage={"keepUnlearnedModels": True},
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store in which the last seed has a method that failed."""
    storage = folder_store(tmp_path_factory.mktemp("results") / "store")
    write_order(storage, planned(DOCUMENT))
    for seed in SEEDS:
        result = compute(DOCUMENT, storage, seed=seed)
        if seed == SEEDS[-1]:
            failed = {"status": "failed", "reason": "it diverged", "metrics": {}, "predictions": {}}
            runs = [
                run.model_copy(update=failed if run.method == "mild" else {}) for run in result.runs
            ]
            result = result.model_copy(update={"runs": runs})
        write_result(storage, result)
    return storage


@pytest.fixture(scope="module")
def uri(store):
    return f"{store.uri}/{planned(DOCUMENT).prefix}"


@pytest.fixture(scope="module")
def results(uri):
    return supreme_core.load(uri)


class TestFrame:
    def test_it_has_every_number_of_the_results(self, results, store):
        frame = results.frame
        assert [*frame.columns] == [
            *("experiment", "scenario", "method", "seed", "repeat"),
            *("metric", "set", "training", "epoch", "value", "settings"),
        ]
        found = {
            (line.seed, line.method, f"{line.set}_{line.metric}"): line.value
            for line in frame[frame["set"].notna()].itertuples()
        }
        wanted = {
            (seed, run.method, row): value
            for seed, result in ResultReader(store).of(planned(DOCUMENT)).items()
            for run in result.runs
            for row, value in run.metrics.items()
            if row.startswith(("forget_", "retain_", "test_"))
        }
        assert wanted.items() <= found.items()
        rows = frame[frame.epoch.isna()].groupby(["seed", "method"]).size()
        assert len(rows) == len(SEEDS) * 4
        assert {*rows} == {ROWS}
        assert {"average_gap", "layer_distance"} <= set(frame[frame["set"].isna()].metric)
        assert set(frame.experiment) == {"tiny"}

    def test_a_run_that_failed_has_no_value_in_any_row(self, results):
        frame = results.frame
        assert len(frame[(frame.method == "mild") & (frame.seed == SEEDS[1])]) == ROWS
        assert frame[(frame.method == "mild") & (frame.seed == SEEDS[1])].value.isna().all()
        assert frame[(frame.method == "mild") & (frame.seed == SEEDS[0])].value.notna().all()

    def test_settings_are_those_of_the_experiment_and_the_defaults(self, results):
        settings = results.frame.groupby("method").settings.unique()
        assert {method: len(found) for method, found in settings.items()} == dict.fromkeys(
            ("original", "retrained", "finetune", "mild"), 1
        )
        mild = json.loads(settings["mild"][0])
        assert (mild["alpha"], mild["lambda"]) == (20, 1)
        assert json.loads(settings["original"][0]) == {}


def test_gaps_and_verdicts_are_those_of_the_summary(results, store):
    with TemporaryDirectory() as cache:
        order = planned(DOCUMENT)
        summary = summarise(store, Artefacts(store, cache), order, ResultReader(store))
    gaps = results.gaps.set_index(["method", "set", "metric"])
    for row in summary.rows:
        if row.gap and row.metric == "forget_accuracy":
            found = gaps.loc[row.method, "forget", "accuracy"]
            assert (found.n, found["mean"]) == (row.gap.n, row.gap.mean)
            assert (found.verdict, found.margin) == (row.gap.verdict, row.gap.margin)
            assert found.remarks == "; ".join(row.gap.remarks)
    assert len(gaps) == sum(row.gap is not None for row in summary.rows)
    verdicts = results.verdicts.set_index("method").verdict.to_dict()
    assert verdicts == {each.method: each.verdict for each in summary.joint_verdicts}


def test_curves_are_those_of_each_training(results):
    curves = results.curves.set_index(["method", "seed"]).sort_index()
    assert len(curves) == len(SEEDS) * 3  # an epoch each of the two references and finetune
    original = curves.loc[("original", 260)]
    assert (original.training, original.epoch, original.rate) == ("training", 1, 0.1)
    assert original.loss > 0
    assert 0 < original.accuracy < 1
    assert np.isnan(original.validation)
    finetuned = curves.loc[("finetune", 260)]
    assert finetuned.training != "training"
    assert finetuned.rate == 0.001


class TestCurvesInTheFrame:
    """Numbers of epochs beside those of finished models, and never in the same group."""

    NAMES = ("training loss", "training accuracy", "validation accuracy", "learning rate")

    def test_each_number_of_the_curves_stands_there_once(self, results):
        rows = results.frame.dropna(subset="epoch")
        assert len(rows) == 4 * len(results.curves)
        wide = rows.pivot(
            index=[*results.curves.columns[:7]], columns="metric", values="value"
        ).reset_index()
        wanted = results.curves.sort_values([*results.curves.columns[:7]])
        for title, column in zip(self.NAMES, results.curves.columns[7:], strict=True):
            assert np.array_equal(wide[title], wanted[column], equal_nan=True)
        assert json.loads(rows[rows.method == "finetune"].settings.iloc[0])["epochs"] == 1

    def test_no_group_by_metric_has_epochs_and_finished_models(self, results):
        kinds = results.frame.groupby("metric").epoch.agg(lambda epoch: {*epoch.isna()})
        assert {name for name, kind in kinds.items() if kind == {False}} == {*self.NAMES}
        assert {name for name, kind in kinds.items() if kind == {True}} == {*METRICS}

    @pytest.mark.parametrize("name", NAMES)
    def test_no_metric_of_an_experiment_can_be_called_so(self, name):
        for entry in ({"name": "accuracy", "label": name}, {"name": name}):
            with pytest.raises(SpecError, match=name):
                parse(LabelledComponent, entry)

    def test_groups_by_set_are_of_finished_models(self, results):
        frame = results.frame.groupby(["scenario", "method", "metric", "set"])
        assert {metric for _, _, metric, _ in frame.groups} == {"accuracy", "js_divergence"}


def test_the_summary_has_the_medians_of_the_curves(results, store):
    with TemporaryDirectory() as cache:
        order = planned(DOCUMENT)
        told = summarise(store, Artefacts(store, cache), order, ResultReader(store)).training_curves
    assert told.seeds == len(SEEDS)
    assert [(each.method, each.training) for each in told.trainings] == [
        *(("original", "training"), ("retrained", "training"), ("finetune", "retain")),
    ]
    assert [each.method for each in told.without] == ["mild"]  # ssd trains nothing
    medians = results.curves.groupby("method")[["loss", "accuracy", "rate"]].median()
    for each in told.trainings:
        wanted = medians.loc[each.method]
        found = each.loss.median[0], each.accuracy.median[0], each.rate[0]
        assert found == pytest.approx((wanted.loss, wanted.accuracy, wanted.rate), rel=1e-4)


def test_of_a_folder_without_stages_the_log_has_a_line_for_each_thing_that_is_lacking(
    store, tmp_path, caplog
):
    copy = copied(store.uri.removeprefix("file://"), folder_store(tmp_path / "store"))
    shutil.rmtree(tmp_path / "store" / "objects")
    artefacts = Artefacts(copy, tmp_path / "cache")
    told = summarise(copy, artefacts, planned(DOCUMENT), ResultReader(copy))
    assert not told.training_curves.trainings
    said = [re.sub(r"[0-9a-f]{64}", "KEY", record.getMessage()) for record in caplog.records]
    assert said == [
        "no noise floor is claimed: predictions KEY are named by a result but not in the store",
        "nothing is said over seeds in full_class of retrained, original, finetune, mild:"
        " predictions KEY are named by a result but not in the store",
        "curves of 7 models are left out; the first is original in full_class: predictions KEY is"
        " not in the store",
    ]

    lost = caplog.messages[-1]
    caplog.clear()
    assert supreme_core.load(f"{copy.uri}/{planned(DOCUMENT).prefix}").curves.empty
    assert caplog.messages == [lost]


class TestAPublishedFolderWithoutStages:
    """A copy of what was published, as people hand it on: results, summary, report, no models."""

    @pytest.fixture
    def folder(self, store, tmp_path):
        copy = copied(store.uri.removeprefix("file://"), folder_store(tmp_path / "store"))
        self.published(copy, tmp_path)
        shutil.rmtree(tmp_path / "store" / "objects")
        return copy

    def published(self, store, tmp_path):
        publish(store, Artefacts(store, tmp_path / "cache"), planned(DOCUMENT))
        return [store.read(key) for key in names.summary_keys(planned(DOCUMENT).prefix)]

    def test_what_followed_from_stages_stays(self, folder, tmp_path, caplog):
        before = [folder.read(key) for key in names.summary_keys(planned(DOCUMENT).prefix)]
        told = read_published(folder, planned(DOCUMENT).prefix)
        assert told.training_curves.trainings
        assert told.over_seeds.values
        assert any(row.floor for row in told.rows)
        caplog.clear()
        assert self.published(folder, tmp_path) == before
        (record,) = caplog.records
        assert re.fullmatch(
            r"no noise floor is claimed: predictions [0-9a-f]{64} are named by a result but not in"
            r" the store; as they were published before stay: noise floors, numbers over seeds,"
            r" training curves",
            record.getMessage(),
        )

    def test_nothing_is_taken_of_a_summary_that_was_edited(self, folder, tmp_path):
        key = names.summary_key(planned(DOCUMENT).prefix)
        folder.write(key, folder.read(key).replace(b'"trainingCurves"', b'"trainingcurves"'))
        self.published(folder, tmp_path)
        self.assert_lacking(folder)

    def test_nothing_is_taken_of_a_summary_of_other_results(self, folder, tmp_path):
        order = planned(DOCUMENT)
        result = ResultReader(folder).of(order)[SEEDS[0]]
        runs = [
            run.model_copy(update={"metrics": {**run.metrics, "forget_accuracy": 0.5}})
            for run in result.runs
        ]
        write_result(folder, result.model_copy(update={"runs": runs}))
        self.published(folder, tmp_path)
        self.assert_lacking(folder)

    def assert_lacking(self, folder):
        told = read_published(folder, planned(DOCUMENT).prefix)
        assert not told.training_curves.trainings
        assert not told.over_seeds.inputs
        assert not any(row.floor for row in told.rows)


def test_curves_that_are_none_are_told_and_left_out_of_the_summary(store, tmp_path, caplog):
    copy = copied(store.uri.removeprefix("file://"), folder_store(tmp_path / "store"))
    artefacts = Artefacts(copy, tmp_path / "cache")
    run = next(
        run
        for run in ResultReader(copy).of(planned(DOCUMENT))[260].runs
        if run.method == "finetune"
    )
    manifest = artefacts.find(*stage_of(run))
    artefacts.commit(
        *stage_of(run),
        meaning=manifest.meaning,
        files={name: artefacts.open(manifest, name) for name in manifest.files},
        facts={**manifest.facts, "curves": [{"name": "retain", "epoch": [2, 1]}]},
        environment={},
        replace=True,
    )
    found = summarise(copy, artefacts, planned(DOCUMENT), ResultReader(copy)).training_curves
    assert {each.method: each.n for each in found.trainings}["finetune"] == 1
    told = (
        "curves of 1 model are left out; the first is finetune in full_class: curves of unlearned"
    )
    assert told in caplog.text

    caplog.clear()
    read = supreme_core.load(f"{copy.uri}/{planned(DOCUMENT).prefix}")
    assert {*zip(read.curves.method, read.curves.seed, strict=True)} == {
        *((method, seed) for method in ("original", "retrained") for seed in SEEDS),
        ("finetune", SEEDS[1]),
    }
    assert len(read.frame) == len(SEEDS) * 4 * ROWS + 4 * len(read.curves)
    (record,) = caplog.records
    assert told in record.message
    assert "rate is required" in record.message


def test_a_store_without_models_has_every_number_of_them(store, tmp_path, caplog):
    copy = copied(store.uri.removeprefix("file://"), folder_store(tmp_path / "store"))
    shutil.rmtree(tmp_path / "store" / "objects")
    read = supreme_core.load(f"{copy.uri}/{planned(DOCUMENT).prefix}")
    assert len(read.frame) == len(SEEDS) * 4 * ROWS
    assert (
        read.frame.dtypes.to_dict()
        == supreme_core.load(f"{store.uri}/{planned(DOCUMENT).prefix}").frame.dtypes.to_dict()
    )
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "curves of 7 models are left out"
    ]


@pytest.mark.parametrize("method", ["original", "retrained", "finetune"])
def test_predictions_and_models_are_those_that_were_scored(results, store, method):
    predictions = results.predictions("full_class", method, 260)
    frame = results.frame[results.frame.metric == "accuracy"]
    for name in ("forget", "retain", "test"):
        chosen = (frame.seed == 260) & (frame.method == method) & (frame["set"] == name)
        (value,) = frame[chosen].value
        assert np.mean(predictions[name].predicted == predictions[name].labels) == value

    network = results.model("full_class", method, 260)
    with torch.inference_mode():
        logits = network(results.prepared(images(store).test_images)).numpy()
    assert np.allclose(logits, predictions["test"].logits, atol=1e-4)


def test_evaluate_says_what_the_experiment_says(results, store):
    data = images(store)
    train, test = (results.prepared(part) for part in (data.train_images, data.test_images))
    labels, test_labels = map(
        torch.from_numpy, map(np.array, (data.train_labels, data.test_labels))
    )
    parts = {
        "forget": TensorDataset(train[labels == 3], labels[labels == 3]),
        "retain": TensorDataset(train[labels != 3], labels[labels != 3]),
        "test": TensorDataset(test, test_labels),
    }
    models = {
        name: results.model("full_class", method, 260)
        for name, method in {"model": "finetune", "retrained": "retrained"}.items()
    }
    found = supreme_core.evaluate(**models, **parts, metrics=METRICS, seed=260)

    run = next(
        run
        for run in ResultReader(store).of(planned(DOCUMENT))[260].runs
        if run.method == "finetune"
    )
    assert found == pytest.approx(run.metrics, abs=1e-5)


def images(store):
    """Images of the experiment, as they lie in the store."""
    chosen = registry.dataset.resolve(planned(DOCUMENT).work.dataset, at="here")
    with TemporaryDirectory() as cache:
        artefacts = Artefacts(store, cache)
        manifest = artefacts.find("datasets", digest(dataset_meaning(chosen)))
        files = {name: artefacts.open(manifest, name) for name in manifest.files}
        return ImageSet.read(files, manifest.facts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("full_class", "finetune", 262), "seed is 262; did you mean '261'?"),
        (("full_class", "finetune", "260"), "seed is '260'; did you mean 260?"),
        (("full_class", ["finetune"], 260), "method is ['finetune']; did you mean 'finetune'?"),
        (("fullclass", "finetune", 260), "scenario is 'fullclass'; did you mean 'full_class'?"),
        (("full_class", "ssd", 260), "method is 'ssd'; allowed: original, retrained, finetune, m"),
        (("full_class", "mild", 261), "has no model of seed 261, because it failed: it diverged"),
    ],
)
def test_an_argument_that_means_nothing_is_told_with_the_nearest(results, arguments, message):
    for ask in (results.predictions, results.model):
        with pytest.raises(SpecError) as error:
            ask(*arguments)
        assert message in str(error.value)


def test_images_of_another_form_are_refused(results):
    with pytest.raises(SpecError, match=r"array \(2, 8, 8\) of float64; allowed: \(n, 1, height"):
        results.prepared(np.zeros((2, 8, 8)))
    with pytest.raises(SpecError, match=r"array \(2, 3, 8, 8\) of uint8; allowed: \(n, 1, height"):
        results.prepared(np.zeros((2, 3, 8, 8), dtype=np.uint8))
    with pytest.raises(SpecError, match="images is no array: its parts have several lengths"):
        results.prepared([[1], [1, 2]])


def test_a_model_that_was_not_kept_is_told(tmp_path):
    document = experiment(methods=[SSD], scenarios=[FULL_CLASS], training={"epochs": 0})
    storage = folder_store(tmp_path)
    write_order(storage, planned(document))
    write_result(storage, compute(document, storage))
    results = supreme_core.load(tmp_path / planned(document).prefix)
    with pytest.raises(SpecError, match=r"method is 'ssd', .* spec.storage.keepUnlearnedModels"):
        results.model("full_class", "ssd", 260)


def test_an_experiment_without_a_finished_seed_is_told(tmp_path):
    write_order(folder_store(tmp_path), planned(DOCUMENT))
    results = supreme_core.load(tmp_path / planned(DOCUMENT).prefix)
    for table in ("frame", "gaps", "verdicts", "curves"):
        with pytest.raises(SpecError, match="has no finished seed yet"):
            getattr(results, table)


def test_an_address_of_no_experiment_names_those_there_are(store):
    with pytest.raises(SpecError, match="should look like STORE/experiments/NAMESPACE/NAME-UID"):
        supreme_core.load(store.uri)
    with pytest.raises(SpecError, match="uri is None; allowed: STORE/experiments/NAMESPACE/NAME"):
        supreme_core.load(None)


def test_tables_without_pandas_say_what_to_install(uri, monkeypatch):
    monkeypatch.setitem(ending.EXTRAS, "pandas", ("not_installed",))
    with pytest.raises(SpecError, match=re.escape(ending.install_command("pandas"))):
        _ = supreme_core.load(uri).verdicts


def test_numbers_need_no_torch(uri):
    code = (
        "import sys, supreme_core; assert 'numpy' not in sys.modules\n"
        f"results = supreme_core.load({uri!r})\n"
        "assert 'pandas' not in sys.modules\n"
        "print(len(results.frame), len(results.gaps), len(results.verdicts))\n"
        "results.predictions('full_class', 'finetune', 260)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
