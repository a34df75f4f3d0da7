"""Failures while an experiment runs cost as little as they must, and are reported.

Covered: methods that raise, write NaN or diverge (real ones, of a plug-in that is installed beside
the product), damaged objects of each stage, a run that is killed at once, a full disk. Left out: a
store that goes away in the middle; what one of several ranks does to the others is in
test_one_ends_all.
"""

import json
import logging
import os
import re
import shutil
import signal
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from supreme_trainer.command import local
from supreme_trainer.seed.telemetry import Unheard

from supreme_core import registry
from supreme_core.errors import StoreUnavailable, StoreUnusable
from supreme_core.plan import steps
from supreme_core.registry import catalog
from tests.small_disk import mounted
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_LABELS,
    artefacts_of,
    compute,
    computed,
    damaged_artefacts,
    experiment,
    finish,
    folder_of,
    folder_store,
    install,
    manifests,
    planned,
    results_of,
    running,
    statuses,
    summary_digest,
    summary_of,
    supreme,
    written,
)

BROKEN = '''
from functools import partial

import torch
from torch import optim

from supreme_core.registry import NoParams, method


@method(paper="none")
def raises(task, params: NoParams):
    """Asks for what is not there."""
    raise KeyError("no such layer")


@method(paper="none")
def writes_nan(task, params: NoParams):
    """Leaves a number that is none in one weight."""
    with torch.no_grad():
        next(task.model.parameters()).view(-1)[0] = float("nan")


@method(paper="none")
def diverges(task, params: NoParams):
    """Trains at a rate that no model stands."""
    task.fit(
        task.retain, name="d", epochs=1, batch_size=64, optimizer=partial(optim.SGD, lr=1e30)
    )
'''
MENDED = BROKEN.replace('raise KeyError("no such layer")', "pass")

FAILING = ("raises", "writes_nan", "diverges")
WITH_FAILURES = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[*({"name": name} for name in FAILING), FINETUNE],
    metrics=[{"name": "accuracy"}],
)


@pytest.fixture(scope="module")
def plugin():
    """The broken methods in this process, as long as the tests of this module run."""
    with pytest.MonkeyPatch.context() as patched:
        registry.method.discover()
        patched.setattr(registry.method, "_entries", dict(registry.method._entries))
        exec(compile(BROKEN, "broken_methods.py", "exec"), {"__name__": "broken_methods"})
        patched.setattr(catalog, "bundled", catalog.live)
        yield


@pytest.fixture(scope="module")
def with_failures(plugin, tmp_path_factory):
    """A folder with an experiment in which three of four methods fail."""
    folder = tmp_path_factory.mktemp("failures")
    finish(WITH_FAILURES, folder_store(folder))
    return folder


@pytest.fixture(scope="module")
def again(with_failures, tmp_path_factory):
    """(store, what was said) of the real command on it, with a plug-in where `raises` is mended."""
    folder = tmp_path_factory.mktemp("again")
    store = shutil.copytree(with_failures, folder / "store")
    file = written(folder / "experiment.yaml", WITH_FAILURES)
    return store, supreme("run", file, "--store", store, **install(folder / "site", MENDED))


def failures_in(store):
    summary = summary_of(folder_store(store), WITH_FAILURES)
    return {failure.method: failure.reason for failure in summary.failures}


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("raises", "KeyError: 'no such layer'"),
        ("writes_nan", "MethodFailed: the unlearned model has non-finite numbers in cls_token"),
        ("diverges", "MethodFailed: the loss is not finite in epoch 1 of 1"),
    ],
)
def test_a_failed_method_is_recorded_with_its_reason(with_failures, method, reason):
    assert failures_in(with_failures)[method] == reason


def test_the_other_methods_of_the_seed_go_on(with_failures):
    counted = {
        row.method: row.n
        for row in summary_of(folder_store(with_failures), WITH_FAILURES).rows
        if row.metric == "retain_accuracy"
    }
    assert counted["finetune"] == 1
    assert counted.get("raises", 0) == 0


def test_a_failed_method_makes_the_summary_partial(with_failures):
    assert summary_of(folder_store(with_failures), WITH_FAILURES).partial


def test_nothing_of_a_failed_method_is_in_the_store(with_failures):
    assert len(manifests(with_failures, "unlearned")) == 1


def test_the_same_command_tries_failed_methods_again_and_only_them(again):
    store, _ = again
    (result,) = results_of(store, WITH_FAILURES)
    assert result["attempt"] == 1
    assert {key: n for key, n in statuses(result).items() if "computed" in key} == {
        ("unlearned", "computed"): 1,
        ("metrics", "computed"): 1,
    }


def test_a_method_that_was_mended_is_no_failure_any_more(again):
    store, _ = again
    assert set(failures_in(store)) == {"writes_nan", "diverges"}


