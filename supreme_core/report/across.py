"""Report of several experiments: compare.html, .csv, .tex and the tables of a terminal. Pure.

Everything that the experiments say is foreign text here, as in `page`.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf

from markupsafe import Markup

from supreme_core.analysis import statistics
from supreme_core.analysis.across import Across, AcrossRow, AcrossValue
from supreme_core.analysis.files import harmless
from supreme_core.analysis.tracks import track_of
from supreme_core.api import names
from supreme_core.api.summary import Rank, Ranking
from supreme_core.errors import number_of
from supreme_core.report import cells, contrasts, paste, plots, words
from supreme_core.report.cells import Scale, TableCell
from supreme_core.report.tables import Column, Table, TableLine
from supreme_core.report.templates import template
from supreme_core.report.terminal import TextTable, text_table

ALPHA = 1 - statistics.LEVEL
PLAIN = Scale(1.0, "", "")


@dataclass(frozen=True)
class RowView:
    """One metric as the template shows it."""

    anchor: str
    title: str
    about: str
    table: Table
    plot: Markup | None
    pairs: Table | None
    is_tested: bool
    summary: str
    source: str


def render_comparison(across: Across) -> bytes:
    """compare.html; equal comparisons give equal bytes."""
    page = template("compare").render(
        title=title(across),
        across=across,
        rows=[_view(across, place, row) for place, row in enumerate(across.rows)],
        experiments=[
            (each, words.seed_ranges(each.seeds), len(each.seeds)) for each in across.experiments
        ],
        latex=comparison_latex(across),
        floor_title="",
    )
    return page.encode()


def title(across: Across) -> str:
    """3 methods over 6 blocks of 3 experiments"""
    methods = {method for row in across.rows for method in row.values}
    second = {*map(names.as_given_title, across.tuned)}  # the same methods once more
    count = sum(cells.method_role(each) == "method" for each in methods - second)
    blocks, experiments = len(across.blocks), len(across.experiments)
    return (
        f"{number_of(count, 'method')} over {number_of(blocks, 'block')}"
        f" of {number_of(experiments, 'experiment')}"
    )


def comparison_tables(across: Across) -> list[TextTable]:
    """A table of plain text for each metric; notes on all of them stand under the last."""
    shown = [text_table(table(across, row), heading(row)) for row in across.rows]
    last = shown[-1]
    notes = (*last.notes, *across.notes)
    return [*shown[:-1], TextTable(last.title, last.columns, last.by_importance, last.rows, notes)]


def comparison_latex(across: Across) -> str:
    """A LaTeX table for each metric."""
    found = []
    for place, row in enumerate(across.rows, 1):
        of_row = table(across, row)
        caption = f"{heading(row)}. {' '.join((*of_row.remarks, *across.notes))}"
        found.append(paste.Sheet(f"compare-{place}", "all", caption, of_row))
    return paste.latex(found)


def comparison_csv(across: Across) -> bytes:
    """compare.csv: a line for each metric, block and method; an empty field is no value.

    settings: chosen by tuning, or given; methods of the two are ranked apart.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in across.rows:
        ranks = {rank.method: rank.mean for of in _rankings(row) for rank in of.ranks}
        settings = {
            method: track_of(method, across.tuned)
            for method in row.values
            if cells.method_role(method) == "method"
        }
        for place, block in enumerate(across.blocks):
            where = (block.dataset, block.model, block.scenario, block.experiment)
            for method, values in row.values.items():
                if value := values[place]:
                    texts = map(harmless, (row.metric, row.shows, *where, method))
                    numbers = (value.n, value.asked, value.mean, value.low, value.high)
                    lack = harmless(value.lack or "")
                    rest = (value.distance, ranks.get(method), lack, settings.get(method))
                    writer.writerow([*texts, *numbers, *rest])
    return buffer.getvalue().encode()


CSV_COLUMNS = (
    *("metric", "shows", "dataset", "model", "scenario", "experiment", "method"),
    *("n", "asked", "mean", "low", "high", "distance", "mean_rank", "lack", "settings"),
)


def heading(row: AcrossRow) -> str:
    """Forget accuracy, gap to Retrained"""
    name = words.headline(cells.row_title(row.metric))
    return f"{name}, gap to Retrained" if row.shows == "gap" else name


