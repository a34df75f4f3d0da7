"""Fair turns at a few places: the slow stores of some do not keep others from them.

A free place goes to the waiting namespace that has used the least of late. Who has waited for
longer than `WaitLimits` says ends a turn of another that has spent as long with waiting as well:
for a store, since one that computes goes on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

HALF_LIFE: Final = 600.0
"""Seconds after which half of what a namespace has used is forgotten."""


@dataclass(eq=False)
class Turn:
    """busy: seconds of it in which something was computed.  stop: called when it has to end."""

    namespace: str
    begun: float
    busy: Callable[[], float] = lambda: 0.0
    stop: Callable[[], None] = lambda: None
    is_over: bool = False

    def end(self) -> None:
        self.is_over = True
        self.stop()


@dataclass(eq=False)
class _Waiting:
    namespace: str
    number: int
    granted: "asyncio.Future[Turn]"


@dataclass(frozen=True)
class WaitLimits:
    """Seconds of waiting after which the turn of another ends: of another namespace that has used
    more, and of one's own."""

    others: float
    own: float


@dataclass
class Turns:
    """places: turns at one time."""

    places: int
    waits: WaitLimits
    clock: Callable[[], float] = time.monotonic
    _running: list[Turn] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _used: dict[str, tuple[float, float]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)

    @asynccontextmanager
    async def take(self, namespace: str) -> AsyncIterator[Turn]:
        turn = await self._wait(namespace)
        try:
            yield turn
        finally:
            self._account(turn)
            self._running.remove(turn)
            self._grant()

    async def _wait(self, namespace: str) -> Turn:
        granted: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(namespace, next(self._numbers), granted)
        self._waiting.append(waiting)
        self._grant()
        try:
            while not granted.done():
                await asyncio.wait([granted], timeout=self.waits.others)
                self._end_one_for(waiting)
            return granted.result()
        except BaseException:  # nobody waits any more
            if granted.done():
                self._running.remove(granted.result())
                self._grant()
            else:
                self._waiting.remove(waiting)
            raise

    def _grant(self) -> None:
        """Give free places to those that wait."""
        while self._waiting and len(self._running) < self.places:
            first = min(self._waiting, key=lambda each: (self._share(each.namespace), each.number))
            self._waiting.remove(first)
            turn = Turn(first.namespace, self.clock())
            self._running.append(turn)
            first.granted.set_result(turn)

    def _end_one_for(self, waiting: _Waiting) -> None:
        """End the turn that waits for the longest, unless a place is about to be free."""
        if waiting.granted.done() or any(turn.is_over for turn in self._running):
            return
        late = [turn for turn in self._running if self._is_late(turn, waiting.namespace)]
        if late:
            max(late, key=self._idle).end()

    def _is_late(self, turn: Turn, namespace: str) -> bool:
        """Return whether a turn has waited for so long that it may end for a namespace that
        waits."""
        if turn.namespace == namespace:
            return self._idle(turn) >= self.waits.own
        has_used_more = self._share(turn.namespace) > self._share(namespace)
        return has_used_more and self._idle(turn) >= self.waits.others

    def _idle(self, turn: Turn) -> float:
        return self.clock() - turn.begun - turn.busy()

    def _share(self, namespace: str) -> float:
        """Seconds that a namespace has had places for, the older the less."""
        now = self.clock()
        running = (now - each.begun for each in self._running if each.namespace == namespace)
        return self._past(namespace) + sum(running)

    def _past(self, namespace: str) -> float:
        now = self.clock()
        seconds, at = self._used.get(namespace, (0.0, now))
        return float(seconds * 0.5 ** ((now - at) / HALF_LIFE))

    def _account(self, turn: Turn) -> None:
        """Note what a turn that ends adds to the share of its namespace; forget what is small."""
        now = self.clock()
        kept = {name: used for name, used in self._used.items() if self._past(name) > 1}
        kept[turn.namespace] = self._past(turn.namespace) + now - turn.begun, now
        self._used = kept
