"""report.html: one file that reads offline, in light, dark and print. Pure: summary in, bytes out.

Everything that a result says is foreign text here; the template escapes it, and the only markup
that is passed through are the plots of `plots`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from supreme_core import statistics
from supreme_core.aggregate import CellSummary, RowFacts, Span
from supreme_core.api import names
from supreme_core.api.run import Failure, Row, Summary
from supreme_core.report import cells, plots, tables
from supreme_core.report.cells import Scale
from supreme_core.report.tables import Group, Reading, Table

MOST_FAILURES = 500
"""Failures that the page lists one by one; summary.json has all."""

MOST_NAMED_POINTS = 20_000
"""Points of a page that say their seed when pointed at; beyond it the page would grow heavy."""


@dataclass(frozen=True)
class ScenarioView:
    """One scenario as the template shows it. seeds: every seed's value of the primary metric."""

    anchor: str
    name: str
    params: str
    forgot: str
    verdicts: Table | None
    table: Table
    plots: tuple[Markup, ...]
    legend: str
    groups: tuple[Group, ...]
    methods: tuple[str, ...]
    seeds: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Definition:
    """One metric, whatever the number of its sets."""

    name: str
    sets: str
    unit: str
    range: str
    kind: str
    summary: str
    source: str


def render_report(summary: Summary) -> bytes:
    """The page; equal summaries give equal bytes."""
    reading = Reading(summary)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("supreme_core.report").joinpath("template.html.j2").read_text("utf-8")
    page = environment.from_string(source).render(
        summary=summary,
        primary=_headline(cells.row_title(summary.primary_metric)),
        subtitle=_subtitle(reading),
        notes=list(tables.notes(reading)),
        scenarios=[_scenario(reading, i, name) for i, name in enumerate(reading.scenarios)],
        collapses=list(tables.collapses(reading)),
        failures=[_failure_line(failure) for failure in summary.failures[:MOST_FAILURES]],
        more_failures=max(len(summary.failures) - MOST_FAILURES, 0),
        excluded=summary.excluded,
        provenance=list(_provenance(reading)),
        environments=[
            (e.digest, _seed_ranges(e.seeds), [(k, _plain(v)) for k, v in e.values.items()])
            for e in reading.provenance.environments
        ],
        work="" if reading.provenance.imported else _yaml(reading.provenance.work.to_document()),
        definitions=list(_definitions(reading)),
        symbols=cells.SYMBOLS,
        floor_title=tables.FLOOR_TITLE,
        fewest=statistics.FEWEST_FOR_A_VERDICT,
        has_gap=tables.has_gap(reading.facts[reading.primary]),
        reaches_beyond=_reaches_beyond(reading),
    )
    return page.encode()


def _headline(text: str) -> str:
    return text[:1].upper() + text[1:]


def _subtitle(reading: Reading) -> str:
    work = reading.provenance.work
    return " · ".join(
        [
            _count(len(reading.summary.seeds), "training seed"),
            work.dataset.name,
            work.model.name,
            _count(len(work.scenarios), "scenario"),
            _count(len(work.methods), "method"),
        ]
    )


def _scenario(reading: Reading, place: int, name: str) -> ScenarioView:
    component = next(s for s in reading.provenance.work.scenarios if s.title == name)
    cell = next((c for c in reading.provenance.cells if c.scenario == name), None)
    params = ", ".join(f"{key} {_plain(value)}" for key, value in component.params.items())
    methods = reading.methods(name)
    rows = [reading.row(name, method, reading.primary) for method in methods]
    return ScenarioView(
        anchor=f"scenario-{place}",
        name=name,
        params=f"{component.name}: {params}" if params else component.name,
        forgot=_forgot(cell) if cell else "",
        verdicts=tables.verdicts(reading, name),
        table=tables.overview(reading, name),
        plots=tuple(_plots(reading, place, [row for row in rows if row])),
        legend=_legend(reading, name),
        groups=tuple(tables.groups(reading, name)),
        methods=tuple(cells.method_title(method) for method in methods),
        seeds=tuple(_seed_lines(reading, rows)),
    )


