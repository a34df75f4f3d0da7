"""The trainers of a run at work: which seed each of them computes, and what becomes of it.

A seed begins with one trainer. Where trainers share out stages, one that has no seed of its own
left joins the seed with the most work for each, and leaves it when nothing of it is ready. Where
only trainings are left, teams may go on with them (supreme_trainer.process.teams).
"""

import subprocess
import threading
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from uuid import uuid4

from rich.console import Console
from supreme_trainer.command.sentences import say
from supreme_trainer.process import journal, launch
from supreme_trainer.process.progress import Board, Display
from supreme_trainer.process.teams import Plan, Teams

from supreme_core.api import names
from supreme_core.api.orders import RunOrder
from supreme_core.errors import EXIT_INVALID, EXIT_OK, SpecError, SupremeError
from supreme_core.store.storage import Storage

LEAST_START_UPS = 3.0
"""Work of a seed for which one more process is started, in times of such a start."""

GRACE_SECONDS = 20.0
"""Time between SIGTERM and SIGKILL for a trainer that is asked to stop."""

Events = Queue["tuple[SeedTrainer, launch.Heard]"]


class Shift:
    """The trainers of all seeds of a run, from the first to the last.

    waiting: seeds that are to have a trainer, the first one or one more.
    failures: a line for each seed that failed.
    exit_code: of the first of them.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        board: Board,
        places: "Places",
        start: "Callable[[int, Sequence[int], SeedAtWork, bool], SeedTrainer]",
        events: Events,
        as_prepared: Callable[[launch.Event], launch.Event],
        storage: Storage,
        console: Console,
        screen: Display,
        asked: int | None,
        teams: Teams,
    ) -> None:
        """start: a trainer for a seed at a place, or a team at several.  as_prepared: an event, as
        it is to be shown.

        asked: trainers at a time that the user wants.
        """
        self.board, self.places = board, places
        self._start_trainer, self._events, self._as_prepared = start, events, as_prepared
        self._storage, self._console, self._screen = storage, console, screen
        self._asked = asked
        self.waiting = list(seeds)
        self.at_work: dict[int, SeedAtWork] = {}
        self.running: list[SeedTrainer] = []
        self.failures: list[str] = []
        self.exit_code = EXIT_OK
        self._again: set[int] = set()
        self._teams = teams

    def work(self) -> None:
        try:
            with stopped_in_the_end(self.running):
                while self.waiting or self.at_work:
                    if not self._teams.planned:
                        self._begin_seeds()
                        self._join_seeds()
                    if not self.waiting:
                        at_work = [(each.seed, each) for each in self.running]
                        self._teams.make_way(self.board, at_work)
                    self._hear(*self._next_event())
        finally:
            self._screen.close()
            self._keep_logs(self.running)

    @property
    def _has_room(self) -> bool:
        return sum(len(each.places) for each in self.running) < self.board.parallel

    def _begin_seeds(self) -> None:
        while self._has_room and (found := self.places.take(self.waiting)):
            seed, place = found
            self.waiting.remove(seed)
            if seed in self.at_work:  # it goes on after a team
                self._start(seed, [place])
                continue
            self.at_work[seed] = SeedAtWork(is_second=seed in self._again)
            self._start(seed, [place])
            self.board.begin(seed)
            self._screen.begin(seed)

    def _join_seeds(self) -> None:
        while self._has_room and not self.waiting:
            helped = worth_helping(self.board, self.at_work, self._asked)
            if helped is None or not (found := self.places.take([helped])):
                return
            seed, place = found
            self._start(seed, [place])

    def _start(self, seed: int, places: Sequence[int], *, is_team: bool = False) -> None:
        of_seed = self.at_work[seed]
        trainer = self._start_trainer(seed, places, of_seed, is_team)
        self.running.append(trainer)
        of_seed.started += 1
        of_seed.goes_on = False
        of_seed.trainers.append(trainer)

    def _form_teams(self, plan: Plan) -> None:
        """Start the teams, now that all trainers have stopped, and single ones where a training was
        finished meanwhile."""
        for seed, step in plan.trainings:
            of_seed = self.at_work.get(seed)
            if of_seed and not of_seed.failures and self.board.is_left(seed, step):
                places = self.places.take_apart(plan.size)
                self._start(seed, places, is_team=True)
                self.board.begin_team(seed, places[0], plan.size)
                told = f"seed {seed}: {plan.size} processes go on with {step.title} together"
                say(self._console, told)
        self.waiting += [seed for seed, each in self.at_work.items() if not each.trainers]

    def _hear(self, trainer: "SeedTrainer", event: launch.Event | None) -> None:
        seed = trainer.seed
        of_seed = self.at_work[seed]
        if event is None:
            self._ended(trainer, of_seed)
            return
        event = self._as_prepared(event)
        finished = self.board.apply(seed, event, trainer.place)
        if event["event"] == "stage-finished" and event["status"] == "computed":
            of_seed.is_dry = False  # something may be ready that waited for it
        if not of_seed.is_done:
            self._screen.update(seed, event, finished)

    def _ended(self, trainer: "SeedTrainer", of_seed: "SeedAtWork") -> None:
        seed = trainer.seed
        self.running.remove(trainer)
        self.board.leave(seed, trainer.place)
        for place in trainer.places:
            self.places.give_back(place)
        self._teams.learn_from(trainer, seed)
        if trainer.is_fault and not trainer.is_team:
            self.places.avoid(trainer.place, seed)
        self._judge(trainer, of_seed)
        self._settle(seed, of_seed)
        if not self.running and (plan := self._teams.take_planned()):
            self._form_teams(plan)

    def _settle(self, seed: int, of_seed: "SeedAtWork") -> None:
        """See to it that a seed goes on, or ends, where a trainer of it has ended."""
        if of_seed.goes_on and not (of_seed.is_done or of_seed.must_stop):
            if not self._teams.planned and seed not in self.waiting:
                self.waiting.insert(0, seed)
            return
        if of_seed.trainers:
            return
        del self.at_work[seed]
        if of_seed.has_fault:  # a fresh process goes on, elsewhere where it can
            self.waiting.insert(0, seed)
        elif not of_seed.is_done and of_seed.can_go_on:
            self._again.add(seed)
            self.waiting.insert(0, seed)
        elif not of_seed.is_done:
            self._failed(of_seed.failures[0])
        if self.exit_code == EXIT_INVALID:
            self.waiting.clear()  # the other seeds have the same mistake
            for each in [each for each, found in self.at_work.items() if not found.trainers]:
                del self.at_work[each]

    def _judge(self, trainer: "SeedTrainer", of_seed: "SeedAtWork") -> None:
        """Note how a process of a seed has ended: with the seed's result, or without.

        One that failed for good, or by a fault of its device, ends the others of the seed. One that
        was lost, or that found nothing to do, leaves the work to them, as a team does that failed.
        """
        of_seed.trainers.remove(trainer)
        self._keep_logs([trainer])
        if of_seed.is_done or of_seed.has_fault:
            pass
        elif trainer.has_made_way or trainer.is_team:
            # Whoever joined the seed may leave it again, so one is there that does not.
            is_for_team = self._teams.planned is not None
            of_seed.goes_on = is_for_team or all(each.may_leave for each in of_seed.trainers)
            of_seed.is_dry = False
            if trainer.is_team and trainer.failure:  # what fails without a team too, the next tells
                told = f"seed {trainer.seed}: {trainer.failure}; single processes go on"
                say(self._console, told)
        elif trainer.is_fault:
            of_seed.has_fault = True
            told = f"seed {trainer.seed}: {trainer.failure}; a fresh process goes on"
            say(self._console, told)
        elif trainer.failure:
            of_seed.failures.append(trainer)
            of_seed.failures.sort(key=lambda each: each.is_lost)
        elif trainer.has_left:
            of_seed.left += 1
            of_seed.is_dry = True
        else:
            of_seed.is_done = True
            self._screen.end(trainer.seed, "done")
        if of_seed.must_stop:
            for other in of_seed.trainers:
                other.stop()

    def _keep_logs(self, ended: "Iterable[SeedTrainer]") -> None:
        """Keep the logs of trainers that have ended. A store that is away for them hides no failure
        and stops no other trainer, which may not need it for minutes."""
        for trainer in ended:
            try:
                trainer.keep_log(self._storage)
            except SupremeError as error:
                lost = f"seed {trainer.seed}: its log is lost: {error}"
                say(Console(stderr=True), lost, indent="  ")  # also where the run is quiet

    def _next_event(self) -> "tuple[SeedTrainer, launch.Event | None]":
        while True:
            try:
                # With a limit, because a wait without one would not see Ctrl-C on every platform.
                trainer, heard = self._events.get(timeout=1.0)
            except Empty:
                continue
            return trainer, launch.event_in(heard)

    def _failed(self, trainer: "SeedTrainer") -> None:
        self.failures.append(f"seed {trainer.seed}: {trainer.failure}")
        self.exit_code = self.exit_code or trainer.exit_code
        self._screen.end(trainer.seed, "failed")


@dataclass(kw_only=True)
class SeedTrainer(launch.Trainer):
    """A trainer of one seed, at a place beside others, of this seed and of other ones.

    may_leave: it has joined another one of the seed, and ends where nothing is ready.
    """

    order: RunOrder
    may_leave: bool = False
    _listener: threading.Thread | None = None

    @property
    def seed(self) -> int:
        return self.order.seed

    @property
    def has_left(self) -> bool:
        """True where it has ended well and without the seed's result, as nothing was ready."""
        return self.may_leave and not self.failure and self.result is None

    def start_listening(self, queue: Events) -> None:
        self._listener = launch.listen(self, lambda heard: queue.put((self, heard)))

    def wait_for_events(self, events: Events) -> Iterator[launch.Event]:
        while True:
            try:
                _, heard = events.get(timeout=1.0)
            except Empty:
                continue
            event = launch.event_in(heard)
            if event is None:
                return
            yield event

    def failure_as_error(self) -> SpecError:
        error = SpecError(self.failure)
        error.exit_code = self.exit_code
        return error

    def keep_log(self, storage: Storage) -> None:
        if self._listener:
            self._listener.join(launch.LINGER_SECONDS)  # its last lines are the listener's
        journal.keep(storage, names.log_key(self.order.prefix), [self.log])