def test_the_command_succeeds_where_methods_fail(again):
    """Exit code 0: every seed has its result, and that a method fails is one."""
    _, done = again
    assert done.code == 0, done.err


def test_the_command_says_which_methods_failed(again):
    _, done = again
    told = (line for line in done.out.splitlines() if line.startswith("seed "))
    failed = [line for line in told if " failed in " in line]
    assert [line.split(": ")[1].split(" ")[0] for line in failed] == ["writes_nan", "diverges"]


def test_stages_computed_found_and_failed_add_up_to_those_of_the_plan(again):
    _, done = again
    order = planned(WITH_FAILURES)
    last = done.out.splitlines()[-1]
    assert re.fullmatch(r"2 stages computed, \d+ found in the store, 4 failed", last)
    total = len(steps(order.work, order.excluded, catalog.bundled()))
    assert sum(map(int, re.findall(r"\d+", last))) == total


def test_the_traceback_of_a_method_is_in_the_log_of_the_seed_only(again):
    store, done = again
    (log,) = folder_of(store, WITH_FAILURES).glob("seed=*/attempt=1/run.log")
    assert "broken_methods.py" in log.read_text()
    assert "Traceback" not in done.out + done.err


WHOLE = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[FINETUNE],
    metrics=[{"name": "accuracy"}, {"name": "zrf"}],
)
MORE = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[FINETUNE, RANDOM_LABELS],
    metrics=[{"name": "accuracy"}],
)
"""Needs every file that WHOLE left: weights for the new method, predictions for the metrics."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished experiment WHOLE."""
    folder = tmp_path_factory.mktemp("finished")
    finish(WHOLE, folder_store(folder))
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Everything that MORE leaves in an empty store."""
    storage = folder_store(tmp_path_factory.mktemp("expected"))
    compute(MORE, storage)
    return artefacts_of(storage)


def truncated(data):
    return data[: len(data) // 2]


def altered(data):
    """One bit of it is another one."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def gone(data):
    """Nothing is left of it."""


def renamed(data):
    """A manifest that is sound in itself but not this one's."""
    return data.replace(b'"stage": "', b'"stage": "not-')


@pytest.mark.parametrize(
    ("stage", "name", "damage"),
    [
        ("datasets", "train_images", altered),
        ("originals", "weights", truncated),
        ("originals", "weights", gone),
        ("retrained", "weights", altered),
        ("predictions", "predictions", truncated),
        ("unlearned", "predictions", altered),
    ],
)
def test_a_damaged_file_is_reported_and_computed_again(
    finished, expected, tmp_path, caplog, stage, name, damage
):
    folder = shutil.copytree(finished, tmp_path / "store")
    file = sorted(folder.glob(f"objects/{stage}/*/*/{name}-*"))[0]
    harm(file, damage)

    with caplog.at_level(logging.WARNING):
        result = compute(MORE, folder_store(folder))

    assert computed(result)[stage] >= 1
    assert f"{file.relative_to(folder)} is damaged" in caplog.text
    found = artefacts_of(folder_store(folder))
    assert {key: found[key] for key in expected} == expected
    assert damaged_artefacts(folder) == []


@pytest.mark.parametrize(
    ("stage", "damage"),
    [
        ("datasets", renamed),
        ("originals", truncated),
        ("retrained", altered),
        ("predictions", altered),
        ("unlearned", truncated),
        ("metrics", altered),
    ],
)
def test_a_damaged_manifest_counts_as_absent_and_is_written_again(
    finished, tmp_path, caplog, stage, damage
):
    folder = shutil.copytree(finished, tmp_path / "store")
    file = sorted(folder.glob(f"objects/{stage}/*/*/manifest.json"))[0]
    harm(file, damage)

    with caplog.at_level(logging.WARNING):
        result = compute(WHOLE, folder_store(folder))

    assert computed(result) == {stage: 1}
    assert "a manifest counts as absent" in caplog.text
    assert damaged_artefacts(folder) == []


def test_a_number_that_was_changed_in_a_manifest_is_found(finished, tmp_path, caplog):
    """Metrics lie in their manifest; a changed one must not become a published number."""
    folder = shutil.copytree(finished, tmp_path / "store")
    file = sorted(folder.glob("objects/metrics/*/*/manifest.json"))[0]
    manifest = json.loads(file.read_text())
    manifest["facts"]["metrics"]["test_accuracy"] = 0.999
    file.write_text(json.dumps(manifest))

    with caplog.at_level(logging.WARNING):
        result = compute(WHOLE, folder_store(folder))

    assert computed(result) == {"metrics": 1}
    assert 0.999 not in [run.metrics["test_accuracy"] for run in result.runs]


