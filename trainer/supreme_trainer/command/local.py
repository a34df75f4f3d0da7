"""`supreme run`: the operator's part on one machine. Starts a trainer for each seed, gathers.

The trainers are the same processes that pods run. They write to the store; this process only
starts them, shows how far they are, stops them when asked to, and aggregates what they left.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from uuid import uuid4

from rich.console import Console
from supreme_trainer.command import machine
from supreme_trainer.command.replacing import changed_meanwhile, check_order, settle_order
from supreme_trainer.command.sentences import say
from supreme_trainer.process import launch
from supreme_trainer.process.progress import Board, Display, display

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder, RunOrder
from supreme_core.api.summary import Summary
from supreme_core.errors import (
    EXIT_ERROR,
    EXIT_INVALID,
    EXIT_OK,
    SpecError,
    StoreUnavailable,
    StoreUnusable,
    SupremeError,
    number_of,
)
from supreme_core.plan import Step, step_of, steps
from supreme_core.publishing.publish import publish_newest
from supreme_core.registry import catalog
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.results import Results, is_finished, last_attempts
from supreme_core.store.storage import MissingObject, Storage

PREPARING = "preparing the dataset (loading torch)"

NOT_REACHED = "not reached"
"""A stage that was not begun because its seed has failed or was given up."""

LEAST_START_UPS = 3.0
"""Work of a seed for which one more process is started, in times of such a start."""

GRACE_SECONDS = 20.0
"""Time between SIGTERM and SIGKILL for a trainer that is asked to stop."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a run.

    ranks: processes that split each batch.  workers: how many trainers are at work at a time, None
    for what the machine has room for.  seeds: those of the experiment that are computed, None for
    all.  replace: whether results may go that a change of the experiment would lose.
    """

    device: str
    ranks: int
    workers: int | None
    endpoint: str | None
    region: str | None
    seeds: Sequence[int] | None = None
    replace: bool = False


@dataclass(frozen=True)
class RunOutcome:
    """summary: None where no seed has a result.  exit_code: 0 only where every seed that was asked
    for has one.

    failures: a line for each seed that failed.  seeds: how many were not finished before.  stages:
    how those of the plan have ended that are theirs: computed, reused, failed or not reached.
    """

    summary: Summary | None
    failures: Sequence[str]
    exit_code: int
    seeds: int
    stages: Counter[str]


def run(order: ExperimentOrder, storage: Storage, options: Options, console: Console) -> RunOutcome:
    """Compute what is missing of an experiment and publish its summary."""
    check_ranks(order, options)
    check_store(storage)
    check_order(storage, order, replace=options.replace)
    with tempfile.TemporaryDirectory(prefix="supreme-") as folder:
        runner = Runner(order, storage, options, console, Path(folder))
        seeds = runner.compute()
        summary = None
        if computed := [*runner.results.of(order)]:
            artefacts = Artefacts(storage, Path(folder) / "cache")
            newest, summary = publish_newest(storage, artefacts, order.prefix, runner.results)
            if change := changed_meanwhile(order, newest, computed):
                runner.failures.append(change)
                runner.exit_code = runner.exit_code or EXIT_ERROR
    return RunOutcome(summary, runner.failures, runner.exit_code, len(seeds), runner.stages)


def counted(outcome: RunOutcome, options: Options) -> str:
    """Ends of the stages that `supreme validate` counts; those of finished seeds aside."""
    stages = outcome.stages
    if not outcome.seeds:
        which = "every seed" if options.seeds is None else "every seed of --seeds"
        return f"0 stages computed, {which} was finished"
    rest = [f"{stages[how]} {how}" for how in ("failed", NOT_REACHED) if stages[how]]
    found = f"{stages['reused']} found in the store"
    return ", ".join([number_of(stages["computed"], "stage") + " computed", found, *rest])


def prepare(
    order: ExperimentOrder,
    storage: Storage,
    options: Options,
    console: Console,
    *,
    source: str,
    weights: str,
) -> dict[str, dict[str, Any]]:
    """Have the dataset of an experiment, and what its model starts from, in the store.

    source: the folder that holds the dataset's files, or "" for where the experiment says they are.
    weights: a file of the pretrained weights, or "" for a download.
    Gives what the trainer told of `dataset`, and of `weights` where the model starts from such.
    """
    check_store(storage)
    with tempfile.TemporaryDirectory(prefix="supreme-") as folder, stopping_on_signals():
        runner = Runner(order, storage, options, console, Path(folder))
        runner.prepare(order.seeds[0], source=source, weights=weights)
    return runner.prepared


def check_ranks(order: ExperimentOrder, options: Options) -> None:
    ranks = options.ranks
    if options.device == "mps" and ranks > 1:
        raise SpecError(
            f"--ranks is {ranks}, and ranks cannot share a GPU of Apple (mps); use --ranks 1, or"
            " --device cpu"
        )
    micro_batches = order.work.training.micro_batches
    if order.work.training.reduction == "tree" and micro_batches % ranks:
        fitting = [str(n) for n in (1, 2, 4, 8, 16, 32, 64) if n <= micro_batches]
        raise SpecError(
            f"--ranks is {ranks}, which does not divide spec.training.microBatches"
            f" ({micro_batches}); use --ranks {' or '.join(fitting)}, or other microBatches"
        )


def check_store(storage: Storage) -> None:
    """Refuse a store that cannot be used before anything is started; the user can mend that."""
    try:
        storage.check()
    except StoreUnavailable as error:
        raise StoreUnusable(str(error)) from None


class Runner:
    """The trainers of one run."""

    def __init__(
        self,
        order: ExperimentOrder,
        storage: Storage,
        options: Options,
        console: Console,
        folder: Path,
    ) -> None:
        self.order, self.storage, self.options = order, storage, options
        self.console, self.folder = console, folder
        self.results = Results(storage)
        self.exit_code = EXIT_OK
        self.failures: list[str] = []
        self.stages: Counter[str] = Counter()
        self._prepared_stages: dict[Step, launch.Event] = {}
        self.prepared: dict[str, dict[str, Any]] = {}
        self._events: Queue[tuple[SeedTrainer, launch.Heard]] = Queue()

    def compute(self) -> Sequence[int]:
        """Run a trainer for each seed that has no complete result yet; gives these seeds."""
        seeds = self._unfinished()
        if not seeds:
            self._settle()
            return seeds
        plan = steps(self.order.work, self.order.excluded, catalog.installed())
        with stopping_on_signals():
            device, count = self.prepare(seeds[0])
            gpus = machine.gpus(count, os.environ) if device == "cuda" else ()
            workers = self._workers(device, gpus)
            self._settle()
            # Ranks split each batch of a seed; single processes share out the stages of a seed.
            shares = self.options.ranks == 1 and workers > 1
            workers = workers if shares else min(len(seeds), workers)
            board = Board(seeds, plan, parallel=workers, is_shared=shares)
            self._run_all(seeds, board, gpus=gpus)
            self.stages = board.ended + Counter({NOT_REACHED: board.total - board.done})
        return seeds

    def _unfinished(self) -> list[int]:
        """Seeds without a result for this work, or whose result leaves something to do."""
        results = self.results.of(self.order)
        return [
            seed
            for seed in self.options.seeds or self.order.seeds
            if seed not in results or not is_finished(results[seed], self.order)
        ]

    def _settle(self) -> None:
        """Write the order where the store does not have it; what goes for it is always said."""
        loud = Console()
        for line in settle_order(self.storage, self.order, replace=self.options.replace):
            loud.print(line, markup=False, highlight=False, soft_wrap=True)

    def prepare(self, seed: int, *, source: str = "", weights: str = "") -> tuple[str, int]:
        """Stage zero in a process of its own; SpecError where data, model or a split cannot be.

        Gives the kind of device that the process has found, and how many there are.
        """
        say(self.console, PREPARING)
        given = {"--source": source, "--weights": weights}
        files = [word for option, path in given.items() if path for word in (option, path)]
        trainer = self._start(seed, attempt=0, ranks=1, gpus=(), options=["--prepare", *files])
        device = ("cpu", 0)
        with stopped_in_the_end([trainer]):
            for event in trainer.wait_for_events(self._events):
                if event["event"] == "device":
                    device = event["kind"], event["count"]
                elif event["event"] == "note":
                    say(self.console, event["message"])
                elif event["event"] in ("dataset", "weights"):
                    self.prepared[event["event"]] = event
                elif event["event"] == "stage-finished" and event["status"] == "computed":
                    self._prepared_stages[step_of(event)] = event
        if trainer.failure:
            raise trainer.failure_as_error()
        return device

    def _as_prepared(self, event: launch.Event) -> launch.Event:
        """The first seed that finds what was computed for it while preparing has computed it."""
        if event["event"] == "stage-finished" and event["status"] == "reused":
            return self._prepared_stages.pop(step_of(event), event)
        return event

    def _workers(self, device: str, gpus: Sequence[str]) -> int:
        """Trainers at a time; SpecError where there are too few GPUs for what was asked for."""
        ranks, asked = self.options.ranks, self.options.workers
        if device != "cuda":  # a Mac has one GPU, which several processes may use
            return asked or max(1, (machine.cores() if device == "cpu" else 1) // ranks)
        fits = len(gpus) // ranks
        found = f"{number_of(len(gpus), 'GPU')} ({', '.join(gpus)})"
        if not fits:
            raise SpecError(f"--ranks is {ranks}, and each needs a GPU of its own; found {found}")
        if asked and asked > fits:
            raise SpecError(
                f"--workers is {asked}; found {found}, which have room for {fits} at a time,"
                f" with --ranks {ranks}"
            )
        return asked or fits

    def _run_all(self, seeds: Sequence[int], board: Board, *, gpus: Sequence[str]) -> None:
        """gpus: names of those that the trainers share out; none for a CPU."""
        last = last_attempts(self.storage, self.order)
        ranks = self.options.ranks
        places = Places(len(gpus) // ranks if gpus else board.parallel)
        waiting, at_work, running = list(seeds), dict[int, SeedAtWork](), list[SeedTrainer]()
        screen = display(self.console, board)

        def start(seed: int, place: int) -> None:
            trainer = self._start(
                seed,
                attempt=last[seed],
                ranks=ranks,
                gpus=gpus[place * ranks : (place + 1) * ranks],
                place=place,
                number=at_work[seed].started,
                options=["--crew", at_work[seed].name] if board.is_shared else [],
            )
            running.append(trainer)
            at_work[seed].started += 1
            at_work[seed].trainers.append(trainer)

        try:
            with stopped_in_the_end(running):
                while waiting or at_work:
                    while len(running) < board.parallel and (found := places.take(waiting)):
                        seed, place = found
                        waiting.remove(seed)
                        last[seed] += 1
                        at_work[seed] = SeedAtWork()
                        start(seed, place)
                        board.begin(seed)
                        screen.begin(seed)
                    while len(running) < board.parallel and not waiting:
                        helped = worth_helping(board, at_work, self.options.workers)
                        if helped is None or not (found := places.take([helped])):
                            break
                        start(*found)
                    trainer, event = self._next_event()
                    seed = trainer.seed
                    if event is not None:
                        event = self._as_prepared(event)
                        finished = board.apply(seed, event, trainer.place)
                        if not at_work[seed].is_done:
                            screen.update(seed, event, finished)
                        continue
                    running.remove(trainer)
                    board.leave(seed, trainer.place)
                    places.give_back(trainer.place)
                    if trainer.is_fault and gpus:
                        places.avoid(trainer.place, seed)
                    self._ended(trainer, at_work[seed], screen)
                    if at_work[seed].trainers:
                        continue
                    ended = at_work.pop(seed)
                    if ended.has_fault:  # a fresh process goes on, elsewhere where it can
                        waiting.insert(0, seed)
                    elif not ended.is_done:
                        self._failed(ended.failures[0], screen)
                    if self.exit_code == EXIT_INVALID:
                        waiting.clear()  # the other seeds have the same mistake
        finally:
            screen.close()
            self._keep_logs(running)

    def _ended(self, trainer: "SeedTrainer", of_seed: "SeedAtWork", screen: Display) -> None:
        """A process of a seed has ended: with the seed's result, or without.

        One that failed for good, or by a fault of its device, ends the others of the seed. One that
        was lost leaves its work to them.
        """
        of_seed.trainers.remove(trainer)
        if trainer.failure:  # which a log that cannot be kept must not hide
            self._keep_logs([trainer])
        else:
            trainer.keep_log(self.storage)
        if of_seed.is_done or of_seed.has_fault:
            pass
        elif trainer.is_fault:
            of_seed.has_fault = True
            told = f"seed {trainer.seed}: {trainer.failure}; a fresh process goes on"
            say(self.console, told)
        elif trainer.failure:
            of_seed.failures.append(trainer)
            of_seed.failures.sort(key=lambda each: each.is_lost)
        else:
            of_seed.is_done = True
            screen.end(trainer.seed, "done")
        if of_seed.must_stop:
            for other in of_seed.trainers:
                other.stop()

    def _keep_logs(self, stopped: "Iterable[SeedTrainer]") -> None:
        """Keep the logs of trainers that were stopped, for which a store that is away is no error
        of its own."""
        for trainer in stopped:
            try:
                trainer.keep_log(self.storage)
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

    def _failed(self, trainer: "SeedTrainer", screen: Display) -> None:
        self.failures.append(f"seed {trainer.seed}: {trainer.failure}")
        self.exit_code = self.exit_code or trainer.exit_code
        screen.end(trainer.seed, "failed")

    def _start(
        self,
        seed: int,
        *,
        attempt: int,
        ranks: int,
        gpus: Sequence[str],
        place: int = 0,
        number: int = 0,
        options: Sequence[str] = (),
    ) -> "SeedTrainer":
        order = self.order.shared(
            store=self.storage.uri, endpoint=self.options.endpoint, region=self.options.region
        ).of_seed(seed, attempt=attempt)
        # A file of its own: another trainer of the seed may be reading.
        path = self.folder / f"order-{seed}-{number}.json"
        path.write_text(json.dumps(order.to_document()))
        torchrun = [*launch.ON_THIS_MACHINE, f"--nproc-per-node={ranks}"]
        environment = {
            **{name: os.environ.get(name, own) for name, own in machine.RANKS_MEET_AT.items()},
            **({machine.VISIBLE_GPUS: ",".join(gpus)} if gpus else {}),
        }
        # The first goes on below what was said while preparing.
        log = self.folder / (f"run-{seed}-{number}.log" if number else f"run-{seed}.log")
        with log.open("ab") as stream:
            started = launch.start(
                path,
                *("--device", self.options.device, *options),
                torchrun=torchrun if ranks > 1 else (),
                log=stream,
                environment=environment,
            )
        trainer = SeedTrainer(
            process=started, ranks=ranks, is_torchrun=ranks > 1, log=log, order=order, place=place
        )
        trainer.start_listening(self._events)
        return trainer


@dataclass(kw_only=True)
class SeedTrainer(launch.Trainer):
    """A trainer of one seed, at a place beside others, of this seed and of other ones."""

    order: RunOrder
    place: int
    _listener: threading.Thread | None = None

    @property
    def seed(self) -> int:
        return self.order.seed

    def start_listening(self, queue: "Queue[tuple[SeedTrainer, launch.Heard]]") -> None:
        self._listener = launch.listen(self, lambda heard: queue.put((self, heard)))

    def wait_for_events(
        self, events: "Queue[tuple[SeedTrainer, launch.Heard]]"
    ) -> Iterator[dict[str, Any]]:
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
        """Below what the same attempt said before it failed or was stopped: it goes on then."""
        if self._listener:
            self._listener.join(launch.LINGER_SECONDS)  # its last lines are the listener's
        key, whole = names.log_key(self.order.prefix), self.log.with_suffix(".whole")
        with whole.open("wb") as file:
            with suppress(MissingObject):
                file.writelines(storage.chunks(key))
            file.write(self.log.read_bytes())
        storage.upload(key, whole)


@dataclass
class SeedAtWork:
    """A seed with the trainers that share out its stages.

    name: tells these trainers from earlier ones of the same attempt.  started: how many there were
    so far.  failures: those that failed, what counts first.
    """

    name: str = field(default_factory=lambda: uuid4().hex[:8])
    started: int = 0
    trainers: list[SeedTrainer] = field(default_factory=list)
    failures: list[SeedTrainer] = field(default_factory=list)
    is_done: bool = False
    has_fault: bool = False

    @property
    def must_stop(self) -> bool:
        """True where what its other trainers do is in vain."""
        has_failed = any(not each.is_lost for each in self.failures)
        return not self.is_done and (self.has_fault or has_failed)

    @property
    def is_open(self) -> bool:
        """True where one more trainer could help. Where one was lost the next one may be too, such
        as for want of memory, and the one after it."""
        return not (self.is_done or self.has_fault or self.failures)


def worth_helping(
    board: Board, at_work: Mapping[int, SeedAtWork], asked: int | None = None
) -> int | None:
    """The seed that gains most by one more trainer; None where none is worth a start.

    asked: how many trainers the user wants; then they start before anything is known.
    """
    found: dict[int, float] = {}
    for seed, each in at_work.items():
        left = board.start_ups_left(seed) if board.is_shared and each.is_open else 0.0
        if left is None:
            left = LEAST_START_UPS * len(each.trainers) if asked else 0.0
        found[seed] = left / len(each.trainers)
    best = max(found, key=found.__getitem__, default=None)
    return best if best is not None and found[best] >= LEAST_START_UPS else None


class Places:
    """Places where seeds are computed side by side: on a GPU, or as many as there are ranks,
    each."""

    def __init__(self, count: int) -> None:
        self._count, self._free = count, list(range(count))
        self._avoided: dict[int, int] = {}

    def take(self, waiting: Iterable[int]) -> tuple[int, int] | None:
        """The first seed that fits into a place that is free, and the place; None for none.

        A seed waits for another place than the one it is to avoid, where there is another.
        """
        for seed in waiting:
            for place in self._free:
                if self._count == 1 or self._avoided.get(seed) != place:
                    self._free.remove(place)
                    return seed, place
        return None

    def give_back(self, place: int) -> None:
        insort(self._free, place)  # the first ones are used, so others are left to other people

    def avoid(self, place: int, seed: int) -> None:
        self._avoided[seed] = place


class Stopped(SystemExit):
    """The user (130) or the system (143) asked this process to stop."""


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped in the main thread while the block runs."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(128 + number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stopped_in_the_end(trainers: "Sequence[SeedTrainer] | Any") -> Iterator[None]:
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