def _forgot(cell: CellSummary) -> str:
    parts = [
        f"{_span(cell.forget_samples)} training samples to forget",
        f"{_span(cell.retain_samples)} to retain",
    ]
    if cell.forget_test_samples.high:
        parts.append(f"{_span(cell.forget_test_samples)} test samples of the forgotten classes")
    if len(cell.forget_digests) > 1:
        seeds = len(cell.forget_digests)
        same = cell.forget_sets == 1
        parts.append(
            "the same forget set for every seed"
            if same
            else f"{cell.forget_sets} different forget sets over {seeds} seeds"
        )
    return "; ".join(parts) + "."


def _plots(reading: Reading, place: int, rows: Sequence[Row]) -> Iterator[Markup]:
    """The primary metric of every seed, and where it has one the gap of every seed."""
    scale, title = reading.scale(reading.primary), cells.row_title(reading.primary)
    if not any(row.n for row in rows):
        return
    named = sum(len(row.values) for row in reading.summary.rows if row.metric == reading.primary)
    label = _points(title, scale.unit)
    yield Markup(
        plots.strip_plot(
            [_strip(row, scale, named=named <= MOST_NAMED_POINTS) for row in rows],
            axis=label,
            described_as=f"{title} of every seed, one line for each method",
            name=f"values{place}",
            reference=_reference(reading, rows, scale),
        )
    )
    retrained = next((row for row in rows if row.method == names.RETRAINED), None)
    gaps = [row for row in rows if row.gap is not None]
    if retrained and gaps:
        yield Markup(
            plots.strip_plot(
                [_gap_strip(r, retrained, scale, named=named <= MOST_NAMED_POINTS) for r in gaps],
                axis=_points("gap to the same seed's Retrained", scale.gap_unit),
                described_as=f"{title} minus Retrained of the same seed, for every seed",
                name=f"gaps{place}",
                reference=plots.Reference(0.0, 0.0, 0.0),
            )
        )


def _strip(row: Row, scale: Scale, *, named: bool) -> plots.Strip:
    values = {s: None if v is None else v * scale.factor for s, v in row.values.items()}
    return plots.Strip(
        label=cells.method_title(row.method),
        role=cells.method_role(row.method),
        values=tuple(values.values()),
        names=_names(row, scale, row.values) if named else (),
        mean=_scaled(row.mean, scale),
        low=_scaled(row.low, scale),
        high=_scaled(row.high, scale),
    )


def _gap_strip(row: Row, retrained: Row, scale: Scale, *, named: bool) -> plots.Strip:
    assert row.gap is not None
    gaps: dict[str, float | None] = {}
    for seed, value in row.values.items():
        reference = retrained.values.get(seed)
        gaps[seed] = None if value is None or reference is None else value - reference
    return plots.Strip(
        label=cells.method_title(row.method),
        role=cells.method_role(row.method),
        values=tuple(_scaled(gap, scale) for gap in gaps.values()),
        names=_names(row, scale, gaps) if named else (),
        mean=_scaled(row.gap.mean, scale),
        low=_scaled(row.gap.low, scale),
        high=_scaled(row.gap.high, scale),
    )


def _names(row: Row, scale: Scale, values: dict[str, float | None]) -> tuple[str, ...]:
    method = cells.method_title(row.method)
    return tuple(
        f"{method}, seed {seed}: {cells.value_text(value, scale)} {scale.unit}".rstrip()
        for seed, value in values.items()
    )


def _scaled(value: float | None, scale: Scale) -> float | None:
    return None if value is None else value * scale.factor


def _reference(reading: Reading, rows: Sequence[Row], scale: Scale) -> plots.Reference | None:
    """Retrained's seeds; for a distance to Retrained the noise floor, where there is one."""
    f = scale.factor
    if reading.facts[reading.primary].compares:
        noise = next((row.floor for row in rows if row.floor), None)
        return plots.Reference(noise.mean * f, noise.low * f, noise.high * f) if noise else None
    retrained = next((row for row in rows if row.method == names.RETRAINED), None)
    if retrained is None or retrained.mean is None:
        return None
    values = [value * f for value in retrained.values.values() if value is not None]
    return plots.Reference(retrained.mean * f, min(values), max(values))


