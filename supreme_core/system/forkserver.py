"""A server that forks workers and has imported all that they need: each starts in milliseconds,
where a fresh one takes seconds of a core.

Standard input is a socket, each byte of which brings a lease: a socket for one worker. From it the
worker takes its standard files, folder, environment and arguments; on it the server tells the
worker's number and, in the end, how that ended. When the other end is shut, the worker is killed
with its process group. Once standard input has ended, the server ends with the last lease.

What is here before the fork, all workers have: secrets and what users wrote are read by them alone.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

TOLD_BYTES: Final = 256 * 1024
"""More than Linux lets a socket send at once, so that nothing is cut off."""

OPEN_FILES: Final = Path("/proc/self/fd")


def is_possible() -> bool:
    """True where this system has what a server needs, as Linux has since 5.3."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return OPEN_FILES.exists()


def request(folder: str, environment: Mapping[str, str], arguments: Sequence[str] = ()) -> bytes:
    """The words for a worker on its lease, beside its three standard files."""
    given = {
        "folder": folder,
        "environment": dict(environment),
        "arguments": list(arguments),
    }
    return json.dumps(given).encode()


class Server:
    """work: what each worker does; a number that it gives is the exit code.  meanwhile: what the
    server does once the first worker is on its way, for the sake of the others."""

    def __init__(
        self, work: Callable[[], int | None], meanwhile: Callable[[], None] | None = None
    ) -> None:
        self._work, self._meanwhile = work, meanwhile
        self._control = socket.socket(fileno=sys.stdin.fileno())
        self._poll = select.poll()
        self._acts: dict[int, Callable[[], None]] = {}

    def run(self) -> None:
        gc.freeze()  # else the first collection of each worker would copy all of this memory
        self._watch(self._control.fileno(), select.POLLIN, self._accept)
        while self._acts:
            # One at a time: after it a number may stand for another file.
            ready, _ = self._poll.poll()[-1]
            self._acts[ready]()

    def _accept(self) -> None:
        asked, leases, _, _ = socket.recv_fds(self._control, 1, 1)
        for lease in leases:
            self._fork(lease)
        if not asked:
            self._forget(self._control.fileno())
        elif meanwhile := self._meanwhile:
            self._meanwhile = None
            meanwhile()
            gc.freeze()

    def _fork(self, lease: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, no memory
            _tell(lease, error)
            self._watch(lease, select.POLLRDHUP, partial(self._close, lease))
            return
        if pid == 0:
            _live(lease, self._work)
        pidfd = os.pidfd_open(pid)
        self._watch(pidfd, select.POLLIN, partial(self._bury, pid, pidfd, lease))
        self._watch(lease, select.POLLRDHUP, partial(self._end, pid, lease))
        _tell(lease, pid)

    def _end(self, pid: int, lease: int) -> None:
        self._forget(lease)
        _kill(pid)

    def _bury(self, pid: int, pidfd: int, lease: int) -> None:
        """Reap a worker that has ended. As long as nobody has waited for it, its number is no other
        process's, and so it is safe to kill what is left of its group."""
        _kill(pid)
        _, status = os.waitpid(pid, 0)
        _tell(lease, os.waitstatus_to_exitcode(status))
        self._close(pidfd)
        self._close(lease)

    def _watch(self, file: int, event: int, act: Callable[[], None]) -> None:
        self._acts[file] = act
        self._poll.register(file, event)

    def _forget(self, file: int) -> None:
        if self._acts.pop(file, None):
            self._poll.unregister(file)

    def _close(self, file: int) -> None:
        self._forget(file)
        os.close(file)


def _tell(lease: int, what: object) -> None:
    with suppress(OSError):  # nobody listens any more
        os.write(lease, str(what).encode())


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # for a moment it has no group of its own yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _live(lease: int, work: Callable[[], int | None]) -> NoReturn:
    """The life of a worker."""
    code = 1
    try:
        _become(lease)
        ended = work() or 0
        sys.stdout.flush()
        code = ended
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # what the server would do at its own end is not for workers


def _become(lease: int) -> None:
    """Have nothing of the server's but its memory."""
    os.setsid()
    _close_files(lease)
    with socket.socket(fileno=lease) as link:
        told, files, _, _ = socket.recv_fds(link, TOLD_BYTES, 3)
    for number, file in enumerate(files):
        os.dup2(file, number)
    _close_files()
    given = json.loads(told)
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["environment"])
    sys.argv[1:] = given["arguments"]
    tempfile.tempdir = None  # it is where the environment says


def _close_files(kept: int = 0) -> None:
    """Close all files but the standard ones and one more."""
    for number in map(int, os.listdir(OPEN_FILES)):
        if number > sys.stderr.fileno() and number != kept:
            with suppress(OSError):  # what listed them is closed already
                os.close(number)
