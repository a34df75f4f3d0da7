"""Processes that read what users' pods wrote, and end with their one task.

Where it is possible, those that verify are forked by a server (`forkserver`); publishing needs more
memory than is worth being kept for it, so those are fresh.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from supreme_core.system import forkserver
from supreme_operator.results.location import Location

LINE_BYTES: Final = 1024 * 1024
"""The longest answer has 200 rows with two titles of 128 characters each: some 300 KiB."""

LOG_BYTES: Final = 4096

STARTING_SECONDS: Final = 120.0
"""Time after which a server that does not start is ended; it takes a second of a core."""

PASSED_ON: Final = (
    *("PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("AWS_CA_BUNDLE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
)
"""Variables of the operator that its workers get too."""

SPARING: Final = {
    "MALLOC_ARENA_MAX": "1",  # each thread's arena is 64 MiB of address space
    "OPENBLAS_NUM_THREADS": "1",
}
"""Variables by which libraries take less memory."""


class Worker(Protocol):
    """A process that leads its own session."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """The exit code, which is the negative number of a signal that ended it."""

    def kill(self) -> None:
        """End it with its process group, as far as that is still there."""


class Workers:
    """Made once, within the event loop that uses it."""

    def __init__(self) -> None:
        self._server = ForkServer() if forkserver.is_possible() else None

    @asynccontextmanager
    async def start(
        self, folder: Path, environment: Mapping[str, str], errors: BinaryIO, *, is_forked: bool
    ) -> AsyncIterator[tuple[Worker, StreamReader, StreamWriter]]:
        """A worker, which is killed in the end, and our end of its standard input and output.

        They are a socket, which can be closed at any time. Pipes of a process asyncio reads until
        they end, and a child of a worker that has been taken over could keep them from ending.
        is_forked: where it is possible.  Raises OSError where there can be none.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
            start = self._server.fork if is_forked and self._server else _fresh
            try:
                worker = await start(folder, environment, theirs, errors)
            except BaseException:
                writer.transport.abort()
                raise
        try:
            yield worker, reader, writer
        finally:
            writer.transport.abort()
            worker.kill()
            await worker.wait()

    async def close(self) -> None:
        if self._server:
            await self._server.close()


@dataclass(frozen=True)
class Fresh:
    process: Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def wait(self) -> int:
        return await self.process.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def fresh_command() -> tuple[str, ...]:
    """-P: its working folder has copies of foreign files, so nothing is imported from there."""
    return sys.executable, "-P", "-m", "supreme_operator.results.worker"


async def _fresh(
    folder: Path, environment: Mapping[str, str], stream: socket.socket, errors: BinaryIO
) -> Fresh:
    process = await asyncio.create_subprocess_exec(
        *fresh_command(),
        stdin=stream.fileno(),
        stdout=stream.fileno(),
        stderr=errors,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    return Fresh(process)


class Forked:
    """lease: see `forkserver`.  retire: have its server fork no more."""

    def __init__(self, pid: int, lease: socket.socket, retire: Callable[[], None]) -> None:
        self.pid, self._lease, self._retire = pid, lease, retire
        self._end = asyncio.create_task(self._ended())

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def kill(self) -> None:
        with suppress(OSError):  # it has ended
            self._lease.shutdown(socket.SHUT_WR)

    async def _ended(self) -> int:
        with self._lease:
            told = await _told(self._lease)
        code = int(told) if told else -signal.SIGKILL
        if not told:
            with suppress(ProcessLookupError):  # the server is gone, and kills nobody any more
                os.killpg(self.pid, signal.SIGKILL)
        # Who makes workers crash could learn from it where things lie in the memory of all.
        if not told or (code < 0 and code != -signal.SIGKILL):
            self._retire()
        return code


def server_command() -> tuple[str, ...]:
    return sys.executable, "-P", "-m", "supreme_operator.results.forkserver"


@dataclass(frozen=True)
class ServerProcess:
    """control: brings leases."""

    process: Process
    control: socket.socket

    @property
    def has_ended(self) -> bool:
        try:
            return not self.control.recv(1)
        except BlockingIOError:  # it never says anything
            return False
        except ConnectionError:
            return True


class ForkServer:
    """A server, which is started when it is needed, and anew when it has ended."""

    def __init__(self) -> None:
        self._starting = asyncio.Lock()
        self._newest: ServerProcess | None = None
        self._all: list[ServerProcess] = []

    async def fork(
        self, folder: Path, environment: Mapping[str, str], stream: socket.socket, errors: BinaryIO
    ) -> Forked:
        lease, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lease.setblocking(False)
        told = forkserver.request(str(folder), environment)
        files = [stream.fileno(), stream.fileno(), errors.fileno()]
        try:
            with theirs:
                socket.send_fds(lease, [told], files)
                server = await self._running()
                with suppress(ConnectionError):  # it has ended, as the lease will say
                    socket.send_fds(server.control, [b"+"], [theirs.fileno()])
            number = await self._number(server, lease)
            return Forked(number, lease, partial(self.retire, server))
        except BaseException:
            lease.close()
            raise

    def retire(self, server: ServerProcess) -> None:
        """Have the next worker forked by another; this one ends with the last of its own."""
        server.control.close()
        if self._newest is server:
            self._newest = None

    async def close(self) -> None:
        for server in self._all:
            self.retire(server)
            with suppress(ProcessLookupError):
                server.process.kill()
            await server.process.wait()

    async def _running(self) -> ServerProcess:
        async with self._starting:
            if self._newest and self._newest.has_ended:
                self.retire(self._newest)
            self._newest = self._newest or await self._start()
            return self._newest

    async def _start(self) -> ServerProcess:
        """Start one without credentials of the operator: its workers can see what it was given."""
        control, theirs = socket.socketpair()
        control.setblocking(False)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *server_command(),
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    cwd="/",
                    env=_passed_on() | SPARING,
                    start_new_session=True,
                )
        except BaseException:
            control.close()
            raise
        server = ServerProcess(process, control)
        self._all = [each for each in self._all if each.process.returncode is None] + [server]
        return server

    async def _number(self, server: ServerProcess, lease: socket.socket) -> int:
        """The number of the worker that is forked for a lease; OSError says why there is none."""
        try:
            async with asyncio.timeout(STARTING_SECONDS):
                told = await _told(lease)
        except TimeoutError:
            self.retire(server)
            with suppress(ProcessLookupError):
                server.process.kill()
            raise OSError(f"their server took more than {STARTING_SECONDS:g} seconds") from None
        if not told:
            self.retire(server)
            raise OSError("their server has ended; if it said why, that is in the operator's log")
        if not told.isdigit():
            raise OSError(told.decode())
        return int(told)


async def _told(lease: socket.socket) -> bytes:
    """The next words of a server; none where it has ended."""
    try:
        return await asyncio.get_running_loop().sock_recv(lease, LOG_BYTES)
    except ConnectionError:
        return b""


def environment(location: Location, folder: Path) -> dict[str, str]:
    """No more of the operator's own than a worker needs; its identity only where that is used."""
    own = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return {
        **(own if location.credentials is None else {}),
        **_passed_on(),
        **SPARING,
        "TMPDIR": str(folder),
        "MPLCONFIGDIR": str(folder),
    }


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def end_of(file: BinaryIO) -> str:
    """The last lines of what a process has said."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LOG_BYTES))
    return file.read().decode(errors="replace").strip()
