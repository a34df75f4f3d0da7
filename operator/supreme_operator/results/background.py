"""Results of one experiment, which are read in the background while it is looked at again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.errors import number_of
from supreme_operator.results.location import Location
from supreme_operator.results.protocol import (
    ChosenSettings,
    Claim,
    NextRound,
    Published,
    ResultCheck,
    TaskKind,
)
from supreme_operator.results.reader import Collector, WorkerFailed

Locate = Callable[[], Awaitable[Location]]
"""Finds the store of an experiment, for which a Secret may have to be read."""


@dataclass(kw_only=True)
class ReadResults:
    """Results that have been read, and the one task that reads more.

    measured: surrounds each task, whatever comes of it.  ended: is told how each task ended, by an
    error or by None.  checks: by seed and attempt.  chosen: settings, by the trials.  round: of the
    trials, where these are made in several.
    """

    collector: Collector
    measured: Callable[[TaskKind], AbstractContextManager[None]]
    ended: Callable[[Exception | None], None]
    checks: Mapping[tuple[int, int], ResultCheck] = field(default_factory=dict)
    chosen: ChosenSettings | None = None
    round: NextRound | None = None
    published: Published | None = None
    _task: "asyncio.Task[None] | None" = None
    _order: ExperimentOrder | None = None
    _claims: Sequence[Claim] = ()

    @property
    def is_reading(self) -> bool:
        return self._task is not None and not self._task.done()

    def verify(self, order: ExperimentOrder, locate: Locate, claims: Iterable[Claim]) -> None:
        """Have the claims judged, unless a task is at work. One that still waits for a place takes
        them in the place of those before, if they are of the same order."""
        if not self.is_reading:
            self._order, self._claims = order, list(claims)
            self._start("verify", self._verify(order, locate))
        elif order == self._order:
            self._claims = list(claims)

    def choose(
        self, order: ExperimentOrder, locate: Locate, before: str | None, ended: int
    ) -> None:
        """Have settings chosen by the trials, or those read that were, unless a task is at work.

        order: of the whole experiment.  before: sha256 of what was chosen, where something was.
        ended: round of the trials that has ended; 0 where none is known to.
        """
        if not self.is_reading:
            self._start("choose", self._choose(order, locate, before, ended))

    def publish(self, order: ExperimentOrder, locate: Locate, seeds: frozenset[int]) -> None:
        """Have a summary written that has at least these seeds, unless a task is at work."""
        if not self.is_reading:
            self._start("publish", self._publish(order, locate, seeds))

    async def close(self) -> None:
        """End the task; nobody is told of that."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def cancel(self) -> None:
        if self._task:
            self._task.cancel()

    def _start(self, name: TaskKind, work: Awaitable[None]) -> None:
        self._task = asyncio.create_task(self._read(name, work))

    async def _read(self, name: TaskKind, work: Awaitable[None]) -> None:
        failure = None
        try:
            with self.measured(name):
                await work
        except Exception as error:  # whoever asked for it says what kinds of errors there are
            failure = error
        self._task = None  # so that who is told may ask for the next
        self.ended(failure)

    async def _verify(self, order: ExperimentOrder, locate: Locate) -> None:
        checks = await self.collector.verify(order, await locate(), lambda: self._claims)
        self.checks = {**self.checks, **{(each.seed, each.attempt): each for each in checks}}

    async def _choose(
        self, order: ExperimentOrder, locate: Locate, before: str | None, ended: int
    ) -> None:
        match await self.collector.choose(order, await locate(), before, ended):
            case NextRound() as following:
                self.round = following
            case ChosenSettings() as chosen:
                self.chosen = chosen

    async def _publish(self, order: ExperimentOrder, locate: Locate, seeds: frozenset[int]) -> None:
        publication = await self.collector.publish(order, await locate())
        if lost := sorted(seeds - set(publication.seeds)):
            raise WorkerFailed(
                f"the results of {number_of(len(lost), 'seed')} are gone, first of {lost[0]}"
            )
        self.published = Published(
            work_digest=work_digest(order.work),
            seeds=frozenset(publication.seeds),
            rows=publication.rows,
            results=publication.results,
        )
