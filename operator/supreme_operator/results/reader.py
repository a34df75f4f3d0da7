"""Reads the results of experiments, at arm's length: what is in them was written by users' pods.

    verify    which of the claimed results are there, and are what they should be
    choose    settings by the trials of tuning seeds, and selection.json
    publish   summary.json, summary.csv and report.html from all of them
    progress  how far attempts are

All but `progress` leave the reading to processes of their own (`worker`, `processes`), each
with a bound on its memory and time, and believe of what those answer what a strict model lets
through.
"""

import asyncio
import logging
import os
import signal
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Final, Literal

from supreme_core.api.orders import ExperimentOrder
from supreme_core.errors import StoreUnavailable, StoreUnusable, SupremeError, one_line
from supreme_operator.results.location import AllowedEndpoints, Location
from supreme_operator.results.processes import LOG_BYTES, Workers, end_of, environment
from supreme_operator.results.progress import ProgressReader, Requested
from supreme_operator.results.protocol import (
    ANSWER,
    Answer,
    ChosenSettings,
    Claim,
    NextRound,
    Publication,
    Reading,
    Refusal,
    ResultCheck,
    Task,
    TaskKind,
)
from supreme_operator.results.turns import Turn, Turns, WaitLimits

log = logging.getLogger(__name__)

