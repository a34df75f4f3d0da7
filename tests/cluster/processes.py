"""Servers of tests as processes of this machine, which never outlive the test process."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

POLLING = 0.1
"""Seconds between two looks at a cluster: each takes a hundredth of a second of a processor, which
others need meanwhile."""

SECONDS = 180
"""Limit of every wait. Waits may be long where a server was away: clients of Kubernetes wait for up
to a minute between two tries then."""

Answer = TypeVar("Answer")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """A process that writes to `log`; killed at the end, as no server here keeps what is needed."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*_dies_with_us(), *command], env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Server:
    """A process that can be killed and started again with the same command.

    log: where it writes.
    ready: whether it answers.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._command, self._ready, self._environment = command, ready, environment
        self._stack = contextlib.ExitStack()

    def start(self) -> bool:
        """Start the operator and return whether it answers; False where it ended or takes too
        long."""
        started = running(self._command, log=self.log, environment=self._environment)
        process = self._stack.enter_context(started)
        return answers(process, self._ready)

    def kill(self) -> None:
        """Kill at once: a server that may end in its own time answers on for tens of seconds."""
        self._stack.close()


_KEPT: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody else is given while this process lives, as a server takes seconds
    until it has it.

    A socket that is bound and does not listen keeps it. Beside that one, Linux lets a server listen
    that may use an address again, as all here may; elsewhere the port is not kept.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((host, 0))
    port: int = keeper.getsockname()[1]
    if sys.platform == "linux":
        _KEPT.append(keeper)
    else:
        keeper.close()
    return port


def _reaches_itself(host: str) -> bool:
    with contextlib.suppress(OSError), socket.create_server((host, 0), family=socket.AF_INET6):
        return True
    return False


IPV6 = pytest.mark.skipif(not _reaches_itself("::1"), reason="this machine has no IPv6")


def answers(process: subprocess.Popen, question: Callable[[], bool]) -> bool:
    """Waits for a process that is starting; False where it ends or takes too long."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if question():
                return True
        time.sleep(0.05)
    return False


def eventually(question: Callable[[], Answer], *, seconds: float = SECONDS) -> Answer:
    """The first answer that is not empty; a failure of the test where none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds} s the answer is still {answer!r}")
        time.sleep(POLLING)
    return answer


def does_not_start(name: str, log: Path) -> None:
    pytest.fail(f"{name} does not start; the end of {log}: {log.read_text()[-500:]}")


def _dies_with_us() -> list[str]:
    """A prefix that ends the server when the test process is killed and cannot do it itself."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
