"""The figures of a report, for the page and as files. Pure: which they are, and what they show."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from supreme_core.api import names
from supreme_core.api.summary import Distance, Front, Gap, Point, Ranking, Row
from supreme_core.errors import SpecError, listed, nearest, quoted
from supreme_core.registry import unknown
from supreme_core.report import cells, contrasts, plots, tables
from supreme_core.report.cells import Scale
from supreme_core.report.choices import FRONT, RANKS, TRAININGS
from supreme_core.report.marks import explained, marks
from supreme_core.report.tables import IndexedSummary
from supreme_core.report.thinning import LEAST, spread_alike
from supreme_core.report.training_plot import training_plot

MOST_POINTS = 20_000
"""Points of a page, which are 2.6 MB; of more seeds each strip has values that are spread alike."""


def figure(indexed: IndexedSummary, name: str, *, scenario: str | None = None) -> plots.Plot:
    """The figure of that name; SpecError where there is none, or one of each scenario and none is
    chosen."""
    if scenario is not None and scenario not in indexed.scenarios:
        raise SpecError(unknown("scenario", scenario, dict.fromkeys(indexed.scenarios)))
    found = {each: dict(_by_name(indexed, each)) for each in indexed.scenarios}
    known = dict.fromkeys(each for figures in found.values() for each in figures)
    if name not in known:
        overall = dict(_of_all_scenarios(indexed))
        if name in overall:
            if scenario is not None:
                raise SpecError(
                    f"figure {quoted(name)} is one of all scenarios; leave --scenario out"
                )
            return overall[name]
        if name not in indexed.facts:
            raise SpecError(_unknown(name, [*known, *overall], indexed))
        for each in indexed.scenarios:
            if plot := _of_metric(indexed, each, name):
                found[each][name] = plot
    having = [each for each in found if name in found[each]]
    if scenario is None and len(having) > 1:
        choices = ", ".join(map(quoted, having))
        raise SpecError(f"figure {quoted(name)} is one of each scenario; --scenario is {choices}")
    if not having:
        raise SpecError(f"figure {quoted(name)} has nothing to show: no method has a value of it")
    chosen = scenario or having[0]
    if chosen not in having:
        raise SpecError(f"scenario {quoted(chosen)} has no figure {quoted(name)}")
    return found[chosen][name]


def _unknown(name: str, known: Sequence[str], indexed: IndexedSummary) -> str:
    near = nearest(name, [*known, *indexed.facts])
    return f"unknown figure {quoted(name)}{near or f'; known: {listed(known)}; and every metric'}"


def _of_all_scenarios(indexed: IndexedSummary) -> Iterator[tuple[str, plots.Plot]]:
    drawn = (ranks(each.ranking) for each in contrasts.rankings(indexed))
    if overall := next(filter(None, drawn), None):
        yield RANKS, overall
    if trainings := training_plot(indexed.summary.training_curves):
        yield TRAININGS, trainings


def _by_name(indexed: IndexedSummary, scenario: str) -> Iterator[tuple[str, plots.Plot]]:
    if plot := lead(indexed, scenario):
        yield indexed.primary, plot
    yield from distances(indexed, scenario)
    if found := contrasts.front(indexed, scenario):
        for metric, dots in fronts(indexed, found):
            yield f"{FRONT}-{metric}", dots


def lead(indexed: IndexedSummary, scenario: str) -> plots.StripPlot | None:
    """The primary metric of every seed, as a distance to Retrained; of what is measured its
    value."""
    metric = indexed.primary
    if indexed.facts[metric].measured:
        plot = _values(indexed, scenario, metric)
        return replace(plot, heading="Retrained", leads=True) if plot else None
    drawn = dict(_strips(indexed, scenario, metric))
    if not drawn:
        return None
    # here a method without a line would be missed
    every = [drawn.get(m) or _empty(m) for m in _in_order(indexed, scenario)]
    return replace(_distance(indexed, scenario, metric, every), leads=True)


def _of_metric(indexed: IndexedSummary, scenario: str, metric: str) -> plots.StripPlot | None:
    """Distance of every method to Retrained in any metric, or its value where none is known; None
    without any."""
    strips = [strip for _, strip in _strips(indexed, scenario, metric)]
    if strips and not indexed.facts[metric].measured:
        return _distance(indexed, scenario, metric, strips)
    return _values(indexed, scenario, metric)


def values(indexed: IndexedSummary, scenario: str) -> plots.StripPlot | None:
    """The primary metric itself, where `lead` has another picture; None without any."""
    has_gap = indexed.facts[indexed.primary].has_gap
    return _values(indexed, scenario, indexed.primary) if has_gap else None


def distances(indexed: IndexedSummary, scenario: str) -> Iterator[tuple[str, plots.StripPlot]]:
    """Distance of every method to Retrained, by the metrics that lead beside the primary one."""
    for metric in tables.leading(indexed, scenario):
        strips = [strip for _, strip in _strips(indexed, scenario, metric)]
        if strips and metric != indexed.primary:
            yield metric, _distance(indexed, scenario, metric, strips)


def fronts(indexed: IndexedSummary, found: Front) -> Iterator[tuple[str, plots.DotPlot]]:
    """Each distance to Retrained over the cost, where there is a cost, by its metric."""
    axes = list(enumerate(found.axes))
    for (cost, x_axis), (number, y_axis) in product(axes, axes):
        if x_axis.role != "cost" or y_axis.role == "cost":
            continue
        x_title, y_title = (contrasts.axis_title(indexed, a.metric) for a in (x_axis, y_axis))
        scales = [indexed.distance_scale(axis.metric) for axis in (x_axis, y_axis)]
        yield (
            y_axis.metric,
            plots.DotPlot(
                [_dot(point, cost, number, scales) for point in found.points],
                x_axis=_axis(x_title, scales[0].unit),
                y_axis=_axis(y_title, scales[1].unit),
                described_as=f"{y_title} over {x_title}, one point for each method",
            ),
        )


def ranks(found: Ranking) -> plots.StripPlot | None:
    """Mean rank of each method over the blocks; None where none is ranked."""
    strips = [
        plots.Strip(cells.method_title(r.method), "method", (), (), r.mean, r.low, r.high)
        for r in contrasts.ranked(found)
    ]
    return (
        plots.StripPlot(
            strips,
            axis="mean rank, 1 is nearest to Retrained",
            described_as="Mean rank of each method over the blocks, with its interval",
        )
        if strips
        else None
    )


def _values(indexed: IndexedSummary, scenario: str, metric: str) -> plots.StripPlot | None:
    """A metric of every seed, also of Retrained; None without any."""
    most = seeds_drawn(indexed)
    found = (indexed.row(scenario, method, metric) for method in indexed.methods(scenario))
    rows = [row for row in found if row]
    if not any(row.n for row in rows):
        return None
    scale, title = indexed.scale(metric), cells.row_title(metric)
    return plots.StripPlot(
        [_strip(row, scale, most=most) for row in rows],
        axis=_axis(title, scale.unit),
        described_as=f"{title} of every seed, one line for each method",
        reference=_of_retrained(rows, scale),
    )


def _in_order(indexed: IndexedSummary, scenario: str) -> list[str]:
    """Original first, then the methods, nearest first."""
    order = tables.by_nearness(indexed, scenario)
    return sorted(order, key=lambda method: method != names.ORIGINAL)


def _strips(
    indexed: IndexedSummary, scenario: str, metric: str
) -> Iterator[tuple[str, plots.Strip]]:
    """Distance to Retrained by method, of those that have a value."""
    scale, most = indexed.scale(metric), seeds_drawn(indexed)
    retrained = indexed.row(scenario, names.RETRAINED, metric)
    marked = marks(indexed, scenario)
    for method in _in_order(indexed, scenario):
        row = indexed.row(scenario, method, metric)
        if row and row.n and indexed.facts[metric].compares:
            strip = _strip(row, scale, most=most)
        elif row and row.gap and retrained:
            strip = _gap_strip(row, row.gap, retrained, scale, most=most)
        else:
            continue
        mark = f" {marked[method]}" if method in marked else ""
        yield method, replace(strip, label=f"{strip.label}{mark}")


def _empty(method: str) -> plots.Strip:
    label = f"{cells.method_title(method)}: no value"
    return plots.Strip(label, cells.method_role(method), (), (), None, None, None)


def _distance(
    indexed: IndexedSummary, scenario: str, metric: str, strips: Sequence[plots.Strip]
) -> plots.StripPlot:
    """Strips with what they are compared with: a margin around no gap, or a noise floor."""
    scale, title = indexed.scale(metric), cells.row_title(metric)
    order = "for every seed: Original, then the methods, nearest first"
    note = explained(indexed, scenario)
    if indexed.facts[metric].compares:
        noise, f = indexed.floors.get((scenario, metric)), scale.factor
        band = plots.ReferenceBand(noise.mean * f, noise.low * f, noise.high * f) if noise else None
        return plots.StripPlot(
            strips,
            axis=_axis(title, scale.unit),
            described_as=f"{title} to Retrained of the same seed, {order}",
            reference=band,
            sizes=True,
            heading="Retrained models among themselves" if noise else "",
            note=note,
        )
    margin = tables.widest_margin(indexed, scenario, metric)
    within = f", and its margin {cells.margin_text(margin, scale)}" if margin else ""
    return plots.StripPlot(
        strips,
        axis=_axis(f"{title}: gap to Retrained", scale.gap_unit),
        described_as=f"{title} minus Retrained of the same seed, {order}",
        reference=plots.ReferenceBand(0.0, 0.0, 0.0),
        margin=_scaled(margin, scale),
        heading=f"Retrained{within}",
        note=note,
    )


def _dot(point: Point, cost: int, number: int, scales: Sequence[Scale]) -> plots.Dot:
    (x_scale, y_scale), (x, y) = scales, (point.distances[cost], point.distances[number])
    x_text, y_text = cells.value_text(x.mean, x_scale), cells.value_text(y.mean, y_scale)
    title = cells.method_title(point.method)
    return plots.Dot(
        label=title,
        title=f"{title}: {y_text} {y_scale.unit}, cost {x_text} {x_scale.unit}",
        x=x.mean * x_scale.factor,
        y=y.mean * y_scale.factor,
        x_ends=_ends(x, x_scale),
        y_ends=_ends(y, y_scale),
        chosen=not point.dominated_by,
    )


def _ends(distance: Distance, scale: Scale) -> tuple[float, float]:
    """Ends of the interval, which is the point itself below two seeds."""
    low = distance.mean if distance.low is None else distance.low
    high = distance.mean if distance.high is None else distance.high
    return low * scale.factor, high * scale.factor


def seeds_drawn(indexed: IndexedSummary) -> int:
    """Seeds of each strip of the page, at most."""
    plotted = {metric for s in indexed.scenarios for metric in tables.leading(indexed, s)}
    strips = sum(1 for row in indexed.summary.rows if row.metric in plotted)
    return max(MOST_POINTS // max(strips, 1), LEAST)


def _strip(row: Row, scale: Scale, *, most: int) -> plots.Strip:
    values, said = _points(row, row.values, scale, scale.unit, most)
    return plots.Strip(
        label=cells.method_title(row.method),
        role=cells.method_role(row.method),
        values=values,
        names=said,
        mean=_scaled(row.mean, scale),
        low=_scaled(row.low, scale),
        high=_scaled(row.high, scale),
    )


def _gap_strip(row: Row, gap: Gap, retrained: Row, scale: Scale, *, most: int) -> plots.Strip:
    gaps: dict[str, float | None] = {}
    for seed, value in row.values.items():
        reference = retrained.values.get(seed)
        gaps[seed] = None if value is None or reference is None else value - reference
    values, said = _points(row, gaps, scale, scale.gap_unit, most)
    return plots.Strip(
        label=cells.method_title(row.method),
        role=cells.method_role(row.method),
        values=values,
        names=said,
        mean=_scaled(gap.mean, scale),
        low=_scaled(gap.low, scale),
        high=_scaled(gap.high, scale),
    )


def _points(
    row: Row, values: dict[str, float | None], scale: Scale, unit: str, most: int
) -> tuple[tuple[float | None, ...], tuple[str, ...]]:
    """Values of so many seeds, and what pointing at each of them shows."""
    method, shown = cells.method_title(row.method), spread_alike(values, most)
    said = (
        f"{method}, seed {seed}: {cells.value_text(value, scale)} {unit}".rstrip()
        for seed, value in shown.items()
    )
    return tuple(_scaled(each, scale) for each in shown.values()), tuple(said)


def _scaled(value: float | None, scale: Scale) -> float | None:
    return None if value is None else value * scale.factor


def _of_retrained(rows: Sequence[Row], scale: Scale) -> plots.ReferenceBand | None:
    """Places of Retrained's seeds."""
    f = scale.factor
    retrained = next((row for row in rows if row.method == names.RETRAINED), None)
    if retrained is None or retrained.mean is None:
        return None
    values = [value * f for value in retrained.values.values() if value is not None]
    return plots.ReferenceBand(retrained.mean * f, min(values), max(values))


def _axis(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title
