"""report.html: one file that reads offline, in light, dark and print. Pure: summary in, bytes out.

The first screen answers: a sentence for each scenario, a figure, a table; the rest is folded. It
reads without scripts, too; `page.js` sorts and filters, `axes.js` draws by axes that a reader
chooses, and the page allows no other.

Everything that a result says is foreign text here; the template escapes it, and the only markup
that is passed through are the plots of `plots`.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby

from markupsafe import Markup

from supreme_core.analysis import hypotheses
from supreme_core.analysis.provenance import CellSummary, RowFacts
from supreme_core.analysis.survivors import collapse_row
from supreme_core.api import names
from supreme_core.api.summary import Failure, Ranking, Row, Summary
from supreme_core.errors import number_of
from supreme_core.report import (
    axes,
    cells,
    contrasts,
    figures,
    over_seeds,
    paper,
    paste,
    plots,
    tables,
    training_curves,
    tuning,
    words,
)
from supreme_core.report.answer import answer
from supreme_core.report.choices import PAIRS
from supreme_core.report.lead import LeadTable, lead_table
from supreme_core.report.tables import Group, IndexedSummary, Table
from supreme_core.report.templates import script, template

MOST_FAILURES = 500
"""Failures that the page lists one by one; summary.json has all."""

MOST_PAIRS = 1_000
"""Pairs of methods that the page lists with all their numbers."""

MOST_PASTED_PAIRS = 100
"""Pairs of methods that the page has ready to paste, three times over; the command has all."""

SCRIPTS = ("page", "axes")
"""Scripts of the page, in their order: the second uses what the first one names."""

SIZE = "a page of some size"
"""Place of the size of the page, which is known once it is written."""

PUBLISHED = {
    names.table_key: "the means with every digit, and a column for each seed",
    names.summary_key: "the same, with every test and setting",
    names.over_seeds_key: "numbers of the distribution of models over seeds",
}
"""Files that are published with the page, in its folder, and what they have."""

WITH_RESULTS = {
    names.order_key: "the plan: what every seed computes",
    names.selection_key: "every trial of the search for settings, and the choice",
}
"""Files that lie there only beside results."""


@dataclass(frozen=True)
class ScenarioView:
    """One scenario as the template shows it. seeds: every seed's value of the primary metric.

    figure: the primary metric of every seed, as a distance to Retrained where it is one.
    values_plot: its values themselves, where that is another picture.  distance_plots: the same as
    `figure` of other metrics.  without: metrics that have no value for any run.
    """

    anchor: str
    name: str
    title: str
    answer: str
    figure: Markup | None
    lead: LeadTable
    params: str
    forgot: str
    remarks: tuple[str, ...]
    verdicts: Table | None
    verdict_remarks: tuple[tuple[str, tuple[str, ...]], ...]
    table: Table
    tests: Table | None
    robust: Table
    values_plot: Markup | None
    distance_plots: tuple[Markup, ...]
    groups: tuple[Group, ...]
    without: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class ContrastView:
    """The methods of one scenario against each other.

    pairs: None where there are more than a page should list.  left_out: of the front.  untested:
    why pairs have no test.
    """

    name: str
    title: str
    front: Table | None
    front_plots: tuple[Markup, ...]
    left_out: tuple[str, ...]
    untested: tuple[str, ...]
    matrix: Table | None
    pairs: Table | None
    spreads: tuple[Table, ...]


@dataclass(frozen=True)
class RankingView:
    """Ranks of one track.  unranked: why methods have none."""

    title: str
    ranking: Ranking
    table: Table | None
    plot: Markup | None
    unranked: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """One metric, whatever the number of its sets."""

    name: str
    sets: str
    unit: str
    range: str
    best: str
    kind: str
    summary: str
    source: str


def render_report(
    summary: Summary, *, folder: str = "", results: Mapping[int, str] | None = None
) -> bytes:
    """The page; equal summaries in folders of one name give equal bytes.

    folder: that of the page in its store.  results: path of each seed's result below it, where
    they lie there.
    """
    indexed = IndexedSummary(summary)
    page = template("page").render(
        summary=summary,
        primary=words.headline(cells.row_title(summary.primary_metric)),
        subtitle=_subtitle(indexed),
        notes=list(tables.notes(indexed)),
        scenarios=[_scenario(indexed, i, name) for i, name in enumerate(indexed.scenarios)],
        contrasts=[_contrast(indexed, i, name) for i, name in enumerate(indexed.scenarios)],
        rankings=[_ranking(each) for each in contrasts.rankings(indexed)],
        over_seeds=over_seeds.section(summary.over_seeds),
        tuning=tuning.section(summary.tuning),
        training_curves=training_curves.section(summary.training_curves),
        collapses=list(tables.collapses(indexed)),
        failures=[_failure_line(failure) for failure in summary.failures[:MOST_FAILURES]],
        more_failures=max(len(summary.failures) - MOST_FAILURES, 0),
        excluded=summary.excluded,
        provenance=list(_provenance(indexed)),
        environments=[
            (
                e.digest,
                words.seed_ranges(e.seeds),
                [(k, words.plain(v)) for k, v in e.values.items() if v not in (None, "")],
            )
            for e in indexed.provenance.environments
        ],
        work=""
        if indexed.provenance.imported
        else words.as_yaml(indexed.provenance.work.to_document()),
        paragraph=(paragraph := paper.paragraph(indexed)),
        paragraph_latex=paste.latex_text(paragraph),
        pastes=list(_pastes(indexed)),
        definitions=list(_definitions(indexed)),
        symbols=cells.SYMBOLS,
        floor_title=tables.FLOOR_TITLE,
        fewest=hypotheses.FEWEST_FOR_A_VERDICT,
        tells_collapse=collapse_row(indexed.facts) is not None,
        has_gap=indexed.facts[indexed.primary].has_gap,
        files=list(_files(summary, with_results=bool(results))),
        results=results or {},
        folder=folder,
        numbers=axes.numbers(indexed),
        drawn=_drawn_seeds(indexed),
        scripts=(own := [script(name) for name in SCRIPTS]),
        script_hashes=[hash_of(each) for each in own],
        size=SIZE,
    )
    return _sized(page)


def _files(summary: Summary, *, with_results: bool) -> Iterator[tuple[str, str]]:
    """Names and contents of what lies beside the page."""
    there = PUBLISHED | (WITH_RESULTS if with_results else {})
    for key, about in there.items():
        if key is not names.selection_key or summary.tuning:
            yield key("").removeprefix("/"), about


def hash_of(script: str) -> str:
    """Source of a content security policy that allows this script and no other."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _sized(page: str) -> bytes:
    """The page with its own size where `SIZE` stands last."""
    before, _, after = page.rpartition(SIZE)
    kilobytes = round(len(page.encode()) / 1000)
    told = f"{kilobytes / 1000:.1f} MB" if kilobytes >= 1000 else f"{kilobytes} kB"
    return f"{before}{told}{after}".encode()


