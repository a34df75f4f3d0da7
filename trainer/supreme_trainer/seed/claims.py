"""Claims: which process computes what, where several may compute the same.

The processes of an attempt, and other experiments with the same stages, agree by leases in the
store and by nothing else. Who meets a stage that another computes goes on with something else, and
waits where there is nothing else. All ranks of a process group ask together; rank 0 holds the
lease.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from supreme_core.api.canonical import digest
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import EXIT_TERMINATED, HeldElsewhere
from supreme_core.plan import Step
from supreme_core.store.leases import Held, Leases, StageLease
from supreme_core.store.storage import Storage

log = logging.getLogger(__name__)

FIRST_POLL_SECONDS = 0.25
LAST_POLL_SECONDS = 5.0
"""Time between two looks at what others hold, where nothing else is left to do; it doubles."""

PATIENCE_SECONDS = 300.0
"""Least time for which a holder of another attempt is waited for; then one process of this attempt
computes too."""

QUICK_SECONDS = 2.0
"""Longest time of a stage without a lease of its own, as the store's answers would take as long."""


@dataclass
class Durations:
    """Seconds that stages have taken, by what they do."""

    _seen: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Iterable[tuple[str, str, float]]) -> "Durations":
        """Durations that are known from before.  told: kind of stage, method, seconds."""
        return cls({(stage, method): seconds for stage, method, seconds in told})

    def add(self, step: Step, seconds: float) -> None:
        """The longest counts: what was seen may have gone on from a checkpoint."""
        kind = step.stage, step.method
        self._seen[kind] = max(seconds, self._seen.get(kind, 0.0))

    def expected(self, step: Step) -> float | None:
        return self._seen.get((step.stage, step.method))


@dataclass
class Claims:
    """The claims of one process, or of all ranks of a group.

    attempt: folder of the attempt, whose other processes are trusted to go on.
    are_shared: whether others may be at work; the same on all ranks.
    leases: those of rank 0; None on other ranks, and where nobody else is at work.
    interruption: says whether a process of this machine goes on with what is held.
    """

    ranks: Ranks
    attempt: str = ""
    are_shared: bool = False
    leases: Leases | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    durations: Durations = field(default_factory=Durations)
    interruption: Interruption = field(default_factory=lambda: Interruption(EXIT_TERMINATED))
    _held: dict[str, StageLease | None] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _not_awaited: set[str] = field(default_factory=set)
    """Tokens of holders that were too slow with what is held now, and so with all that leads to
    it."""
    _pause: float = FIRST_POLL_SECONDS

    @classmethod
    def shared(cls, storage: Storage, attempt: str, ranks: Ranks) -> "Claims":
        """Claims beside other processes that use this store."""
        leases = Leases(storage, attempt) if ranks.is_main else None
        return cls(ranks, attempt, are_shared=True, leases=leases)

    def of_attempt(self, storage: Storage, attempt: str) -> "Claims":
        """Claims of the same process for another attempt; what is known of durations is shared."""
        found = Claims.shared(storage, attempt, self.ranks)
        return replace(found, durations=self.durations, interruption=self.interruption)

    @property
    def are_held(self) -> bool:
        """True while anything is claimed."""
        return bool(self._held)

    @contextmanager
    def of(self, step: Step, stage: str, key: str, *, is_whole: bool = False) -> Iterator[bool]:
        """Hold a stage while the block runs; HeldElsewhere where another process does.

        Gives whether it was claimed now, so that another may have finished it just before. A block
        inside another one of the same key has it already.
        is_whole: the claim is on a whole piece of work, and has a lease however short it is.
        """
        if not self.are_shared or key in self._held:
            yield False
            return
        lease = self._taken(step, stage, key, is_whole)
        self._held[key] = lease
        hands_over = False
        try:
            yield True
        except Terminated:
            hands_over = self.interruption.hands_over
            raise
        finally:
            del self._held[key]
            if not self._held:
                self._not_awaited.clear()
            if lease:
                (lease.leave if hands_over else lease.release)()

    def is_mine(self, key: str) -> bool:
        """False, on rank 0, where another process has taken over what this one is computing."""
        lease = self._held.get(key)
        return lease is None or lease.is_held

    def require(self, key: str) -> None:
        """HeldElsewhere, on all ranks, where another process has taken over this stage."""
        if self.are_shared and not self.ranks.share(self.is_mine(key)):
            raise HeldElsewhere(f"stage {key[:16]} was taken over by another process")

    def wait(self) -> None:
        """Wait a moment for what others are computing, each time longer."""
        before = self.clock()
        self.sleep(self._pause)
        if self.leases and self.clock() - before - self._pause >= self.leases.stale_seconds / 2:
            self.leases.look_anew()
        self._pause = min(2 * self._pause, LAST_POLL_SECONDS)

    def has_news(self) -> None:
        """Something was computed, so the next wait is short again."""
        self._pause = FIRST_POLL_SECONDS

    def _taken(self, step: Step, stage: str, key: str, is_whole: bool) -> StageLease | None:
        """The lease, on rank 0; the same answer on all ranks."""
        lease, refusal = None, ""
        if self.leases is not None and (is_whole or not self._is_quick(step)):
            found = self.leases.take(stage, key)
            if isinstance(found, StageLease):
                self._since.pop(key, None)
            elif self._is_out_of_patience(step, key, found):
                found = self._taken_too(self.leases, step, stage, key, found)
            if isinstance(found, StageLease):
                lease = found
            else:
                refusal = f"{step.title} is being computed for {found.holder.title}"
        refusal = self.ranks.share(refusal)
        if refusal:
            raise HeldElsewhere(refusal)
        return lease

    def _is_quick(self, step: Step) -> bool:
        seconds = self.durations.expected(step)
        return seconds is not None and seconds < QUICK_SECONDS

    def _is_out_of_patience(self, step: Step, key: str, held: Held) -> bool:
        """A process of the same attempt is as good as this one while its lease is renewed. One of
        another attempt may be much slower, or wait for a machine."""
        now = self.clock()
        if key not in self._since:
            log.info("%s is being computed for %s", step.title, held.holder.title)
        since = self._since.setdefault(key, now)
        if held.holder.attempt == self.attempt:
            return False
        limit = max(PATIENCE_SECONDS, 2 * (self.durations.expected(step) or 0.0))
        return now - since >= limit or held.holder.token in self._not_awaited

    def _taken_too(
        self, leases: Leases, step: Step, stage: str, key: str, held: Held
    ) -> StageLease | Held:
        """Take a lease of the attempt's own, so that one of its processes computes what another
        attempt is slow with, and not each of them."""
        found = leases.take(stage, digest({"attempt": self.attempt, "key": key}))
        if isinstance(found, StageLease):
            self._not_awaited.add(held.holder.token)
            told = "%s has taken %s long; it is computed here too"
            log.warning(told, held.holder.title, step.title)
        return found