def table(across: Across, row: AcrossRow) -> Table:
    """Methods by blocks: references first, then methods by their mean rank, then the unranked;
    where settings were tuned, those with chosen ones before the others."""
    scale = _scale(row)
    gaps = row.shows == "gap"
    unit = scale.gap_unit if gaps else scale.unit
    ranks = {rank.method: rank for of in _rankings(row) for rank in of.ranks}
    columns = [Column("mean rank")]
    columns += [
        Column(block.scenario, unit, kind="gap" if gaps else "estimate", group=block.group)
        for block in across.blocks
    ]
    lines = [
        TableLine(
            cells.method_title(method),
            cells.method_role(method),
            (
                _rank_cell(ranks.get(method)),
                *(_cell(value, scale, signed=gaps) for value in row.values[method]),
            ),
        )
        for method in _in_order(across, row, ranks)
    ]
    return Table("", tuple(columns), tuple(lines), remarks=tuple(_remarks(across, row)))


def pairs(row: AcrossRow) -> Table | None:
    """Each pair of methods that are ranked together, by the difference of their mean ranks and its
    tests."""
    lines = [line for found in _rankings(row) for line in _pairs(found)]
    heads = ("difference of mean ranks", "p of signed ranks", "p after Holm")
    columns = tuple(Column(head, kind="count") for head in heads)
    return Table("", columns, tuple(lines), head="pair") if lines else None


def _pairs(found: Ranking) -> Iterator[TableLine]:
    ranks = {rank.method: rank.mean for rank in found.ranks}
    critical = found.friedman.critical_difference if found.friedman else None
    for pair in sorted(found.pairs, key=lambda pair: (pair.adjusted_p, pair.signed_rank_p)):
        near, far = sorted((pair.method, pair.other), key=lambda method: ranks[method])
        apart = ranks[far] - ranks[near]
        beyond = critical is not None and apart > critical
        yield TableLine(
            f"{cells.method_title(near)} – {cells.method_title(far)}",
            "method",
            (
                TableCell(cells.number(apart, 2), note="beyond the critical one" * beyond),
                TableCell(cells.p_text(pair.signed_rank_p)),
                TableCell(cells.p_text(pair.adjusted_p)),
            ),
        )


def _view(across: Across, place: int, row: AcrossRow) -> RowView:
    return RowView(
        anchor=f"row-{place}",
        title=heading(row),
        about=_about(row),
        table=table(across, row),
        plot=_plot(row, name=f"ranks{place}"),
        pairs=pairs(row),
        is_tested=bool((found := _plotted(row)) and found.friedman),
        summary=row.facts.summary,
        source=row.facts.source,
    )


def _plot(row: AcrossRow, *, name: str) -> Markup | None:
    found = _plotted(row)
    if found is None:
        return None
    ranks, test = contrasts.ranked(found), found.friedman
    strips = [
        plots.Strip(cells.method_title(r.method), "method", (), (), r.mean, r.low, r.high)
        for r in ranks
    ]
    best = ranks[0].mean
    return Markup(
        plots.drawn(
            plots.StripPlot(
                strips,
                axis="mean rank, 1 is best",
                described_as=f"{heading(row)}: mean rank of each method over the blocks",
                reference=plots.ReferenceBand(best, best, best + test.critical_difference)
                if test
                else None,
            ),
            name=name,
        )
    )


def _scale(row: AcrossRow) -> Scale:
    values = (value for of_method in row.values.values() for value in of_method)
    return cells.scale_of(row.facts, [value.mean for value in values if value])


def _rankings(row: AcrossRow) -> list[Ranking]:
    """Rankings of the tracks, that of chosen settings first."""
    return [each for each in (row.ranking, row.ranking_as_given) if each]


def _plotted(row: AcrossRow) -> Ranking | None:
    """Ranking of the first track that has any ranks."""
    return next((each for each in _rankings(row) if each.ranks), None)


def _in_order(across: Across, row: AcrossRow, ranks: dict[str, Rank]) -> list[str]:
    def place(method: str) -> tuple[bool, bool, float]:
        found = ranks.get(method)
        is_method, is_chosen = cells.method_role(method) == "method", method in across.tuned
        return is_method, not is_chosen, found.mean if found else inf

    return sorted(row.values, key=place)


def _rank_cell(rank: Rank | None) -> TableCell:
    return cells.interval_cell(rank.mean, rank.low, rank.high, PLAIN) if rank else cells.EMPTY