def _legend(reading: Reading, scenario: str) -> str:
    if reading.facts[reading.primary].compares:
        noise = (scenario, reading.primary) in reading.floors
        return "noise floor: all pairs, and their mean" if noise else ""
    return "Retrained: all seeds, and their mean"


def _seed_lines(
    reading: Reading, rows: Sequence[Row | None]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    scale = reading.scale(reading.primary)
    for seed in map(str, reading.summary.seeds):
        values = (row.values.get(seed) if row else None for row in rows)
        yield seed, tuple(cells.value_text(value, scale) for value in values)


def _failure_line(failure: Failure) -> tuple[str, str, int, str, str]:
    method = cells.method_title(failure.method) if failure.method else "all"
    return failure.scenario or "all", method, failure.seed, failure.kind, failure.reason


def _provenance(reading: Reading) -> Iterator[tuple[str, str]]:
    """Terms and what they are, for a description list."""
    summary, provenance = reading.summary, reading.provenance
    work = provenance.work
    yield "Experiment", f"{summary.experiment.name}, work {summary.experiment.digest}"
    yield "Training seeds", f"{_seed_ranges(summary.seeds)} ({len(summary.seeds)})"
    yield (
        "Within each seed",
        f"{_count(work.unlearning_repeats, 'unlearning repeat')},"
        f" {_count(work.evaluation_repeats, 'evaluation repeat')},"
        f" {_count(work.retrained_replicas, 'retrained replica')}; averaged, not counted as n",
    )
    for data in provenance.datasets:
        yield (
            "Dataset",
            f"{data.name}: {data.train_samples} training and {data.test_samples} test samples,"
            f" {data.classes} classes, digest {data.digest}",
        )
    for cell in provenance.cells:
        digests = sorted(set(cell.forget_digests.values()))
        shown = digests[0] if len(digests) == 1 else f"{len(digests)} digests in summary.json"
        yield f"Forget set of {cell.scenario}", shown
    yield from provenance.versions.items()


def _definitions(reading: Reading) -> Iterator[Definition]:
    shown = {row.metric for row in reading.summary.rows}
    used = [row for row in reading.facts if row in shown]
    for metric, rows in groupby(used, key=lambda row: reading.facts[row].metric):
        of_metric = list(rows)
        facts = reading.facts[of_metric[0]]
        sets = [cells.row_title(on) for row in of_metric if (on := reading.facts[row].on)]
        yield Definition(
            name=cells.row_title(metric),
            sets=", ".join(sets) or "the whole run",
            unit=facts.unit,
            range=_range(facts),
            kind=_kind(facts),
            summary=facts.summary,
            source=facts.source,
        )


def _kind(facts: RowFacts) -> str:
    if facts.compares:
        return "nearness to Retrained"
    if facts.measured:
        return "measured, varies"
    margin = "" if facts.margin is None else f", margin {facts.margin:g}"
    return f"its gap to Retrained{margin}"


def _range(facts: RowFacts) -> str:
    if facts.low is None and facts.high is None:
        return "unbounded"
    if facts.high is None:
        return f"from {facts.low:g}"
    return f"{facts.low:g} to {facts.high:g}" if facts.low is not None else f"to {facts.high:g}"


def _reaches_beyond(reading: Reading) -> bool:
    """Whether some interval reaches out of its metric's range, which the page then explains."""
    for row in reading.summary.rows:
        facts = reading.facts[row.metric]
        if row.low is None or row.high is None or row.low == row.high:
            continue
        below = facts.low is not None and row.low < facts.low
        if below or (facts.high is not None and row.high > facts.high):
            return True
    return False


def _seed_ranges(seeds: Sequence[int]) -> str:
    """260 to 269, 300"""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)


def _span(span: Span) -> str:
    return str(span.low) if span.low == span.high else f"{span.low} to {span.high}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _points(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title


def _plain(value: object) -> str:
    """One line of YAML; a bare scalar ends in a document mark, which is left out."""
    return value if isinstance(value, str) else _yaml(value, flow=True).removesuffix("\n...")


def _yaml(value: object, *, flow: bool = False) -> str:
    text = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=10**6
    )
    return text.strip()