FROM_OUTSIDE: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""Signals that end a worker without its doing, such as on a node that is out of memory."""


class WorkerFailed(SupremeError):
    """A worker could not do its task, for a reason that is not the store's."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one worker: memory in all, and for each answer processor time and time.

    whole_seconds: for all answers together.  waits: see `Turns`.
    """

    memory_mebibytes: int
    cpu_seconds: int
    wall_seconds: float
    whole_seconds: float
    waits: WaitLimits


VERIFYING: Final = Limits(
    memory_mebibytes=768,
    cpu_seconds=30,
    wall_seconds=120,
    whole_seconds=600,
    waits=WaitLimits(others=5, own=10),
)
"""A sound result of the largest size that is read takes 400 MiB and 2 seconds. What a turn that
ends has judged is kept."""

PUBLISHING: Final = Limits(
    memory_mebibytes=2048,
    cpu_seconds=900,
    wall_seconds=1800,
    whole_seconds=1800,
    waits=WaitLimits(others=20, own=120),
)
"""Limits of a publication, or of a choice, of which nothing is kept where they end it."""


@dataclass
class Run:
    """Outcome of one worker.

    ending: why it did not do all of its task, "" where it did.  blame: what that can be due to,
    which is what it read, the time that it took, that its turn was over, or none of these.
    """

    answers: list[Answer] = field(default_factory=list)
    ending: str = ""
    blame: Literal["content", "time", "turn", "neither"] = "neither"

    @property
    def was_reading(self) -> bool:
        return bool(self.answers) and isinstance(self.answers[-1], Reading)


class Collector:
    """Made once, within the event loop that uses it.

    allowed_endpoints: see `AllowedEndpoints`.  workers: processes at one time that verify, and as
    many that publish or choose.  verifying: limits of a worker for `verify`, which has an answer
    for each result.  publishing: those of one for the others, which have a single answer.
    requested: see `ProgressReader`.
    """

    def __init__(
        self,
        *,
        allowed_endpoints: Sequence[str] | None = None,
        workers: int = 2,
        verifying: Limits = VERIFYING,
        publishing: Limits = PUBLISHING,
        requested: Requested = lambda operation, code: None,
    ) -> None:
        self._allowed = AllowedEndpoints(allowed_endpoints)
        # A summary takes seconds to be written, and no check of a result is to wait for that.
        self._verifiers, self._publishers = (
            Turns(workers, limits.waits) for limits in (verifying, publishing)
        )
        self._verifying, self._publishing = verifying, publishing
        self._workers = Workers()
        self._progress = ProgressReader(self._allowed, requested)

    async def verify(
        self, order: ExperimentOrder, location: Location, claims: Callable[[], Sequence[Claim]]
    ) -> list[ResultCheck]:
        """A check of the result of each claim, in their order.

        A result that its reader does not survive is invalid, and another worker reads those behind
        it, as where a turn is over. Raises StoreUnavailable, StoreUnusable and WorkerFailed.

        claims: asked for anew when there is a place, so that what is claimed meanwhile is read with
        the rest.
        """
        checks, asked = list[ResultCheck](), list[Claim]()
        if not claims():
            return checks

        def rest() -> list[Claim]:
            asked[:] = asked or claims()
            return asked[len(checks) :]

        while not asked or len(checks) < len(asked):
            before = len(checks)
            run = await self._run("verify", order, location, rest)
            checks += _checks(run, asked[before:])
            if not run.ending or len(checks) == len(asked):
                continue
            if run.blame == "turn" and len(checks) > before:
                continue
            if run.was_reading and run.blame in ("content", "time"):
                checks.append(_blamed(order, asked[len(checks)], run))
            elif run.blame in ("time", "turn"):
                raise StoreUnavailable(f"{location.uri} is too slow: {run.ending}")
            else:
                raise WorkerFailed(run.ending)
        return checks

    async def publish(self, order: ExperimentOrder, location: Location) -> Publication:
        """Write order.json, report.html, summary.csv and, last, summary.json beside the results.

        The same results give the same bytes. Raises as `verify` does.
        """
        match await self._answered("publish", order, location):
            case Publication() as publication:
                return publication
        raise WorkerFailed("the worker published nothing")

    async def choose(
        self, order: ExperimentOrder, location: Location, before: str | None, ended: int
    ) -> ChosenSettings | NextRound:
        """Choose settings by the results of all tuning seeds, and write selection.json; what was
        chosen before stays. Where trials are made in rounds, give the next one of them.

        order: of the whole experiment.  before: sha256 of selection.json; None before anything was
        chosen.  ended: round of the trials that has ended; 0 where none is known to. The same
        results give the same bytes. Raises as `verify` does.
        """
        match await self._answered("choose", order, location, before, ended):
            case ChosenSettings() | NextRound() as chosen:
                return chosen
        raise WorkerFailed("the worker chose nothing")

    async def progress(
        self, order_prefix: str, location: Location, attempts: Sequence[tuple[int, int]]
    ) -> dict[int, str]:
        """`12/34` for each seed of which it is known.  attempts: (seed, number). Never raises."""
        return await self._progress.read(order_prefix, location, attempts)

    async def close(self) -> None:
        """Leave no process behind, once nothing is asked any more."""
        await self._workers.close()

    async def _answered(
        self,
        kind: TaskKind,
        order: ExperimentOrder,
        location: Location,
        selection: str | None = None,
        ended: int = 0,
    ) -> Answer | None:
        """The single answer to a task; None where there is another number of them."""
        run = await self._run(kind, order, location, selection=selection, ended=ended)
        if run.blame == "turn":
            raise StoreUnavailable(f"{location.uri} is too slow: {run.ending}")
        if run.ending:
            raise WorkerFailed(run.ending)
        return run.answers[0] if len(run.answers) == 1 else None

    async def _run(
        self,
        kind: TaskKind,
        order: ExperimentOrder,
        location: Location,
        claims: Callable[[], list[Claim]] = list,
        selection: str | None = None,
        ended: int = 0,
    ) -> Run:
        self._allowed.check(location)
        is_verified = kind == "verify"
        turns = self._verifiers if is_verified else self._publishers
        limits = self._verifying if is_verified else self._publishing
        async with turns.take(order.experiment.namespace) as turn:
            task = Task(
                kind=kind,
                order=order,
                location=location,
                claims=claims(),
                selection=selection,
                round=ended,
                memory_mebibytes=limits.memory_mebibytes,
                cpu_seconds=limits.cpu_seconds,
            )
            try:
                with TemporaryDirectory(prefix="supreme-worker-") as folder:
                    return await _work(task, limits, Path(folder), turn, self._workers)
            except OSError as error:  # of this machine: no space, no memory, too many processes
                raise WorkerFailed(f"no worker can be started: {one_line(error)}") from error


def _checks(run: Run, claims: Sequence[Claim]) -> list[ResultCheck]:
    """Checks of a run, which has to begin with the first claim and to leave none out."""
    found = [answer for answer in run.answers if isinstance(answer, ResultCheck)]
    asked = [(claim.seed, claim.attempt) for claim in claims[: len(found)]]
    if (not found and not run.ending) or [(each.seed, each.attempt) for each in found] != asked:
        raise WorkerFailed("the worker judged other results than it was asked to")
    return found


def _blamed(order: ExperimentOrder, claim: Claim, run: Run) -> ResultCheck:
    key = order.result_key(claim.seed, claim.attempt)
    message = one_line(f"{key} cannot be read: {run.ending}")
    return ResultCheck(seed=claim.seed, attempt=claim.attempt, state="invalid", message=message)


async def _work(task: Task, limits: Limits, folder: Path, turn: Turn, workers: Workers) -> Run:
    """One worker from its start to its end; raises what it says of the store.

    folder: the worker's own, which goes with it.
    """
    run, now = Run(), asyncio.get_running_loop().time
    begun = now()
    turn.busy = lambda: now() - begun  # to start a worker is no waiting for a store
    with TemporaryFile() as errors:
        async with workers.start(
            folder,
            environment(task.location, folder),
            errors,
            is_forked=task.kind == "verify",
        ) as (worker, reader, writer):
            starting, whole = now() - begun, now() + limits.whole_seconds
            turn.busy = lambda: starting + _processor_seconds(worker.pid)
            try:
                async with asyncio.timeout(min(limits.wall_seconds, limits.whole_seconds)) as clock:
                    turn.stop = lambda: clock.reschedule(now())
                    await _hand_over(task, writer)
                    while answer := await _next(reader):
                        _take(answer, task, run)
                        if not turn.is_over:
                            clock.reschedule(min(whole, now() + limits.wall_seconds))
                    await worker.wait()
            except TimeoutError:
                run.ending, run.blame = _too_long(limits, turn, is_whole=now() >= whole)
            finally:
                turn.stop = _nothing
        code, said = await worker.wait(), end_of(errors)
    if code and not run.ending:
        _explain(code, limits, said, run)
    if said:
        level = logging.WARNING if run.ending else logging.INFO
        log.log(level, "a worker said: %s", one_line(said, LOG_BYTES))
    return run


def _too_long(limits: Limits, turn: Turn, *, is_whole: bool) -> tuple[str, Literal["time", "turn"]]:
    """Message on a worker that is ended, and what that is due to."""
    if turn.is_over:
        return "it was waited for while others waited for their turn", "turn"
    if is_whole:
        return f"all of it took more than {limits.whole_seconds:g} seconds", "turn"
    return f"the worker took more than {limits.wall_seconds:g} seconds", "time"


def _processor_seconds(process: int) -> float:
    """Processor seconds of a worker so far; 0 where they cannot be seen any more."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _nothing() -> None:
    """Stop nothing, where nothing runs."""


