"""Ranges of settings that are searched."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, floor, log, nextafter
from typing import Any, Literal, get_args

RangeKind = Literal["log", "logToOne", "uniform", "int", "choice", "epochs"]
"""Kinds of ranges. log, uniform: real numbers, spread evenly by their logarithms or by themselves.
logToOne: real numbers below 1, by the logarithms of what they lack to it, so that there are as many
from 0.9 to 0.99 as from 0.99 to 0.999. int: whole numbers. choice: listed values. epochs: whole
numbers, of which the budget of a trial decides how many; only components declare it, and in a plan
it is an int."""

GIVEN_KINDS = tuple(kind for kind in get_args(RangeKind) if kind != "epochs")
"""Kinds that an experiment may give."""

DIGITS = 4
"""Significant digits that real numbers are rounded to, so that a trial can be typed again."""


@dataclass(frozen=True)
class Range:
    """Values of one setting.  values: the lowest and the highest; of a choice all of them."""

    kind: RangeKind
    values: tuple[Any, ...]

    def at(self, place: float) -> Any:
        """Value at a place in [0, 1), rounded, which is in the range."""
        if self.kind == "choice":
            return self.values[floor(place * len(self.values))]
        low, high = self.values
        if self.kind == "logToOne":  # 15 digits are all that a float has for sure
            lack = Range("log", (1 - high, 1 - low)).at(1 - place)
            return min(max(float(f"{1 - lack:.15g}"), low), high)
        if self.kind in ("int", "epochs"):
            return low + floor(place * (high - low + 1))
        if self.kind == "log":
            value = exp(log(low) + place * (log(high) - log(low)))
        else:
            value = low + place * (high - low)
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def place_of(self, value: Any) -> float:
        """Place in [0, 1) of a value of the range: `at` gives the value back, up to rounding.

        Whole numbers and choices lie in the middle of their places.
        """
        if self.kind == "choice":
            return (self.values.index(value) + 0.5) / len(self.values)
        low, high = self.values
        if self.kind in ("int", "epochs"):
            return float((value - low + 0.5) / (high - low + 1))
        if self.kind == "logToOne":
            low, high, value = 1 - high, 1 - low, 1 - value
        if self.kind != "uniform":
            low, high, value = log(low), log(high), log(value)
        place = float((value - low) / (high - low))
        place = 1 - place if self.kind == "logToOne" else place
        return min(max(place, 0.0), nextafter(1.0, 0.0))

    def to_document(self) -> dict[str, list[Any]]:
        """Range as an experiment gives it."""
        return {self.kind: list(self.values)}


Space = Mapping[str, Range]
"""Range of each setting that is searched, by its name in YAML."""
