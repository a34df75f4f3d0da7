"""Numbers as text: scale, unit, and as many digits as the interval supports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

from supreme_core.analysis.hypotheses import Verdict
from supreme_core.analysis.provenance import RowFacts
from supreme_core.api import names
from supreme_core.api.summary import Floor, Gap, Row

NONE = "–"
MINUS = "\N{MINUS SIGN}"
MOST_DECIMALS = 6
TITLES = {names.ORIGINAL: "Original", names.RETRAINED: "Retrained"}
ACRONYMS = ("auc", "aus", "fpr", "h", "js", "kl", "ks", "mia", "sape", "svc", "tpr", "zrf")
SPELLINGS = {**{word: word.upper() for word in ACRONYMS}, "nomus": "NoMUS", "tow": "ToW"}
"""Words of row names that are not written as they stand there."""

PERCENTAGES = (
    *("average_gap", "completeness", "expected_calibration_error", "mia_entropy_published"),
    *("mia_svc_efficacy", "mia_tpr_at_fpr", "sape"),
)
"""Metrics that are read in percent, as accuracies are: their fractions are of samples."""
SYMBOLS = {"equivalent": "≈", "different": "≠", "inconclusive": "?"}
"""Symbols of verdicts, where many stand side by side."""

TONES: Mapping[Verdict, Literal["", "good", "bad"]] = {
    "equivalent": "good",
    "different": "bad",
    "inconclusive": "",
}

UNITS = {"fraction": "", "probability": "", "parameter": "", "seconds": "s", "ratio": "×"}
"""Spelling of a unit in a table head; others stand as they are."""


@dataclass(frozen=True)
class Scale:
    """Shown number = value * factor, in `unit`; the difference of two is in `gap_unit`."""

    factor: float
    unit: str
    gap_unit: str

    @property
    def percent(self) -> bool:
        return self.unit == "%"


@dataclass(frozen=True)
class TableCell:
    """A number or a word.

    ends: of its interval.  note: what else stands under it.  tone: whether it is good news, told by
    its colour too.
    """

    text: str
    ends: tuple[str, str] | None = None
    note: str = ""
    tone: Literal["", "good", "bad"] = ""

    @property
    def interval(self) -> str:
        return f"[{self.ends[0]}, {self.ends[1]}]" if self.ends else self.note

    def __str__(self) -> str:
        return f"{self.text} {self.interval}".strip()


EMPTY = TableCell(NONE)


def scale_of(facts: RowFacts, values: Iterable[float | None]) -> Scale:
    """Shares of samples in percent, bytes in a binary unit that fits the largest value."""
    if facts.unit == "fraction" and _is_in_percent(facts.metric):
        return Scale(100.0, "%", "points")
    if facts.unit == "bytes":
        largest = max((abs(value) for value in values if value is not None), default=0.0)
        power, unit = (30, "GiB") if largest >= 10 * 2**30 else (20, "MiB")
        return Scale(2.0**-power, unit, unit)
    named = facts.metric.endswith(facts.unit)  # wall_seconds says its unit already
    unit = "" if named else UNITS.get(facts.unit, facts.unit)
    return Scale(1.0, unit, unit)


def estimate_cell(row: Row, scale: Scale) -> TableCell:
    """Mean over seeds, with its interval."""
    return interval_cell(row.mean, row.low, row.high, scale)


def gap_cell(gap: Gap | None, scale: Scale) -> TableCell:
    """Mean paired difference to Retrained, signed, with its unadjusted t interval."""
    return interval_cell(gap.mean, gap.low, gap.high, scale, signed=True) if gap else EMPTY


def interval_cell(
    mean: float | None,
    low: float | None,
    high: float | None,
    scale: Scale,
    *,
    signed: bool = False,
) -> TableCell:
    """A mean with the ends of its interval, as many digits as it supports."""
    if mean is None:
        return EMPTY
    mean *= scale.factor
    if low is None or high is None:
        digits = decimals(mean, None, percent=scale.percent)
        return TableCell(number(mean, digits, signed=signed))
    low, high = low * scale.factor, high * scale.factor
    digits = decimals(mean, (high - low) / 2, percent=scale.percent)
    ends = number(low, digits, signed=signed), number(high, digits, signed=signed)
    return TableCell(number(mean, digits, signed=signed), ends)


def count_cell(row: Row | None) -> TableCell:
    """Seeds with a value, of those that were asked for where they are fewer."""
    if row is None:
        return TableCell("0")
    return TableCell(str(row.n) if row.n == row.seeds.asked else f"{row.n} of {row.seeds.asked}")


def apart_cell(gap: Gap | None) -> TableCell:
    """Power of the number to tell an unlearned model from a Retrained one, with its interval."""
    if gap is None or gap.told_apart is None:
        return EMPTY
    apart = gap.told_apart
    low, high = number(apart.low, 2), number(apart.high, 2)
    return TableCell(number(apart.auc, 2), (low, high))


def verdict_cell(gap: Gap | None, scale: Scale) -> TableCell:
    """Verdict of the seeds, the margin that was asked for, and where that is from."""
    if gap is None:
        return EMPTY
    note = margin_note(gap, scale)
    return TableCell(gap.verdict, note=f"margin {note}" if note else "", tone=TONES[gap.verdict])


def margin_note(gap: Gap, scale: Scale) -> str:
    """±1.0 points, the metric's own; empty where there is no margin"""
    if gap.margin is None or gap.margin_source is None:
        return ""
    return f"{margin_text(gap.margin, scale)}, {SOURCES[gap.margin_source]}"


