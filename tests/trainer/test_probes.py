"""Probes as stages: what they cost, where they get a model from, what is made of their findings.

The method of a run is counted while probes are added to a finished store: it runs once for all of
them, and never where its weights were kept. What is found so is compared, to the bit, with what is
found where the model is in memory, on two ranks, and by `supreme recompute` without torch.

Left out: what probes find (tests/core/probes).
"""

import json
import logging
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from supreme_trainer.command import cli
from supreme_trainer.process.progress import Board

from supreme_core import registry
from supreme_core.api import names
from supreme_core.errors import EXIT_INVALID, SpecError, SupremeError
from supreme_core.plan import steps
from supreme_core.publishing.recompute import recompute
from supreme_core.registry.catalog import bundled
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.housekeeping import damage_in, orphans
from supreme_core.store.inventory import read_inventory
from supreme_core.store.results import ResultReader, write_order, write_result
from tests.real_ranks import on_two_ranks
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    artefacts_of,
    compute,
    computed,
    experiment,
    folder_store,
    planned,
    stopped_in,
)

ACCURACY = {"name": "accuracy"}
RELEARN = {"name": "relearn_time", "params": {"maxSteps": 3}}
INDEX = {"name": "anamnesis_index", "params": {"maxSteps": 3}}
PROBED = (
    ACCURACY,
    {"name": "feature_cka"},
    {"name": "linear_recovery"},
    RELEARN,
    {"name": "quantised_accuracy"},
)
KEEPING = {"storage": {"keepUnlearnedModels": True}}
RUNS, PROBES = 3, 4
"""Original, Retrained and one method; what is to be found of each."""


def document(*metrics, **changes):
    fields = {"scenarios": [FULL_CLASS], "methods": [FINETUNE], "metrics": [ACCURACY, *metrics]}
    fields |= {"training": {"microBatches": 2}, "model": LIGHT}
    return experiment(**{**fields, **changes})


