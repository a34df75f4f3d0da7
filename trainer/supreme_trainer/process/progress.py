"""Progress of a run: events of trainers in, lines or a live display out."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from supreme_trainer.process.journal import sentence
from supreme_trainer.process.spelling import spelt

from supreme_core.errors import number_of
from supreme_core.plan import Step, step_of

Clock = Callable[[], float]
StepKind = tuple[str, ...]
"""(stage, metric, method, scenario), or shorter: steps of one kind take about the same time."""

FEW_SECONDS = 5.0
"""A time left of less is not told while there are stages of which nothing is known."""

TRAININGS = ("original", "retrained")
"""Stages that are a single loop: how far that is, is how far the stage is."""


@dataclass
class RunningStep:
    """A step that a process is computing.

    ranks: of the process that computes it.  epoch: from 1; 0 where it has none.  ends: time at
    which the running loop ends at the pace that it has had so far, on the board's clock.
    """

    step: Step
    started: float
    ranks: int = 1
    fraction: float = 0.0
    loss: float | None = None
    note: str = ""
    epoch: int = 0
    ends: float | None = None
    _loop: tuple[float, float] | None = None
    """Time and fraction of the first that was heard of the running loop."""

    def go_on(self, fraction: float, now: float) -> None:
        """A loop may have begun where a checkpoint was, so its pace is that of what was seen."""
        if self._loop is None or fraction < self.fraction:
            self._loop, self.ends = (now, fraction), None
        since, at_first = self._loop
        if fraction > at_first:
            self.ends = now + (1 - fraction) * (now - since) / (fraction - at_first)
        self.fraction = fraction


@dataclass
class SeedProgress:
    """Progress of one seed.

    ended: how each step that is done has ended: computed, reused or failed.  at_work: the running
    step of each process.  idle: processes for which nothing is ready.  teams: ranks of those that
    have several, beside others that have one.  memory: peak of rank 0, in bytes, as the latest
    step told.  is_heard: its trainer has told something.  begun: when its trainer was started;
    None before that.
    """

    waiting: list[Step]
    ended: dict[Step, str] = field(default_factory=dict)
    at_work: dict[int, RunningStep] = field(default_factory=dict)
    idle: set[int] = field(default_factory=set)
    teams: dict[int, int] = field(default_factory=dict)
    memory: int = 0
    is_heard: bool = False
    begun: float | None = None
    _images: dict[int, int] = field(default_factory=dict)
    _images_before: int = 0
    """Images of processes that have ended; another one may have the number of such a one."""

    @property
    def first(self) -> RunningStep | None:
        """The step that has run for the longest time, which is the one that is shown."""
        return min(self.at_work.values(), key=lambda each: each.started, default=None)

    @property
    def running(self) -> Step | None:
        return self.first.step if self.first else None

    @property
    def images(self) -> int:
        """Images that steps have used, of all stages together."""
        return self._images_before + sum(self._images.values())

    def leave(self, worker: int) -> None:
        """Forget a process, but for the images that it has used."""
        self.at_work.pop(worker, None)
        self.teams.pop(worker, None)
        self.idle.discard(worker)
        self._images_before += self._images.pop(worker, 0)

    def hear(self, worker: int, event: Mapping[str, Any], now: float) -> None:
        """Take in how far a process is."""
        self._images[worker], self.memory = event["images"], event["memory"]
        if running := self.at_work.get(worker):
            running.go_on(event["done"] / event["total"], now)
            running.loss, running.note = event["loss"], event["note"]
            running.epoch = event["epoch"]


@dataclass
class Mean:
    """Running mean of seconds."""

    total: float = 0.0
    count: int = 0

    def add(self, seconds: float) -> None:
        self.total, self.count = self.total + seconds, self.count + 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass(frozen=True)
class TimeLeft:
    """unknown: stages that are left and count as 0 seconds, because nothing is known of their
    kind, or because they take longer than it."""

    seconds: float
    unknown: int

    def __str__(self) -> str:
        """Words that do not promise more than is known."""
        if self.seconds == 0:
            return "done"
        words = "at least" if self.unknown else "about"
        if self.seconds < 90:
            return f"{words} {max(5, round(self.seconds / 5) * 5)} s left"
        if self.seconds < 3 * 3600:
            return f"{words} {round(self.seconds / 60)} min left"
        return f"{words} {round(self.seconds / 3600)} h left"

    @property
    def why_at_least(self) -> str:
        """Words on why the time left will grow; nothing where it is about what is told."""
        return f"{number_of(self.unknown, 'stage')} of unknown time" if self.unknown else ""


@dataclass(frozen=True)
class SeedLeft:
    """Seconds of work that are left of a seed, at least, and those of its longest step.

    unknown: as in TimeLeft.
    """

    seconds: float
    longest: float
    unknown: int


@dataclass
class Board:
    """Steps of all seeds, and what is known of how long each kind takes."""

    seeds: Sequence[int]
    steps: Sequence[Step]
    parallel: int
    clock: Clock = time.monotonic
    is_shared: bool = False
    """True where the processes share out the steps of a seed, and not only the seeds."""
    _seeds: dict[int, SeedProgress] = field(init=False)
    _seen: dict[StepKind, Mean] = field(init=False)
    _start_ups: Mean = field(init=False, default_factory=Mean)
    """Time from the start of a trainer to its first words; most of that is loading torch."""

    def __post_init__(self) -> None:
        self._seeds = {seed: SeedProgress(list(self.steps)) for seed in self.seeds}
        self._seen = defaultdict(Mean)

    @property
    def total(self) -> int:
        return len(self.seeds) * len(self.steps)

    @property
    def done(self) -> int:
        return self.total - sum(len(seed.waiting) for seed in self._seeds.values())

    @property
    def ended(self) -> Counter[str]:
        """Counts of the steps that were computed, reused, failed; the others have not been
        reached."""
        return Counter(how for seed in self._seeds.values() for how in seed.ended.values())

    def seed(self, seed: int) -> SeedProgress:
        return self._seeds[seed]

    def begin(self, seed: int) -> None:
        """Record that the seed's trainer was started."""
        self._seeds[seed].begun = self.clock()

    def apply(self, seed: int, event: Mapping[str, Any], worker: int = 0) -> Step | None:
        """Take in one event of one of the seed's processes; gives the step that it finished, if it
        did."""
        state, now = self._seeds[seed], self.clock()
        if not state.is_heard and state.begun is not None:
            self._start_ups.add(now - state.begun)
        state.is_heard = True
        if event["event"] == "progress":
            state.hear(worker, event, now)
            return None
        if event["event"] == "waiting":
            state.idle.add(worker)
        if event["event"] in ("stage-started", "away"):
            state.idle.discard(worker)
        if event["event"] not in ("stage-started", "stage-finished"):
            return None
        step = step_of(event)
        is_new = step in state.waiting
        if not is_new and step not in state.ended:  # none of the plan
            return None
        if event["event"] == "stage-started":
            state.at_work[worker] = RunningStep(step, now, state.teams.get(worker, 1))
            return None
        is_elsewhere = event.get("elsewhere", False)  # that process tells how long it took
        own = state.at_work.get(worker)
        if own and (not is_elsewhere or own.step == step):
            del state.at_work[worker]
        if is_new:
            state.waiting.remove(step)
        # Perhaps again, because what was found was damaged.
        if event["status"] == "computed" and not is_elsewhere and worker not in state.teams:
            for kind in _kinds(step):
                self._seen[kind].add(event["seconds"])
        if is_new or event["status"] == "computed":
            state.ended[step] = event["status"]
        return step if is_new else None

    @property
    def took(self) -> list[tuple[str, str, float]]:
        """Kind of stage, method, and the seconds that these took where they took longest."""
        longest: dict[tuple[str, str], float] = {}
        for (stage, _, method, *_), mean in self._seen.items():
            longest[stage, method] = max(mean.value, longest.get((stage, method), 0.0))
        return [(*kind, seconds) for kind, seconds in longest.items()]

    def leave(self, seed: int, worker: int) -> None:
        """Record that a process of the seed has ended, whatever it was computing."""
        self._seeds[seed].leave(worker)

    def begin_team(self, seed: int, worker: int, ranks: int) -> None:
        """Record that a process of the seed is several ranks."""
        self._seeds[seed].teams[worker] = ranks

    def waits(self, seed: int, worker: int) -> bool:
        """Return whether nothing is ready for a process."""
        return worker in self._seeds[seed].idle

    def awaits_team(self, seed: int) -> bool:
        """Return whether a team of the seed has yet to claim what it is to go on with, which looks
        until then as if nobody did it."""
        state = self._seeds[seed]
        return not state.teams.keys() <= state.at_work.keys()

    def training_of(self, seed: int, worker: int) -> tuple[Step | None, float | None]:
        """The training that a process is in, None for none, and the seconds that it still takes at
        the pace that it has had, None where that is not known."""
        running = self._seeds[seed].at_work.get(worker)
        if running is None or running.step.stage not in TRAININGS:
            return None, None
        left = None if running.ends is None else max(0.0, running.ends - self.clock())
        return running.step, left

    def is_left(self, seed: int, step: Step) -> bool:
        """Return whether a step of the seed is not done."""
        return step in self._seeds[seed].waiting

    def time_left(self) -> TimeLeft | None:
        """Time left by steps of the same kind, and by the pace of what is running; None where
        neither says anything, or no more than that what is known takes a few seconds. What was
        found in the store says nothing."""
        unfinished = [state for state in self._seeds.values() if state.waiting]
        if not unfinished:
            return TimeLeft(0.0, unknown=0)
        seen = self._with_running(unfinished)
        needed = [self._of_seed(state, seen) for state in unfinished]
        unknown = sum(each.unknown for each in needed)
        if self.is_shared:
            share = sum(each.seconds for each in needed) / self.parallel
            seconds = max(share, *(each.longest for each in needed))  # which nobody can share
        else:
            # One seed's steps come after one another, so the longest of them is the least it takes.
            each_one = [each.seconds for each in needed]
            seconds = max(sum(each_one) / min(self.parallel, len(unfinished)), *each_one)
        if unknown and seconds < FEW_SECONDS:
            return None
        # Never 0, which means done: the last step may take longer than its kind did so far.
        return TimeLeft(max(1.0, seconds), unknown)

    def start_ups_left(self, seed: int) -> float | None:
        """Work of a seed that nobody has begun, in times of a trainer's start; None where nothing
        is known of such a start.

        A guess where a step is the first of its kind: a training takes as long as others, and
        unlearning a quarter of it.
        """
        if not self._start_ups.count:
            return None
        state = self._seeds[seed]
        begun = {each.step for each in state.at_work.values()}
        seen = self._with_running([state])
        trainings = [mean.value for kind, mean in seen.items() if kind[0] in TRAININGS]
        training = max(trainings, default=0.0)
        guesses = {**dict.fromkeys(TRAININGS, training), "unlearned": training / 4}
        left = 0.0
        for step in set(state.waiting) - begun:
            expected = _expected(step, seen)
            left += guesses.get(step.stage, 0.0) if expected is None else expected
        return left / max(self._start_ups.value, 0.001)

    def _of_seed(self, state: SeedProgress, seen: Mapping[StepKind, Mean]) -> SeedLeft:
        running = {each.step: each for each in state.at_work.values()}
        unknown, longest, work = 0, 0.0, self._until_heard(state)
        for step in state.waiting:
            expected = _expected(step, seen)
            if step in running:
                is_known, left = self._of_running(running[step], expected)
                work += left * (running[step].ranks - 1)
            else:
                is_known, left = expected is not None, expected or 0.0
            unknown += not is_known
            work += left
            longest = max(longest, left)
        return SeedLeft(work, longest, unknown)

    def _until_heard(self, state: SeedProgress) -> float:
        """Seconds, at least, until its trainer tells something."""
        if state.is_heard or not self._start_ups.count:
            return 0.0
        behind = 0.0 if state.begun is None else self.clock() - state.begun
        return max(0.0, self._start_ups.value - behind)

    def _with_running(self, states: Iterable[SeedProgress]) -> Mapping[StepKind, Mean]:
        """Times that were seen, and of kinds that run for the first time how long they will have
        taken."""
        found = defaultdict[StepKind, Mean](Mean)
        for state in states:
            for running in state.at_work.values():
                if running.step.stage in TRAININGS and running.ends is not None:
                    for kind in _kinds(running.step):
                        found[kind].add(running.ends - running.started)
        return {**found, **self._seen}

    def _of_running(self, running: RunningStep, expected: float | None) -> tuple[bool, float]:
        """Return whether it is known how long the running step still takes, and seconds, at
        least."""
        now = self.clock()
        by_pace = None if running.ends is None else max(0.0, running.ends - now)
        if by_pace is not None and running.step.stage in TRAININGS:
            return True, by_pace
        by_kind = None if expected is None else expected - (now - running.started)
        # Where a step takes longer than its kind, nobody knows how much longer.
        is_known = by_kind is not None and by_kind > 0
        return is_known, max(0.0, by_kind or 0.0, by_pace or 0.0)


