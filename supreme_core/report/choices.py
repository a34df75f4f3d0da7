"""Choices of `supreme report`; the command knows them before it loads the rest."""

from typing import Final

PRIMARY: Final = "primary"
OTHERS = VERDICTS, PAIRS, RANKS, FRONT, TUNING = "verdicts", "pairs", "ranks", "front", "tuning"
"""Names of tables; an experiment's groups of metrics come on top."""

TRAININGS: Final = "trainings"
"""Name of the figure of trainings."""

FORMATS: Final = ("latex", "markdown", "csv")

COLUMNS: Final = (1, 2)
"""Numbers of columns of a paper that a LaTeX table may span."""

PICTURES: Final = ("pdf", "svg", "png")
"""Files of a figure."""