def probed(**changes):
    return document(*PROBED[1:], **changes)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with the finished experiment without a probe."""
    return computed_in(tmp_path_factory.mktemp("plain"), document())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the finished experiment whose models were probed while they were in memory."""
    return computed_in(tmp_path_factory.mktemp("whole"), probed())


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the finished experiment without a probe, and the weights of its models."""
    return computed_in(tmp_path_factory.mktemp("kept"), document(**KEEPING))


def computed_in(folder, which, ranks=None):
    """The folder with what a trainer leaves there."""
    storage = folder_store(folder)
    result = compute(which, storage, ranks=ranks)
    if ranks is None:
        write_order(storage, planned(which))
        write_result(storage, result)
    return folder


@pytest.fixture
def store(plain, tmp_path):
    return folder_store(shutil.copytree(plain, tmp_path / "store"))


@pytest.fixture
def found(whole, tmp_path):
    return folder_store(shutil.copytree(whole, tmp_path / "found"))


@contextmanager
def replaced(kind, name, function):
    """A component whose function gets the true one before its arguments."""
    entry = kind.get(name)
    other = replace(entry, function=lambda *given: function(entry.function, *given))
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(kind._entries, name, other)
        yield


@contextmanager
def counted(kind, name):
    """Count the calls of a component."""
    calls = []

    def count(function, *given):
        calls.append(given)
        return function(*given)

    with replaced(kind, name, count):
        yield calls


def untracked(items, **_):
    return items


def scored(storage, which, *more):
    with TemporaryDirectory() as cache:
        artefacts = Artefacts(storage, Path(cache))
        return recompute(storage, artefacts, planned(which), untracked, more=more)


def results_of(storage, which):
    return ResultReader(storage).of(planned(which))[260]


def without(artefacts, *stages):
    return {key: left for key, left in artefacts.items() if key[0] not in stages}


class TestStages:
    def test_each_model_is_probed_once_for_each_question(self, whole):
        found = artefacts_of(folder_store(whole))
        assert sum(stage == "probes" for stage, _ in found) == RUNS * PROBES
        assert all(
            files.keys() == {names.PROBE}
            for (stage, _), (files, _) in found.items()
            if stage == "probes"
        )

    def test_models_and_predictions_are_those_of_an_experiment_without_probes(self, plain, whole):
        ours = without(artefacts_of(folder_store(whole)), "probes", "metrics")
        assert ours == without(artefacts_of(folder_store(plain)), "metrics")

    def test_the_same_experiment_again_computes_nothing(self, found):
        with counted(registry.method, "finetune") as calls:
            assert not computed(compute(probed(), found))
        assert not calls

    def test_two_metrics_share_the_findings_of_one_probe(self, found):
        document = probed(metrics=[*PROBED, INDEX, {"name": "feature_cka_original"}])
        assert computed(compute(document, found)) == {"metrics": RUNS}

    def test_other_settings_are_another_question(self, found):
        metrics = [*PROBED, {**RELEARN, "label": "slow", "params": {"maxSteps": 2}}]
        assert computed(compute(probed(metrics=metrics), found)) == {
            "probes": RUNS,
            "metrics": RUNS,
        }

    def test_everything_is_sound_and_needed(self, found):
        inventory = read_inventory(found, untracked)
        assert damage_in(inventory) == []
        assert orphans(inventory) == []

    def test_two_ranks_find_the_bits_of_one(self, whole, tmp_path):
        on_two_ranks(on_ranks, tmp_path)
        assert artefacts_of(folder_store(tmp_path)) == artefacts_of(folder_store(whole))


def on_ranks(ranks, folder):
    computed_in(folder, probed(), ranks)


class TestModels:
    def test_a_method_runs_again_once_for_all_probes(self, store, whole):
        with counted(registry.method, "finetune") as calls:
            result = compute(probed(), store)
        assert len(calls) == 1
        assert computed(result) == {"probes": RUNS * PROBES, "metrics": RUNS}
        expected = artefacts_of(folder_store(whole))
        assert artefacts_of(store).items() >= expected.items()

    def test_a_method_that_is_stopped_on_its_way_to_a_probe_goes_on(self, store, whole, caplog):
        with stopped_in("finetune", call=1, step=5) as interruption:
            compute(probed(), store, interruption=interruption)
        with caplog.at_level(logging.INFO):
            compute(probed(), store)
        assert "going on after step 5" in caplog.text
        assert artefacts_of(store).items() >= artefacts_of(folder_store(whole)).items()

    def test_a_method_that_computes_now_runs_once(self, tmp_path):
        with counted(registry.method, "finetune") as calls:
            compute(probed(), folder_store(tmp_path))
        assert len(calls) == 1

    def test_kept_weights_are_used(self, kept, whole, tmp_path):
        storage = folder_store(shutil.copytree(kept, tmp_path / "copy"))
        with counted(registry.method, "finetune") as calls:
            compute(probed(**KEEPING), storage)
        assert not calls
        of_probes = {key: left for key, left in artefacts_of(storage).items() if key[0] == "probes"}
        assert artefacts_of(folder_store(whole)).items() >= of_probes.items()
        assert len(of_probes) == RUNS * PROBES

    def test_damaged_weights_are_not_used(self, kept, tmp_path):
        folder = shutil.copytree(kept, tmp_path / "copy")
        (path,) = folder.glob("objects/unlearned/*/*/weights-*")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with counted(registry.method, "finetune") as calls:
            result = compute(probed(**KEEPING), folder_store(folder))
        assert len(calls) == 1
        assert all(run.status == "ok" for run in result.runs)

    def test_another_model_than_the_predictions_tell_of_is_said(self, store, caplog):
        def otherwise(function, task, params):
            function(task, params.model_copy(update={"lr": params.lr * 2}))

        with replaced(registry.method, "finetune", otherwise), caplog.at_level(logging.WARNING):
            compute(probed(), store)
        assert "finetune in full_class was run again for a probe and predicts other" in caplog.text

    def test_the_same_model_is_not_worth_a_word(self, store, caplog):
        with caplog.at_level(logging.WARNING):
            compute(probed(), store)
        assert not caplog.records

    def test_a_model_without_a_linear_head_is_refused_before_anything_is_trained(self, tmp_path):
        storage = folder_store(tmp_path)
        which = probed(model={"name": "torchvision/squeezenet1_1"})
        with pytest.raises(SpecError) as refused:
            compute(which, storage)
        assert str(refused.value) == (
            "spec.metrics[1].name is 'feature_cka', which needs a single linear layer that gives"
            " the logits, and spec.model has none; leave it out"
        )
        assert {stage for stage, _ in artefacts_of(storage)} == {"datasets"}


class TestProgress:
    def board(self, which, storage):
        events = StringIO()
        result = compute(which, storage, stream=events)
        board = Board([260], steps(planned(which).work, [], bundled()), parallel=1)
        titles = []
        for line in events.getvalue().splitlines():
            if finished := board.apply(260, json.loads(line)):
                titles.append(finished.title)
        return result, board, titles

    def test_probes_are_steps_of_the_plan(self, store):
        _, board, titles = self.board(probed(), store)
        assert board.done == board.total
        assert titles[-PROBES - 1 :] == [
            *(f"{metric['name']} of finetune · full_class" for metric in PROBED[1:]),
            "metrics of finetune · full_class",
        ]

    def test_a_probe_that_two_metrics_share_is_a_step_of_each(self, store):
        _, board, titles = self.board(document(RELEARN, INDEX), store)
        assert board.done == board.total
        assert titles[-3:] == [
            "relearn_time of finetune · full_class",
            "anamnesis_index of finetune · full_class",
            "metrics of finetune · full_class",
        ]

    @pytest.mark.parametrize("kind", [registry.method, registry.probe], ids=lambda kind: kind.kind)
    def test_what_fails_leaves_no_step_undone(self, tmp_path, kind):
        name = {"method": "finetune", "probe": "linear_readout"}[kind.kind]
        with replaced(kind, name, broken):
            result, board, _ = self.board(probed(), folder_store(tmp_path))
        assert board.done == board.total
        assert any(run.status == "failed" for run in result.runs)


def broken(function, *given):
    raise ZeroDivisionError("no answer")


class TestFailure:
    def test_a_probe_that_fails_fails_its_runs_and_is_asked_again(self, store):
        with replaced(registry.probe, "linear_readout", broken):
            result = compute(probed(), store)
        assert {run.status for run in result.runs} == {"failed"}
        assert {run.reason for run in result.runs} == {"metrics: ZeroDivisionError: no answer"}
        assert not any(run.predictions or run.probes for run in result.runs)

        again = compute(probed(), store, attempt=1)

        assert {run.status for run in again.runs} == {"ok"}

    def test_where_a_probe_failed_there_is_nothing_to_score(self, store):
        def only_for_a_method(function, task, params):
            if task.subject is task.original or task.subject is task.retrained:
                return function(task, params)
            raise ZeroDivisionError("no answer")

        with replaced(registry.probe, "linear_readout", only_for_a_method):
            result = compute(probed(), store)
        assert [run.status for run in result.runs] == ["ok", "ok", "failed"]
        write_result(store, result)
        write_order(store, planned(probed()))

        assert scored(store, probed()).runs == 2
        assert results_of(store, probed()).runs == result.runs


class TestRecompute:
    def test_numbers_are_those_of_the_trainer(self, found):
        before, stages = results_of(found, probed()), artefacts_of(found)
        for info in list(found.list("objects/metrics")):
            found.delete(info.key)

        done = scored(found, probed())

        assert done.changes == []
        assert results_of(found, probed()).runs == before.runs
        assert artefacts_of(found) == stages

    def test_another_metric_of_a_probe_that_was_asked_needs_no_trainer(self, found):
        which = probed(metrics=[*PROBED, {"name": "feature_cka_original"}])
        scored(found, probed(), "feature_cka_original")
        result = compute(which, found)
        assert not computed(result)
        assert results_of(found, which).runs == result.runs

    @pytest.mark.parametrize("asked", ["relearn_time", "knn_recovery"])
    def test_what_was_not_asked_needs_a_trainer(self, store, asked, monkeypatch, capsys):
        uri = f"{store.uri}/{planned(document()).prefix}"
        monkeypatch.setattr("sys.argv", ["supreme", "recompute", uri, "--metric", asked])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == EXIT_INVALID
        assert line == (
            f"error: metric '{asked}' looks at the model itself, and this experiment has not stored"
            " what a trainer finds there; add the metric to spec.metrics and run the experiment"
            " again"
        )

    def test_damaged_findings_are_not_scored(self, found):
        path = next(info.key for info in found.list("objects/probes") if "probe-" in info.key)
        found.write(path, found.read(path)[:-1] + b"x")
        with pytest.raises(SupremeError, match=r"seed 260 cannot be scored: .* is damaged"):
            scored(found, probed())

    def test_needs_no_torch(self, found):
        """A process of its own runs it to the end."""
        code = (
            "import sys; from supreme_trainer.command import cli; cli.main();"
            "sys.exit('torch' in sys.modules)"
        )
        arguments = [sys.executable, "-c", code, "recompute"]
        uri = f"{found.uri}/{planned(probed()).prefix}"
        done = subprocess.run([*arguments, uri], capture_output=True, text=True, timeout=600)
        assert (done.returncode, done.stderr) == (0, "")