async def _hand_over(task: Task, writer: StreamWriter) -> None:
    with suppress(ConnectionError):  # it is gone, and its end will say why
        writer.write(task.model_dump_json(by_alias=True).encode())
        await writer.drain()
        writer.write_eof()


async def _next(reader: StreamReader) -> Answer | None:
    """The next answer; None where there are no more."""
    try:
        line = await reader.readline()
        return ANSWER.validate_json(line) if line else None
    except ConnectionError:
        return None
    except ValueError as error:  # of pydantic, or for a line without end
        raise WorkerFailed(f"the worker's answer is none: {one_line(error, 200)}") from None


def _take(answer: Answer, task: Task, run: Run) -> None:
    match answer:
        case Refusal(kind="StoreUnavailable"):
            raise StoreUnavailable(answer.message)
        case Refusal(kind="StoreUnusable"):
            raise StoreUnusable(answer.message)
        case Refusal():
            run.ending, run.blame = answer.message, "content"
        case _:
            run.answers.append(answer)
    if len(run.answers) > max(1, 2 * len(task.claims)):
        raise WorkerFailed("the worker has more answers than there are questions")


def _explain(code: int, limits: Limits, said: str, run: Run) -> None:
    """Explain the exit code of a worker that said nothing itself."""
    run.blame = "content"
    if code > 0:
        _, _, last = said.rpartition("\n")
        run.ending = f"the worker failed: {one_line(last, 200)}"
    elif -code == signal.SIGXCPU:
        run.ending = f"the worker used more than {limits.cpu_seconds} seconds of processor time"
    else:
        run.ending = f"the worker was ended by a signal: {signal.strsignal(-code)}"
        if -code in FROM_OUTSIDE:
            run.blame = "neither"