def harm(file, damage):
    data = damage(file.read_bytes())
    file.unlink()
    if data is not None:
        file.write_bytes(data)


SLOW = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[FINETUNE],
    metrics=[{"name": "accuracy"}],
    training={"epochs": 8, "batchSize": 32},  # Retrained goes on long after it is killed
)


def test_a_killed_run_ends_with_the_same_summary_after_the_same_command(tmp_path):
    """Takes a real run that is killed: its processes have no chance to clean up."""
    file = written(tmp_path / "slow.yaml", SLOW)
    store, whole = tmp_path / "store", folder_store(tmp_path / "uninterrupted")
    command = ("run", file, "--store", store, "--device", "cpu", "--workers", 1)
    with running(*command) as killed:
        killed.until("predictions of original")
        for pid in (killed.process.pid, *killed.trainers()):
            os.killpg(pid, signal.SIGKILL)
        assert killed.wait().code == -signal.SIGKILL
    assert damaged_artefacts(store) == []
    assert not results_of(store, SLOW)

    again = supreme(*command)
    finish(SLOW, whole)

    assert again.code == 0, again.err
    assert statuses(results_of(store, SLOW)[0])["originals", "reused"] == 1
    assert artefacts_of(folder_store(store)) == artefacts_of(whole)
    assert summary_digest(folder_store(store), SLOW) == summary_digest(whole, SLOW)


class Breaking(StringIO):
    """A pipe whose reader goes away when a method is under way."""

    def write(self, text):
        if '"unlearned"' in text:
            raise BrokenPipeError
        return super().write(text)


def test_a_trainer_whose_command_was_killed_ends_and_blames_no_method(finished, tmp_path):
    """Otherwise it would go on for hours, and might write a result beside a new trainer's."""
    folder = shutil.copytree(finished, tmp_path / "store")

    with pytest.raises(Unheard):
        compute(MORE, folder_store(folder), stream=Breaking())


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MB for the test to fill."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "2m"):
        yield place


def fill(place, *, leave):
    """Take all space but `leave` bytes; gives the file that takes it."""
    space = os.statvfs(place)
    ballast = Path(place) / "ballast"
    ballast.write_bytes(b"\0" * (space.f_bavail * space.f_frsize - leave))
    return ballast


def test_a_full_disk_is_one_clear_line_and_costs_nothing_that_was_committed(disk, tmp_path):
    """Takes a real run on a real small file system."""
    more = experiment(model=LIGHT, methods=[FINETUNE], metrics=WHOLE["spec"]["metrics"])
    file = written(tmp_path / "more.yaml", more)
    store = disk / "store"
    finish(WHOLE, folder_store(store))
    before = artefacts_of(folder_store(store))
    ballast = fill(disk, leave=60_000)

    full = supreme("run", file, "--store", store, "--device", "cpu")

    assert full.code == 75, full.out + full.err
    (line,) = full.err.splitlines()
    assert line.startswith("error: seed 260: file://")
    assert "no space left" in line
    assert "Traceback" not in full.out + full.err
    found = artefacts_of(folder_store(store))
    assert {key: found[key] for key in before} == before
    assert damaged_artefacts(store) == []

    ballast.unlink()
    finish(more, folder_store(store))
    assert not summary_of(folder_store(store), more).partial


def test_a_disk_that_is_full_from_the_start_is_refused_before_anything_runs(disk):
    fill(disk, leave=0)

    with pytest.raises(StoreUnusable, match="no space left"):
        local.check_store(folder_store(disk / "store"))


def test_a_full_disk_ends_a_seed_rather_than_counting_against_a_method(disk):
    """The failure is the store's; recorded as the method's it would stay in the results for
    good."""
    storage = folder_store(disk / "store")
    finish(WHOLE, storage)
    fill(disk, leave=0)

    with pytest.raises(StoreUnavailable, match="no space left"):
        compute(MORE, storage)


def test_a_metric_that_raises_fails_its_run_and_not_the_seed(monkeypatch, tmp_path):
    def raises(evaluation, params):
        if len(evaluation.unlearned) > 1000:
            raise ZeroDivisionError("the retain set")
        return 1.0

    broken = replace(registry.metric.get("loss"), function=raises)
    monkeypatch.setitem(registry.metric._entries, "loss", broken)
    document = experiment(
        model=LIGHT,
        methods=[FINETUNE],
        metrics=[{"name": "loss"}],
        primaryMetric="test_loss",
    )
    result = compute(document, folder_store(tmp_path))

    assert {run.status for run in result.runs} == {"failed"}
    assert {run.reason for run in result.runs} == {"metrics: ZeroDivisionError: the retain set"}
    assert computed(result)["unlearned"] == 2
