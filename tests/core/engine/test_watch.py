"""Ranks end together: real processes that are killed, fail, are told to stop or lose their network.

| what happens to one rank       | what the others are at                                  |
| ------------------------------ | ------------------------------------------------------- |
| killed: of 2, of 4, also 0     | Python; C that hears no signal; a collective of gloo    |
| raises an error                | the same                                                |
| SIGTERM                        | the same, and so is the rank itself                     |
| its machine has no network     | Python                                                  |
| ends as it should, at any time | their own work                                          |
| does not answer, being busy    | their own work                                          |
| fails, as all others or alone  | the same failure, or Python                             |

Left out: NCCL, which needs a GPU for each rank; trainers (tests/trainer/test_one_ends_all.py).
"""

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from supreme_core.engine.ranks.failure_watch import Link
from supreme_core.errors import EXIT_TEMPORARY
from tests import warm

SECONDS = 30
"""Nobody outlives the end of one rank for longer."""


@contextmanager
def ranks(folder, *works):
    """A process for each work, all of them connected; killed in the end."""
    python = warm.python() if "collect" in works else sys.executable  # which would import torch
    command = (python, "-m", "tests.watched_rank", str(folder))
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(len(works)), work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, work in enumerate(works)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield processes
    finally:
        for process in processes:
            process.kill()
            with process:  # closes what is left of its streams
                pass


def ended(processes):
    """(exit code, lines on standard error) of each, by rank."""
    codes = [process.wait(SECONDS) for process in processes]
    lines = [process.stderr.read().splitlines() for process in processes]
    return list(zip(codes, lines, strict=True))


def give_the_word(processes):
    """Send the word for which `wait` and `fail` wait."""
    for process in processes:
        process.stdin.close()


@pytest.mark.parametrize("others", ["wait", "hang"])
@pytest.mark.parametrize(("size", "victim"), [(2, 0), (2, 1), (4, 0), (4, 2)])
def test_a_killed_rank_takes_the_others_down_with_one_line_each(tmp_path, size, victim, others):
    with ranks(tmp_path, *[others] * size) as processes:
        processes[victim].kill()
        left = ended(processes)

    assert left.pop(victim) == (-signal.SIGKILL, [])
    gone = f"rank {victim} is gone: its process was killed or crashed"
    assert left == [(EXIT_TEMPORARY, [gone])] * (size - 1)


@pytest.mark.parametrize(
    "size", [2, pytest.param(4, marks=pytest.mark.slow)], ids=["of two", "of four"]
)
def test_a_rank_that_is_killed_while_the_others_wait_in_a_collective_ends_them(tmp_path, size):
    with ranks(tmp_path, *["collect"] * size) as processes:
        assert processes[1].stdout.readline() == "joined\n"
        processes[1].kill()
        left = ended(processes)

    assert left.pop(1)[0] == -signal.SIGKILL
    gone = "rank 1 is gone: its process was killed or crashed"
    assert left == [(EXIT_TEMPORARY, [gone])] * (size - 1)


@pytest.mark.parametrize("others", ["wait", "hang"])
@pytest.mark.parametrize("victim", [0, 1])
def test_an_error_of_one_rank_ends_all_with_its_reason_and_its_exit_code(tmp_path, victim, others):
    works = [others] * 3
    works[victim] = "fail"
    with ranks(tmp_path, *works) as processes:
        give_the_word([processes[victim]])
        left = ended(processes)

    assert left == [(75, [f"rank {victim}: the store is away"])] * 3


@pytest.mark.parametrize("all_of_them", ["wait", "hang"])
@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_to_one_rank_stops_all(tmp_path, told, all_of_them):
    with ranks(tmp_path, *[all_of_them] * 3) as processes:
        processes[told].send_signal(signal.SIGTERM)
        left = ended(processes)

    assert left == [(143, [f"rank {told} was told to stop"])] * 3


def test_a_rank_whose_machine_has_no_network_is_missed_by_the_others_and_misses_them(tmp_path):
    """Takes as long as the silence of this test's ranks, 4 s, which the kernels wait for."""
    with ranks(tmp_path, "deaf_to_the_last", "wait", "vanish") as processes:
        for rank in (0, 2):
            assert processes[rank].stdout.readline() == "deaf\n"
        give_the_word([processes[2]])
        left = ended(processes)

    gone = "is gone: its machine has not answered for 4 s"
    lines = [f"rank {rank} {gone}" for rank in (2, 2, 0)]
    assert left == [(EXIT_TEMPORARY, [line]) for line in lines]


@pytest.mark.parametrize("first", [0, 1])
def test_ranks_that_are_done_may_end_at_different_times(tmp_path, first):
    works = ["wait", "wait"]
    works[first] = "finish"
    with ranks(tmp_path, *works) as processes:
        assert processes[first].wait(SECONDS) == 0
        give_the_word(processes)
        left = ended(processes)

    assert left == [(0, [])] * 2


def test_busy_ranks_are_not_taken_for_dead_ones(tmp_path):
    """Takes the 6 s for which no thread of Python runs in them, which is more than a silence."""
    with ranks(tmp_path, "hold", "hold") as processes:
        left = ended(processes)

    assert left == [(0, [])] * 2


def test_what_fails_on_all_ranks_ends_none(tmp_path):
    with ranks(tmp_path, *["fail_alike"] * 3) as processes:
        left = ended(processes)

    assert left == [(0, [])] * 3


def test_what_fails_on_one_rank_only_ends_all(tmp_path):
    """Takes the 4 s for which that rank waits for the others."""
    with ranks(tmp_path, "hang", "fail_alike", "hang") as processes:
        left = ended(processes)

    assert left == [(1, ["rank 1: a method failed on this rank only"])] * 3


@pytest.mark.parametrize(
    "words", [b"", b"GET / HTTP/1.1\r\n\r\n", b'{"hello": 1, "token": "guessed"}\n', b"[1]\n"]
)
def test_whoever_is_no_rank_may_connect_and_say_what_he_likes(tmp_path, words):
    with ranks(tmp_path, "wait", "wait") as processes:
        place = json.loads((tmp_path / "supreme-watch").read_text())
        with socket.create_connection(("localhost", place["port"])) as stranger:
            stranger.sendall(words)
        give_the_word(processes)
        left = ended(processes)

    assert left == [(0, [])] * 2


def test_on_macos_a_machine_that_is_gone_is_looked_for_as_often(monkeypatch):
    """macOS has other names for the options that Linux has."""
    idle = socket.TCP_KEEPIDLE
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", idle, raising=False)
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with (
        socket.create_server(("localhost", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
    ):
        Link(connection, silence=20)
        found = [
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (idle, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
    assert found == [5, 5, 3]
