"""Telemetry of a trainer at work: one JSON object a line on standard output.

Rank 0 tells how far it is, which is advisory only. Every rank says how it ends, by which whoever
started it decides: torchrun ends with 1, whatever its ranks ended with. Logs go to standard error.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal, TextIO

from torch import Tensor

from supreme_core.engine.evaluation.cost import peak_memory
from supreme_core.errors import EXIT_ERROR
from supreme_core.plan import Step

INTERVAL_SECONDS = 0.5
"""Time between two progress lines; a line needs the loss, for which the device is waited for."""


class Unheard(SystemExit):
    """Error where whoever started this trainer is gone, so that it ends too; no failure of its
    work."""


@dataclass
class Telemetry:
    """Events of one seed, as one of its ranks tells them."""

    rank: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _last: float = 0.0
    _images: int = 0

    def stage_started(self, step: Step) -> None:
        self._say("stage-started", **asdict(step))

    def stage_finished(
        self,
        step: Step,
        status: Literal["computed", "reused", "failed"],
        seconds: float,
        *,
        is_elsewhere: bool = False,
    ) -> None:
        """is_elsewhere: another process of the attempt has computed it."""
        facts = {"elsewhere": True} if is_elsewhere else {}
        took = round(seconds, 3)
        self._say("stage-finished", **asdict(step), status=status, seconds=took, **facts)

    def progress(
        self,
        *,
        done: int,
        total: int,
        loss: Tensor,
        images: int,
        epoch: tuple[int, int] | None = None,
    ) -> None:
        """Called after every step of a loop; says something at most twice a second."""
        now = time.monotonic()
        self._images += images
        if self.rank == 0 and (now - self._last >= INTERVAL_SECONDS or done == total):
            self._last = now
            seen = float(loss)
            finite = round(seen, 4) if isfinite(seen) else None  # JSON has no NaN
            self._say(
                "progress",
                done=done,
                total=total,
                loss=finite,
                note=f"epoch {epoch[0]}/{epoch[1]}" if epoch else "",
                epoch=epoch[0] if epoch else 0,
                images=self._images,
                memory=peak_memory(loss.device),
            )

    def waiting(self) -> None:
        """Tell that nothing is ready, until the next stage begins."""
        self._say("waiting")

    def away(self) -> None:
        """Tell that a stage of another seed begins here."""
        self._say("away")

    def device(self, kind: str, count: int) -> None:
        """Tell the devices of the machine; `supreme run` decides by them how many seeds run side by
        side."""
        self._say("device", kind=kind, count=count)

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Tell what the seed is computed on: device and versions."""
        self._say("environment", facts=dict(facts))

    def dataset(self, **facts: Any) -> None:
        """Tell what was prepared, for `supreme prepare`."""
        self._say("dataset", **facts)

    def weights(self, **facts: Any) -> None:
        """Tell which pretrained weights were prepared."""
        self._say("weights", **facts)

    def note(self, message: str) -> None:
        """A line for whoever waits: how far a download is."""
        self._say("note", message=message)

    def failed(self, message: str, exit_code: int, *, is_fault: bool = False) -> None:
        """is_fault: a fault of the device is on record, and a fresh process is to go on."""
        with suppress(Unheard):  # this process ends in any case
            facts = {"fault": True} if is_fault else {}
            self._write("failed", rank=self.rank, message=message, exitCode=exit_code, **facts)

    def finished(self, result: str | None = None) -> None:
        """result: sha256 of the result.json that this rank has written."""
        self._write("finished", rank=self.rank, result=result)

    def _say(self, event: str, **facts: Any) -> None:
        if self.rank == 0:
            self._write(event, **facts)

    def _write(self, event: str, **facts: Any) -> None:
        try:
            # In one piece, because the thread that watches over other ranks may speak too.
            self.stream.write(json.dumps({"event": event, **facts}) + "\n")
            self.stream.flush()
        except BrokenPipeError:
            raise Unheard(EXIT_ERROR) from None


class Notes(logging.Handler):
    """Handler that tells what a logger says also as notes."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry

    def emit(self, record: logging.LogRecord) -> None:
        self._telemetry.note(record.getMessage())


@contextmanager
def noted(log: logging.Logger, telemetry: Telemetry) -> Iterator[None]:
    """Turn what this logger says while the block runs into notes too."""
    notes = Notes(telemetry)
    log.addHandler(notes)
    try:
        yield
    finally:
        log.removeHandler(notes)
