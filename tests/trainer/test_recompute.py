"""`supreme recompute`: the numbers of the trainer again, to the bit, without a model and torch.

Covered: every metric, reference, replica and repeat; further metrics; numbers that differ; what
cannot be scored. On a folder and on a real S3 server.

Left out: what metrics compute (tests/core/metrics) and what a summary says (test_aggregate).
"""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from supreme_trainer.command import cli

from supreme_core import registry
from supreme_core.analysis.provenance import provenance_of
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse_json
from supreme_core.api.orders import Revision
from supreme_core.api.summary import Summary
from supreme_core.publishing.recompute import recompute, with_metrics
from supreme_core.scoring.run_scoring import distances
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.housekeeping import damage_in, orphans
from supreme_core.store.inventory import read_inventory
from supreme_core.store.results import ResultReader, read_order, write_order, write_result
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    artefacts_of,
    compute,
    copied,
    experiment,
    finish,
    folder_store,
    planned,
    summary_digest,
    supreme,
    written,
)

FEW = {
    **{
        entry.name: {"maxSteps": 2}
        for entry in registry.metric.entries()
        if entry.facts.probe == "relearning"
    },
    "mia_logistic": {"folds": 2, "repeats": 1},
}
"""Settings of metrics that take their time."""

EVERY_METRIC = [
    {"name": entry.name, "params": FEW.get(entry.name, {})} for entry in registry.metric.entries()
]
OF_MODELS = {entry.name for entry in registry.metric.entries() if entry.facts.probe}
"""Metrics that look at a model itself, which only a trainer can; see test_probes."""

ACCURACY = {"name": "accuracy"}

KINDS = OF_MODELS | {"accuracy", "zrf", "aus", "js_divergence", "layer_distance", "mia_logistic"}
KINDS |= {"average_gap", "wall_seconds"}
"""Every metric that looks at a model, and one for each other thing that metrics need: predictions
of one model, of an untrained one, of Original, of Retrained, weights, random numbers alone and with
Retrained, a clock."""


def wide():
    """Everything that makes runs different: references, replicas, repeats, both kinds of cells."""
    metrics = [metric for metric in EVERY_METRIC if metric["name"] in KINDS]
    document = experiment(model=LIGHT, methods=[FINETUNE], metrics=metrics)
    document["spec"]["seeds"] |= {
        "retrainedReplicas": 2,
        "unlearningRepeats": 2,
        "evaluationRepeats": 2,
    }
    return document


def small(**changes):
    fields = {"scenarios": [FULL_CLASS], "methods": [FINETUNE], "metrics": [ACCURACY]}
    fields["model"] = LIGHT
    return experiment(**{**fields, **changes})


@pytest.fixture(scope="module")
def wide_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    finish(wide(), folder_store(folder))
    return folder


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    finish(small(), folder_store(folder))
    return folder


@pytest.fixture
def filled(store, small_store):
    """A store of each kind with the finished experiment `small()`."""
    return copied(small_store, store)


@pytest.fixture
def folder(small_store, tmp_path):
    """A folder with the finished experiment `small()`, for one test to change."""
    return folder_store(shutil.copytree(small_store, tmp_path / "copy"))


@pytest.fixture
def scored(tmp_path):
    """Score the experiment of a store; gives what was found."""

    def run(storage, document, *more):
        order = read_order(storage, planned(document).prefix)
        return recompute(
            storage, Artefacts(storage, tmp_path / "cache"), order, untracked, more=more
        )

    return run


