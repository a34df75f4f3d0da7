"""A trainer that is stopped in mid-training goes on with that training, on any number of ranks.

Real processes, because the point is what a signal and a new process do: a stop after any single
step, on one and two ranks, is covered in this process by tests/core/engine/test_checkpoint.py.
"""

import json
import signal
import subprocess

import pytest

from supreme_core.errors import EXIT_TERMINATED
from tests import warm
from tests.trainer.experiments import FINETUNE, LIGHT, artefacts_of, experiment, folder_store
from tests.trainer.trainers import ordered, trainers

WORK, ENDLESS = (
    experiment(
        model=LIGHT,
        scenarios=[{"name": "full_class", "params": {"classes": [0, 1, 2, 3, 4, 5, 6, 7]}}],
        methods=[FINETUNE],
        metrics=[{"name": "accuracy"}],
        training={"epochs": epochs, "microBatches": 2},
    )
    for epochs in (2, 10_000)
)
"""Twelve steps of a first training, which is stopped after one of them, and little to do after it;
and one that is still in its first training when it gets to hear of a signal."""

IN_A_TRAINING = {"event": "progress"}

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Every stage of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    finish(ordered(folder, WORK, store=str(folder / "store")), ranks=1)
    return artefacts_of(folder_store(folder / "store"))


@pytest.fixture
def order(tmp_path):
    return ordered(tmp_path, WORK, store=str(tmp_path / "store"))


def finish(order, *, ranks):
    """Let a seed come to its end; gives what its log says."""
    with trainers(*[order] * ranks) as seed:
        assert list(seed.events())[-1]["event"] == "finished", seed.log(0)
        assert seed.ended() == [0] * ranks
        return seed.log(0)


def checkpoints(store):
    """The stages that have one."""
    keys = [item.key for item in folder_store(store).list()]
    return [key.split("/")[1] for key in keys if key.endswith("/checkpoint")]


@pytest.mark.parametrize(
    ("before", "after"), [(1, 1), (1, 2), (2, 1)], ids=["1, then 1", "1, then 2", "2, then 1"]
)
def test_sigterm_in_mid_training_loses_no_step_and_changes_no_bit(
    tmp_path, order, uninterrupted, before, after
):
    with trainers(*[order] * before, halt=IN_A_TRAINING) as stopped:
        stopped.halted(0)
        stopped.signal(before - 1, signal.SIGTERM)
        stopped.go_on(0)
        assert stopped.ended() == [EXIT_TERMINATED] * before
    assert checkpoints(tmp_path / "store") == ["originals"]

    log = finish(order, ranks=after)

    assert any("going on after step" in line for line in log)
    assert artefacts_of(folder_store(tmp_path / "store")) == uninterrupted
    assert checkpoints(tmp_path / "store") == []


def test_sigterm_to_torchrun_leaves_a_checkpoint_of_its_ranks(tmp_path):
    """A pod, whose first process is torchrun, gets the signal like this."""
    order = ordered(tmp_path, ENDLESS, store=str(tmp_path / "store"))
    process = subprocess.Popen(
        [
            warm.python(),
            *TORCHRUN,
            "-m",
            "supreme_trainer.process.trainer",
            str(order),
            "--device",
            "cpu",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = (json.loads(line) for line in process.stdout)
    assert any(event["event"] == "progress" for event in told)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)

    assert checkpoints(tmp_path / "store") == ["originals"]
