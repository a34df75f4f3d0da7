"""Ranges that a setting is searched in, from a point of [0, 1) to the value there.

A range is a value, which a method states beside its settings and a user writes in a file, as one
entry: `{log: [1.0e-5, 0.1]}`. Numbers have four significant digits, so that two machines whose
logarithms differ in the last bit agree, and so that people can repeat what they read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any, ClassVar, Final

DIGITS: Final = 4
"""Significant digits of a number that was drawn."""


@dataclass(frozen=True)
class Range:
    """Base of all ranges. kind: the word by which a file names it."""

    kind: ClassVar[str]

    def at(self, point: float) -> Any:
        """The value at a point of [0, 1)."""
        raise NotImplementedError

    def holds(self, value: object) -> bool:
        """Return whether the value is one of the range."""
        raise NotImplementedError

    def document(self) -> dict[str, list[Any]]:
        """The range as a file has it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Interval(Range):
    """Base of the ranges of numbers, both ends included."""

    low: float
    high: float

    def holds(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def document(self) -> dict[str, list[Any]]:
        return {self.kind: [self.low, self.high]}

    def _rounded(self, value: float) -> float:
        """The value to four digits, and never outside the range by that."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Log(Interval):
    """Numbers above 0; each power of ten is as likely as the next."""

    kind: ClassVar = "log"

    def at(self, point: float) -> float:
        return self._rounded(_between_logarithms(self.low, self.high, point))


@dataclass(frozen=True)
class LogToOne(Interval):
    """Numbers below 1, by the logarithm of what they lack: of 0.9, 0.99 and 0.999 each is as likely
    as the next."""

    kind: ClassVar = "log_to_one"

    def at(self, point: float) -> float:
        lack = _between_logarithms(1 - self.high, 1 - self.low, 1 - point)
        return min(max(round(1 - float(f"{lack:.{DIGITS}g}"), 15), self.low), self.high)


@dataclass(frozen=True)
class Uniform(Interval):
    """Numbers, each as likely as another."""

    kind: ClassVar = "uniform"

    def at(self, point: float) -> float:
        return self._rounded(self.low + (self.high - self.low) * point)


@dataclass(frozen=True)
class Int(Interval):
    """Whole numbers, each as likely as another."""

    low: int
    high: int
    kind: ClassVar = "int"

    def at(self, point: float) -> int:
        return self.low + int(point * (self.high - self.low + 1))


@dataclass(frozen=True)
class Epochs(Int):
    """Whole numbers up to what a trial's budget pays for: one that trains longer is stopped."""

    kind: ClassVar = "epochs"

    def affordable(self, epochs: int) -> Int:
        """Those of the range that the budget pays for, or the one number nearest to them."""
        high = min(self.high, epochs)
        return Int(min(self.low, high), high)


@dataclass(frozen=True)
class Choice(Range):
    """Values of any type, each as likely as another."""

    values: tuple[Any, ...]
    kind: ClassVar = "choice"

    def at(self, point: float) -> Any:
        return self.values[int(point * len(self.values))]

    def holds(self, value: object) -> bool:
        return value in self.values

    def document(self) -> dict[str, list[Any]]:
        return {self.kind: list(self.values)}


INTERVALS: Final[Mapping[str, type[Interval]]] = {
    each.kind: each for each in (Log, LogToOne, Uniform, Int, Epochs)
}
KINDS: Final = (*INTERVALS, Choice.kind)


def range_of(document: Mapping[str, Any]) -> Range:
    """The range that a document states, which is known to be right."""
    [(kind, values)] = document.items()
    if kind == Choice.kind:
        return Choice(tuple(values))
    low, high = values
    return INTERVALS[kind](low, high)


def _between_logarithms(low: float, high: float, point: float) -> float:
    return exp(log(low) + (log(high) - log(low)) * point)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
