"""Numbers of the figure whose axes a reader chooses, for the page's script. Pure.

Every metric of every method in every scenario, in the units of the page: each seed's value, the
mean and its interval. They stand in the page as JSON in an element that nothing executes.
"""

from typing import Any

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from supreme_core.api import names
from supreme_core.api.summary import Gap, Row
from supreme_core.report import cells, tables, words
from supreme_core.report.cells import Scale
from supreme_core.report.marks import explained, marks
from supreme_core.report.tables import IndexedSummary
from supreme_core.report.thinning import evenly

MOST_NUMBERS = 60_000
"""Values that a page has for its script, which are 0.4 MB; of more seeds it has an even choice."""

DIGITS = 6
"""Significant ones of a number: a gap is the difference of two."""


def numbers(indexed: IndexedSummary) -> Markup:
    """The JSON: `seeds`, which is a choice of all where their values are very many, how many there
    are in all (`of`), `metrics`, and by scenario `methods`, `margins` and `rows`.

    A row, by metric and method, is [values, [mean, low, high], the same of the gap], or null. A
    scenario in which models lost the task has `marks` by method, and `explained`, which says what
    they are.
    """
    there = {row.metric for row in indexed.summary.rows if row.n}
    metrics = [metric for metric in indexed.facts if metric in there]
    seeds = seeds_told(indexed)
    document = {
        "of": len(indexed.summary.seeds),
        "seeds": seeds,
        "metrics": [_metric(indexed, metric) for metric in metrics],
        "primary": metrics.index(indexed.primary) if indexed.primary in metrics else 0,
        "scenarios": [_scenario(indexed, s, metrics, seeds) for s in indexed.scenarios],
    }
    return htmlsafe_json_dumps(document, separators=(",", ":"), allow_nan=False)


def seeds_told(indexed: IndexedSummary) -> list[str]:
    """Seeds of which the page has every value: all, or an even choice."""
    seeds = [str(seed) for seed in indexed.summary.seeds]
    rows = sum(1 for row in indexed.summary.rows if row.n)
    return [seeds[place] for place in evenly(len(seeds), MOST_NUMBERS // max(rows, 1))]


def _metric(indexed: IndexedSummary, metric: str) -> dict[str, Any]:
    """Title and units; leads: its seeds are shown where a method is clicked."""
    scale, facts = indexed.scale(metric), indexed.facts[metric]
    return {
        "title": words.readable(words.headline(cells.row_title(metric))),
        "unit": scale.unit,
        "gapUnit": scale.gap_unit,
        "hasGap": facts.has_gap,
        "leads": any(metric in tables.leading(indexed, s) for s in indexed.scenarios),
    }


def _scenario(
    indexed: IndexedSummary, scenario: str, metrics: list[str], seeds: list[str]
) -> dict[str, Any]:
    there = set(indexed.methods(scenario))
    order = [names.ORIGINAL, names.RETRAINED, *tables.by_nearness(indexed, scenario)]
    methods = [method for method in dict.fromkeys(order) if method in there]
    marked = marks(indexed, scenario)
    return {
        "name": words.readable(scenario),
        "methods": [
            [words.readable(cells.method_title(method)), cells.method_role(method)]
            for method in methods
        ],
        **({"marks": [marked.get(m, "") for m in methods]} if marked else {}),
        **({"explained": explained(indexed, scenario)} if marked else {}),
        "margins": [_margin(indexed, scenario, metric) for metric in metrics],
        "rows": [
            [_row(indexed, scenario, method, metric, seeds) for method in methods]
            for metric in metrics
        ],
    }


def _margin(indexed: IndexedSummary, scenario: str, metric: str) -> float | None:
    margin = tables.widest_margin(indexed, scenario, metric)
    return _short(margin * indexed.scale(metric).factor) if margin else None


def _row(
    indexed: IndexedSummary, scenario: str, method: str, metric: str, seeds: list[str]
) -> list[Any] | None:
    """Numbers of a row; None without any, and for Retrained in a distance to itself."""
    row = indexed.row(scenario, method, metric)
    to_itself = method == names.RETRAINED and indexed.facts[metric].compares
    if row is None or not row.n or to_itself:
        return None
    scale = indexed.scale(metric)
    values = [_scaled(row.values.get(seed), scale) for seed in seeds]
    return [values, _estimate(row, scale), _estimate(row.gap, scale) if row.gap else None]


def _estimate(found: Row | Gap, scale: Scale) -> list[float | None]:
    return [_scaled(each, scale) for each in (found.mean, found.low, found.high)]


def _scaled(value: float | None, scale: Scale) -> float | None:
    return None if value is None else _short(value * scale.factor)


def _short(value: float) -> float:
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 10**DIGITS else short
