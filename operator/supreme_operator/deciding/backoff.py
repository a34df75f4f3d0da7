"""Exponential backoff: pauses before something that failed is tried again. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

DOUBLINGS: Final = 30
"""Most doublings of a pause, after which a float would only overflow."""


def backoff_seconds(first: float, tries: int, *, longest: float) -> float:
    """Seconds before the next try: doubled for each of the earlier ones, up to the longest."""
    return min(longest, first * 2.0 ** min(tries, DOUBLINGS))


@dataclass(frozen=True, kw_only=True)
class BackoffPolicy:
    """Pauses of a seed: before its first retry, before its second new attempt after a disruption,
    and the longest of both.

    silence_seconds: how long nothing may change of a child that waits before it is inquired.
    """

    retry_seconds: float = 10
    disruption_seconds: float = 5
    longest_seconds: float = 600
    silence_seconds: float = 120

    @property
    def silence(self) -> timedelta:
        return timedelta(seconds=self.silence_seconds)

    def after_failures(self, failures: int) -> float:
        """Seconds before the retry after a failure, by the number of those before it."""
        return backoff_seconds(self.retry_seconds, failures, longest=self.longest_seconds)

    def after_disruptions(self, disruptions: int) -> float:
        """Seconds before the attempt after a disruption, by the number of those before it.

        The first costs no time: a drained node's pods are wanted elsewhere at once.
        """
        if not disruptions:
            return 0.0
        return backoff_seconds(
            self.disruption_seconds, disruptions - 1, longest=self.longest_seconds
        )
