"""A trainer as processes of their own: how they start, what they tell, how they have ended.

One process, or torchrun with the ranks of this machine. `supreme run` has some of them side by
side, a pod has one.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from queue import Queue
from typing import IO, Any, Protocol

from supreme_trainer.process.bound import PARENT
from supreme_trainer.process.journal import Journal
from supreme_trainer.process.shutdown import HAND_OVER
from supreme_trainer.process.warm import WarmServer

from supreme_core.errors import EXIT_ERROR, EXIT_OK, EXIT_SIGNAL, EXIT_TEMPORARY, EXIT_TERMINATED
from supreme_core.system.variables import of_trainer

_log = logging.getLogger(__name__)

BOUND = ("-m", "supreme_trainer.process.bound")

TORCHRUN = ("-m", "torch.distributed.run")


def on_this_machine(ranks: int) -> tuple[str, ...]:
    """The command line of torchrun for ranks that are all here, whatever its variables say.

    They meet by a name that leads somewhere: that of the machine often does not, as on a laptop.
    """
    here = ("--standalone", "--local-addr=localhost", "--nnodes=1")
    return (*TORCHRUN, *here, f"--nproc-per-node={ranks}")


EXIT_OF_RANK = re.compile(r"\bexitcode *: (-?\d+)")
"""Words of torchrun, which itself always ends with 1, in the log of each rank that ended badly."""

LINGER_SECONDS = 10.0
"""Time between the last words of all ranks of a machine and the end of a process that is still
there. torchrun waits for five minutes for machines that may be gone."""

Event = dict[str, Any]

Heard = Event | Exception | None
"""Heard of a trainer: an event, None when it has ended, or what went wrong with listening to it."""


class Process(Protocol):
    """A process that leads its own session, as subprocess.Popen has it."""

    @property
    def pid(self) -> int: ...

    @property
    def stdout(self) -> IO[bytes] | None: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


def start(
    order: Path,
    *options: str,
    torchrun: Sequence[str] = (),
    log: IO[bytes],
    environment: Mapping[str, str],
    server: WarmServer | None = None,
) -> Process:
    """Start the process that computes an order, or torchrun with its ranks; all end with this one.

    Called in a thread that lives as long as they may.

    options: those of `trainer`.  torchrun: empty, or TORCHRUN and options of its own.
    log: where standard error goes.  environment: variables over those of this process.
    server: forks the process, where it can and there is no torchrun.
    """
    # What a killed process leaves in its folder of temporary files goes with that of the order.
    variables = {**of_trainer(os.environ), "TMPDIR": str(order.parent), **environment}
    if server and not torchrun:
        try:
            return server.fork([str(order), *options], log=log, environment=variables)
        except OSError as error:
            _log.warning("a trainer starts afresh, as it cannot be forked: %s", error)
    order_of_rank = ["-m", "supreme_trainer.process.trainer", str(order), *options]
    launched = [*torchrun, *BOUND, *order_of_rank] if torchrun else order_of_rank
    return subprocess.Popen(
        [sys.executable, *BOUND, *launched],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**variables, PARENT: str(os.getpid())},
        start_new_session=True,  # Ctrl-C reaches this process only, which then stops them
    )


@dataclass(kw_only=True)
class Trainer:
    """A process that computes a seed, or takes stages of it beside others; or its ranks here.

    process: the only one, or torchrun.  ranks: how many there are here.  places: numbers by which
    they are known on this machine.  is_team: they go on with one training, and leave.  makes_way:
    it was stopped for a team.  log: standard error, and the lines of the journal.  copier: the
    thread that fills the log, where the processes do not write to it themselves.
    failure, exit_code: how it ended, by the contract of supreme_core.errors; 128 + n where signal n
    ended a rank.  result: sha256 of the result.json that rank 0 has written, if that is here.
    """

    process: Process
    ranks: int
    is_torchrun: bool
    log: Path
    places: Sequence[int] = (0,)
    is_team: bool = False
    makes_way: bool = False
    copier: threading.Thread | None = None
    failure: str = ""
    exit_code: int = EXIT_OK
    result: str | None = None
    is_fault: bool = False
    """A fault of the device ended it, which is on record, so a fresh one is to go on."""
    has_main: bool = False
    """Rank 0 is here, as far as anything was heard."""
    _last_words: dict[int, Event] = field(default_factory=dict)
    _was_told_to_stop: bool = False

    @property
    def is_lost(self) -> bool:
        """True where its end says nothing of its work: it was killed, stopped, or without its
        store."""
        return self.exit_code == EXIT_TEMPORARY or self.exit_code > EXIT_SIGNAL

    @property
    def place(self) -> int:
        """The place by which it is known."""
        return self.places[0]

    @property
    def has_made_way(self) -> bool:
        return self.makes_way and self.exit_code == EXIT_TERMINATED

    @property
    def has_failed_for_good(self) -> bool:
        return bool(self.failure) and not self.is_lost

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.log)

    def events(self) -> Iterator[Event]:
        """Each event as it comes, until all processes have ended; then it is known how."""
        assert self.process.stdout is not None
        end = threading.Timer(LINGER_SECONDS, self.kill)
        end.daemon = True
        with self.process.stdout as lines:
            for line in lines:
                event = _event(line)
                if event is None:
                    continue
                if event["event"] not in ("failed", "finished"):
                    self.has_main = True  # which alone tells how far it is
                    self.journal.write(event)
                    yield event
                    continue
                rank = event["rank"]
                self.has_main |= rank == 0
                if rank not in self._last_words:
                    self._last_words[rank] = event
                    if len(self._last_words) == self.ranks:
                        end.start()
        returned = self.process.wait()
        end.cancel()
        if self.copier:
            self.copier.join(LINGER_SECONDS)
        self._judge(returned)

    def stop(self) -> None:
        self._was_told_to_stop = True
        self._signal(signal.SIGTERM)

    def make_way(self) -> None:
        """Stop it for a team, which goes on with what it has claimed."""
        self.makes_way = self._was_told_to_stop = True
        self._signal(HAND_OVER)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.process.returncode is None:  # else the id may be another's by now
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:  # one that was forked just now has no group of its own yet
                with suppress(ProcessLookupError):
                    os.kill(self.process.pid, number)
            except PermissionError:
                pass  # on macOS, where all of them have ended and wait to be collected

    def _judge(self, returned: int) -> None:
        words = [self._last_words[rank] for rank in sorted(self._last_words)]
        failed = [event for event in words if event["event"] == "failed"]
        if failed:
            self.failure, self.exit_code = failed[0]["message"], failed[0]["exitCode"]
            is_temporary = self.exit_code == EXIT_TEMPORARY
            self.is_fault = is_temporary and any(event.get("fault") for event in failed)
            # A rank that misses another one may miss one of this machine, which had no last words.
            if self.exit_code == EXIT_TEMPORARY and (number := self._killed_by()):
                self.exit_code = EXIT_SIGNAL + number
        elif len(words) == self.ranks:
            self.result = words[0].get("result")
        else:
            self._judge_without_words(returned)

    def _judge_without_words(self, returned: int) -> None:
        if returned < 0:
            self.failure = f"the trainer ended with {_signal_name(-returned)}"
            self.exit_code = EXIT_SIGNAL - returned
        elif number := self._killed_by():
            self.failure = f"a rank ended with {_signal_name(number)}"
            self.exit_code = EXIT_SIGNAL + number
        else:
            self.failure = f"the trainer ended with exit code {returned}"
            # Where torchrun has started no rank, machines that it waits for are not there.
            has_begun = not self.is_torchrun or bool(_exit_codes(self.log))
            self.exit_code = EXIT_ERROR if has_begun else EXIT_TEMPORARY
        self.failure += f"; {self._last_line()}"
        if self._was_told_to_stop:  # before the ranks were able to hear it
            self.failure, self.exit_code = "the trainer was told to stop", EXIT_TERMINATED

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        lines = [
            line for line in lines if any(map(str.isalnum, line)) and not self.journal.is_mine(line)
        ]  # torchrun draws rules
        return f"its last words: {lines[-1].strip()[:300]}" if lines else "it said nothing"

    def _killed_by(self) -> int | None:
        """The number of the signal that ended a rank under torchrun, which itself sends SIGTERM."""
        codes = _exit_codes(self.log) if self.is_torchrun else []
        return next((-code for code in codes if code < 0 and code != -signal.SIGTERM), None)


class Listening:
    """Events of trainers that run beside one another, of which some may start while others do."""

    def __init__(self) -> None:
        self._events: Queue[tuple[Trainer, Heard]] = Queue()
        self._at_work = 0

    def to(self, trainer: Trainer) -> None:
        """Listen to one more."""

        def tell(heard: Heard) -> None:
            self._events.put((trainer, heard))

        self._at_work += 1
        listen(trainer, tell)

    def events(self) -> Iterator[tuple[Trainer, Event | None]]:
        """Each event with its trainer, None where it has ended, until all have."""
        while self._at_work:
            trainer, heard = self._events.get()
            event = event_in(heard)
            self._at_work -= event is None
            yield trainer, event


def listen(trainer: Trainer, tell: Callable[[Heard], None]) -> threading.Thread:
    """Pass on each event of a trainer and its end, in a thread; also what goes wrong there, since
    nobody else would end the wait for it."""

    def run() -> None:
        try:
            for event in trainer.events():
                tell(event)
            tell(None)
        except Exception as error:
            tell(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def event_in(heard: Heard) -> Event | None:
    """The event, or None at the end; raises what went wrong."""
    if isinstance(heard, Exception):
        raise heard
    return heard


def _signal_name(number: int) -> str:
    return f"signal {signal.Signals(number).name}"


def _event(line: bytes) -> Event | None:
    """The event of a line; a plug-in may print, so other lines are no error."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _exit_codes(log: Path) -> list[int]:
    """Exit codes of the ranks that ended badly; negative for a signal that ended one."""
    with log.open(errors="replace") as lines:
        return [int(found[1]) for found in map(EXIT_OF_RANK.search, lines) if found]
