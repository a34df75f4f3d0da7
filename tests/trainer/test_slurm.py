"""The job array of docs/slurm.md: its script, run by bash with the variables that sbatch sets.

Tasks are real processes side by side on one store; `scontrol` is a file that keeps what it is told.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from supreme_core.store.results import read_order
from tests import warm
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    experiment,
    folder_of,
    folder_store,
    planned,
    summary_of,
    written,
)

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "experiment.sbatch"
SEEDS = (260, 261, 262)
DOCUMENT = experiment(seeds=SEEDS, scenarios=[FULL_CLASS], methods=[FINETUNE])


@pytest.fixture
def programs(tmp_path):
    """A folder for PATH; `programs(name, text)` puts a shell script into it."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def add(name, text):
        path = folder / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
        return folder

    add("scontrol", f'echo "$@" >> {tmp_path}/told')
    return add


def task(index, *arguments, path, tasks=1, **variables):
    """The script as a task of an array, which runs."""
    slurm = {
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_ARRAY_TASK_COUNT": str(tasks),
        "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.Popen(
        ["bash", SCRIPT, *map(str, arguments)],
        env={**os.environ, **slurm, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_tasks_of_an_array_end_with_the_summary_of_all_seeds(programs, tmp_path):
    path = programs("supreme", f'exec {warm.python()} -m supreme_trainer.command.cli "$@"')
    file, store = written(tmp_path / "tiny.yaml", DOCUMENT), tmp_path / "store"
    variables = {"FIRST_SEED": "260", "LAST_SEED": "262", "SEEDS_PER_TASK": "2"}

    tasks = [
        task(index, file, store, "--device", "cpu", path=path, tasks=3, **variables)
        for index in range(3)
    ]
    said = [each.communicate(timeout=600)[0] for each in tasks]

    assert [each.returncode for each in tasks] == [0, 0, 0], "".join(said)
    assert said[2] == "task 2 has no seed: the last one is 262\n"
    assert "seed 262" not in said[0]
    assert "seed 261" not in said[1]
    storage = folder_store(store)
    summary = summary_of(storage, DOCUMENT)
    assert (summary.seeds, summary.partial) == ([*SEEDS], False)
    assert read_order(storage, planned(DOCUMENT).prefix) == planned(DOCUMENT)
    results = sorted(folder_of(store, DOCUMENT).glob("seed=*/attempt=*/result.json"))
    assert [each.parts[-3:-1] for each in results] == [
        (f"seed={seed}", "attempt=0") for seed in SEEDS
    ]


@pytest.mark.parametrize(
    ("index", "variables", "seeds"),
    [
        (0, {}, "260-260"),
        (9, {}, "269-269"),
        (3, {"FIRST_SEED": "1", "LAST_SEED": "50", "SEEDS_PER_TASK": "5"}, "16-20"),
        (1, {"FIRST_SEED": "0", "LAST_SEED": "3", "SEEDS_PER_TASK": "3"}, "3-3"),
    ],
)
def test_a_task_computes_the_seeds_of_its_index(programs, index, variables, seeds):
    path = programs("supreme", 'echo "$@"')
    said, _ = task(index, "file", "store", "--quiet", path=path, **variables).communicate()
    assert said == f"run file --store store --seeds {seeds} --quiet\n"


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_a_task_ends_as_the_command_does_and_is_not_requeued(programs, tmp_path, code):
    started = task(0, "file", "store", path=programs("supreme", f"exit {code}"))
    started.communicate()
    assert started.returncode == code
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize(
    ("at_the_signal", "code", "told"), [("exit 143", 143, "requeue 77_0\n"), ("exit 0", 0, "")]
)
def test_a_task_that_is_told_to_stop_is_requeued_once_the_command_has_stopped(
    programs, tmp_path, at_the_signal, code, told
):
    """The command is a stand-in that says when it listens; test_interrupt has the real one."""
    stops = f"trap 'echo stopped; {at_the_signal}' TERM; echo ready; while :; do sleep 0.01; done"
    started = task(0, "file", "store", path=programs("supreme", stops))
    assert started.stdout.readline() == "ready\n"

    started.send_signal(signal.SIGTERM)
    said, _ = started.communicate()

    assert (said, started.returncode) == ("stopped\n", code)
    asked = tmp_path / "told"
    assert (asked.read_text() if asked.exists() else "") == told


@pytest.mark.parametrize("arguments", [(), ("file",)])
def test_a_task_without_its_file_or_store_says_which(programs, arguments):
    said, _ = (started := task(0, *arguments, path=programs("supreme", "true"))).communicate()
    assert started.returncode == 1
    assert ("name the store" if arguments else "name the file") in said
