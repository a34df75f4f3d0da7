"""A trainer that is stopped in mid-training goes on with that training, on any number of ranks.

Real processes, because the point is what a signal and a new process do: a stop after any single
step, on one and two ranks, is covered in this process by tests/core/engine/test_checkpoint.py.
"""

import json
import signal
import subprocess
import sys

import pytest

from supreme_core.api.names import EXIT_TERMINATED
from supreme_core.api.run import RunOrder
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    artefacts_of,
    compute,
    experiment,
    folder_store,
    planned,
)

WORK = experiment(
    dataset={"name": "digits", "params": {"size": 16}},
    model={"name": "resnet18", "params": {"width": 8}},
    scenarios=[FULL_CLASS],
    methods=[FINETUNE],
    training={"epochs": 6, "microBatches": 2},
)
ALONE = ("-m", "supreme_trainer.order")
TWO_RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *ALONE)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Every stage of a run that nobody stopped."""
    storage = folder_store(tmp_path_factory.mktemp("uninterrupted"))
    compute(WORK, storage)
    return artefacts_of(storage)


def start(folder, launcher):
    """A trainer of seed 260 whose store is folder/store."""
    whole = planned(WORK)
    order = RunOrder(
        experiment=whole.experiment, work=whole.work, seed=260, store=str(folder / "store")
    )
    path = folder / "order.json"
    path.write_text(json.dumps(order.to_document()))
    return subprocess.Popen(
        [sys.executable, *launcher, str(path), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(process):
    """The events of a trainer as they come."""
    for line in process.stdout:
        yield json.loads(line)


def stop_in_the_first_training(process):
    """SIGTERM once the original model is past a step of its training; gives what the log says."""
    for event in events(process):
        if event["event"] == "progress" and event["done"] < event["total"]:
            process.send_signal(signal.SIGTERM)
            break
    _, log = process.communicate(timeout=60)
    return log


@pytest.mark.parametrize(
    ("before", "after"),
    [(ALONE, ALONE), (TWO_RANKS, ALONE)],
    ids=["one rank, then one", "two ranks, then one"],
)
def test_sigterm_in_mid_training_loses_no_step_and_changes_no_bit(
    tmp_path, uninterrupted, before, after
):
    stopped = start(tmp_path, before)
    stop_in_the_first_training(stopped)

    storage = folder_store(tmp_path / "store")
    (checkpoint,) = (item for item in storage.list() if item.key.endswith("/checkpoint"))
    assert checkpoint.key.startswith("objects/originals/")
    if before is ALONE:  # torchrun has an exit code of its own
        assert stopped.returncode == EXIT_TERMINATED

    resumed = start(tmp_path, after)
    last = list(events(resumed))[-1]
    _, log = resumed.communicate(timeout=120)
    assert (resumed.returncode, last) == (0, {"event": "finished"}), log
    assert "going on after step" in log
    assert artefacts_of(storage) == uninterrupted
    assert not [item for item in storage.list() if item.key.endswith("/checkpoint")]
