"""Clock of the API server, by which the times that its objects have are meant.

A machine whose own clock is an hour ahead would find every deadline past at once.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

log = logging.getLogger(__name__)

SAME: Final = timedelta(seconds=5)
"""Difference below which two clocks count as one: answers tell whole seconds."""


class ServerClock:
    """The machine's clock, put right by what answers of the API server tell."""

    def __init__(self, machine: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._machine, self._difference = machine, timedelta()

    def now(self) -> datetime:
        return self._machine() + self._difference

    def told(self, date: str, asked_at: datetime) -> None:
        """Note the Date of an answer that has just come to what was asked then, by this clock.

        It was written in between, however long that was.
        """
        try:
            time = parsedate_to_datetime(date)
        except ValueError:
            return
        if time.tzinfo is None or asked_at - SAME <= time <= self.now() + SAME:
            return
        difference = time - self._machine()
        self._difference = difference if abs(difference) > SAME else timedelta()
        log.warning(
            "the API server's clock differs from this machine's by %.0f s, and is taken for right",
            self._difference.total_seconds(),
        )
