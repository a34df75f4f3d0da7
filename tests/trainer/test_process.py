"""Judgement on the end of a trainer: by the last words of its ranks, else by what is left.

The processes here are shells that say and do what trainers or torchrun would, because each way to
end would take seconds of real ones. Real trainers: test_pod.py, test_one_ends_all.py.
"""

import json
import shlex
import signal
import subprocess
from dataclasses import asdict

import pytest
from supreme_trainer.process import launch

from supreme_core.plan import Step

DIGEST = "0" * 64
GONE = "rank 1 is gone: its process was killed or crashed"


def finished(rank, **facts):
    return {"event": "finished", "rank": rank, **facts}


def failed(rank, message, exit_code):
    return {"event": "failed", "rank": rank, "message": message, "exitCode": exit_code}


def trainer(folder, *events, does="exit 0", log="", ranks=1, is_torchrun=False):
    """One that says these events and this in its log, and then does something."""
    said = [f"echo {shlex.quote(json.dumps(event))}" for event in events]
    (folder / "run.log").write_text(log)
    started = subprocess.Popen(
        ["sh", "-c", "; ".join([*said, does])], stdout=subprocess.PIPE, start_new_session=True
    )
    return launch.Trainer(
        process=started, ranks=ranks, is_torchrun=is_torchrun, log=folder / "run.log"
    )


def judged(one):
    assert list(one.events()) == []
    return one.failure, one.exit_code, one.result


TORCHRUN_LOG = """E1124 api.py:1002] failed (exitcode: {0}) local_rank: 0 (pid: 77) of binary: p
Failures:
[1]:
  exitcode  : {1} (pid: 78)
=======
"""
WORDS = "its last words: exitcode  : -9 (pid: 78)"

ALONE = {
    "all went well": ([finished(0, result=DIGEST)], "exit 0", ("", 0, DIGEST)),
    "well, and then its clean-up crashed": (
        [finished(0, result=DIGEST)],
        "kill -SEGV $$",
        ("", 0, DIGEST),
    ),
    "it says why not": ([failed(0, "no", 2)], "exit 2", ("no", 2, None)),
    "the store is away": ([failed(0, "away", 75)], "exit 75", ("away", 75, None)),
    "it was killed": (
        [],
        "kill -KILL $$",
        ("the trainer ended with signal SIGKILL; its last words: a step", 137, None),
    ),
    "it crashed": (
        [],
        "kill -SEGV $$",
        ("the trainer ended with signal SIGSEGV; its last words: a step", 139, None),
    ),
    "it ended without a word": (
        [],
        "exit 3",
        ("the trainer ended with exit code 3; its last words: a step", 1, None),
    ),
    "it ended well but without a word": (
        [],
        "exit 0",
        ("the trainer ended with exit code 0; its last words: a step", 1, None),
    ),
}


@pytest.mark.parametrize(("events", "does", "expected"), ALONE.values(), ids=ALONE)
def test_a_process_alone_is_judged_by_its_word_or_its_end(tmp_path, events, does, expected):
    assert judged(trainer(tmp_path, *events, does=does, log="a step\n----\n")) == expected


RANKS = {
    "both went well": (
        [finished(1), finished(0, result=DIGEST)],
        (0, 0),
        "exit 0",
        ("", 0, DIGEST),
    ),
    "both, and the other machine has the result": (
        [finished(2), finished(3)],
        (0, 0),
        "exit 0",
        ("", 0, None),
    ),
    "torchrun fails after both went well": (
        [finished(0, result=DIGEST), finished(1)],
        (0, 0),
        "exit 1",
        ("", 0, DIGEST),
    ),
    "rank 0 has the word": (
        [failed(1, "rank 0: no", 2), failed(0, "no", 2)],
        (2, 2),
        "exit 1",
        ("no", 2, None),
    ),
    "the lowest rank of this machine has it": (
        [failed(3, "rank 2: no", 1), failed(2, "no", 1)],
        (1, 1),
        "exit 1",
        ("no", 1, None),
    ),
    "one is killed, and the other says so": (
        [failed(0, GONE, 75)],
        (75, -9),
        "exit 1",
        (GONE, 137, None),
    ),
    "one of another machine is killed": (
        [failed(0, GONE, 75), failed(1, GONE, 75)],
        (75, 75),
        "exit 1",
        (GONE, 75, None),
    ),
    "both are killed": (
        [],
        (-9, -9),
        "exit 1",
        (f"a rank ended with signal SIGKILL; {WORDS}", 137, None),
    ),
}


