"""How far a run is: events of trainers in, lines or a live display out."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from supreme_core.plan import Step

Clock = Callable[[], float]
Kind = tuple[str, ...]
"""(stage, metric, method, scenario), or shorter: steps of one kind take about the same time."""


@dataclass
class SeedProgress:
    """Where one seed is.

    epoch: of the running step, from 1; 0 where it has none.  images: what its steps have used, of
    all stages together.  memory: peak of rank 0, in bytes, as the latest step told.
    """

    waiting: list[Step]
    running: Step | None = None
    started: float = 0.0
    fraction: float = 0.0
    loss: float | None = None
    note: str = ""
    epoch: int = 0
    images: int = 0
    memory: int = 0
    is_heard: bool = False


@dataclass
class Board:
    """Steps of all seeds, and what is known of how long each kind takes."""

    seeds: Sequence[int]
    steps: Sequence[Step]
    parallel: int
    clock: Clock = time.monotonic
    _seeds: dict[int, SeedProgress] = field(init=False)
    _seconds: dict[Kind, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._seeds = {seed: SeedProgress(list(self.steps)) for seed in self.seeds}
        self._seconds = defaultdict(list)

    @property
    def total(self) -> int:
        return len(self.seeds) * len(self.steps)

    @property
    def done(self) -> int:
        return self.total - sum(len(seed.waiting) for seed in self._seeds.values())

    def seed(self, seed: int) -> SeedProgress:
        return self._seeds[seed]

    def apply(self, seed: int, event: dict[str, Any]) -> Step | None:
        """Take in one event; gives the step that it finished, if it did."""
        state = self._seeds[seed]
        state.is_heard = True
        if event["event"] == "progress":
            state.fraction, state.loss = event["done"] / event["total"], event["loss"]
            state.note, state.epoch = event["note"], event["epoch"]
            state.images, state.memory = event["images"], event["memory"]
            return None
        if event["event"] not in ("stage-started", "stage-finished"):
            return None
        named = (event[part] for part in ("stage", "scenario", "method", "repeat", "metric"))
        step = Step(*named)
        if step not in state.waiting:  # a small stage that is no step of the plan
            return None
        if event["event"] == "stage-started":
            state.running, state.started, state.fraction = step, self.clock(), 0.0
            state.loss, state.note, state.epoch = None, "", 0
            return None
        state.waiting.remove(step)
        state.running = None
        if event["status"] != "reused":
            for kind in _kinds(step):
                self._seconds[kind].append(event["seconds"])
        return step

    def remaining_seconds(self) -> float | None:
        """Time to go, from steps of the same kind; None as long as most have not been seen."""
        left = [step for seed in self._seeds.values() for step in seed.waiting]
        if not left:
            return 0.0
        expected = [seconds for step in left if (seconds := self._expected(step)) is not None]
        if len(expected) < len(left) / 2:
            return None
        needed = fmean(expected) * len(left) - self._under_way()
        unfinished = sum(bool(seed.waiting) for seed in self._seeds.values())
        # Never 0, which means done: the last step may take longer than its kind did so far.
        return max(1.0, needed) / min(self.parallel, unfinished)

    def _expected(self, step: Step) -> float | None:
        """Mean of the steps like this one; of other scenarios where its own has none yet."""
        return next(
            (fmean(self._seconds[kind]) for kind in _kinds(step) if kind in self._seconds), None
        )

    def _under_way(self) -> float:
        """Seconds that the running steps have behind them, at most what their kind takes."""
        behind = 0.0
        for seed in self._seeds.values():
            expected = self._expected(seed.running) if seed.running else None
            if expected is not None:
                behind += min(self.clock() - seed.started, expected)
        return behind


def _kinds(step: Step) -> tuple[Kind, Kind]:
    """From the step itself to all that do the same elsewhere."""
    kind = step.stage, step.metric, step.method
    return (*kind, step.scenario), kind


class Display(Protocol):
    """Shows a board while it changes."""

    def begin(self, seed: int) -> None: ...

    def update(self, seed: int, event: dict[str, Any], finished: Step | None) -> None: ...

    def end(self, seed: int, message: str) -> None: ...

    def close(self) -> None: ...


def display(console: Console, board: Board) -> Display:
    return LiveDisplay(console, board) if console.is_terminal else LineDisplay(console, board)


class LineDisplay:
    """A line for each finished step, for logs and pipes."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console, self._board = console, board

    def begin(self, seed: int) -> None:
        self._print(f"seed {seed}: started")

    def update(self, seed: int, event: dict[str, Any], finished: Step | None) -> None:
        if finished:
            took = f" in {event['seconds']:.1f} s" if event["status"] != "reused" else ""
            left = time_left(self._board.remaining_seconds())
            count = f"{self._board.done}/{self._board.total}"
            self._print(f"seed {seed}: {finished.title} {event['status']}{took} ({count}, {left})")

    def end(self, seed: int, message: str) -> None:
        self._print(f"seed {seed}: {message}")

    def close(self) -> None:
        pass

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """One bar for everything and one for each seed that is being computed."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console, self._board = console, board
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[int, TaskID] = {}
        self._total = self._bars.add_task("all stages", total=board.total, note="")
        self._bars.start()

    def begin(self, seed: int) -> None:
        self._tasks[seed] = self._bars.add_task(f"seed {seed}", total=1.0, note="starting")

    def update(self, seed: int, event: dict[str, Any], finished: Step | None) -> None:
        state, left = self._board.seed(seed), self._board.remaining_seconds()
        self._bars.update(
            self._total,
            completed=self._board.done,
            note=f"{self._board.done}/{self._board.total}  {time_left(left)}",
        )
        if state.running:
            loss = f"loss {state.loss:.3f}" if state.loss is not None else ""
            note = "  ".join(filter(None, (state.running.title, state.note, loss)))
            self._bars.update(self._tasks[seed], completed=state.fraction, note=note)

    def end(self, seed: int, message: str) -> None:
        self._bars.remove_task(self._tasks.pop(seed))
        self._bars.console.print(f"seed {seed}: {message}", markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()


def time_left(seconds: float | None) -> str:
    """In words that do not promise more than is known."""
    if seconds is None:
        return "time left not known yet"
    if seconds == 0:
        return "done"
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    return f"about {round(seconds / 60)} min left"
