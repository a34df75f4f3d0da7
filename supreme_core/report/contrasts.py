"""Methods against each other, by pairs, ranks and Pareto fronts; and what makes a method vary.

All numbers are those of the summary. What is done here is to order them and to write them down.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from supreme_core.analysis import statistics
from supreme_core.api.summary import Comparison, Front, LeftOut, Point, Rank, Ranking, Row
from supreme_core.report import cells, tables
from supreme_core.report.cells import Scale, TableCell
from supreme_core.report.tables import Column, IndexedSummary, Table, TableLine

ALPHA = 1 - statistics.LEVEL
SHARE = Scale(100.0, "%", "points")
PLAIN = Scale(1.0, "", "")


def front(indexed: IndexedSummary, scenario: str) -> Front | None:
    """The Pareto front of a scenario; None where there is no method on all of its axes."""
    found = (each for each in indexed.summary.pareto if each.scenario == scenario)
    return next((each for each in found if each.points), None)


def front_table(indexed: IndexedSummary, found: Front) -> Table:
    """Methods on the front first, and of each part those that forget like Retrained; where settings
    were tuned, those with chosen ones before the others."""
    scales = [indexed.distance_scale(axis.metric) for axis in found.axes]
    columns = [
        Column(axis_title(indexed, axis.metric), scale.unit)
        for axis, scale in zip(found.axes, scales, strict=True)
    ]
    lines = []
    points = {point.method: point for point in found.points}
    nearest = sorted(
        points, key=lambda m: (bool(points[m].dominated_by), points[m].distances[0].mean)
    )
    for point in (points[method] for track in indexed.tracks(nearest) for method in track):
        distances = zip(point.distances, scales, strict=True)
        numbers = (cells.interval_cell(d.mean, d.low, d.high, scale) for d, scale in distances)
        title = cells.method_title(point.method)
        lines.append(TableLine(title, "method", (_standing(point), *numbers)))
    return Table("", (Column("Pareto front", kind="words"), *columns), tuple(lines))


def left_out(methods: Sequence[LeftOut]) -> Iterator[str]:
    """Each reason once, with the methods that it is about."""
    return _by_reason((each.reason, cells.method_title(each.method)) for each in methods)


def _by_reason(found: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each reason once, with what it is about.  found: reasons, each with one title."""
    about: dict[str, dict[str, None]] = {}
    for reason, title in found:
        about.setdefault(reason, {})[title] = None
    for reason, titles in about.items():
        yield f"{', '.join(titles)}: {reason}"


def axis_title(indexed: IndexedSummary, metric: str) -> str:
    title = cells.row_title(metric)
    return f"distance in {title}" if indexed.facts[metric].has_gap else title


def _standing(point: Point) -> TableCell:
    if not point.dominated_by:
        return TableCell("on it", tone="good")
    one, *others = map(cells.method_title, point.dominated_by)
    return TableCell("dominated", note=f"by {one}{f' and {len(others)} more' if others else ''}")


def matrix(indexed: IndexedSummary, scenario: str) -> Table | None:
    """Share of seeds, in percent, in which the line's method is nearer to Retrained than the
    column's.

    Both are in the order of nearness, and numbered alike. None without two methods.
    """
    found = {(each.method, each.other): each for each in _comparisons(indexed, scenario)}
    if not found:
        return None
    there = {method for pair in found for method in pair}
    methods = [method for method in tables.by_nearness(indexed, scenario) if method in there]
    lines = [
        TableLine(
            f"{place}  {cells.method_title(method)}",
            "method",
            tuple(_nearer(found, method, other) for other in methods),
        )
        for place, method in enumerate(methods, 1)
    ]
    columns = (Column(str(place), kind="share") for place in range(1, len(methods) + 1))
    return Table("", tuple(columns), tuple(lines))


def _nearer(found: dict[tuple[str, str], Comparison], method: str, other: str) -> TableCell:
    if (pair := found.get((method, other))) is not None:
        return _share(pair, pair.nearer, nearer=pair.mean < 0)
    if (pair := found.get((other, method))) is not None:
        return _share(pair, 1 - pair.nearer, nearer=pair.mean > 0)
    return TableCell("")


def _share(pair: Comparison, share: float, *, nearer: bool) -> TableCell:
    """Share with a star where a difference is found."""
    text = f"{100 * share:.0f}"
    if not _differ(pair):
        return TableCell(text)
    return TableCell(f"{text}*", tone="good" if nearer else "bad")


def _differ(pair: Comparison) -> bool:
    return pair.adjusted_p is not None and pair.adjusted_p < ALPHA


def pairs(indexed: IndexedSummary, scenario: str) -> Table | None:
    """Every pair, the nearer one by its mean first; those that differ lead."""
    scale = indexed.distance_scale(indexed.primary)
    columns = (
        Column("n", kind="count"),
        Column("difference of distances", scale.unit, kind="gap"),
        Column("seeds in which the first is nearer", "%"),
        Column("p", kind="count"),
        Column("p after Holm", kind="count"),
        Column("p of sign flips", kind="count"),
    )
    found = [each if each.mean <= 0 else _turned(each) for each in _comparisons(indexed, scenario)]
    found.sort(key=lambda pair: (inf if pair.adjusted_p is None else pair.adjusted_p, pair.mean))
    lines = []
    for pair in found:
        title = f"{cells.method_title(pair.method)} – {cells.method_title(pair.other)}"
        numbers = (
            TableCell(str(pair.n)),
            cells.interval_cell(pair.mean, pair.low, pair.high, scale, signed=True),
            cells.interval_cell(pair.nearer, pair.nearer_low, pair.nearer_high, SHARE),
            TableCell(cells.p_text(pair.difference_p)),
            TableCell(cells.p_text(pair.adjusted_p)),
            TableCell(cells.p_text(pair.flip_p)),
        )
        lines.append(TableLine(title, "method", numbers))
    return Table("", columns, tuple(lines), head="pair") if lines else None


