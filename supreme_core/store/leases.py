"""Leases: which process computes a stage at the moment, so that no other one does.

    objects/<stage>/<key[:2]>/<key>/lease-0001    put if absent; its holder rewrites it all the time
    objects/<stage>/<key[:2]>/<key>/lease-0002    put if absent by whoever takes the stage over

The highest number counts. A lease whose content has not changed for `stale_seconds`, on the clock
of whoever looks, has lost its holder, and so has one whose process is known to have ended; no two
clocks are compared. The holder looks again before it writes a checkpoint or commits, and drops its
work where it was taken for dead. So a lease saves work and decides no bit: what two processes
compute is the same, and the first manifest counts.

In a store without conditional writes two processes may both get a lease, which its log says. Then a
stage is computed twice and nothing is lost.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

from supreme_core.api.names import lease_key
from supreme_core.errors import StorageError, StoreUnavailable, one_line
from supreme_core.store.storage import MissingObject, ObjectInfo, ObjectTooLarge, Storage

log = logging.getLogger(__name__)

STALE_SECONDS: Final = 30.0
STALE_SECONDS_IN_FOLDERS: Final = 90.0
"""A folder may lie on a network mount whose clients see new content up to a minute late."""

BEATS: Final = 4
"""Times that a holder writes while its lease could become stale."""

LEASE_BYTES: Final = 4096

LOOKS: Final = 10
"""Times that a lease may be there for who would write it and gone for who would read it, as when it
is released in between."""

PROCESS: Final = re.compile(r"(\S+) (\d{1,9}):\d+")
"""Name of a process: where its number means something, its number, and when it started."""

ENDED: Final = ("Z", "X")
"""States of a process that has ended and that its parent has not asked about yet."""

Clock = Callable[[], float]


def _with_sleep() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as leases elsewhere do."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def stale_seconds_of(storage: Storage) -> float:
    """Seconds without a change after which a lease of this store has lost its holder."""
    return STALE_SECONDS_IN_FOLDERS if storage.uri.startswith("file:") else STALE_SECONDS


@dataclass(frozen=True)
class Holder:
    """The holder of a lease, as the lease says.

    token: of the process, made anew at each start.  attempt: folder of the attempt that it works
    for.  process: names the process on its machine, "" where nobody else can look it up.
    """

    token: str
    attempt: str
    process: str

    @classmethod
    def this(cls, attempt: str) -> "Holder":
        return cls(uuid4().hex, attempt, _process(os.getpid()))

    @property
    def has_ended(self) -> bool:
        """True where the process ran on this machine and is gone."""
        found = PROCESS.fullmatch(self.process)
        if not found or found[1] != _place():
            return False
        number = int(found[2])
        return _process(number) != self.process and not _is_of_another_user(number)

    @property
    def title(self) -> str:
        """Words for a log."""
        return one_line(self.attempt or "an unknown process", 200)


@dataclass
class StageLease:
    """A lease that this process holds until `release`, or until another has taken it over."""

    stage: str
    key: str
    epoch: int
    _leases: "Leases"
    _renewed: float
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_held(self) -> bool:
        """False where another may compute the stage by now; StorageError where nobody can say.

        Nobody takes over what was renewed less than half of the time ago that makes a lease stale,
        so the store is asked only after that.
        """
        if not self._is_over and self._age < self._leases.stale_seconds / 2:
            return True
        return self.renew()

    def release(self) -> None:
        """Let others have the stage, unless another has it. What cannot be removed becomes stale.

        The highest number goes first: whoever is stopped in between leaves a lease that is stale.
        """
        try:
            if self.is_held and not self._end():
                for epoch in range(self.epoch, 0, -1):
                    self._leases.storage.delete(lease_key(self.stage, self.key, epoch))
        except StorageError as error:
            log.warning("a lease is left until it is stale: %s", error)
        finally:
            self._end()
            self._leases.forget(self)

    def leave(self) -> None:
        """Hold it no more, and let processes of this machine alone have the stage, which see that
        this one has ended; others have it when it is stale."""
        if not self._leases.are_known_here:
            self.release()
            return
        self._end()
        self._leases.forget(self)

    def _end(self) -> bool:
        """Renew it no more; gives whether that was so already."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
        return was_over

    def renew(self) -> bool:
        """Show that the holder is there; gives False where the lease is another's by now."""
        with self._lock:
            if self._is_over:
                return False
            seen = self._leases.age_clock()
            if self._is_taken() or not self._write() or self._is_taken():
                log.warning("%s %s was taken over by another process", self.stage, self.key[:16])
                self._is_over = True
                return False
            self._renewed = seen
            return True

    @property
    def _age(self) -> float:
        return self._leases.age_clock() - self._renewed

    def _is_taken(self) -> bool:
        return self._leases.read(self.stage, self.key, self.epoch + 1) is not None

    def _write(self) -> bool:
        """Write it again, unless it is gone because whoever took it over has ended."""
        mine = self._leases.read(self.stage, self.key, self.epoch)
        if mine is None or not self._leases.is_mine(mine):
            return False
        self._leases.write(self.stage, self.key, self.epoch)
        return True