@pytest.mark.parametrize(("events", "codes", "does", "expected"), RANKS.values(), ids=RANKS)
def test_ranks_under_torchrun_are_judged_by_their_words_and_its_log(
    tmp_path, events, codes, does, expected
):
    log = TORCHRUN_LOG.format(*codes) if any(codes) else ""
    assert judged(trainer(tmp_path, *events, does=does, log=log, ranks=2, is_torchrun=True)) == (
        expected
    )


def test_torchrun_that_can_start_no_rank_is_a_temporary_failure(tmp_path):
    log = "Traceback\nRendezvousTimeoutError\n"
    one = trainer(tmp_path, does="exit 1", log=log, ranks=2, is_torchrun=True)

    words = "the trainer ended with exit code 1; its last words: RendezvousTimeoutError"
    assert judged(one) == (words, 75, None)


def test_a_trainer_that_is_told_to_stop_before_it_can_hear_it_was_told_to_stop(tmp_path):
    one = trainer(tmp_path, does="sleep 60")
    one.stop()
    assert judged(one) == ("the trainer was told to stop", 143, None)


def test_torchrun_that_waits_for_others_after_the_last_words_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "LINGER_SECONDS", 0.1)
    events = [failed(0, GONE, 75), failed(1, GONE, 75)]
    one = trainer(tmp_path, *events, does="sleep 600", ranks=2, is_torchrun=True)

    assert judged(one) == (GONE, 75, None)
    assert one.process.returncode == -signal.SIGKILL


def test_what_goes_wrong_with_listening_ends_the_wait_for_a_trainer(tmp_path):
    """A log that was never written, for example, because the disk was full."""
    first, other = (trainer(tmp_path, does="exit 1") for _ in range(2))
    first.log = tmp_path / "there is none"
    listening = launch.Listening()
    for each in (first, other):
        listening.to(each)

    with pytest.raises(FileNotFoundError):
        list(listening.events())


def test_other_events_are_passed_on_and_other_lines_are_not(tmp_path):
    step = {"event": "stage-started", **asdict(Step("dataset"))}
    one = trainer(tmp_path, step, "a plug-in", 3, finished(0, result=DIGEST), does="echo {oops")

    assert list(one.events()) == [step]
    assert (one.failure, one.has_main) == ("", True)


def test_the_log_says_which_stage_was_when_and_that_is_nobody_s_last_word(tmp_path):
    step = {"event": "stage-started", **asdict(Step("original"))}
    one = trainer(tmp_path, step, does="kill -9 $$")

    list(one.events())

    assert one.failure == "the trainer ended with signal SIGKILL; it said nothing"
    assert one.log.read_text().endswith(" INFO original started\n")


def test_a_trainer_starts_with_the_variables_on_which_its_bits_depend(tmp_path, monkeypatch):
    """A program that prints its environment stands for Python."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(program))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with (tmp_path / "log").open("wb") as log:
        started = launch.start(tmp_path / "order.json", log=log, environment={"MORE": "1"})
    lines = started.communicate()[0].decode().splitlines()
    expected = {"OMP_NUM_THREADS=1", "CUBLAS_WORKSPACE_CONFIG=:4096:8", "MORE=1"}
    assert expected <= set(lines)