def _drawn_seeds(indexed: IndexedSummary) -> int:
    """Seeds of a strip where it has not all of them; 0 where it has."""
    drawn = figures.seeds_drawn(indexed)
    return drawn if drawn < len(indexed.summary.seeds) else 0


def _subtitle(indexed: IndexedSummary) -> str:
    work = indexed.provenance.work
    return " · ".join(
        [
            tables.seeds(indexed),
            work.dataset.name,
            work.model.name,
            number_of(len(work.scenarios), "scenario"),
            number_of(len(indexed.own_methods), "method"),
        ]
    )


def _scenario(indexed: IndexedSummary, place: int, name: str) -> ScenarioView:
    component = next(s for s in indexed.provenance.work.scenarios if s.title == name)
    cell = next((c for c in indexed.provenance.cells if c.scenario == name), None)
    params = words.settings(component.params)
    methods = indexed.methods(name)
    rows = [indexed.row(name, method, indexed.primary) for method in methods]
    return ScenarioView(
        anchor=f"scenario-{place}",
        name=name,
        title=indexed.title(name),
        answer=answer(indexed, name),
        figure=_drawn(figures.lead(indexed, name), f"figure{place}"),
        lead=lead_table(indexed, name),
        params=f"{component.name}: {params}" if params else component.name,
        forgot=_forgot(cell) if cell else "",
        remarks=tuple(tables.overview_remarks(indexed, name)),
        verdicts=tables.verdicts(indexed, name),
        verdict_remarks=tuple(_verdict_remarks(indexed, name)),
        table=tables.overview(indexed, name),
        tests=tables.tests(indexed, name),
        robust=contrasts.robust(indexed, name),
        values_plot=_drawn(figures.values(indexed, name), f"values{place}"),
        distance_plots=tuple(
            Markup(plots.drawn(plot, name=f"distance{place}x{n}"))
            for n, (_, plot) in enumerate(figures.distances(indexed, name))
        ),
        groups=tuple(tables.groups(indexed, name)),
        without=tuple(map(cells.row_title, _without_values(indexed, name))),
        methods=tuple(cells.method_title(method) for method in methods),
        seeds=tuple(_seed_lines(indexed, rows)),
    )


