"""The warm Python where the program that stands for it is killed before it has asked."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.warm import python


@pytest.mark.parametrize("sent", [b"", b"(1, ['-m'"])
def test_whoever_is_killed_while_it_asks_takes_nobody_along(sent):
    """An exception of the thread that attends to it would fail the test."""
    program = python()
    with socket.socket(socket.AF_UNIX) as link, open(os.devnull, "r+b") as nothing:
        link.connect(str(Path(program).with_name("socket")))
        if sent:
            head = (len(sent) + 1).to_bytes(8, "big")
            socket.send_fds(link, [head], [nothing.fileno()] * 3)
            link.sendall(sent)
    asked = [program, "-m", "json.tool", "--help"]
    assert subprocess.run(asked, capture_output=True, check=True).stdout.startswith(b"usage")


def test_code_that_leaves_processes_of_an_executor_ends_with_them():
    code = (
        "from concurrent.futures import ProcessPoolExecutor; from tests import preloaded\n"
        "pool = ProcessPoolExecutor(1, mp_context=preloaded.context())\n"
        "print(pool.submit(abs, -1).result())"
    )
    done = subprocess.run([python(), "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
