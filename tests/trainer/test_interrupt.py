"""Ctrl-C and SIGTERM in the middle of a run: stop at once, leave nothing behind, go on later.

All of it takes real processes: what is shown is that none of them is left and what the store holds
afterwards. The signal comes while a method trains, which it does until it is stopped, however slow
the machine is. No test sleeps.
"""

import shutil
import signal
from types import SimpleNamespace

import pytest

from tests.trainer.experiments import (
    FULL_CLASS,
    damaged_artefacts,
    experiment,
    folder_of,
    folder_store,
    group_is_alive,
    leftovers,
    manifests,
    results_of,
    running,
    statuses,
    summary_of,
    supreme,
    written,
)

SLOW = experiment(
    scenarios=[FULL_CLASS],
    methods=[{"name": "endless"}],
    execution={"allowUnlistedComponents": True},
)
ENDLESS = """
from pathlib import Path

from supreme_core.registry import NoParams, method


@method(paper="arXiv:0000.00000", needs=("retain",))
def endless(task, params: NoParams):
    \"\"\"Train on with the retain set, until a file lies beside this one or a signal comes.\"\"\"
    from supreme_core.components.methods.finetune import FinetuneParams, finetune

    epochs = 1 if Path(__file__).with_name("enough").exists() else 1_000_000
    finetune(task, FinetuneParams(epochs=epochs, batch_size=256))
"""
BEFORE = "predictions of retrained · full_class computed"
"""The last that is computed before the method."""


def stopped_by(number, folder):
    """The run of SLOW that got this signal in mid-training, and the trainers that it had then."""
    file = written(folder / "an experiment.yaml", SLOW)
    (folder / "endless.py").write_text(ENDLESS)
    # A second worker may join, and which of them is where is not certain then.
    command = ("run", file, "--store", folder / "store", "--device", "cpu", "--workers", 1)
    command += ("--plugin", folder / "endless.py")
    with running(*command) as run:
        run.until(BEFORE)
        trainers = run.trainers()
        run.signal(number)
        finished = run.wait()
        alive = [pid for pid in trainers if group_is_alive(pid)]
    return SimpleNamespace(
        store=folder / "store", command=command, trainers=trainers, alive=alive, finished=finished
    )


def log_of(store):
    return (folder_of(store, SLOW) / "seed=260/attempt=0/run.log").read_text()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    return stopped_by(signal.SIGINT, tmp_path_factory.mktemp("interrupted"))


@pytest.fixture(scope="module")
def terminated(tmp_path_factory):
    return stopped_by(signal.SIGTERM, tmp_path_factory.mktemp("terminated"))


def test_ctrl_c_ends_the_command_with_130(interrupted):
    assert interrupted.finished.code == 130, interrupted.finished.err


def test_sigterm_ends_the_command_with_143(terminated):
    assert terminated.finished.code == 143, terminated.finished.err


@pytest.mark.parametrize("stopped", ["interrupted", "terminated"])
def test_no_trainer_is_left(stopped, request):
    run = request.getfixturevalue(stopped)
    assert len(run.trainers) == 1
    assert run.alive == []


@pytest.mark.parametrize("stopped", ["interrupted", "terminated"])
def test_the_store_holds_whole_things_only(stopped, request):
    store = request.getfixturevalue(stopped).store
    assert damaged_artefacts(store) == []
    assert leftovers(store) == []
    assert not results_of(store, SLOW)


@pytest.mark.parametrize("stopped", ["interrupted", "terminated"])
def test_the_log_tells_how_far_the_seed_was(stopped, request):
    log = log_of(request.getfixturevalue(stopped).store)
    assert f"{BEFORE} in " in log
    assert "the trainer was told to stop" in log


def test_the_model_that_was_being_trained_is_not_in_the_store(interrupted):
    assert len(manifests(interrupted.store, "retrained")) == 1
    assert not manifests(interrupted.store, "unlearned")


def test_the_last_line_is_the_command_that_goes_on(interrupted):
    """A path with a space is quoted, so that the line can be pasted."""
    _, file, _, store, *_, plugin = interrupted.command
    assert interrupted.finished.out.splitlines()[-1] == (
        f"to go on: supreme run '{file}' --store {store} --device cpu --workers 1 --plugin {plugin}"
    )


def test_a_stopped_run_says_nothing_on_standard_error(interrupted):
    assert interrupted.finished.err == ""


def test_the_same_command_goes_on_with_what_was_there(interrupted, tmp_path):
    _, file, *_, plugin = interrupted.command
    store = shutil.copytree(interrupted.store, tmp_path / "store")
    plugin.with_name("enough").touch()

    again = supreme("run", file, "--store", store, "--device", "cpu", "--plugin", plugin)

    assert again.code == 0, again.err
    (result,) = results_of(store, SLOW)
    assert statuses(result)["retrained", "reused"] == 1
    assert statuses(result)["unlearned", "computed"] == 1
    assert not summary_of(folder_store(store), SLOW).partial
    assert log_of(store).startswith(log_of(interrupted.store))
    assert "endless · full_class computed in" in log_of(store)
