"""Killed at random moments, again and again, a tuned experiment chooses the same settings.

The real command and its trainers get SIGKILL and are started again on what they left. A moment is
so many stages after the start, and up to half a second more. Some trials are over their budget, and
are found so again and again. Which moments they are is drawn from a seeded generator.

Left out: kills in the middle of commits, and other stores than folders (test_sigkill.py).
"""

import itertools
import os
import random
import signal
import time
from contextlib import suppress

import pytest

from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    artefacts_of,
    damaged_artefacts,
    experiment,
    folder_of,
    folder_store,
    run,
    running,
    summary_digest,
    supreme,
    written,
)

TUNED = experiment(
    scenarios=[FULL_CLASS],
    methods=[
        {
            **FINETUNE,
            "search": {"epochs": {"int": [1, 3]}, "lr": {"log": [1e-4, 0.1]}},
        },
        {"name": "ssd", "search": {"alpha": {"log": [1.0, 100.0]}}},
    ],
    metrics=[{"name": "accuracy"}],
    training={"epochs": 2, "validation": {"fraction": 0.2}},
    tuning={
        "trials": 4,
        "seeds": {"start": 9000, "count": 2},
        "objective": "average_gap",
        "budget": {"share": 0.8},
    },
)
MOST_STAGES, MOST_SECONDS = 8, 0.5


def stages(store):
    """Number of stages that are done."""
    return len(list(store.glob("objects/*/*/*/manifest.json")))


def is_killed(file, store, *, workers, after, seconds):
    """Start the command and kill it so many stages and seconds later; False where it was done
    before."""
    options = ("--store", store, "--device", "cpu", "--workers", workers)
    until = stages(store) + after
    with running("run", file, *options, SUPREME_CHECKPOINT_SECONDS="0.001") as command:
        while stages(store) < until and command.process.poll() is None:
            time.sleep(0.02)
        time.sleep(seconds)
        trainers = set()
        with suppress(FileNotFoundError):  # it has just ended
            trainers = command.trainers()
        for pid in (command.process.pid, *trainers):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        done = command.wait()
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


def left(store):
    """Choices, summary and stages: what depends neither on the machine nor on the clock."""
    selection = (folder_of(store, TUNED) / "selection.json").read_bytes()
    storage = folder_store(store)
    return selection, summary_digest(storage, TUNED), artefacts_of(storage)


@pytest.mark.slow
def test_twenty_kills_change_no_choice(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    wanted = left(run(TUNED, whole))
    assert b"over its budget" in wanted[0]
    draw, workers = random.Random(260), itertools.cycle((1, 2))
    file = written(tmp_path / "tuned.yaml", TUNED)
    kills, stores = 0, itertools.count()
    folder = tmp_path / f"store-{next(stores)}"
    while kills < 20:
        after, seconds = draw.randint(1, MOST_STAGES), draw.uniform(0.0, MOST_SECONDS)
        if is_killed(file, folder, workers=next(workers), after=after, seconds=seconds):
            kills += 1
            assert damaged_artefacts(folder) == []
        else:
            assert left(folder) == wanted
            folder = tmp_path / f"store-{next(stores)}"
    done = supreme("run", file, "--store", folder, "--device", "cpu")
    assert done.code == 0, done.err
    assert left(folder) == wanted