def _expected(step: Step, seen: Mapping[StepKind, Mean]) -> float | None:
    """Mean of the steps like this one; of other scenarios where its own has none yet."""
    return next((seen[kind].value for kind in _kinds(step) if kind in seen), None)


def _kinds(step: Step) -> tuple[StepKind, StepKind]:
    """Return the kind of the step itself, and the kind of all that do the same elsewhere."""
    kind = step.stage, step.metric, step.method
    return (*kind, step.scenario), kind


class Display(Protocol):
    """Shows a board while it changes."""

    def begin(self, seed: int) -> None: ...

    def update(self, seed: int, event: Mapping[str, Any], finished: Step | None) -> None: ...

    def end(self, seed: int, message: str) -> None: ...

    def close(self) -> None: ...


def display(console: Console, board: Board) -> Display:
    """Live where the terminal can move its cursor."""
    is_live = console.is_terminal and not console.is_dumb_terminal
    return LiveDisplay(console, board) if is_live else LineDisplay(console, board)


class LineDisplay:
    """A line for each finished step, for logs and pipes."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console, self._board = console, board

    def begin(self, seed: int) -> None:
        self._print(f"seed {seed}: started")

    def update(self, seed: int, event: Mapping[str, Any], finished: Step | None) -> None:
        if finished:
            count = f"{self._board.done}/{self._board.total}"
            left = ", ".join(in_words(self._board.time_left()))
            self._print(f"seed {seed}: {sentence(event)} ({count}, {left})")

    def end(self, seed: int, message: str) -> None:
        self._print(f"seed {seed}: {message}")

    def close(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def in_words(left: TimeLeft | None) -> Sequence[str]:
    if left is None:
        return ["time left not known yet"]
    return list(filter(None, (str(left), left.why_at_least)))


@dataclass
class DisplayLine:
    """One line of the live display.  parts: the first are the last to go where room is short."""

    name: str
    began: float
    parts: Sequence[str]
    fraction: float = 0.0


class LiveDisplay:
    """A line for everything and one for each seed that is being computed; none is ever wrapped.

    Where a terminal is narrow, the bar gets shorter and goes, then the clock, then what of the
    words does not fit. Numbers are left out or whole.
    """

    def __init__(self, console: Console, board: Board) -> None:
        self._console, self._board = console, board
        self._all = DisplayLine("all stages", board.clock(), ())
        self._seeds: dict[int, DisplayLine] = {}
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=8)
        self._live.start()

    def begin(self, seed: int) -> None:
        self._seeds[seed] = DisplayLine(f"seed {seed}", self._board.clock(), [STARTING])

    def update(self, seed: int, event: Mapping[str, Any], finished: Step | None) -> None:
        state, line = self._board.seed(seed), self._seeds[seed]
        if first := state.first:
            loss = f"loss {first.loss:.3f}" if first.loss is not None else ""
            others = len(state.at_work) - 1
            beside = f"and {others} more" if others else ""
            line.parts = list(filter(None, (first.step.title, first.note, loss, beside)))
            line.fraction = first.fraction
        elif finished:
            line.parts = [sentence(event)]
        elif line.parts == [STARTING]:
            line.parts = ["looking into the store"]

    def end(self, seed: int, message: str) -> None:
        self._seeds.pop(seed, None)
        self._console.print(f"seed {seed}: {message}", markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> Table:
        done, total = self._board.done, self._board.total
        self._all.parts = f"{done}/{total}", *in_words(self._board.time_left())
        self._all.fraction = done / total
        lines = [self._all, *self._seeds.values()]
        width, name = self._console.width, max(cell_len(line.name) for line in lines)
        bar = next((cells for least, cells in BARS if width >= least), 0)
        has_clock = width >= WITH_CLOCK
        taken = 2 + name + bool(bar) + bar + (1 + CLOCK_WIDTH) * has_clock + 1 + len(ECHO)
        room = max(1, width - taken)
        table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
        for cells in (1, name, *([bar] if bar else []), room, *([CLOCK_WIDTH] * has_clock)):
            table.add_column(width=cells, no_wrap=True, overflow="crop")
        for line in lines:
            since = timedelta(seconds=int(self._board.clock() - line.began))
            table.add_row(
                self._spinner,
                Text(line.name),
                *([ProgressBar(1.0, line.fraction, width=bar)] if bar else []),
                Text(spelt(_fitted(line.parts, room), self._console.encoding)),
                *([Text(str(since), style="progress.elapsed")] * has_clock),
            )
        return table


STARTING = "starting (loading torch)"
BARS = (100, 24), (80, 10)
"""Width of a bar from so many columns on."""
WITH_CLOCK = 60
CLOCK_WIDTH = len("0:00:00")
ECHO = "^C"
"""Characters that a terminal adds to the last line; without room, all is drawn one line lower from
then on."""


def _fitted(parts: Sequence[str], room: int) -> str:
    """The parts that fit, from the first; of the first alone the end may be missing."""
    fitting = [parts[0]]
    for part in parts[1:]:
        if cell_len("  ".join([*fitting, part])) > room:
            break
        fitting.append(part)
    text = "  ".join(fitting)
    return text if cell_len(text) <= room else f"{set_cell_size(text, room - 1).rstrip()}…"
