"""Several ranks end together, whichever of them fails, is told to stop, or is gone.

A collective operation waits for every rank, and a rank that waits in C++ hears neither signals nor
exceptions. So each rank has a thread that is connected with the thread of rank 0:

    rank 1 ──┐
    rank 2 ──┼── rank 0        lines of JSON over TCP; nothing is sent while all is well
    rank 3 ──┘

A rank that must end says why, and rank 0 passes it on. The connection of a rank that is killed
closes at once; that of a machine that is gone closes after SILENCE_SECONDS, which the kernels find
out between them: no clocks are compared, and no busy process is taken for a dead one. Each of the
others then says so in one line, has GRACE_SECONDS to end by itself, and is ended.

Left to torch's own time limit: a rank that never arrives, and one that is alive but stuck.

What the two threads of one rank do, from top to bottom. The main thread hands work to the other one
by `_do` alone, and only that one uses connections that stand; {...} is a message to other ranks,
which rank 0 passes on.

    phase     main thread                              thread `watch`
    start     Watch.start: starts the thread           _run: asleep until a socket or the bell
    connect   rank 0: _listen leaves port and token    rank 0: _accept, _know each {hello};
              in the store; others: _call, {hello}     after the last: {allAreHere}
              all: wait for _all_are_here  <---------  on {allAreHere}
    work      computes, is stuck in collectives        asleep
      a piece of it fails, perhaps everywhere:
              all_failed --_do-> _count_failure        {failed} to rank 0, which counts; if all
              waits for its event  <-----------------  ranks did: {allFailed}
    end       where it begins: the work raised
              end --_do-> _learn                       {end} to the others, a timer, `say`
              os._exit  <----------------------------  _end_is_known
              where the news come                      {end}, or a connection closes: _learn
              SIGTERM  <-----------------------------  pthread_kill, unless it is ending already
              its handler raises Terminated: end,
              os._exit
              stuck in C++                             the timer, GRACE_SECONDS later: os._exit
      SIGTERM from outside, which the system tells to both:
              its handler: Terminated, in a training   the bell; SETTLE_SECONDS later, and not in a
              after the step; then end                 training: _learn, since main may be stuck
    leave     leave --_do-> _say_goodbye               {goodbye}: a connection that closes from now
              joins the thread                         on means nothing; the thread ends
"""

import json
import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol

from supreme_core.engine.ranks.interruption import Interruption
from supreme_core.errors import RankLost
from supreme_core.system.listening import bound

SILENCE_SECONDS = 20
"""A machine whose kernel has not answered for so long is taken for gone. So long, too, a rank on
which something failed waits for the same failure of all others."""

SETTLE_SECONDS = 2.0
"""Seconds that a rank waits for word of another's end before it takes the trouble for its own: a
rank that dies breaks the collectives of the others, and torchrun sends them SIGTERM."""

GRACE_SECONDS = 5.0
"""Time between the news that the ranks end and the end of a process that has not ended by
itself."""

PLACE = "supreme/watch"
"""The key under which rank 0 leaves where it listens."""


class Store(Protocol):
    """Store in which ranks leave words for one another before they are connected, such as a
    TCPStore."""

    def set(self, key: str, value: str) -> Any: ...

    def get(self, key: str) -> bytes:
        """Return the value under the key, as soon as there is one."""


@dataclass(frozen=True)
class End:
    """Reason why all ranks end before their work is done.

    rank: whose trouble it is.  line: what happened, and to which rank.
    """

    rank: int
    line: str
    exit_code: int


Say = Callable[[End], None]


class Watch:
    """No-op failure watch of a single process, for which nobody waits.

    rank of size.  say: tells people why this process ends, unless it has told them itself.
    """

    def __init__(self, rank: int, size: int, say: Say) -> None:
        self.rank, self.size, self._say = rank, size, say

    @staticmethod
    def start(interruption: Interruption, say: Say) -> "Watch":
        """Start the watch of the rank which torchrun made this process.

        Called in the main thread, once a handler of SIGTERM makes requests to `interruption`.
        """
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        return RankWatch(rank, size, interruption, say) if size > 1 else Watch(rank, size, say)

    def connect(self, store: Store, host: str, *, seconds: float) -> None:
        """Join all other ranks, which share the store.  host: that of rank 0.

        Raises RankLost where they are not all there after so many seconds.
        """

    def end(self, end: End, *, is_said: bool, wait: float = 0.0) -> int:
        """End all ranks for this reason, or for one that is known or comes within `wait` seconds.

        is_said: this rank has told people its own reason, and another one is not worth a line.
        Gives the exit code of a process alone. Each of several ranks ends right here: the clean-up
        of Python and of NCCL may wait for ranks that are gone.
        """
        if not is_said:
            self._say(end)
        return end.exit_code

    def all_failed(self, work: str) -> bool:
        """Return whether a piece of work failed on every rank; asked where it failed."""
        return True

    def leave(self) -> None:
        """Let this process end from now on without being missed."""


