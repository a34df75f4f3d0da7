"""The log of an attempt: what its trainer tells, as lines between those that it writes itself."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from supreme_core.plan import step_of
from supreme_core.store.storage import MissingObject, Storage

FORMAT = "%(asctime)s %(levelname)s %(message)s"
"""Format of every line, whoever writes it."""


class Journal:
    """Appends to the log of a trainer, which other processes are writing too."""

    def __init__(self, log: Path) -> None:
        self._log, self._lines = log, set[str]()

    def write(self, event: Mapping[str, Any]) -> None:
        if text := sentence(event):
            record = logging.makeLogRecord({"msg": text, "levelname": "INFO"})
            line = logging.Formatter(FORMAT).format(record)
            self._lines.add(line)
            with suppress(OSError), self._log.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def is_mine(self, line: str) -> bool:
        """Return whether a line of the log is none of the trainer's own words."""
        return line in self._lines


def keep(storage: Storage, key: str, logs: Sequence[Path]) -> None:
    """Bring logs to the store, one below the other, below what the same attempt said there before
    it was stopped or lost its pod, and went on."""
    whole = logs[0].with_suffix(".whole")
    with whole.open("wb") as file:
        with suppress(MissingObject):
            file.writelines(storage.chunks(key))
        file.writelines(each.read_bytes() for each in logs)
    storage.upload(key, whole)


def sentence(event: Mapping[str, Any]) -> str:
    """Sentence on an event of stages or of the machine; "" for others, such as steps of a loop."""
    if event["event"] == "stage-started":
        return f"{step_of(event).title} started"
    if event["event"] == "stage-finished":
        took = f" in {event['seconds']:.1f} s" if event["seconds"] else ""
        return f"{step_of(event).title} {event['status']}{took}"
    if event["event"] == "environment":
        return ", ".join(f"{name} {value}" for name, value in event["facts"].items() if value)
    return ""