SOURCES = {"set": "set", "metric": "the metric's own", "noise": "noise"}
"""Words for the source of a margin."""


def symbol_cell(verdict: Verdict) -> TableCell:
    """A verdict where many stand side by side."""
    return TableCell(SYMBOLS[verdict], tone=TONES[verdict])


def p_text(p: float | None) -> str:
    """0.031, or < 0.001"""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def margin_text(margin: float, scale: Scale) -> str:
    """±1.0 points"""
    shown = margin * scale.factor
    text = number(shown, decimals(shown, shown, percent=scale.percent))
    return f"±{text} {scale.gap_unit}".rstrip()


def floor_cell(noise: Floor | None, scale: Scale) -> TableCell:
    """Mean distance between two Retrained models, with the smallest and the largest."""
    if noise is None:
        return TableCell("none claimed")
    mean, low, high = (x * scale.factor for x in (noise.mean, noise.low, noise.high))
    digits = decimals(mean, (high - low) / 2, percent=scale.percent)
    return TableCell(number(mean, digits), note=f"{number(low, digits)} to {number(high, digits)}")


def spread_cells(row: Row, scale: Scale) -> tuple[TableCell, TableCell]:
    """Standard deviation over seeds, and the range that they span."""
    values = [value * scale.factor for value in row.values.values() if value is not None]
    if not values:
        return EMPTY, EMPTY
    low, high = min(values), max(values)
    sd = None if row.sd is None else row.sd * scale.factor
    digits = decimals(high, sd, percent=scale.percent)
    spread = EMPTY if sd is None else TableCell(number(sd, digits))
    return spread, TableCell(f"{number(low, digits)} to {number(high, digits)}")


def value_text(value: float | None, scale: Scale) -> str:
    """One seed's value."""
    if value is None:
        return NONE
    shown = value * scale.factor
    return number(shown, 2 if scale.percent else decimals(shown, None, percent=False) + 1)


def decimals(value: float, half_width: float | None, *, percent: bool) -> int:
    """Number of decimals that the half width supports; three significant digits of a bare value.

    The half width is shown with two digits up to 3.5 of its power of ten and with one above: the
    rounding rule of the Particle Data Group (Review of Particle Physics, section 5.3), which lets
    intervals of similar width end at the same decimal. Percentages have one decimal, or two where
    the interval is narrower than 0.1 points in all.
    """
    if percent:
        return 2 if half_width and half_width < 0.05 else 1
    if half_width:
        wanted = ceil(log10(3.55) - log10(half_width))
    elif value:
        wanted = 2 - floor(log10(abs(value)))
    else:
        wanted = 0
    return min(max(wanted, 0), MOST_DECIMALS)


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Fixed point with a real minus; powers of ten where even the most decimals show zeros only."""
    # With fewer digits a tiny number is 0, as a larger one that rounds to 0 is.
    tiny = digits >= MOST_DECIMALS and 0 < abs(value) < 0.5 * 10**-MOST_DECIMALS
    text = f"{value:.2e}" if tiny or abs(value) >= 1e6 else f"{value:.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if not text.strip("-0.") else MINUS + text[1:]
    elif signed and text.strip("0."):
        text = f"+{text}"
    return text


def method_title(method: str) -> str:
    return TITLES.get(method, method)


def row_title(row: str) -> str:
    """The row's name in words. Bytes are left to the unit, which is a multiple of them."""
    words = row.removesuffix("_bytes").split("_")
    return " ".join(SPELLINGS.get(word, word) for word in words)


def method_role(method: str) -> Literal["original", "retrained", "method"]:
    if method == names.ORIGINAL:
        return "original"
    return "retrained" if method == names.RETRAINED else "method"


def _is_in_percent(metric: str) -> bool:
    return metric.endswith(("accuracy", "completeness")) or metric in PERCENTAGES
