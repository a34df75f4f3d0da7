"""No trainer outlives the process that started it, even where that is killed.

Small programs stand for `supreme run`, torchrun and ranks: what ends them does not look at what
they compute. They are started as process.py starts trainers. Where the system has no signal for
it, which is played by leaving that out, a thread looks. The real command with two ranks is a slow
test.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from supreme_core.errors import EXIT_ERROR
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    children_of,
    experiment,
    ranks_of,
    running,
    written,
)

SLEEPER = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"
LAUNCHER = """import subprocess, sys
subprocess.run([sys.executable, "-m", "supreme_trainer.process.bound", "-m", "sleeper"])
"""
STARTER = """import os, subprocess, sys, time
from supreme_trainer.process.launch import BOUND, PARENT

options = [] if sys.argv[1] == "without_signal" else BOUND
subprocess.Popen(
    [sys.executable, *options, "-m", sys.argv[1]],
    env={**os.environ, PARENT: str(os.getpid())},
    start_new_session=True,
)
time.sleep(600)
"""
WITHOUT_SIGNAL = """import runpy, sys
from supreme_trainer.process import bound

bound._signal_at_parents_end = lambda: False
bound.LOOK_SECONDS = 0.05
sys.argv = ["bound", "-m", "sleeper"]
bound.main()
"""
SECONDS = 60
"""Nothing here takes so long."""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    for name, text in {
        "sleeper": SLEEPER,
        "launcher": LAUNCHER,
        "without_signal": WITHOUT_SIGNAL,
        "starter": STARTER,
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def has_ended(pid):
    """Return whether the process is gone, or ends before long."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("program", ["sleeper", "launcher", "without_signal"])
def test_what_it_started_ends_with_a_process_that_is_killed(programs, program):
    """A launcher stands for torchrun: the process below it ends too."""
    starter = subprocess.Popen(
        [sys.executable, programs / "starter.py", program], stdout=subprocess.PIPE, text=True
    )
    with starter.stdout as said:
        sleeper = int(said.readline())
        starter.kill()
        starter.wait()
        assert has_ended(sleeper)
        assert said.read() == ""  # nobody holds the pipe any more


def test_a_process_whose_parent_is_gone_before_it_begins_does_not_begin(programs):
    command = [sys.executable, "-m", "supreme_trainer.process.bound", "-m", "sleeper"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run(
        command,
        env={**os.environ, "SUPREME_PARENT": str(gone.pid)},
        capture_output=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stdout) == (EXIT_ERROR, b"")


@pytest.mark.slow
def test_kill_9_of_the_command_leaves_no_rank(tmp_path):
    """Takes real processes under torchrun, which start as themselves and not as forks."""
    long = experiment(
        scenarios=[FULL_CLASS],
        methods=[FINETUNE],
        training={"epochs": 200, "microBatches": 2, "batchSize": 256},
    )
    file = written(tmp_path / "work.yaml", long)
    store = tmp_path / "store"
    with running(
        *("run", file, "--store", store, "--ranks", 2, "--device", "cpu"), python=sys.executable
    ) as run:
        run.until("dataset computed")
        (launcher,) = run.trainers()
        ranks = ranks_of(launcher)
        assert len(ranks) == 2
        run.signal(signal.SIGKILL)
        run.process.wait()
        assert all(has_ended(pid) for pid in (launcher, *ranks.values()))
    assert not children_of(os.getpid()) & {launcher, *ranks.values()}
