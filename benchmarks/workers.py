"""Workers that share out the stages of seeds: how much sooner they are done.

    python benchmarks/workers.py simulate    a second: many workers, by times that were measured
    python benchmarks/workers.py measure     some minutes: one worker, two of them, and two ranks

The simulation plays `supreme run`: its board tells how much work each seed has left, and its rule
says which seed a free worker joins. Which stage a worker claims is written down here again, as
`supreme_trainer.seed.run` and `cell_run` do it: one scenario after the other, its references, then
its methods, the longest first as far as the worker has seen any; before a method the importances
that it reads, each by itself. Who has joined a seed leaves it where nothing is ready.
"""

import argparse
import heapq
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from supreme_trainer.command.workers import SeedAtWork, worth_helping
from supreme_trainer.process.progress import Board

from supreme_core.plan import Step

PREPARING_SECONDS = 5.0
"""Time until torch is loaded, once for all trainers, and the dataset prepared."""

START_SECONDS = 0.4
"""Time from the fork of a trainer to its first stage."""

TRAINING = 9.9
METHODS = {
    "finetune": 8.3,
    "bad_teacher": 1.2,
    "random_labels": 5.1,
    "unsir": 8.1,
    "ssd": 3.8,
    "lfssd": 3.7,
    "assd": 3.8,
    "scrub": 22.1,
    "jit": 0.6,
    "neg_grad": 1.0,
    "neg_grad_plus": 17.8,
    "successive_random_labels": 16.7,
}
"""Median seconds of docs/all-methods.md, for one core."""

IMPORTANCES = {"ssd": "squared_loss", "assd": "squared_loss", "lfssd": "absolute_output"}
"""Kind of importances that a method reads. What such a method takes is taken to be theirs."""

CELLS = ("full_class", "random_samples")


def seconds_of(step: Step) -> float:
    if step.stage == "importances":
        return next(METHODS[each] for each, kind in IMPORTANCES.items() if kind == step.metric)
    if step.stage == "unlearned":
        return 0.0 if step.method in IMPORTANCES else METHODS[step.method]
    return TRAINING


def importances_of(cell: str, method: str) -> list[Step]:
    """Importances that a method reads; both parts as one."""
    kind = IMPORTANCES.get(method)
    return [Step("importances", cell, "retain", metric=kind)] if kind else []


def steps_of_seed() -> list[Step]:
    """An original, and for each scenario Retrained, importances and twelve methods."""
    found = [Step("original")]
    for cell in CELLS:
        found.append(Step("retrained", cell, "retrained"))
        found += dict.fromkeys(each for name in METHODS for each in importances_of(cell, name))
        found += [Step("unlearned", cell, method) for method in METHODS]
    return found


@dataclass
class Seed:
    """done, held: steps that are done, and that a worker computes.  parked: the worker that waits
    for what others compute, as it is the seed's first."""

    steps: Sequence[Step]
    done: set[Step] = field(default_factory=set)
    held: set[Step] = field(default_factory=set)
    parked: list[int] = field(default_factory=list)

    def claim(self) -> Step | None:
        """The step that a worker finds to do, in the order of its walk."""
        return next(filter(self._is_open, self._walk()), None)

    def _is_open(self, step: Step) -> bool:
        return step not in self.done | self.held

    def _walk(self) -> Iterator[Step]:
        original, *_ = self.steps
        yield original
        for cell in CELLS:
            retrained = Step("retrained", cell, "retrained")
            yield retrained
            if {original, retrained} <= self.done:
                yield from self._methods(cell)

    def _methods(self, cell: str) -> Iterator[Step]:
        """Unknown ones first, in the experiment's order: a worker has seen those of this seed."""
        seen = {step.method for step in self.done if step.stage == "unlearned"}
        seconds = {name: METHODS[name] if name in seen else inf for name in METHODS}
        for name in sorted(METHODS, key=seconds.__getitem__, reverse=True):
            needed = importances_of(cell, name)
            yield from needed
            if self.done.issuperset(needed):
                yield Step("unlearned", cell, name)


class Worker(int):
    """A trainer that is played, by its number; a part of no team."""

    is_team = False


