"""Memory of this process on one experiment."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from supreme_core.errors import one_line
from supreme_operator.deciding.admission import Admitted, NotAccepted
from supreme_operator.deciding.backoff import backoff_seconds
from supreme_operator.deciding.facts import Trouble
from supreme_operator.deciding.standing import Observations
from supreme_operator.results.background import ReadResults

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSES: Final = {"creation": 30.0, "store": 300.0}
"""Seconds between two tries of what outside troubles forbid, doubled from the first on. To see
whether a quota is free again takes one write, to read results a process."""


@dataclass
class Memory:
    """State of this process on one experiment, beside the cluster's; lost without harm."""

    uid: str
    results: ReadResults
    observations: Observations = field(default_factory=Observations)
    admitted: tuple[int, Admitted | NotAccepted] | None = None
    ensured: set[str] = field(default_factory=set)
    written_at: datetime | None = None
    pauses: dict[str, int] = field(default_factory=dict)
    unanswered_since: datetime | None = None
    template: tuple[tuple[int, str, str], str] | None = None

    def trouble(self, about: str, reason: str, why: object, now: datetime) -> Trouble:
        """Trouble that is tried again after a pause, which is longer each time."""
        times = self.pauses[about] = self.pauses.get(about, 0) + 1
        pause = backoff_seconds(FIRST_PAUSE, times - 1, longest=LONGEST_PAUSES[about])
        retry_at = now + timedelta(seconds=pause)
        return Trouble(reason=reason, message=one_line(why), retry_at=retry_at)