@dataclass
class SeedAtWork:
    """A seed with the trainers that share out its stages.

    name: tells these trainers from earlier ones of the same attempt.  started: how many there were
    so far.  failures: those that failed, what counts first.  left: how many found nothing ready,
    and went.  is_dry: nothing that nobody does was ready when one last looked.  is_second: all
    trainers that were there before were lost, and others had left.  goes_on: a trainer is to be
    started in the place of those that made way for a team, or of the team.
    """

    name: str = field(default_factory=lambda: uuid4().hex[:8])
    started: int = 0
    trainers: list[SeedTrainer] = field(default_factory=list)
    failures: list[SeedTrainer] = field(default_factory=list)
    is_done: bool = False
    has_fault: bool = False
    left: int = 0
    is_dry: bool = False
    is_second: bool = False
    goes_on: bool = False

    @property
    def can_go_on(self) -> bool:
        """True where a trainer that left would have gone on with what the last one has lost."""
        return bool(self.left) and all(each.is_lost for each in self.failures)

    @property
    def must_stop(self) -> bool:
        """True where what its other trainers do is in vain."""
        has_failed = any(not each.is_lost for each in self.failures)
        return not self.is_done and (self.has_fault or has_failed)

    @property
    def is_open(self) -> bool:
        """True where one more trainer could help. Where one was lost the next one may be too, such
        as for want of memory, and the one after it."""
        closed = self.is_done or self.has_fault or self.failures or self.is_second
        return not (closed or self.is_dry)


