"""The part of the page about distributions over seeds: tables with their nulls, and ROC curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from supreme_core.api import names
from supreme_core.api.summary import Curve, OverSeeds, SeedRow, SeedValue
from supreme_core.errors import number_of
from supreme_core.report import cells, roc
from supreme_core.report.cells import NONE
from supreme_core.report.templates import template

MOST_DECIMALS = 3
"""Most decimals of numbers with two ends, such as an AUC: at an end an interval can be as narrow as
one likes."""


@dataclass(frozen=True)
class SeedCell:
    """A value, its interval, and its null. beyond: the interval of value less null leaves out 0."""

    text: str
    interval: str
    null: str
    beyond: bool


@dataclass(frozen=True)
class SeedTable:
    """The rows of one metric: a column for each, and a line for each method."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[SeedCell, ...]], ...]


@dataclass(frozen=True)
class SeedsView:
    """One scenario. reasons: why values are missing, each with the rows that it is about.

    lacks: why values are those of survivors, each with the methods.
    """

    name: str
    seeds: str
    plot: Markup | None
    some_unnamed: bool
    tables: tuple[SeedTable, ...]
    reasons: tuple[tuple[str, str], ...]
    lacks: tuple[tuple[str, str], ...]


def section(found: OverSeeds) -> Markup:
    """A <section> of the page; empty where nothing was asked or nothing is there."""
    scenarios = dict.fromkeys(each.scenario for each in found.curves)
    scenarios |= dict.fromkeys(each.scenario for each in found.values)
    if not scenarios:
        return Markup()
    page = template("over_seeds").render(
        scenarios=[_scenario(found, place, name) for place, name in enumerate(scenarios)],
        definitions=[
            (cells.row_title(metric), row.summary, row.unit, _best(row.best), row.source)
            for metric, row in {row.metric: row for row in found.metrics.values()}.items()
        ],
    )
    return Markup(page)


def _scenario(found: OverSeeds, place: int, name: str) -> SeedsView:
    values = [each for each in found.values if each.scenario == name]
    curves = [each for each in found.curves if each.scenario == name]
    by_row = {(each.method, each.metric): each for each in values}
    there = {each.metric for each in values if each.value is not None}
    shown = [row for row in found.metrics if row in there]
    counts = {each.n for each in values if each.value is not None}
    return SeedsView(
        name=name,
        seeds=" or ".join(number_of(n, "seed") for n in sorted(counts)),
        plot=_plot(curves, place) if curves else None,
        some_unnamed=sum(cells.method_role(each.method) == "method" for each in curves)
        > len(roc.DASHES),
        tables=tuple(
            _table(metric, list(rows), by_row, found)
            for metric, rows in groupby(shown, key=lambda row: found.metrics[row].metric)
        ),
        reasons=tuple(_reasons(found, values)),
        lacks=tuple(_lacks(values)),
    )


def _table(
    metric: str,
    rows: Sequence[str],
    by_row: dict[tuple[str, str], SeedValue],
    found: OverSeeds,
) -> SeedTable:
    methods = list(dict.fromkeys(method for method, row in by_row if row in rows))
    return SeedTable(
        title=cells.row_title(metric),
        columns=tuple(cells.row_title(row) for row in rows),
        lines=tuple(
            (
                cells.method_title(method),
                cells.method_role(method),
                tuple(_cell(by_row.get((method, row)), found.metrics[row]) for row in rows),
            )
            for method in methods
        ),
    )


def _cell(found: SeedValue | None, row: SeedRow) -> SeedCell:
    if found is None or found.value is None or found.null is None:
        return SeedCell(NONE, "", "", beyond=False)
    half = (found.high - found.low) / 2 if None not in (found.low, found.high) else None  # type: ignore[operator]
    digits = cells.decimals(found.value, half, percent=False)
    if None not in (row.low, row.high):
        digits = min(digits, MOST_DECIMALS)
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f"[{cells.number(found.low, digits)}, {cells.number(found.high, digits)}]"
    null = found.null
    ends = f"{cells.number(null.low, digits)} to {cells.number(null.high, digits)}"
    return SeedCell(
        text=cells.number(found.value, digits),
        interval=interval,
        null=f"null {cells.number(null.mean, digits)}, {ends}",
        beyond=(found.excess_low is not None and found.excess_low > 0)
        or (found.excess_high is not None and found.excess_high < 0),
    )


def _reasons(found: OverSeeds, values: Sequence[SeedValue]) -> Iterator[tuple[str, str]]:
    """Each reason once, with the metrics and, unless they are all, the methods that it is about.

    A row by itself where its metric has a value in another one.
    """
    by_reason: dict[str, list[SeedValue]] = {}
    for each in values:
        if each.reason:
            by_reason.setdefault(each.reason, []).append(each)
    methods = {each.method for each in values}
    valued = {found.metrics[each.metric].metric for each in values if each.value is not None}
    for reason, missing in by_reason.items():
        metrics = dict.fromkeys(
            each.metric if metric in valued else metric
            for each in missing
            for metric in (found.metrics[each.metric].metric,)
        )
        about = ", ".join(map(cells.row_title, metrics))
        of = dict.fromkeys(each.method for each in missing)
        if of.keys() != methods:
            about += f" of {', '.join(map(cells.method_title, of))}"
        yield about, reason


def _lacks(values: Sequence[SeedValue]) -> Iterator[tuple[str, str]]:
    about: dict[str, dict[str, None]] = {}
    for each in values:
        if each.lack:
            about.setdefault(each.lack, {})[cells.method_title(each.method)] = None
    for lack, methods in about.items():
        yield ", ".join(methods), lack


def _plot(curves: Sequence[Curve], place: int) -> Markup:
    return Markup(
        roc.roc_plot(
            [
                roc.Roc(
                    label=cells.method_title(curve.method),
                    role=cells.method_role(curve.method),
                    fpr=tuple(curve.fpr),
                    tpr=tuple(curve.tpr),
                    band=_band(curve) if curve.method == names.RETRAINED else None,
                )
                for curve in curves
            ],
            described_as="ROC curves of a membership attack on the loss, one for each method",
            name=f"roc{place}",
        )
    )


def _band(curve: Curve) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    low = tuple(max(each, 0.0) for each in curve.low if each is not None)
    high = tuple(min(each, 1.0) for each in curve.high if each is not None)
    return (low, high) if len(low) == len(high) == len(curve.fpr) else None


def _best(best: str) -> str:
    return {"lowest": "0 is perfect", "highest": "1 is perfect"}.get(best, "its null is perfect")
