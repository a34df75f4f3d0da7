"""`supreme run`: the operator's part on one machine. Starts a trainer for each seed, gathers.

The trainers do what pods do. They write to the store; this process only starts them (`workers`
says when), shows how far they are, stops them when asked to, and aggregates what they left.
"""

import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Any

from rich.console import Console
from supreme_trainer.command import machine, tuning
from supreme_trainer.command.replacing import changed_meanwhile, check_order, settle_order
from supreme_trainer.command.sentences import say
from supreme_trainer.command.workers import (
    Events,
    Places,
    SeedAtWork,
    SeedTrainer,
    Shift,
    stopped_in_the_end,
)
from supreme_trainer.process import launch
from supreme_trainer.process.progress import Board, display
from supreme_trainer.process.teams import ALONE, Teams
from supreme_trainer.process.warm import WarmServer

from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import RunResult, StageRecord
from supreme_core.api.summary import Summary
from supreme_core.errors import (
    EXIT_ERROR,
    EXIT_OK,
    EXIT_TEMPORARY,
    CorruptArtefact,
    SpecError,
    StoreUnavailable,
    StoreUnusable,
    number_of,
)
from supreme_core.plan import Step, step_of, steps
from supreme_core.registry import catalog
from supreme_core.scoring.run_scoring import read_cost
from supreme_core.store.artefacts import Artefacts, read_manifest
from supreme_core.store.results import ResultReader, is_finished, last_attempts
from supreme_core.store.storage import Storage
from supreme_core.store.trials import make_trials
from supreme_core.system import forkserver
from supreme_core.system.cores import cores
from supreme_core.system.variables import WORKERS_ON_DEVICE, of_ranks
from supreme_core.system.variables import gpus as gpus_of
from supreme_core.tuning.rounds import number_of_rounds
from supreme_core.tuning.selection import missing

PREPARING = "preparing the dataset (loading torch)"

NOT_REACHED = "not reached"
"""A stage that was not begun because its seed has failed or was given up."""


GIBIBYTE = 1024**3

MEASURED = ("originals", "retrained", "unlearned")
"""Kinds of stages that say what they took."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a run.

    ranks: processes that split each batch.  workers: how many trainers are at work at a time, None
    for what the machine has room for.  per_gpu: how many of them may share a GPU of NVIDIA.
    seeds: those of the experiment that are computed, None for all.  replace: whether results may go
    that a change of the experiment would lose.  retune: whether settings are chosen anew that were
    chosen before.  forms_teams: whether trainers with nothing else to do may go on with a training
    together.
    """

    device: str
    ranks: int
    workers: int | None
    endpoint: str | None
    region: str | None
    per_gpu: int = 1
    seeds: Sequence[int] | None = None
    replace: bool = False
    retune: bool = False
    forms_teams: bool = False


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
    check_sharing(options.per_gpu, options.device)
    check_store(storage)
    if options.retune and not order.tuning:
        say(console, "only an experiment with spec.tuning is tuned; --retune is not used here")
    earlier = tuning.chosen_before(storage, order, retune=options.retune) if order.tuning else None
    order = tuning.with_settings_of(order, earlier)
    results = ResultReader(storage)
    check_order(storage, order, results, replace=options.replace)
    with tempfile.TemporaryDirectory(prefix="supreme-") as folder:
        stages, tried = Counter[str](), 0
        if order.tuning and missing(order, earlier):
            say(console, tuning.trials_planned(order))
            part = TrialsAtWork(
                storage, options, console, Path(folder), whole=order, results=results
            )
            made = make_trials(storage, order, catalog.installed(), part.compute)
            tried, stages = part.seeds, part.stages
            if made.results is None:
                return RunOutcome(None, part.failures, part.exit_code, tried, stages)
            selection = tuning.choose(
                storage, order, made.results, made.trials, earlier, partial(say, console)
            )
            order = tuning.with_settings_of(order, selection)
        runner = Runner(order, storage, options, console, Path(folder), results=results)
        seeds = runner.compute()
        summary = None
        if computed := [*results.of(order)]:
            from supreme_core.publishing.publish import publish_newest

            artefacts = Artefacts(storage, Path(folder) / "cache")
            newest, summary = publish_newest(storage, artefacts, order.prefix, results)
            if change := changed_meanwhile(order, newest, computed):
                runner.failures.append(change)
                runner.exit_code = runner.exit_code or EXIT_ERROR
    stages += runner.stages
    return RunOutcome(summary, runner.failures, runner.exit_code, tried + len(seeds), stages)


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
    if ranks > 1 and options.per_gpu > 1:
        raise SpecError(
            f"--ranks is {ranks} and --per-gpu is {options.per_gpu}, and each rank needs a GPU of"
            " its own; use one of the two"
        )
    micro_batches = order.work.training.micro_batches
    if order.work.training.reduction == "tree" and micro_batches % ranks:
        numbers = [2**n for n in range(7)]
        fitting = [str(number) for number in numbers if number <= micro_batches]
        # No microBatches fits a number of ranks that is no power of two.
        larger = f", or microBatches of at least {ranks}" if ranks in numbers else ""
        raise SpecError(
            f"--ranks is {ranks}, which does not divide spec.training.microBatches"
            f" ({micro_batches}); use --ranks {' or '.join(fitting)}{larger}"
        )