def _cell(value: AcrossValue | None, scale: Scale, *, signed: bool) -> TableCell:
    if value is None:
        return cells.EMPTY
    return cells.interval_cell(value.mean, value.low, value.high, scale, signed=signed)


def _about(row: AcrossRow) -> str:
    """Sentences on what the numbers and the ranks are."""
    interval = f"in brackets the unadjusted {paste.INTERVAL}"
    if row.shows == "gap":
        numbers = f"Mean over seeds of the gap to Retrained of the same seed, {interval}."
    else:
        numbers = f"Mean over seeds, {interval}."
    better = "largest" if row.facts.direction == "higher" else "smallest"
    by = f"the {better} mean" if row.facts.measured else "the mean distance to Retrained"
    return f"{numbers} Ranks by {by}, 1 is best."


def _remarks(across: Across, row: AcrossRow) -> Iterator[str]:
    yield _about(row)
    if not _rankings(row):
        yield "Fewer than two methods: nothing is ranked."
    elif row.missing_blocks:
        blocks, lack = (number_of(n, "block") for n in (row.ranked_blocks, row.missing_blocks))
        are = "is" if row.missing_blocks == 1 else "are"
        yield (
            f"Ranks are not tested: {blocks} of the {statistics.FEWEST_BLOCKS} that tests need,"
            f" so {lack} {are} missing."
        )
    if row.ranking:
        yield from _on_ranks(row, row.ranking, "Chosen settings: " * bool(across.tuned))
    if row.ranking_as_given:
        yield from _on_ranks(row, row.ranking_as_given, "Settings as given: ")
    if row.ranked_blocks < len(across.blocks) and (found := _rankings(row)):
        blocks = "; ".join(found[0].blocks)
        yield f"Scenarios of one kind on the same models count as one: {blocks}."
    yield from _lacks(across, row)


def _on_ranks(row: AcrossRow, found: Ranking, of: str) -> Iterator[str]:
    """Tests of a ranking, and who has no place in it.  of: whose it is, where there are two."""
    methods, blocks = len(found.ranks), number_of(row.ranked_blocks, "block")
    if found.friedman:
        test = found.friedman
        p = cells.p_text(test.p)
        yield (
            f"{of}Friedman's test over {blocks}: χ² = {test.chi_square:.2f},"
            f" p {p if p.startswith('<') else f'= {p}'} (Iman and Davenport); critical difference"
            f" of mean ranks {test.critical_difference:.2f} (Nemenyi, {ALPHA * 100:.0f} %)."
        )
        yield _on_pairs(found)
    elif methods and not row.missing_blocks:
        yield (
            f"{of}Friedman's test needs 3 methods, and {number_of(methods, 'method')} have every"
            " value."
        )
    if found.left_out:
        yield f"{of}Not ranked: {'; '.join(contrasts.left_out(found.left_out))}."


def _on_pairs(found: Ranking) -> str:
    """Pairs that either test tells apart."""
    ranks = {rank.method: rank.mean for rank in found.ranks}
    critical = found.friedman.critical_difference if found.friedman else inf
    apart = [
        f"{cells.method_title(near)} before {cells.method_title(far)}"
        for near, far in combinations(sorted(ranks, key=lambda method: ranks[method]), 2)
        if ranks[far] - ranks[near] > critical
    ]
    signed = [
        " and ".join(map(cells.method_title, (pair.method, pair.other)))
        for pair in found.pairs
        if pair.adjusted_p < ALPHA
    ]
    return (
        f"Further apart than the critical difference: {_few(apart)};"
        f" different by signed ranks after Holm: {_few(signed)}."
    )


MOST_NAMED = 6
"""Pairs that a sentence names; the page and compare.json have all."""


def _few(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return (", ".join(texts[:MOST_NAMED]) or "none") + more


def _lacks(across: Across, row: AcrossRow) -> Iterator[str]:
    """Reason why a value stands for fewer seeds, each once, where no sentence on ranks has it."""
    told = {each.method for found in _rankings(row) for each in found.left_out}
    about: dict[str, list[str]] = {}
    for method, values in row.values.items():
        for block, value in zip(across.blocks, values, strict=True):
            if value and value.lack and method not in told:
                lack = f"{block.title}: {value.lack}"
                about.setdefault(lack, []).append(cells.method_title(method))
    for lack, methods in about.items():
        yield f"{lack}: {', '.join(methods)}."
