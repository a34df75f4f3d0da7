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