def worth_helping(
    board: Board, at_work: Mapping[int, SeedAtWork], asked: int | None = None
) -> int | None:
    """The seed that gains most by one more trainer; None where none is worth a start.

    asked: how many trainers the user wants; then they start before anything is known.
    """
    found: dict[int, float] = {}
    for seed, each in at_work.items():
        has_room = len(each.trainers) < len(board.seed(seed).waiting)  # no stage has two of them
        can_help = board.is_shared and each.is_open and has_room and not board.awaits_team(seed)
        left = board.start_ups_left(seed) if can_help else 0.0
        if left is None:
            left = LEAST_START_UPS * len(each.trainers) if asked else 0.0
        found[seed] = left / len(each.trainers)
    best = max(found, key=found.__getitem__, default=None)
    return best if best is not None and found[best] >= LEAST_START_UPS else None


class Places:
    """Places where seeds are computed side by side: on a GPU, or as many as there are ranks,
    each."""

    def __init__(self, count: int, *, devices: int) -> None:
        """devices: place n is on device n modulo this; 1 where they are all alike."""
        self._free, self._devices = list(range(count)), devices
        self._avoided: dict[int, int] = {}

    def take(self, waiting: Iterable[int]) -> tuple[int, int] | None:
        """The first seed that fits into a place that is free, and the place; None for none.

        A seed waits for a place on another device than the one it is to avoid, where there is one.
        """
        for seed in waiting:
            for place in self._free:
                if self._devices == 1 or self._avoided.get(seed) != place % self._devices:
                    self._free.remove(place)
                    return seed, place
        return None

    def take_apart(self, count: int) -> list[int]:
        """Take free places, each on another device where these differ."""
        found = {
            place % self._devices if self._devices > 1 else place: place for place in self._free
        }
        taken = sorted(found.values())[:count]
        for place in taken:
            self._free.remove(place)
        return taken

    def give_back(self, place: int) -> None:
        insort(self._free, place)  # the first ones are used, so others are left to other people

    def avoid(self, place: int, seed: int) -> None:
        self._avoided[seed] = place % self._devices


@contextmanager
def stopped_in_the_end(trainers: "Sequence[SeedTrainer]") -> Iterator[None]:
    """However the block ends, no trainer is left running."""
    try:
        yield
    finally:
        alive = [trainer for trainer in trainers if trainer.process.poll() is None]
        try:
            for trainer in alive:
                trainer.stop()
            for trainer in alive:
                with suppress(subprocess.TimeoutExpired):
                    trainer.process.wait(GRACE_SECONDS)
        finally:  # also at a second Ctrl-C, and for ranks that outlived their launcher
            for trainer in alive:
                trainer.kill()
            for trainer in alive:
                trainer.process.wait()