class Simulation:
    """Workers on so many seeds, on a clock of its own."""

    def __init__(self, *, workers: int, seeds: int) -> None:
        self.now, self.workers = PREPARING_SECONDS, workers
        self.seeds = {number: Seed(steps_of_seed()) for number in range(seeds)}
        self.board = Board(
            list(self.seeds),
            steps_of_seed(),
            parallel=workers,
            clock=lambda: self.now,
            is_shared=workers > 1,
        )
        self._free = [Worker(number) for number in range(workers)]
        self._waiting = list(self.seeds)
        self._at_work: dict[int, SeedAtWork] = {}
        self._firsts: dict[int, int] = {}
        self._events: list[tuple[float, int, int, int, Step | None]] = []
        self._order = itertools.count()

    def run(self) -> float:
        """Seconds until all is done."""
        self._start()
        while self._events:
            self.now, _, worker, number, step = heapq.heappop(self._events)
            seed = self.seeds[number]
            if step is None:
                self.board.apply(number, {"event": "environment"}, worker)
            else:
                seed.held.remove(step)
                seed.done.add(step)
                self._tell("stage-finished", number, worker, step)
                self._at_work[number].is_dry = False
            idle, seed.parked = [worker, *seed.parked], []
            if len(seed.done) == len(seed.steps):
                self._free += idle
                self._at_work.pop(number, None)
            else:
                for each in idle:
                    self._go_on(each, number)
            self._start()
        return self.now

    def _start(self) -> None:
        """Give free workers a seed of their own, or let them join one."""
        while self._free:
            if self._waiting:
                number = self._waiting.pop(0)
                self._at_work[number] = SeedAtWork()
                self._firsts[number] = self._free[0]
                self.board.begin(number)
            elif (number := worth_helping(self.board, self._at_work, self.workers)) is None:
                return
            worker = self._free.pop(0)
            self._at_work[number].trainers.append(worker)
            self._later(START_SECONDS, worker, number, None)

    def _go_on(self, worker: int, number: int) -> None:
        seed, at_work = self.seeds[number], self._at_work[number]
        if step := seed.claim():
            seed.held.add(step)
            self._tell("stage-started", number, worker, step)
            self._later(seconds_of(step), worker, number, step)
        elif worker == self._firsts[number]:
            seed.parked.append(worker)
        else:  # which another seed may need
            at_work.trainers.remove(worker)
            at_work.left += 1
            at_work.is_dry = True
            self._free.append(worker)

    def _later(self, seconds: float, worker: int, number: int, step: Step | None) -> None:
        event = self.now + seconds, next(self._order), worker, number, step
        heapq.heappush(self._events, event)

    def _tell(self, event: str, number: int, worker: int, step: Step) -> None:
        told = {"event": event, "status": "computed", "seconds": seconds_of(step), **vars(step)}
        self.board.apply(number, told, worker)


def simulate() -> None:
    print("workers  seeds  one worker, s  all, s  times")
    for workers, seeds in ((2, 1), (2, 4), (4, 10), (8, 10), (8, 20)):
        one = Simulation(workers=1, seeds=seeds).run()
        many = Simulation(workers=workers, seeds=seeds).run()
        print(f"{workers:7}  {seeds:5}  {one:13.0f}  {many:6.0f}  {one / many:5.2f}")


SPEC: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "scenarios": [
        {"name": "full_class", "params": {"classes": [3]}},
        {"name": "random_samples", "params": {"fraction": 0.1}},
    ],
    "methods": [
        {"name": name}
        for name in ("finetune", "ssd", "scrub", "bad_teacher", "random_labels", "unsir")
    ],
    "metrics": [{"name": "accuracy"}, {"name": "loss"}],
}


def measure(width: int, rounds: int) -> None:
    spec = {
        **SPEC,
        "model": {"name": "resnet18", "params": {"width": width}},
        "training": {"epochs": 6, "batchSize": 64, "microBatches": 2},
    }
    ways = {
        "1 worker": ["--workers", "1"],
        "2 workers": ["--workers", "2"],
        "2 ranks": ["--workers", "1", "--ranks", "2"],
    }
    cases = {
        "1 seed, 2 scenarios, 6 methods": {**spec, "seeds": {"start": 260, "count": 1}},
        "4 seeds, 3 trainings": {
            **spec,
            "seeds": {"start": 260, "count": 4},
            "methods": [{"name": "jit"}],
        },
    }
    for case, asked in cases.items():
        took: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, options in ways.items():
                took[way].append(_seconds(asked, options))
        least = median(took["1 worker"])
        print(case)
        for way, each in took.items():
            shown = " ".join(f"{seconds:.1f}" for seconds in each)
            print(f"  {way:10} {median(each):7.1f} s  {least / median(each):5.2f} times  ({shown})")


def _seconds(spec: dict[str, Any], options: Sequence[str]) -> float:
    """Wall time of a whole run in an empty store; with two ranks too all seeds come in turn."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "experiment.yaml")
        document = {
            "apiVersion": "supreme.dev/v1alpha1",
            "kind": "UnlearningExperiment",
            "metadata": {"name": "workers"},
            "spec": spec,
        }
        file.write_text(yaml.safe_dump(document))
        command = [sys.executable, "-m", "supreme_trainer.command.cli", "run", str(file)]
        command += ["--quiet", "--store", f"{folder}/store", "--device", "cpu", *options]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("simulate", "measure"))
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.what == "simulate":
        simulate()
    else:
        measure(options.width, options.rounds)
