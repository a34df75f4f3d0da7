"""A pod: completes the order that all seeds share, runs its trainer, says how that ended.

    python -m supreme_trainer.pod --seed 260 --attempt 0

| what                | where                                                           |
| ------------------- | --------------------------------------------------------------- |
| the log of trainers | standard error while they work; in the end run.log in the store, |
|                     | where lines of `supreme_trainer.process.journal` say which stage was when |
| how far they are    | standard output; progress.json in the store; /metrics           |
| how it ended        | the termination message; the exit code                          |

PET_* variables ask for several processes, on one machine or on several of which each has such a
pod. Where the order says that they share out stages, each is started alone, and they meet in the
store; else torchrun starts them as ranks. This process, the first of its container, imports no
torch, unless a package or SUPREME_PLUGINS brings components. It passes SIGTERM on, so that a
training leaves a checkpoint, and takes in orphans.
"""

import argparse
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console
from supreme_trainer.process import journal
from supreme_trainer.process.exporter import export
from supreme_trainer.process.launch import (
    TORCHRUN,
    Event,
    Listening,
    Trainer,
    on_this_machine,
    start,
)
from supreme_trainer.process.progress import Board, LineDisplay
from supreme_trainer.process.teams import ALONE, Plan, Teams

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import RunOrder, SharedOrder
from supreme_core.api.records import Progress, Termination
from supreme_core.errors import EXIT_ERROR, SpecError, SupremeError, one_line
from supreme_core.plan import exclusions, steps
from supreme_core.registry import catalog, plugins
from supreme_core.store.opening import open_storage
from supreme_core.store.results import RESULT_BYTES
from supreme_core.store.storage import Storage
from supreme_core.system.ending import as_told
from supreme_core.system.files import read_file
from supreme_core.system.variables import WORKERS_ON_DEVICE, gpus, of_ranks, of_torchrun

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 10.0
"""Time between two writes of progress.json."""

LAST_SECONDS = 20.0
"""Time for the last progress and the log, after the work; a store that is away costs no more.
Together with the end of the trainer it has to fit into the pod's grace period."""

MEETING_SECONDS = 1800
"""Machines wait for one another so long: one of them may have to pull the image first."""

CREW = "pods"
"""Name of all processes of an attempt, which are those of one child."""

