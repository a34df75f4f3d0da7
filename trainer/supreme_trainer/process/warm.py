"""Trainers that are forked from a server which has imported torch, as that takes seconds of a core.

    python -m supreme_trainer.process.warm

What it reads and tells: supreme_core.system.forkserver. Where the system cannot do it, such as
macOS, and where the server is gone, trainers start afresh. The server computes nothing and starts
no CUDA, which no process that is forked later could use.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO

from supreme_trainer.process import bound

from supreme_core.registry import REGISTRIES
from supreme_core.system.forkserver import Server, request
from supreme_core.system.variables import of_trainer

PATIENCE_SECONDS = 120.0
"""Time after which a server that does not fork is left; it takes some seconds to start."""

LOOKS_ONLY = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Variables of the server: should a library ask it for GPUs, torch looks without starting CUDA."""

LATER = (
    "torch._inductor.config",  # by torch.use_deterministic_algorithms, and by each optimiser
    *("sklearn.linear_model", "sklearn.model_selection", "sklearn.svm"),  # by attacks of metrics
)
"""Modules that the first trainer has no need of, as it prepares a dataset."""


def main() -> None:
    """Be the server."""
    gc.disable()  # what is imported stays, and to look for garbage in it takes a tenth of the time
    from supreme_trainer.process import trainer

    for each in REGISTRIES:
        each.import_own()  # no plug-ins: foreign code may start threads, or CUDA
    server = os.getpid()

    def work() -> int:
        gc.enable()
        bound.to_parent(server)
        return trainer.main()

    def import_the_rest() -> None:
        for name in LATER:
            import_module(name)

    Server(work, import_the_rest).run()


class ForkedTrainer:
    """A trainer that a server has forked; the part of subprocess.Popen that is needed here.

    lease: tells how it has ended.  stdout: what it says.
    """

    def __init__(self, pid: int, lease: socket.socket, stdout: IO[bytes]) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self._lease, self._end = lease, threading.Event()
        threading.Thread(target=self._wait, name=f"end of {pid}", daemon=True).start()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._end.wait(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("trainer", timeout or 0.0)
        return self.returncode

    def _wait(self) -> None:
        with self._lease:
            told = _told(self._lease)
        if not told:  # the server is gone, and so this one is, or will be
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.returncode = int(told) if told else -signal.SIGKILL
        self._end.set()


class WarmServer:
    """A server, from its start to `close`; started in a thread that lives as long as it may."""

    def __init__(self, log: Path) -> None:
        """log: where what goes wrong with the server itself is told."""
        self._control, theirs = socket.socketpair()
        with theirs, log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", bound.__name__, "-m", __name__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env=of_trainer(os.environ) | LOOKS_ONLY | {bound.PARENT: str(os.getpid())},
                start_new_session=True,
            )

    def fork(
        self, arguments: Sequence[str], *, log: IO[bytes], environment: Mapping[str, str]
    ) -> ForkedTrainer:
        """A trainer with these arguments; OSError where there can be none.

        log: where standard error goes.  environment: all of its variables.
        """
        lease, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        stdout = os.fdopen(reader, "rb")
        try:
            with theirs, open(writer, "wb") as output, open(os.devnull, "rb") as nothing:
                files = [nothing.fileno(), output.fileno(), log.fileno()]
                told = request(os.getcwd(), environment, arguments)
                socket.send_fds(lease, [told], files)
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            lease.settimeout(PATIENCE_SECONDS)
            told = _told(lease)
            if not told.isdigit():
                raise OSError(told.decode() or "the server of warm trainers has ended")
            lease.settimeout(None)
            return ForkedTrainer(int(told), lease, stdout)
        except BaseException:
            lease.close()
            stdout.close()
            raise

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()


def _told(lease: socket.socket) -> bytes:
    """The next words of the server; none where it has ended."""
    try:
        return lease.recv(4096)
    except ConnectionError:
        return b""


if __name__ == "__main__":
    main()
