"""Keys that wait to be worked on: each at most once, never two workers on one key.

Groups of keys have turns: whoever has a thousand experiments does not hold up those with one.

As client-go's: a key that is added while it is worked on is worked on once more afterwards. Other
than client-go's, a key rests a little after its work, in proportion to how long that took, so that
many events of one large experiment cost one look and not one look each.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from supreme_operator.deciding.backoff import backoff_seconds

K = TypeVar("K", bound=Hashable)
Clock = Callable[[], float]


class Meter(Protocol):
    """Is told what goes through a queue."""

    def added(self) -> None: ...

    def started(self, waited_seconds: float) -> None: ...

    def finished(self, worked_seconds: float) -> None: ...

    def retried(self) -> None: ...


@dataclass
class WorkQueue(Generic[K]):
    """first_seconds, most_seconds: pause before a failed key is tried again, doubled each time.
    rest_factor, most_rest_seconds: work on a key begins again at the earliest after this multiple
    of the time that its last work took, or after the most, both counted from that work's begin.
    group: whose turn a key is.
    """

    meter: Meter
    first_seconds: float = 0.2
    most_seconds: float = 60.0
    rest_factor: float = 4.0
    most_rest_seconds: float = 0.25
    group: Callable[[K], Hashable] = lambda key: None
    clock: Clock = time.monotonic
    _waiting: dict[Hashable, dict[K, float]] = field(default_factory=dict)
    _again: set[K] = field(default_factory=set)
    _working: dict[K, float] = field(default_factory=dict)
    _resting: dict[K, asyncio.TimerHandle] = field(default_factory=dict)
    _failures: dict[K, int] = field(default_factory=dict)
    _alarms: dict[K, tuple[float, asyncio.TimerHandle]] = field(default_factory=dict)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: K) -> None:
        """Have the key worked on as soon as a worker is free and the key has rested."""
        self.meter.added()
        if key in self._working or key in self._resting:
            self._again.add(key)
        else:
            # A group whose turn it was stands at the end until its last key is taken.
            self._waiting.setdefault(self.group(key), {}).setdefault(key, self.clock())
            self._filled.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have it worked on later; of several such times the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self.clock() + seconds
        known = self._alarms.get(key)
        if known and known[0] <= due:
            return
        if known:
            known[1].cancel()
        handle = asyncio.get_running_loop().call_later(seconds, self._ring, key)
        self._alarms[key] = due, handle

    def retry(self, key: K) -> float:
        """Have a key that failed tried again, later each time; gives the seconds until then."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = backoff_seconds(self.first_seconds, failures - 1, longest=self.most_seconds)
        self.meter.retried()
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: K) -> None:
        """Forget that the key ever failed."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The key of the next group that has waited the longest; `done` must be called with it."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        group = next(iter(self._waiting))
        keys = self._waiting.pop(group)
        key = next(iter(keys))
        since = keys.pop(key)
        if keys:
            self._waiting[group] = keys
        self._working[key] = now = self.clock()
        self.meter.started(now - since)
        return key

    def done(self, key: K) -> None:
        worked = self.clock() - self._working.pop(key)
        self.meter.finished(worked)
        # Counted from the begin: work that mostly waits, as for writes, has rested meanwhile.
        rest = min(self.rest_factor * worked, self.most_rest_seconds) - worked
        if rest > 0:
            loop = asyncio.get_running_loop()
            self._resting[key] = loop.call_later(rest, self._rested, key)
        else:
            self._rested(key)

    def close(self) -> None:
        for handle in (*(handle for _, handle in self._alarms.values()), *self._resting.values()):
            handle.cancel()
        self._alarms.clear()
        self._resting.clear()

    @property
    def depth(self) -> int:
        # A copy, because metrics ask from another thread.
        return sum(map(len, list(self._waiting.values())))

    @property
    def working(self) -> int:
        return len(self._working)

    def work_seconds(self) -> float:
        """Time for which workers have had their keys, all of them together."""
        now = self.clock()
        # A copy, because metrics ask from another thread.
        return sum(now - since for since in list(self._working.values()))

    def oldest_work_seconds(self) -> float:
        """Time for which the slowest worker has had its key; 0 where none works."""
        return self.clock() - min(self._working.values(), default=self.clock())

    def _rested(self, key: K) -> None:
        self._resting.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _ring(self, key: K) -> None:
        with suppress(KeyError):
            del self._alarms[key]
        self.add(key)
