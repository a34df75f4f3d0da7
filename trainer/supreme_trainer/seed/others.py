"""The experiment's other seeds: a process that has nothing to do in its own takes part in them.

It joins the processes of another attempt, as one of them that may leave: what it computes counts as
that attempt's, and a method that fails is recorded there, once. Each of these processes says in the
store that its attempt is at work. A seed that nobody has begun waits for a process of its own.

Whatever becomes of another seed, this process has not failed by it; only what ends it in its own
seed too, such as a fault of its device or a store that is away, ends it here.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from supreme_trainer.seed.claims import Claims
from supreme_trainer.seed.crew import Crew
from supreme_trainer.seed.faults import Faults
from supreme_trainer.seed.run import run_seed
from supreme_trainer.seed.stage import Stages
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.api.orders import RunOrder
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import DeviceFault, HeldElsewhere, RankLost, StorageError, number_of
from supreme_core.plan import Step
from supreme_core.store.results import attempts_at_work, write_at_work
from supreme_core.store.storage import Storage
from supreme_core.system.warnings import Warn, once

log = logging.getLogger(__name__)

STAY_SECONDS = 10.0
"""Time with another seed after which the own one is looked at again, once a stage is done: to come
takes a second, and some requests."""

LOOK_SECONDS = 30.0
"""Time between two looks at the other seeds where none had anything ready."""


@dataclass
class Unsaid(Telemetry):
    """Telemetry of another seed, of whose stages its own processes tell.

    own: that of the own seed.
    """

    own: Telemetry = field(default_factory=Telemetry)

    def stage_started(self, step: Step) -> None:
        self.own.away()

    def _say(self, event: str, **facts: Any) -> None:
        pass


@dataclass
class OtherSeeds:
    """The other seeds of the order's experiment, as one process of a crew takes part in them.

    stages: those of its own seed.
    """

    order: RunOrder
    storage: Storage
    stages: Stages
    ranks: Ranks
    faults: Faults
    crew: str
    clock: Callable[[], float] = time.monotonic
    _claims: dict[str, Claims] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)
    _warn: Warn = field(default_factory=lambda: once(log.warning))
    _next_look: float = 0.0

    def announce(self) -> None:
        """Say that the own attempt is at work, so that others can take part in it."""
        write_at_work(self.storage, self.order)

    def help(self) -> bool:
        """Compute what is ready in one of them; gives whether there was anything."""
        if self.clock() < self._next_look:
            return False
        for order in attempts_at_work(self.storage, self.order, warn=self._warn):
            if order.prefix not in self._given_up and self._take_part(order):
                return True
        self._next_look = self.clock() + LOOK_SECONDS
        return False

    def help_on(self, seconds: float) -> None:
        """Compute what is ready, after the own seed; nothing is begun after so many seconds.

        The own result is there, so nothing that happens now is a failure, nor is a request to stop.
        """
        end, self._next_look = self.clock() + seconds, 0.0
        try:
            while self.clock() < end and self.help():
                pass
        except (Exception, SystemExit) as error:
            log.info("this process ends, as its seed has a result: %s", error)

    def _take_part(self, order: RunOrder) -> bool:
        since = self.clock()
        stages = self.stages.of_another(
            Crew(self.storage, order.prefix, self.crew),
            self._claims_of(order.prefix),
            Unsaid(own=self.stages.telemetry),
            goes=lambda: self.clock() - since >= STAY_SECONDS,
        )
        try:
            with self.faults.outside():
                run_seed(order, stages, ranks=self.ranks, telemetry=stages.telemetry)
        except HeldElsewhere:
            pass
        except (DeviceFault, RankLost, StorageError):
            raise
        except Exception as error:
            log.warning("seed %d is left to its own processes: %s", order.seed, error)
            self._given_up.add(order.prefix)
        if stages.computed:
            told = number_of(stages.computed, "stage")
            log.info("%s of seed %d computed, as the own seed had none", told, order.seed)
        return bool(stages.computed)

    def _claims_of(self, attempt: str) -> Claims:
        """The claims for an attempt, which remember what they saw when this process was there."""
        if attempt not in self._claims:
            self._claims[attempt] = self.stages.claims.of_attempt(self.storage, attempt)
        return self._claims[attempt]