def untested(indexed: IndexedSummary, scenario: str) -> list[str]:
    """Reasons why methods are not tested against the others, each once."""
    lacks = (part for each in _comparisons(indexed, scenario) for part in _parts(each.lack))
    return list(_by_reason((reason, title) for title, _, reason in lacks))


def _parts(lack: str | None) -> list[tuple[str, str, str]]:
    """Methods of a pair and what each lacks, between them what parts the two."""
    return [part.partition(": ") for part in lack.split("; ")] if lack else []


def _turned(pair: Comparison) -> Comparison:
    return pair.model_copy(
        update={
            "method": pair.other,
            "other": pair.method,
            "mean": -pair.mean,
            "low": None if pair.high is None else -pair.high,
            "high": None if pair.low is None else -pair.low,
            "nearer": 1 - pair.nearer,
            "nearer_low": 1 - pair.nearer_high,
            "nearer_high": 1 - pair.nearer_low,
        }
    )


def _comparisons(indexed: IndexedSummary, scenario: str) -> list[Comparison]:
    return [each for each in indexed.summary.comparisons if each.scenario == scenario]


@dataclass(frozen=True)
class TrackRanking:
    """Ranking of the methods of one track.  of: words for them, empty for all methods.  name: part
    of a file's name.
    """

    of: str
    name: str
    ranking: Ranking


def rankings(indexed: IndexedSummary) -> Iterator[TrackRanking]:
    """The ranking of an experiment; where settings were tuned, that of each track."""
    summary = indexed.summary
    if summary.ranks:
        yield TrackRanking("chosen settings" if summary.tuned else "", "ranks", summary.ranks)
    if summary.ranks_as_given:
        yield TrackRanking("settings as given", "ranks as given", summary.ranks_as_given)


def ranked(found: Ranking) -> list[Rank]:
    """Methods from the nearest to the furthest over all blocks."""
    return sorted(found.ranks, key=lambda rank: rank.mean)


def ranks(found: Ranking) -> Table | None:
    lines = [
        TableLine(
            cells.method_title(rank.method),
            "method",
            (
                cells.interval_cell(rank.mean, rank.low, rank.high, PLAIN),
                cells.interval_cell(rank.score, rank.score_low, rank.score_high, PLAIN),
            ),
        )
        for rank in ranked(found)
    ]
    columns = (Column("mean rank"), Column("score"))
    return Table("", columns, tuple(lines)) if lines else None


def robust(indexed: IndexedSummary, scenario: str) -> Table:
    """Robust location of the primary metric, which a single seed far off does not move."""
    scale = indexed.scale(indexed.primary)
    columns = (
        Column("n", kind="count"),
        Column("median", scale.unit),
        Column("interquartile mean", scale.unit),
        Column("smallest", scale.unit, kind="spread"),
        Column("largest", scale.unit, kind="spread"),
    )
    lines = []
    for method in indexed.methods(scenario):
        row = indexed.row(scenario, method, indexed.primary)
        if row and row.robust:
            found = row.robust
            numbers = (
                cells.count_cell(row),
                TableCell(cells.value_text(found.median, scale)),
                cells.interval_cell(found.iqm, found.low, found.high, scale),
                TableCell(cells.value_text(found.smallest, scale)),
                TableCell(cells.value_text(found.largest, scale)),
            )
            role = cells.method_role(method)
            lines.append(TableLine(cells.method_title(method), role, numbers))
    return Table("", columns, tuple(lines))


def spreads(indexed: IndexedSummary, scenario: str) -> Iterator[Table]:
    """Spread of each metric that leads, by where it comes from, for methods with repeats."""
    for metric in tables.leading(indexed, scenario):
        rows = (indexed.row(scenario, method, metric) for method in indexed.methods(scenario))
        lines = [_spread(row, indexed.scale(metric)) for row in rows if row and row.variance]
        unit = indexed.scale(metric).gap_unit
        columns = (
            Column("between training seeds", unit, kind="spread"),
            Column("between unlearning repeats", unit, kind="spread"),
            Column("between evaluation repeats", unit, kind="spread"),
            Column("best number of repeats", kind="count"),
        )
        if lines:
            yield Table(cells.row_title(metric), columns, tuple(lines))


def _spread(row: Row, scale: Scale) -> TableLine:
    assert row.variance is not None
    found = row.variance
    numbers = (
        _component(found.training, found.training_share, scale),
        TableCell("0", note="same bits")
        if found.deterministic
        else _component(found.unlearning, found.unlearning_share, scale),
        _component(found.evaluation, found.evaluation_share, scale),
        TableCell(cells.NONE if found.best_repeats is None else str(found.best_repeats)),
    )
    return TableLine(cells.method_title(row.method), cells.method_role(row.method), numbers)


def _component(sd: float | None, share: float | None, scale: Scale) -> TableCell:
    """A standard deviation, and its share of the variance."""
    if sd is None:
        return cells.EMPTY
    note = "" if share is None else f"{100 * share:.0f} % of the variance"
    return TableCell(cells.value_text(sd, scale), note=note)