def _without_values(indexed: IndexedSummary, scenario: str) -> list[str]:
    """Metrics that were asked for and have no value here, while there are results."""
    if not indexed.finished:
        return []
    there = {row.metric for row in indexed.summary.rows if row.scenario == scenario and row.n}
    return [metric for metric in indexed.facts if metric not in there]


def _verdict_remarks(
    indexed: IndexedSummary, scenario: str
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The margin and the remarks, by metric."""
    for metric in indexed.metrics(scenario):
        if indexed.facts[metric].has_gap:
            margin = f"Margin of equivalence: {tables.margin(indexed, scenario, metric)}."
            found = (margin, *tables.remarks(indexed, scenario, metric))
            yield cells.row_title(metric), found


def _forgot(cell: CellSummary) -> str:
    parts = [
        f"{words.spanned(cell.forget_samples, 'training sample')} to forget",
        f"{words.span(cell.retain_samples)} to retain",
    ]
    if cell.forget_test_samples.high:
        parts.append(
            f"{words.spanned(cell.forget_test_samples, 'test sample')} of the forgotten classes"
        )
    if len(cell.forget_digests) > 1:
        seeds = len(cell.forget_digests)
        same = cell.forget_sets == 1
        parts.append(
            "the same forget set for every seed"
            if same
            else f"{cell.forget_sets} different forget sets over {seeds} seeds"
        )
    return "; ".join(parts) + "."


def _drawn(plot: plots.Plot | None, name: str) -> Markup | None:
    return Markup(plots.drawn(plot, name=name)) if plot else None


def _ranking(found: contrasts.TrackRanking) -> RankingView:
    return RankingView(
        title=f"Ranks of {found.of}" if found.of else "Ranks",
        ranking=found.ranking,
        table=contrasts.ranks(found.ranking),
        plot=_drawn(figures.ranks(found.ranking), found.name.replace(" ", "-")),
        unranked=tuple(contrasts.left_out(found.ranking.left_out)),
    )


def _contrast(indexed: IndexedSummary, place: int, scenario: str) -> ContrastView:
    found = contrasts.front(indexed, scenario)
    few = len(indexed.summary.comparisons) <= MOST_PAIRS
    fronts = [each for each in indexed.summary.pareto if each.scenario == scenario]
    return ContrastView(
        name=scenario,
        title=indexed.title(scenario),
        front=contrasts.front_table(indexed, found) if found else None,
        front_plots=tuple(
            Markup(plots.drawn(plot, name=f"front{place}x{number}"))
            for number, (_, plot) in enumerate(figures.fronts(indexed, found))
        )
        if found
        else (),
        left_out=tuple(contrasts.left_out(fronts[0].left_out)) if fronts else (),
        untested=tuple(contrasts.untested(indexed, scenario)),
        matrix=contrasts.matrix(indexed, scenario),
        pairs=contrasts.pairs(indexed, scenario) if few else None,
        spreads=tuple(contrasts.spreads(indexed, scenario)),
    )


def _seed_lines(
    indexed: IndexedSummary, rows: Sequence[Row | None]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    scale = indexed.scale(indexed.primary)
    for seed in map(str, indexed.summary.seeds):
        values = (row.values.get(seed) if row else None for row in rows)
        yield seed, tuple(cells.value_text(value, scale) for value in values)


def _failure_line(failure: Failure) -> tuple[str, str, int, str, str]:
    method = cells.method_title(failure.method) if failure.method else "all"
    return failure.scenario or "all", method, failure.seed, failure.kind, failure.reason


def _provenance(indexed: IndexedSummary) -> Iterator[tuple[str, str]]:
    """Terms and what they are, for a description list."""
    summary, provenance = indexed.summary, indexed.provenance
    work = provenance.work
    yield "Experiment", f"{summary.experiment.name}, work {summary.experiment.digest}"
    yield "Training seeds", f"{words.seed_ranges(summary.seeds)} ({len(summary.seeds)})"
    yield (
        "Within each seed",
        f"{number_of(work.unlearning_repeats, 'unlearning repeat')},"
        f" {number_of(work.evaluation_repeats, 'evaluation repeat')},"
        f" {number_of(work.retrained_replicas, 'retrained replica')}; averaged, not counted as n",
    )
    if work.evaluation_precision != "fp32":
        yield "Evaluation", f"{work.evaluation_precision} arithmetic"
    for entry in work.methods:
        if entry.params or entry.wrappers or entry.label or entry.augmentation != "None":
            yield f"Method {entry.title}", words.method(entry)
    for data in provenance.datasets:
        yield (
            "Dataset",
            f"{data.name}: {data.train_samples} training and"
            f" {number_of(data.test_samples, 'test sample')},"
            f" {number_of(data.classes, 'class', 'classes')}, digest {data.digest}",
        )
    for cell in provenance.cells:
        digests = sorted(set(cell.forget_digests.values()))
        shown = digests[0] if len(digests) == 1 else f"{len(digests)} digests in summary.json"
        yield f"Forget set of {cell.scenario}", shown
    yield from provenance.versions.items()


def _pastes(indexed: IndexedSummary) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Tables whose pairs are too many for the page are left to the command."""
    for choice in paste.choices(indexed):
        if choice == PAIRS and len(indexed.summary.comparisons) > MOST_PASTED_PAIRS:
            continue
        sheets = paste.sheets(indexed, choice)
        yield f"Table {choice}", [(name, form(sheets)) for name, form in paste.WRITERS.items()]


def _definitions(indexed: IndexedSummary) -> Iterator[Definition]:
    shown = {row.metric for row in indexed.summary.rows}
    used = [row for row in indexed.facts if row in shown]
    for metric, rows in groupby(used, key=lambda row: indexed.facts[row].metric):
        of_metric = list(rows)
        facts = indexed.facts[of_metric[0]]
        sets = [cells.row_title(on) for row in of_metric if (on := indexed.facts[row].on)]
        yield Definition(
            name=cells.row_title(metric),
            sets=", ".join(sets) or "the whole run",
            unit=facts.unit,
            range=_range(facts),
            best=BEST[facts.direction],
            kind=_kind(facts),
            summary=facts.summary,
            source=facts.source,
        )


BEST = {"retrained": "Retrained's", "lower": "lowest", "higher": "highest"}
"""Best value of a metric, by its direction."""


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