@dataclass(frozen=True)
class Held:
    """A lease that another process holds, since when this process has seen it unchanged."""

    holder: Holder
    epoch: int
    content: bytes
    since: float


class Leases:
    """The leases of one process: those that it holds, and those that it waits for."""

    def __init__(
        self,
        storage: Storage,
        attempt: str,
        *,
        stale_seconds: float | None = None,
        clock: Clock = time.monotonic,
        age_clock: Clock = _with_sleep,
    ) -> None:
        """attempt: folder of the attempt that this process works for.

        clock: for leases of others, which this process cannot see change while its machine sleeps.
        age_clock: for its own ones, which become stale in that time.
        """
        self.storage, self.clock, self.age_clock = storage, clock, age_clock
        self.stale_seconds = stale_seconds or stale_seconds_of(storage)
        self._holder = Holder.this(attempt)
        self._seen: dict[tuple[str, str], Held] = {}
        self._mine: list[StageLease] = []
        self._beats = count()
        self._thread: threading.Thread | None = None

    @property
    def are_known_here(self) -> bool:
        """True where other processes of this machine can see that this one has ended."""
        return bool(self._holder.process)

    def take(self, stage: str, key: str) -> StageLease | Held:
        """The lease, or who holds it."""
        for _ in range(LOOKS):
            if found := self._taken(stage, key):
                return found
        raise StoreUnavailable(
            f"{self.storage.uri}: what lies at {lease_key(stage, key, 1)} is no object that can be"
            " read; remove it"
        )

    def _taken(self, stage: str, key: str) -> StageLease | Held | None:
        """The lease, or who holds it; None where it was released meanwhile."""
        known = self._seen.get((stage, key))
        # The number may have been free because a lease of a higher one has lost those below it.
        if known is None and self._put(stage, key, 1) and self.read(stage, key, 2) is None:
            return self._lease(stage, key, 1)
        asked = self.clock()
        found = self._newest(stage, key, known.epoch if known else 1)
        if self.clock() - asked >= self.stale_seconds / 2:
            self.look_anew()  # a store that is slow is so for holders too
        if found is None:
            self._seen.pop((stage, key), None)
            return None
        epoch, content = found
        if self.is_mine(content):  # the answer to our own write was lost
            return self._lease(stage, key, epoch)
        held = self._held(stage, key, epoch, content)
        if held.holder.has_ended or self.clock() - held.since >= self.stale_seconds:
            # Of a process of this machine that has ended, whoever started it says why.
            level = logging.INFO if held.holder.has_ended else logging.WARNING
            log.log(level, "%s %s is taken over from %s", stage, key[:16], held.holder.title)
            if self._put(stage, key, epoch + 1):
                return self._lease(stage, key, epoch + 1)
        return held

    def look_anew(self) -> None:
        """Forget how long leases of others have been unchanged: this process was stopped, and so
        perhaps were their holders, as when all of a machine sleeps, or the store is away."""
        self._seen.clear()

    def forget(self, lease: StageLease) -> None:
        with suppress(ValueError):
            self._mine.remove(lease)

    def read(self, stage: str, key: str, epoch: int) -> bytes | None:
        try:
            return self.storage.read(lease_key(stage, key, epoch), limit=LEASE_BYTES)
        except MissingObject:
            return None
        except ObjectTooLarge:
            return b""  # nobody's, until it is stale

    def write(self, stage: str, key: str, epoch: int) -> None:
        self.storage.write(lease_key(stage, key, epoch), self._content())

    def is_mine(self, content: bytes) -> bool:
        return _parsed(content).token == self._holder.token

    def _content(self) -> bytes:
        """JSON of the holder, other each time, of whatever lease."""
        return json.dumps({**vars(self._holder), "beats": next(self._beats)}).encode()

    def _put(self, stage: str, key: str, epoch: int) -> bool:
        return self.storage.write_if_absent(lease_key(stage, key, epoch), self._content())

    def _lease(self, stage: str, key: str, epoch: int) -> StageLease:
        self._seen.pop((stage, key), None)
        lease = StageLease(stage, key, epoch, self, self.age_clock())
        self._mine.append(lease)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
            self._thread.start()
        return lease

    def _newest(self, stage: str, key: str, first: int) -> tuple[int, bytes] | None:
        """The lease with the highest number, from `first` on or, where that is gone, of all."""
        found = None
        for epoch in count(first):
            content = self.read(stage, key, epoch)
            if content is None:
                break
            found = epoch, content
        return self._newest(stage, key, 1) if found is None and first > 1 else found

    def _held(self, stage: str, key: str, epoch: int, content: bytes) -> Held:
        """Another's lease, with the time since when it is unchanged."""
        known = self._seen.get((stage, key))
        if known is None or (known.epoch, known.content) != (epoch, content):
            known = Held(_parsed(content), epoch, content, self.clock())
            self._seen[stage, key] = known
        return known

    def _beat(self) -> None:
        while True:
            time.sleep(self.stale_seconds / BEATS)
            for lease in list(self._mine):
                try:
                    lease.renew()
                except StorageError as error:  # it may be back before the lease is stale
                    log.warning("a lease cannot be renewed: %s", error)