@pytest.fixture
def command(monkeypatch, capsys, s3_server):
    """Run the command in this process; gives exit code, standard output, standard error."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)

    def run(storage, document, *options):
        endpoint = [] if isinstance(storage, LocalStorage) else ["--endpoint", s3_server.endpoint]
        uri = f"{storage.uri}/{planned(document).prefix}"
        monkeypatch.setattr("sys.argv", ["supreme", "recompute", uri, *endpoint, *options])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def untracked(items, **_):
    return items


def results_of(storage, document):
    return ResultReader(storage).of(planned(document))


def remove(storage, stage):
    for info in list(storage.list(f"objects/{stage}")):
        storage.delete(info.key)


def file_of(storage, stage, words):
    (found,) = [info.key for info in storage.list(f"objects/{stage}") if f"/{words}" in info.key]
    return found


class TestSameBits:
    def test_every_number_of_every_run(self, wide_store, tmp_path, scored):
        storage = folder_store(shutil.copytree(wide_store, tmp_path / "store"))
        before, stages = results_of(storage, wide()), artefacts_of(storage)
        summary = summary_digest(storage, wide())
        remove(storage, "metrics")

        done = scored(storage, wide())

        after = results_of(storage, wide())
        assert {seed: result.runs for seed, result in after.items()} == {
            seed: result.runs for seed, result in before.items()
        }
        assert artefacts_of(storage) == stages
        assert summary_digest(storage, wide()) == summary
        assert done.changes == []
        # two scenarios; Original, two replicas of Retrained, a method twice
        assert done.runs == 2 * (1 + 2 + 2)

    def test_every_seed(self, folder, scored):
        storage, seeds = folder, small(seeds=(260, 261))
        finish(seeds, storage)
        before, summary = results_of(storage, seeds), summary_digest(storage, seeds)
        remove(storage, "metrics")

        done = scored(storage, seeds)

        after = results_of(storage, seeds)
        assert {seed: (result.attempt, result.runs) for seed, result in after.items()} == {
            seed: (1, result.runs) for seed, result in before.items()
        }
        assert summary_digest(storage, seeds) == summary
        assert (done.runs, done.changes) == (2 * 3, [])

    def test_a_further_metric_is_what_the_trainer_would_have_computed(
        self, small_store, folder, scored, tmp_path
    ):
        """Every metric whose inputs are stored, in the place of one."""
        left_out = OF_MODELS | {"accuracy", "zrf"}
        others = [entry["name"] for entry in EVERY_METRIC if entry["name"] not in left_out]
        together = small(metrics=[ACCURACY, *({"name": name} for name in others)])
        by_trainer = folder_store(shutil.copytree(small_store, tmp_path / "trainer"))
        trained = compute(together, by_trainer, attempt=1)

        done = scored(folder, small(), *others)

        assert done.changes == []
        assert results_of(folder, together)[260].runs == trained.runs
        assert artefacts_of(folder) == artefacts_of(by_trainer)
        assert not any(record.status == "computed" for record in compute(together, folder).stages)

    def test_distances_are_those_of_the_slow_obvious_way(self):
        generator = np.random.default_rng(1)
        shapes = {"b.weight": (3, 4, 5), "a.bias": (7,), "a.running_mean": (7,)}
        here, there = (
            {
                name: generator.normal(size=shape).astype(np.float32)
                for name, shape in shapes.items()
            }
            for _ in range(2)
        )
        steps = {"a.num_batches_tracked": np.array(3)}

        found = distances(here | steps, there | steps)

        assert list(found) == ["a.bias", "b.weight"]
        for name, each in found.items():
            one, other = ([float(x) for x in side[name].ravel()] for side in (here, there))
            expected = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            assert each.distance == pytest.approx(expected, rel=1e-14)
            assert each.norm == pytest.approx(sum(x * x for x in other) ** 0.5, rel=1e-14)


class TestCommand:
    def test_says_what_it_did_and_writes_all_three_files(self, filled, command):
        prefix = planned(small()).prefix
        for key in map(str, (names.summary_key(prefix), names.table_key(prefix))):
            filled.delete(key)

        code, out, err = command(filled, small())

        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == "3 runs scored again; 15 known before, as they were"
        assert "finetune" in out
        assert filled.stat(names.summary_key(prefix))
        assert filled.stat(names.table_key(prefix))

    def test_a_further_metric_comes_into_table_and_order(self, filled, command):
        code, *_ = command(filled, small(), "--metric", "loss", "--metric", "mia_loss_auc")

        assert code == 0
        order = read_order(filled, planned(small()).prefix)
        assert [metric.name for metric in order.work.metrics] == [
            "accuracy",
            "loss",
            "mia_loss_auc",
        ]
        key = names.summary_key(order.prefix)
        summary = parse_json(Summary, filled.read(key), source=key)
        rows = {row.metric for row in summary.rows if row.n}
        assert {"forget_accuracy", "forget_loss", "mia_loss_auc"} <= rows
        assert not summary.partial

    def test_needs_no_torch(self, folder):
        """A process of its own runs it to the end."""
        code = (
            "import sys; from supreme_trainer.command import cli; cli.main();"
            "sys.exit('torch' in sys.modules)"
        )
        uri = f"{folder.uri}/{planned(small()).prefix}"
        arguments = [sys.executable, "-c", code, "recompute", uri, "--metric", "layer_distance"]

        done = subprocess.run(arguments, capture_output=True, text=True, timeout=600)

        assert (done.returncode, done.stderr) == (0, "")
        assert results_of(folder, small(metrics=[ACCURACY, {"name": "layer_distance"}]))

    def test_leaves_an_experiment_that_a_run_finds_finished(self, folder, command, tmp_path):
        command(folder, small(), "--metric", "loss")
        store = tmp_path / "copy"

        with_loss = small(metrics=[ACCURACY, {"name": "loss"}])
        done = supreme("run", written(tmp_path / "tiny.yaml", with_loss), "--store", store)
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1] == "0 stages computed, every seed was finished"

    def test_a_run_does_not_leave_a_further_metric_out_unless_it_may_drop_it(
        self, folder, command, tmp_path
    ):
        command(folder, small(), "--metric", "loss")
        file, store = written(tmp_path / "tiny.yaml", small()), ("--store", tmp_path / "copy")

        refused = supreme("run", file, *store)
        done = supreme("run", file, *store, "--replace")

        assert refused.code == 2
        assert refused.err.splitlines()[0] == "error: spec.metrics: 'loss' left out"
        assert done.code == 0, done.err
        assert "dropped 1 result, of seeds 260" in done.out
        assert done.out.splitlines()[-1] == "0 stages computed, every seed was finished"

    def test_what_it_leaves_is_sound_and_needed(self, filled, command):
        command(filled, small(), "--metric", "loss")
        inventory = read_inventory(filled, untracked)
        assert damage_in(inventory) == []
        assert orphans(inventory) == []


class TestRecords:
    def test_the_attempt_before_stays(self, folder, scored):
        before = results_of(folder, small())[260]
        scored(folder, small(), "loss")
        assert results_of(folder, small())[260] == before

    def test_stages_name_what_the_numbers_come_from(self, folder, scored):
        before = results_of(folder, small())[260]
        scored(folder, small(), "loss")

        after = results_of(folder, small(metrics=[ACCURACY, {"name": "loss"}]))[260]

        kept = [record for record in before.stages if record.stage != "metrics"]
        assert [record for record in after.stages if record.stage != "metrics"] == kept
        new = [record for record in after.stages if record.stage == "metrics"]
        assert [record.status for record in new] == ["computed"] * 3
        assert {record.environment for record in after.stages} == after.environments.keys()

    def test_an_environment_without_torch_is_no_other_one(self, folder, scored):
        summary = scored(folder, small(), "loss").summary
        provenance = provenance_of(summary)
        assert len(provenance.environments) == 2
        assert not provenance.mixed_environments

    def test_metrics_scored_anew_leave_the_work_what_a_plan_says(self):
        """Some metrics and some probes have revisions, whose order is part of the digest."""
        order = planned(wide())
        assert {each.kind for each in order.work.revisions} == {"metric", "probe"}
        assert with_metrics(order, []) == order

    def test_a_metric_that_is_there_already_is_no_further_one(self):
        order = planned(small())
        assert with_metrics(order, ["accuracy", "loss", "loss"]) == with_metrics(order, ["loss"])


class TestDifference:
    def test_a_number_that_is_another_now_is_told_and_takes_its_place(self, folder, command):
        """The old number is one that an error computed which is corrected since."""
        before = results_of(folder, small())[260]
        runs = [
            run.model_copy(update={"metrics": run.metrics | {"forget_accuracy": 0.123}})
            if run.method == "finetune"
            else run
            for run in before.runs
        ]
        write_result(folder, before.model_copy(update={"runs": runs}))
        for manifest in [info.key for info in folder.list("objects/metrics")]:
            wrong = json.loads(folder.read(manifest))
            stage = wrong["stage"], wrong["key"]
            Artefacts(folder, "unused").commit(
                *stage,
                meaning=wrong["meaning"],
                files={},
                facts={"metrics": {row: 0.5 for row in wrong["facts"]["metrics"]}},
                environment={},
                replace=True,
            )

        code, out, _ = command(folder, small())

        assert code == 0
        number = next(run for run in before.runs if run.method == "finetune").metrics
        assert out.splitlines()[-2:] == [
            "3 runs scored again; 15 known before, 1 of them changed",
            "  seed 260, finetune in full_class: forget_accuracy was 0.123, is"
            f" {number['forget_accuracy']}",
        ]
        assert results_of(folder, small())[260].runs == before.runs
        assert not any(record.status == "computed" for record in compute(small(), folder).stages)

    def test_a_metric_that_fails_fails_its_run_only(self, folder, scored, monkeypatch):
        entry = registry.metric.get("loss")
        monkeypatch.setitem(
            registry.metric._entries, "loss", replace_function(entry, failing_for_original)
        )

        scored(folder, small(), "loss")

        order = planned(small(metrics=[ACCURACY, {"name": "loss"}]))
        revised = [Revision(kind="metric", name="loss", version=2)]
        work = order.work.model_copy(update={"revisions": revised})
        runs = ResultReader(folder).of(order.model_copy(update={"work": work}))[260].runs
        assert [(run.method, run.status) for run in runs] == [
            ("original", "failed"),
            ("retrained", "ok"),
            ("finetune", "ok"),
        ]
        assert runs[0].reason == "metrics: ZeroDivisionError: no loss"

    def test_and_once_it_is_mended_the_run_is_whole(self, folder, scored):
        document = small(metrics=[ACCURACY, {"name": "loss"}])
        whole = compute(document, folder)
        broken = whole.runs[0].model_copy(
            update={"status": "failed", "reason": "metrics: broken", "metrics": {}}
        )
        result = whole.model_copy(update={"attempt": 1, "runs": [broken, *whole.runs[1:]]})
        write_result(folder, result)
        write_order(folder, planned(document))

        scored(folder, document)

        assert results_of(folder, document)[260].runs == whole.runs

    def test_a_method_that_failed_has_nothing_to_score(self, folder, scored):
        before = results_of(folder, small())[260]
        failed = before.runs[-1].model_copy(
            update={"status": "failed", "reason": "diverged", "metrics": {}, "predictions": {}}
        )
        write_result(folder, before.model_copy(update={"runs": [*before.runs[:-1], failed]}))

        done = scored(folder, small())

        assert done.runs == 2
        assert results_of(folder, small())[260].runs[-1] == failed


class TestRefusal:
    def refused(self, command, storage, *options, code=1):
        """The one line that a refusal is; nothing is written."""
        before = {info.key: info for info in storage.list("experiments")}
        found, _, err = command(storage, small(), *options)
        assert found == code
        assert {info.key: info for info in storage.list("experiments")} == before
        (line,) = err.splitlines()
        return line

    @pytest.mark.parametrize(
        ("stage", "words"),
        [("unlearned", "predictions-"), ("retrained", "weights-"), ("unlearned", "manifest")],
        ids=["predictions", "weights", "a stage"],
    )
    def test_what_is_gone_is_named_with_the_way_out(self, filled, command, stage, words):
        filled.delete(file_of(filled, stage, words))

        line = self.refused(command, filled)

        assert line.startswith("error: seed 260 cannot be scored: ")
        assert stage in line
        assert line.endswith(
            f"remove {planned(small()).prefix}/seed=260 from the store and run the experiment"
            " again, which computes what is missing"
        )

    def test_damaged_predictions_are_not_scored(self, filled, command):
        key = file_of(filled, "unlearned", "predictions-")
        filled.write(key, filled.read(key)[:-1] + b"x")
        assert "is damaged" in self.refused(command, filled)

    def test_the_way_out_leads_out(self, folder, command, tmp_path):
        before = results_of(folder, small())[260]
        folder.delete(file_of(folder, "unlearned", "predictions-"))
        self.refused(command, folder)
        shutil.rmtree(tmp_path / "copy" / planned(small()).prefix / "seed=260")

        write_result(folder, compute(small(), folder))
        code, *_ = command(folder, small())

        assert code == 0
        accuracies = [run.metrics for run in results_of(folder, small())[260].runs]
        assert accuracies == [run.metrics for run in before.runs]

    def test_predictions_of_weights_that_were_replaced_are_not_scored(self, folder, command):
        manifest = json.loads(folder.read(file_of(folder, "retrained", "manifest")))
        data = folder.read(file_of(folder, "retrained", "weights-"))
        Artefacts(folder, "unused").commit(
            "retrained",
            digest(manifest["meaning"]),
            meaning=manifest["meaning"],
            files={names.WEIGHTS: data[:-1] + bytes([data[-1] ^ 1])},
            facts=manifest["facts"],
            environment=manifest["environment"],
            replace=True,
        )
        assert "was computed from other bits than lie in the store now" in self.refused(
            command, folder
        )

    def test_an_untrained_model_that_was_not_stored(self, folder, command):
        line = self.refused(command, folder, "--metric", "zrf", code=2)
        assert "compares with an untrained model" in line
        assert "add the metric to spec.metrics and run" in line

    def test_an_unknown_metric(self, folder, command):
        line = self.refused(command, folder, "--metric", "acuracy", code=2)
        assert line == (
            "error: --metric acuracy.name: unknown metric 'acuracy'; did you mean 'accuracy'?"
        )

    def test_an_experiment_without_results(self, folder, command, tmp_path):
        shutil.rmtree(tmp_path / "copy" / planned(small()).prefix / "seed=260")
        line = self.refused(command, folder, code=2)
        assert line.endswith("has no finished seed yet, so there is nothing to score")

    def test_results_of_a_version_that_did_not_say_what_they_compare(self, folder, command):
        before = results_of(folder, small())[260]
        runs = [run.model_copy(update={"predictions": {}}) for run in before.runs]
        write_result(folder, before.model_copy(update={"runs": runs}))
        assert "it does not say what its metrics compare" in self.refused(command, folder)


def replace_function(entry, function):
    original = entry.function
    return replace(
        entry, version=2, function=lambda evaluation, params: function(original, evaluation, params)
    )


def failing_for_original(loss, evaluation, params):
    """No method trains in this test, so only Original has the predictions of Original."""
    if evaluation.predictions["unlearned"] is evaluation.predictions["original"]:
        raise ZeroDivisionError("no loss")
    return loss(evaluation, params)