def check_sharing(per_gpu: int, device: str) -> None:
    """SpecError where trainers are to share GPUs and the device is known to be none of NVIDIA."""
    if per_gpu > 1 and device in ("cpu", "mps"):
        raise SpecError(
            f"--per-gpu is {per_gpu}, and trainers share GPUs of NVIDIA; the device is {device},"
            f" so use --workers {per_gpu} instead"
        )


def check_store(storage: Storage) -> None:
    """Refuse a store that cannot be used before anything is started; the user can mend that."""
    try:
        storage.check()
    except StoreUnavailable as error:
        raise StoreUnusable(str(error)) from None


def import_the_rest() -> None:
    """Import what a run needs in the end, which takes seconds, while the server loads torch."""
    import_module("supreme_core.publishing.publish")
    import_module("supreme_trainer.command.screen")


class Runner:
    """The trainers of one run.

    whole: the order of the experiment, where `order` is a part of it; None where it is all.
    results: reader that knows some already.
    """

    def __init__(
        self,
        order: ExperimentOrder,
        storage: Storage,
        options: Options,
        console: Console,
        folder: Path,
        *,
        whole: ExperimentOrder | None = None,
        results: ResultReader | None = None,
    ) -> None:
        self.order, self.storage, self.options = order, storage, options
        self.whole = whole or order
        self.console, self.folder = console, folder
        self.results = results or ResultReader(storage)
        self.exit_code = EXIT_OK
        self.failures: list[str] = []
        self.stages: Counter[str] = Counter()
        self._prepared_stages: dict[Step, launch.Event] = {}
        self.prepared: dict[str, dict[str, Any]] = {}
        self._events: Events = Queue()
        self._before: Mapping[int, RunResult] = {}
        self._server: WarmServer | None = None

    def compute(self) -> Sequence[int]:
        """Run a trainer for each seed that has no complete result yet; gives these seeds."""
        seeds = self._unfinished()
        if not seeds:
            self._settle()
            return seeds
        plan = steps(self.order.work, self.order.excluded, catalog.installed())
        with stopping_on_signals() as stop_if_told, self._warm_server() as self._server:
            import_the_rest()
            stop_if_told()
            device, count = self.prepare(seeds[0])
            gpus = gpus_of(count, os.environ) if device == "cuda" else ()
            workers = self._workers(device, gpus)
            self._settle()
            # Ranks split each batch of a seed; single processes share out the stages of a seed.
            shares = self.options.ranks == 1 and workers > 1
            workers = workers if shares else self._at_most(len(seeds), workers)
            board = Board(seeds, plan, parallel=workers, is_shared=shares)
            self._run_all(seeds, board, gpus=gpus)
            self.stages = board.ended + Counter({NOT_REACHED: board.total - board.done})
        return seeds

    def _warm_server(self) -> AbstractContextManager[WarmServer | None]:
        """The server that forks the trainers; none where ranks need torchrun after preparing."""
        if self.options.ranks > 1 or not forkserver.is_possible():
            return nullcontext()
        return closing(WarmServer(self.folder / "server.log"))

    def _unfinished(self) -> list[int]:
        """Seeds without a result for this work, or whose result leaves something to do."""
        results = self._before = self.results.of(self.order)
        return [
            seed
            for seed in self._asked()
            if seed not in results or not is_finished(results[seed], self.order)
        ]

    def _asked(self) -> Sequence[int]:
        """Seeds of the order that are asked for; of tuning all of them."""
        chosen = self.options.seeds if self.order is self.whole else None
        return chosen or self.order.seeds

    def _settle(self) -> None:
        """Write the order where the store does not have it; what goes for it is always said."""
        loud = Console()
        replace = self.options.replace
        for line in settle_order(self.storage, self.whole, self.results, replace=replace):
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
        check_sharing(self.options.per_gpu, device)
        if device == "cpu":
            return asked or self._within_memory(max(1, cores() // ranks))
        if device == "mps":  # a Mac has one GPU, which several processes may use
            return asked or 1
        fits = len(gpus) * self.options.per_gpu // ranks
        found = f"{number_of(len(gpus), 'GPU')} ({', '.join(gpus)})"
        if not fits:
            raise SpecError(f"--ranks is {ranks}, and each needs a GPU of its own; found {found}")
        if asked and asked > fits:
            raise SpecError(
                f"--workers is {asked}; found {found}, which have room for {fits} at a time,"
                f" with --ranks {ranks} and --per-gpu {self.options.per_gpu}"
            )
        return asked or fits

    def _at_most(self, seeds: int, workers: int) -> int:
        """Number of these trainers that have a seed, where each takes a whole one."""
        asked, ranks = self.options.workers, self.options.ranks
        if asked and asked > seeds:
            each = f"with --ranks {ranks} each takes a whole seed"
            say(self.console, f"{number_of(seeds, 'worker')} at a time: {each}")
        return min(seeds, workers)

    def _within_memory(self, workers: int) -> int:
        """Number of these trainers for which free memory has room, by what stages of a seed that is
        there have taken on a CPU."""
        free = machine.free_memory()
        result = next(iter(self._before.values()), None)
        if workers == 1 or free is None or result is None:
            return workers
        peak = max(map(self._peak, result.stages), default=0) * self.options.ranks
        fits = max(1, free // peak) if peak else workers
        if fits < workers:
            room = f"{free / GIBIBYTE:.1f} GiB are free, and one takes {peak / GIBIBYTE:.1f}"
            say(self.console, f"{number_of(fits, 'worker')} at a time: {room}")
        return min(workers, fits)

    def _peak(self, stage: StageRecord) -> int:
        """Most bytes of a process that computed a stage on a CPU; 0 where that is not known."""
        if stage.stage not in MEASURED:
            return 0
        try:
            manifest = read_manifest(self.storage, stage.stage, stage.key)
            is_of_cpu = manifest and manifest.environment.get("device") == "cpu"
            return read_cost(manifest.facts).peak_memory_bytes if manifest and is_of_cpu else 0
        except CorruptArtefact:
            return 0  # whoever needs the stage says so

    def _run_all(self, seeds: Sequence[int], board: Board, *, gpus: Sequence[str]) -> None:
        """gpus: names of those that the trainers share out; none for a CPU."""
        last = last_attempts(self.storage, self.order)
        ranks, per_gpu = self.options.ranks, self.options.per_gpu
        devices = len(gpus) // ranks

        def start(
            seed: int, taken: Sequence[int], of_seed: SeedAtWork, is_team: bool
        ) -> SeedTrainer:
            last[seed] += not of_seed.started
            used = {place % devices: None for place in taken} if devices else {}
            crew = []
            if board.is_shared:
                took = self.folder / f"took-{seed}-{of_seed.started}.json"
                took.write_text(json.dumps(board.took))
                crew = ["--crew", of_seed.name, "--took", str(took)]
            return self._start(
                seed,
                attempt=last[seed],
                ranks=len(taken) if is_team else ranks,
                gpus=[gpu for each in used for gpu in gpus[each * ranks : (each + 1) * ranks]],
                places=taken,
                beside=-(-board.parallel // (devices or 1)),
                number=of_seed.started,
                options=[*crew, *(["--team"] if is_team else [])],
                is_team=is_team,
                may_leave=is_team or any(not each.may_leave for each in of_seed.trainers),
            )

        shift = Shift(
            seeds,
            board=board,
            places=Places(devices * per_gpu or board.parallel, devices=devices or 1),
            start=start,
            events=self._events,
            as_prepared=self._as_prepared,
            storage=self.storage,
            console=self.console,
            screen=display(self.console, board),
            asked=self.options.workers,
            teams=self._teams(board, devices),
        )
        try:
            shift.work()
        finally:
            self.failures += shift.failures
            self.exit_code = self.exit_code or shift.exit_code

    def _teams(self, board: Board, devices: int) -> Teams:
        """Teams of trainers that share out stages."""
        forms_teams = self.options.forms_teams and board.is_shared and self.options.device != "mps"
        processes = min(board.parallel, devices or board.parallel) if forms_teams else ALONE
        return Teams(processes, self.order.work.training.micro_batches)

    def _start(
        self,
        seed: int,
        *,
        attempt: int,
        ranks: int,
        gpus: Sequence[str],
        places: Sequence[int] = (0,),
        beside: int = 1,
        number: int = 0,
        options: Sequence[str] = (),
        is_team: bool = False,
        may_leave: bool = False,
    ) -> SeedTrainer:
        """beside: how many trainers use these GPUs."""
        order = self.order.shared(
            store=self.storage.uri, endpoint=self.options.endpoint, region=self.options.region
        ).of_seed(seed, attempt=attempt)
        # A file of its own: another trainer of the seed may be reading.
        path = self.folder / f"order-{seed}-{number}.json"
        path.write_text(json.dumps(order.to_document()))
        environment = {
            **of_ranks(os.environ, gpus),
            WORKERS_ON_DEVICE: str(beside),
        }
        # The first goes on below what was said while preparing.
        log = self.folder / (f"run-{seed}-{number}.log" if number else f"run-{seed}.log")
        with log.open("ab") as stream:
            started = launch.start(
                path,
                *("--device", self.options.device, *options, *(["--leave"] if may_leave else [])),
                torchrun=launch.on_this_machine(ranks) if ranks > 1 else (),
                log=stream,
                environment=environment,
                server=self._server,
            )
        trainer = SeedTrainer(
            process=started,
            ranks=ranks,
            is_torchrun=ranks > 1,
            log=log,
            order=order,
            places=places,
            is_team=is_team,
            may_leave=may_leave,
        )
        trainer.start_listening(self._events)
        return trainer


@dataclass
class TrialsAtWork:
    """The trainers of the tuning seeds, of one round after the other.

    seeds: how many were not finished before, in all rounds.
    """

    storage: Storage
    options: Options
    console: Console
    folder: Path
    whole: ExperimentOrder
    results: ResultReader
    seeds: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    failures: Sequence[str] = ()
    exit_code: int = EXIT_OK

    def compute(self, number: int, order: ExperimentOrder) -> Mapping[int, RunResult] | None:
        """Compute a round; None where a seed has failed or a machine has lost a trial."""
        assert self.whole.tuning is not None
        if (rounds := number_of_rounds(self.whole.tuning)) > 1:
            say(self.console, f"round {number} of {rounds}")
        runner = Runner(
            order,
            self.storage,
            self.options,
            self.console,
            self.folder,
            whole=self.whole,
            results=self.results,
        )
        self.seeds += len(runner.compute())
        self.stages += runner.stages
        found = runner.results.of(order)
        self.failures = runner.failures or tuning.lost(found)
        self.exit_code = runner.exit_code or (EXIT_TEMPORARY if self.failures else EXIT_OK)
        return None if self.failures else found


class Stopped(SystemExit):
    """The user (130) or the system (143) asked this process to stop."""


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], None]]:
    """SIGINT and SIGTERM raise Stopped in the main thread while the block runs.

    Gives a function that raises it again, for after foreign code that may have swallowed it.
    """
    told: list[int] = []

    def stop(number: int, frame: object) -> None:
        told.append(number)
        raise Stopped(128 + number)

    def stop_if_told() -> None:
        if told:
            raise Stopped(128 + told[-1])

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop_if_told
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