class RankWatch(Watch):
    """Failure watch of one of several ranks.

    silence: see SILENCE_SECONDS, at least 4.  grace: see GRACE_SECONDS.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        interruption: Interruption,
        say: Say,
        *,
        silence: int = SILENCE_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        super().__init__(rank, size, say)
        self._interruption, self._silence, self._grace = interruption, silence, grace
        self._token = ""
        self._links: dict[int, Link] = {}
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._failed: dict[str, set[int]] = {}
        self._all_failed: dict[str, threading.Event] = {}
        self._all_are_here = threading.Event()
        self._end: End | None = None
        self._end_is_known = threading.Event()
        self._is_said = self._is_ending = self._has_left = False
        self._stop_at: float | None = None
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._attend(self._ear, self._hear_bell)
        # Python writes a signal's number there even while the main thread is stuck in C++.
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def connect(self, store: Store, host: str, *, seconds: float) -> None:
        if self.rank == 0:
            self._listen(store)
        else:
            self._call(store, host, seconds)
        if not self._all_are_here.wait(seconds):
            raise RankLost(f"not all of {self.size} ranks have come within {seconds:.0f} s")

    def _listen(self, store: Store) -> None:
        listener = bound()
        self._token = secrets.token_hex(16)
        self._do(partial(self._attend, listener, partial(self._accept, listener)))
        place = {"port": listener.getsockname()[1], "token": self._token}
        store.set(PLACE, json.dumps(place))

    def _call(self, store: Store, host: str, seconds: float) -> None:
        place = json.loads(store.get(PLACE))
        try:
            connection = socket.create_connection((host, place["port"]), timeout=seconds)
        except OSError as error:
            raise RankLost(f"rank 0 does not answer at {host}:{place['port']}: {error}") from None
        link = Link(connection, self._silence)
        link.send(hello=self.rank, token=place["token"])
        self._do(partial(self._add, link, rank=0))

    def end(self, end: End, *, is_said: bool, wait: float = 0.0) -> NoReturn:
        self._is_ending = True
        self._is_said |= is_said
        if not self._end_is_known.wait(wait):
            self._do(partial(self._learn, end))
            self._end_is_known.wait(self._grace)
        with suppress(OSError):
            sys.stdout.flush()
        os._exit((self._end or end).exit_code)

    def all_failed(self, work: str) -> bool:
        everywhere = self._all_failed[work] = threading.Event()
        self._do(partial(self._count_failure, work, self.rank))
        return everywhere.wait(self._silence)

    def leave(self) -> None:
        self._do(self._say_goodbye)
        self._thread.join()
        signal.set_wakeup_fd(-1)

    # What follows runs in the thread, which alone uses the connections.

    def _run(self) -> None:
        while not self._has_left:
            left = None if self._stop_at is None else max(0.0, self._stop_at - time.monotonic())
            for key, _ in self._selector.select(left):
                key.data()
            if self._stop_at is not None and time.monotonic() >= self._stop_at:
                self._stop_at = None
                self._stop_unheard()

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        with suppress(BlockingIOError):  # it is ringing already
            self._bell.send(b"\0")

    def _hear_bell(self) -> None:
        if signal.SIGTERM in self._ear.recv(4096):
            self._stop_at = time.monotonic() + SETTLE_SECONDS
        while not self._jobs.empty():
            self._jobs.get()()

    def _stop_unheard(self) -> None:
        """SIGTERM came a while ago. In a training the ranks agree on it; else nobody heard it."""
        if not self._interruption.is_deferred:
            line = f"rank {self.rank} was told to stop"
            self._learn(End(self.rank, line, self._interruption.exit_code))

    def _attend(self, source: socket.socket, react: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, react)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # whoever it was is away again
            self._add(Link(listener.accept()[0], self._silence))

    def _add(self, link: "Link", *, rank: int | None = None) -> None:
        self._attend(link.socket, partial(self._read, link))
        if rank is not None:
            self._know(link, rank)

    def _read(self, link: "Link") -> None:
        try:
            for message in link.receive():
                self._hear(link, message)
        except (OSError, EOFError, ValueError) as error:  # the last from a stranger only
            self._selector.unregister(link.socket)
            link.socket.close()
            if self._links.pop(link.rank, None) and not link.said_goodbye:
                self._learn(_gone(link.rank, error, self._silence), source=link.rank)

    def _hear(self, link: "Link", message: dict[str, Any]) -> None:
        match message:
            case {"hello": int(rank), "token": token} if token == self._token:
                self._know(link, rank)
            case _ if link.rank == STRANGER:
                raise ValueError("no rank of this run")
            case {"allAreHere": _}:
                self._all_are_here.set()
            case {"end": end}:
                self._learn(End(**end), source=link.rank)
            case {"failed": work}:
                self._count_failure(work, link.rank)
            case {"allFailed": work}:
                self._all_failed.pop(work).set()
            case {"goodbye": _}:
                link.said_goodbye = True

    def _know(self, link: "Link", rank: int) -> None:
        """Remember whose connection this is; one that comes late gets the news."""
        link.rank = rank
        self._links[rank] = link
        if self._end:
            link.send(end=asdict(self._end))
        elif self.rank == 0 and len(self._links) == self.size - 1:
            self._send_all(allAreHere=True)
            self._all_are_here.set()

    def _send_all(self, *, but: int | None = None, **message: Any) -> None:
        for link in self._links.values():
            if link.rank != but:
                link.send(**message)

    def _learn(self, end: End, *, source: int | None = None) -> None:
        """Pass on why the ranks end, say it, and see to it that this one does."""
        if self._end:
            return
        self._end = end
        self._send_all(end=asdict(end), but=source)
        killer = threading.Timer(self._grace, os._exit, (end.exit_code,))
        killer.daemon = True
        killer.start()
        try:
            if not self._is_said:
                self._say(end)
        finally:
            self._end_is_known.set()
            if not self._is_ending:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGTERM)

    def _count_failure(self, work: str, rank: int) -> None:
        """Rank 0 counts for all."""
        if self.rank:
            self._links[0].send(failed=work)
            return
        ranks = self._failed.setdefault(work, set())
        ranks.add(rank)
        if len(ranks) == self.size:
            del self._failed[work]
            self._send_all(allFailed=work)
            self._all_failed.pop(work).set()

    def _say_goodbye(self) -> None:
        self._send_all(goodbye=True)
        self._has_left = True


STRANGER = -1
"""The rank of a connection that has not said which it is."""


class Link:
    """A connection with the thread of another rank: lines of JSON."""

    def __init__(self, connection: socket.socket, silence: int) -> None:
        self.socket, self.rank, self.said_goodbye = connection, STRANGER, False
        self._rest = b""
        connection.settimeout(SETTLE_SECONDS)  # nobody waits long for a rank that does not read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _limits(silence).items():
            option = getattr(socket, name, None)
            if option is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, **message: Any) -> None:
        with suppress(OSError):  # whoever is gone is noticed by `receive`
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come. Raises EOFError or OSError where no more will."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def _limits(silence: int) -> dict[str, int]:
    """Options of TCP by which a machine that is gone is noticed in so many seconds.

    A system sets those that it has: macOS has the second in place of the first, and not the last.
    """
    quarter = max(1, silence // 4)
    return {
        "TCP_KEEPIDLE": quarter,
        "TCP_KEEPALIVE": quarter,
        "TCP_KEEPINTVL": quarter,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": silence * 1000,  # for what was sent and is not acknowledged
    }


def _gone(rank: int, error: Exception, silence: int) -> End:
    how = f"its machine has not answered for {silence} s"
    if isinstance(error, EOFError | ConnectionError):
        how = "its process was killed or crashed"
    return End(rank, f"rank {rank} is gone: {how}", RankLost.exit_code)