MESSAGE_BYTES = 3000
"""Longest reason, so that its JSON is well below the 4096 bytes that Kubernetes keeps."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=journal.FORMAT)
    stop = Stop()
    with tempfile.TemporaryDirectory(prefix="supreme-", ignore_cleanup_errors=True) as folder:
        try:
            plugins.load(plugins.named_in(os.environ))
            order = read_order(options.order).of_seed(options.seed, attempt=options.attempt)
            return _compute(order, options, stop, Path(folder))
        except (SupremeError, OSError) as error:
            told = as_told(error) or error
            log.error("%s", told)
            _leave(options.termination, Termination(message=_short(str(told))))
            return error.exit_code if isinstance(error, SupremeError) else EXIT_ERROR


def read_order(path: Path) -> SharedOrder:
    """The order of a file; SpecError where it is no order."""
    try:
        data = read_file(path, limit=RESULT_BYTES)
    except OSError as error:
        raise SpecError(f"cannot read the order {path}: {error.strerror}") from None
    return parse_json(SharedOrder, data, source=str(path))


@dataclass(frozen=True)
class Launch:
    """Start of the processes of this machine.

    ranks: of each trainer.  torchrun: its command line, empty for none.  workers: trainers that
    share out stages.  machines: how many have such processes.  is_crew: whether there are such ones
    at all, which take stages of other seeds too.
    """

    ranks: int
    torchrun: Sequence[str] = ()
    workers: int = 1
    machines: int = 1
    is_crew: bool = False

    @classmethod
    def told_by(cls, environment: Mapping[str, str], *, shares_stages: bool = False) -> "Launch":
        """Launch that PET_* variables ask for; torchrun reads the rest of them itself.
        SpecError."""
        nodes = _number(environment, "PET_NNODES")
        ranks = _number(environment, "PET_NPROC_PER_NODE")
        if shares_stages:
            return cls(1, workers=ranks, machines=nodes, is_crew=True)
        if nodes == ranks == 1:
            return cls(ranks)
        if nodes == 1:
            return cls(ranks, TORCHRUN)
        meeting = f"join_timeout={MEETING_SECONDS},read_timeout={MEETING_SECONDS}"
        index = environment.get("JOB_COMPLETION_INDEX")
        if index is not None:
            # torchrun looks for its own name and address in the end point, which DNS may not know
            # yet; two machines that both think they are not the host wait for ever.
            meeting += f",is_host={int(index == '0')}"
        return cls(ranks, (*TORCHRUN, f"--rdzv-conf={meeting}"))


def _number(environment: Mapping[str, str], name: str) -> int:
    """Number of a variable, 1 where it is not given. An elastic PyTorchJob writes `2:2`, of which
    this is the lower."""
    text = environment.get(name, "1").partition(":")[0]
    if not text.isdecimal() or int(text) == 0:
        raise SpecError(f"{name} is {environment[name]!r}; it should be a number above 0")
    return int(text)


class Stop:
    """SIGTERM, or Ctrl-C, is passed on once: to the trainers, as soon as there are any."""

    def __init__(self) -> None:
        self._is_requested = False
        self._trainers: Sequence[Trainer] = ()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    @property
    def is_requested(self) -> bool:
        return self._is_requested

    def pass_on_to(self, trainers: Sequence[Trainer]) -> None:
        """trainers: those of now, among which there may be others later, who call this again."""
        self._trainers = trainers
        if self._is_requested:
            self._stop()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self._is_requested:
            self._is_requested = True
            self._stop()

    def _stop(self) -> None:
        for trainer in self._trainers:
            trainer.stop()


def _compute(order: RunOrder, options: argparse.Namespace, stop: Stop, folder: Path) -> int:
    launch = Launch.told_by(os.environ, shares_stages=order.shares_stages)
    storage = open_storage(order.store, endpoint=order.endpoint, region=order.region)
    known = catalog.installed()
    plan = steps(order.work, exclusions(order.work, known), known)
    board = Board([order.seed], plan, parallel=launch.workers, is_shared=launch.is_crew)
    screen = LineDisplay(Console(), board)
    export(order, board, os.environ)
    uploader = Uploader(storage, order, board)
    trainers = Trainers(order, launch, options.device, folder, board, stop)
    screen.begin(order.seed)
    for trainer, event in trainers.events():
        screen.update(order.seed, event, board.apply(order.seed, event, trainer.place))
        uploader.tell()
    told = trainers.that_counts()
    screen.end(order.seed, "failed" if told.failure else "done")
    for trainer in trainers.judged:
        if trainer.failure:
            log.error("%s; the exit code is %d", trainer.failure, trainer.exit_code)
    _leave(options.termination, _termination(told))
    uploader.close([trainer.log for trainer in trainers.all], machine=_machine(told, launch))
    return told.exit_code


class Trainers:
    """The trainers of this machine, from the first to the last.

    all: in the order of their start.  judged: those whose end counts, as nobody goes on for them.
    """

    def __init__(
        self,
        order: RunOrder,
        launch: Launch,
        device: str,
        folder: Path,
        board: Board,
        stop: Stop,
    ) -> None:
        self._order, self._launch, self._device = order, launch, device
        self._folder, self._board, self._stop = folder, board, stop
        self.all: list[Trainer] = []
        self.judged: list[Trainer] = []
        self._at_work: list[Trainer] = []
        self._free: list[int] = []
        self._listening = Listening()
        self._teams = _teams(order, launch)

    def events(self) -> Iterator[tuple[Trainer, Event]]:
        """Each event of a trainer, until all have ended."""
        try:
            self._start_single(range(self._launch.workers))
            for trainer, event in self._listening.events():
                if event is None:
                    self._ended(trainer)
                    continue
                yield trainer, event
                if not self._stop.is_requested:
                    at_work = [(self._order.seed, each) for each in self._at_work]
                    self._teams.make_way(self._board, at_work)
        finally:
            for trainer in self._at_work:
                trainer.kill()  # nothing is left of it unless this process has a bug

    def that_counts(self) -> Trainer:
        """The trainer by which the pod is judged: one that has the seed's result, else the
        worst."""
        return min(self.judged, key=lambda each: (bool(each.failure), each.is_lost))

    def _start_single(self, places: Iterable[int]) -> None:
        for place in places:
            self._start([place])

    def _start(self, places: Sequence[int], *, is_team: bool = False) -> Trainer:
        # Until it is known as a trainer, nobody may collect it in its starter's place.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        trainer = _start(
            self._order,
            self._launch,
            self._device,
            self._folder / str(len(self.all)),
            places,
            is_team=is_team,
        )
        self.all.append(trainer)
        self._at_work.append(trainer)
        _take_in_orphans(self._at_work)
        self._stop.pass_on_to(self._at_work)
        self._listening.to(trainer)
        return trainer

    def _ended(self, trainer: Trainer) -> None:
        self._at_work.remove(trainer)
        self._board.leave(self._order.seed, trainer.place)
        if self._is_replaced(trainer):
            self._free += trainer.places
        else:
            self.judged.append(trainer)
        self._teams.learn_from(trainer, self._order.seed)
        if trainer.has_failed_for_good and not trainer.is_team:  # as the others would too
            for other in self._at_work:
                other.stop()
        if not self._at_work and (plan := self._teams.take_planned()):
            self._form_teams(plan)
        elif not self._teams.planned:
            self._fill()

    def _is_replaced(self, trainer: Trainer) -> bool:
        """Return whether another one goes on for a trainer that has ended."""
        if trainer.is_team and not trainer.failure:
            return True  # also in a pod that stops, where its end says nothing of the seed
        if self._stop.is_requested:
            return False
        if trainer.is_team:  # what fails without a team too, the next one will tell
            log.warning("%s; single processes go on", trainer.failure)
        return trainer.is_team or trainer.has_made_way

    def _form_teams(self, plan: Plan) -> None:
        """Start the teams, now that all trainers have stopped, and single ones where a training was
        finished meanwhile. Places that are left wait for the end of a team, lest what it goes on
        with is taken before it starts."""
        seed = self._order.seed
        for _, step in plan.trainings:
            has_room = len(self._free) >= plan.size and not self.judged
            if has_room and self._board.is_left(seed, step):
                places, self._free = self._free[: plan.size], self._free[plan.size :]
                self._board.begin_team(seed, places[0], plan.size)
                log.info("%d processes go on with %s together", plan.size, step.title)
                self._start(places, is_team=True)
        if not self._at_work:
            self._fill()

    def _fill(self) -> None:
        """Start a single trainer at each free place, unless the seed is done or has failed."""
        places, self._free = self._free, []
        if not self._is_over:
            self._start_single(sorted(places))

    @property
    def _is_over(self) -> bool:
        return any(not each.failure or each.has_failed_for_good for each in self.judged)


def _teams(order: RunOrder, launch: Launch) -> Teams:
    """Teams of the trainers of this machine."""
    processes = launch.workers if order.forms_teams and launch.is_crew else ALONE
    return Teams(processes, order.work.training.micro_batches)


def _machine(trainer: Trainer, launch: Launch) -> str:
    """Name of this machine in the name of its log; "" where it has the one to be looked for."""
    is_first = trainer.has_main
    if launch.is_crew and launch.machines > 1:
        index = os.environ.get("JOB_COMPLETION_INDEX")  # which a PyTorchJob does not tell
        is_first = (index or socket.gethostname().rpartition("-")[2]) == "0"
    return "" if is_first else socket.gethostname()


def _start(
    order: RunOrder,
    launch: Launch,
    device: str,
    folder: Path,
    places: Sequence[int],
    *,
    is_team: bool,
) -> Trainer:
    """places: of the trainer on this machine, which takes the GPUs of these numbers."""
    folder.mkdir()
    path, text = folder / "order.json", folder / "run.log"
    path.write_text(json.dumps(order.to_document()))
    reader, writer = os.pipe()
    copier = threading.Thread(target=_copy, args=(reader, text), daemon=True)
    copier.start()
    options = ["--device", device, *(["--crew", CREW] if launch.is_crew else [])]
    environment = {WORKERS_ON_DEVICE: str(launch.workers)}
    ranks, torchrun = launch.ranks, launch.torchrun
    if is_team:
        options += ["--team"]
        ranks, torchrun = len(places), on_this_machine(len(places))
        known = gpus(launch.workers, os.environ)
        own = [gpu for place, gpu in enumerate(known) if place in places]
        environment |= of_ranks(os.environ, own)
    elif launch.is_crew:
        options += ["--others"]
        (place,) = places
        environment |= {"LOCAL_RANK": str(place)} if launch.workers > 1 else {}
    elif torchrun:
        environment |= of_torchrun(os.environ)
    with open(writer, "wb", buffering=0) as stream:
        started = start(path, *options, torchrun=torchrun, log=stream, environment=environment)
    return Trainer(
        process=started,
        ranks=ranks,
        is_torchrun=bool(torchrun),
        log=text,
        places=places,
        is_team=is_team,
        copier=copier,
    )


def _copy(reader: int, path: Path) -> None:
    """Copy to a file and to standard error, until nobody can write any more."""
    with open(reader, "rb", buffering=0) as source, path.open("ab", buffering=0) as file:
        while data := source.read(65536):
            for target in (file, sys.stderr.buffer):
                with suppress(OSError):  # a full disk or a closed stream must not block trainers
                    target.write(data)
                    target.flush()


def _take_in_orphans(trainers: Sequence[Trainer]) -> None:
    """The first process of a container inherits children whose parents have ended.

    trainers: those of now, among which there may be others later.
    """

    def reap(number: int, frame: FrameType | None) -> None:
        """Collect who has ended, but for trainers, which are waited for; one that nobody has waited
        for yet hides what comes after it until the next signal."""
        with suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if found.si_pid in {trainer.process.pid for trainer in trainers}:
                    return
                os.waitpid(found.si_pid, 0)

    signal.signal(signal.SIGCHLD, reap)


class Uploader:
    """Uploads progress.json, and in the end the log, to the store.

    In a thread of its own, the newest progress only, and never more than a warning: a store that is
    away must not disturb the training.
    """

    def __init__(
        self, storage: Storage, order: RunOrder, board: Board, *, seconds: float = PROGRESS_SECONDS
    ) -> None:
        self._storage, self._order, self._board, self._seconds = storage, order, board, seconds
        self._written: tuple[int, str] | None = None
        self._log: Callable[[], None] = lambda: None
        self._news, self._is_closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self) -> None:
        """Say that there may be progress."""
        self._news.set()

    def close(self, logs: Sequence[Path], *, machine: str) -> None:
        """Bring what is left and the logs in at most LAST_SECONDS.

        machine: its name, "" for the one whose log people look for.
        """
        key = names.log_key(self._order.prefix, machine)
        self._log = partial(journal.keep, self._storage, key, logs)
        self._is_closing.set()
        self._news.set()
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._upload(self._progress)
            self._news.wait()
            self._news.clear()
            self._is_closing.wait(self._seconds)
        self._upload(self._progress)
        self._upload(self._log)

    def _upload(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (SupremeError, OSError) as error:
            log.warning("the store does not get the progress or the log: %s", error)

    def _progress(self) -> None:
        state = self._board.seed(self._order.seed)
        running = state.first
        now = ", ".join(filter(None, (running.step.title, running.note))) if running else ""
        what = self._board.done, now
        if what == (self._written or (0, "")):
            return
        progress = Progress(
            seed=self._order.seed,
            attempt=self._order.attempt,
            done=self._board.done,
            total=self._board.total,
            now=now[:1024],
            updated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        key = names.progress_key(self._order.prefix)
        self._storage.write(key, json.dumps(progress.to_document()).encode())
        self._written = what


def _termination(trainer: Trainer) -> Termination:
    if trainer.failure:
        return Termination(message=_short(trainer.failure))
    if trainer.result is None:
        return Termination(message="the result is with the pod of rank 0")
    return Termination(result=trainer.result)


def _short(text: str) -> str:
    """One line, which is short in bytes too."""
    return one_line(text).encode()[:MESSAGE_BYTES].decode(errors="ignore")


def _leave(path: Path, termination: Termination) -> None:
    try:
        path.write_text(json.dumps(termination.to_document(), ensure_ascii=False))
    except OSError as error:
        log.warning("there is no termination message: %s: %s", path, error.strerror)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--order",
        type=Path,
        default=Path(names.ORDER_FOLDER, names.ORDER_FILE),
        help="the order that all seeds share, as JSON",
    )
    parser.add_argument(
        "--termination",
        type=Path,
        default=Path(names.TERMINATION_LOG),
        help="where the termination message goes",
    )
    return parser.parse_args(arguments)
