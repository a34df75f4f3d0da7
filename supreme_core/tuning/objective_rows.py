"""Input of objectives: rows of the table, of the models of one trial."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan

from supreme_core.registry import Forgets

RowValues = Mapping[str, float | None]

KEPT = "retain_test_accuracy"
"""Row that tells a collapse: accuracy on unseen samples that are to be kept."""

KEPT_ROWS = ("retain_accuracy", KEPT)


SLACK = 0.02
"""Loss of accuracy, as a fraction, that forgetting may cost where utility is asked for first."""


@dataclass(frozen=True)
class ObjectiveRows:
    """Rows of one trial in one scenario and one tuning seed.

    Where their names say test, they are of validation samples. A row without a value is NaN to
    whoever asks.  retrained: empty where the objective does without it.
    """

    forgets: Forgets
    unlearned: RowValues
    original: RowValues
    retrained: RowValues

    def gap(self, row: str) -> float:
        """Distance of a row to Retrained's, from 0."""
        return abs(_of(self.unlearned, row) - _of(self.retrained, row))

    def value(self, row: str) -> float:
        """Value of a row for the trial."""
        return _of(self.unlearned, row)

    def missing_utility(self) -> float:
        """Loss of accuracy beyond 0.02 on samples that are to be kept: retained ones, and
        unseen ones like them. From 0."""
        lost = (_of(self.original, row) - _of(self.unlearned, row) for row in KEPT_ROWS)
        return sum(max(each - SLACK, 0.0) for each in lost)

    def mean_gap(self, rows: Iterable[str]) -> float:
        gaps = [self.gap(row) for row in rows]
        return sum(gaps) / len(gaps)


def _of(rows: RowValues, row: str) -> float:
    value = rows.get(row)
    return nan if value is None else value