def has_heartbeat(storage: Storage, lease: ObjectInfo, *, now: datetime) -> bool:
    """Return whether the process that holds a lease seems to be at work, as a listing of it tells.

    now: the time of the listing. A lease is renewed all the time, by the clock of the store.
    """
    if (now - lease.modified).total_seconds() >= stale_seconds_of(storage):
        return False
    try:
        return not _parsed(storage.read(lease.key, limit=LEASE_BYTES)).has_ended
    except MissingObject:
        return False  # released meanwhile
    except ObjectTooLarge:
        return True  # nobody's, until it is stale


def _parsed(content: bytes) -> Holder:
    """The holder that a lease names; nobody where it cannot be read."""
    try:
        found = json.loads(content)
        return Holder(str(found["token"]), str(found["attempt"]), str(found["process"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Holder("", "", "")


def _process(pid: int) -> str:
    """Name of a process that is never given to another one, "" where the system does not tell."""
    try:
        # The command's name, in parentheses, may hold spaces; the start is the 20th field after it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    if fields[0] in ENDED:
        return ""
    return f"{_place()} {pid}:{fields[19]}"


def _is_of_another_user(pid: int) -> bool:
    """True where there is such a process that the system may hide from this one, as `hidepid`."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


@cache
def _place() -> str:
    """Where ids of processes mean the same as here: this start of the machine, and the namespace
    of ids in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
