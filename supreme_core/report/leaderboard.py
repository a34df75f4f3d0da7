"""Leaderboards as a page of Markdown. Pure.

Labels and names are foreign text, and stay text, as in `paste`.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from supreme_core.analysis.across import PublishedExperiment
from supreme_core.analysis.leaderboard import Leaderboard, LeaderboardLine, LeaderboardTable
from supreme_core.api.summary import SearchSummary
from supreme_core.errors import number_of
from supreme_core.report import cells, paste, tables, tuning, words
from supreme_core.report.cells import Scale, TableCell
from supreme_core.report.tables import Column, Table, TableLine

COMPANIONS = (("forget_accuracy",), tables.UTILITY, tables.MEMBERSHIP, tables.COST)
"""Columns beside the row that ranks: of each tuple the first row that all experiments have."""

PLAIN = Scale(1.0, "", "")

INTRODUCTION = (
    "# Leaderboard",
    "Made by `supreme leaderboard` from published results. Of each experiment the seals of its"
    " files were checked, that its seeds computed the plan in its order, and that the numbers here"
    " follow from the results of those seeds.",
    "A method has a place among those that were measured on the same data, network, recipe, seeds"
    " and forget sets, by the same metric. Settings that were tuned and settings that nobody"
    " searched are ranked apart. The place is that of the mean distance to the model retrained for"
    " the same seed, 1 is nearest; methods whose models lost the task have none. A score is 1 for"
    f" Retrained and 0 for having done nothing. In brackets are {paste.INTERVAL}s over training"
    " seeds.",
)


def leaderboard_page(boards: Sequence[Leaderboard]) -> str:
    """The page; equal boards give equal text."""
    parts = [*INTRODUCTION]
    for board in boards:
        parts.append(f"## {paste.markdown_text(_title(board.first))}")
        for is_tuned, found in groupby(board.tables, key=_is_tuned):
            parts.append("### Tuned" if is_tuned else "### Settings that nobody searched")
            for table in found:
                parts.append(paste.markdown([_sheet(table)]).rstrip())
                parts += [paste.markdown_text(remark) for remark in _remarks(table)]
    parts += ["## Experiments", paste.markdown([_experiments(boards)]).rstrip()]
    return "\n\n".join(parts) + "\n"


def _title(part: PublishedExperiment) -> str:
    """digits, resnet18 (width 8): full_class (classes [3])"""
    work, [scenario] = part.work, part.scenarios
    found = part.scenario(scenario)
    about = words.component(found, found.title)
    return f"{words.component(work.dataset)}, {words.component(work.model)}: {about}"


def _is_tuned(table: LeaderboardTable) -> bool:
    return table.parts[0].summary.tuning is not None


def _sheet(table: LeaderboardTable) -> paste.Sheet:
    first = table.parts[0]
    rows = [table.row, *_companions(table)]
    scales = [_scale(table, row) for row in rows]
    columns = [Column("place", kind="count"), Column("score", kind="estimate")]
    for row, scale in zip(rows, scales, strict=True):
        has_gap = first.provenance.metrics[row].has_gap
        title = cells.row_title(row)
        columns.append(
            Column(f"gap of {title}", scale.gap_unit, kind="gap")
            if has_gap
            else Column(title, scale.unit)
        )
    columns += [Column("settings", kind="text"), Column("experiment", kind="text")]
    lines = [
        TableLine(
            line.label,
            "method",
            (
                _place(line),
                _score(line),
                *(_number(line, row, scale) for row, scale in zip(rows, scales, strict=True)),
                TableCell(_settings(line)),
                TableCell(line.part.called),
            ),
        )
        for line in table.lines
    ]
    return paste.Sheet(
        "leaderboard", first.scenarios[0], _about(table), Table("", tuple(columns), tuple(lines))
    )


def _about(table: LeaderboardTable) -> str:
    """Sentences above a table."""
    first = table.parts[0]
    seeds = first.summary.seeds
    training = first.work.training
    text = (
        f"{number_of(len(seeds), 'training seed')} ({words.seed_ranges(seeds)}),"
        f" {number_of(training.epochs, 'epoch')} of {words.component(training.optimizer)};"
        f" {_forget_sets(first)}. Ranked by {cells.row_title(table.row)}."
    )
    found = first.summary.tuning
    return f"{text} {tuning.how(found)}" if found else text


def _forget_sets(part: PublishedExperiment) -> str:
    cell = next((each for each in part.provenance.cells if each.scenario in part.scenarios), None)
    if cell is None:
        return "forget sets that nobody recorded"
    samples = words.spanned(cell.forget_samples, "sample")
    if cell.forget_sets == 1:
        return f"all seeds forget the same {samples}"
    return f"each seed forgets {samples} of its own draw"


def _companions(table: LeaderboardTable) -> Iterator[str]:
    there = {row.metric for part in table.parts for row in part.summary.rows}
    for names_ in COMPANIONS:
        found = [row for row in names_ if row in table.alike and row in there]
        yield from (row for row in found[:1] if row != table.row)


def _scale(table: LeaderboardTable, row: str) -> Scale:
    found = (line.row(row) for line in table.lines)
    facts = table.parts[0].provenance.metrics[row]
    return cells.scale_of(facts, [each.mean for each in found if each])


def _place(line: LeaderboardLine) -> TableCell:
    """Place with its interval; ties share one, such as 2.5."""
    found = line.rank
    if found is None:
        return cells.EMPTY
    ends = [f"{end:.3g}" for end in (found.low, found.high) if end is not None]
    return TableCell(f"{found.mean:g}", (ends[0], ends[1]) if len(ends) == 2 else None)


def _score(line: LeaderboardLine) -> TableCell:
    found = line.rank
    if found is None or found.score is None:
        return cells.EMPTY
    return cells.interval_cell(found.score, found.score_low, found.score_high, PLAIN)


def _number(line: LeaderboardLine, metric: str, scale: Scale) -> TableCell:
    row = line.row(metric)
    if row is None:
        return cells.EMPTY
    facts = line.part.provenance.metrics[metric]
    return cells.gap_cell(row.gap, scale) if facts.has_gap else cells.estimate_cell(row, scale)


def _settings(line: LeaderboardLine) -> str:
    if line.search:
        return _chosen(line.search)
    known = {method.title: method for method in line.part.work.methods}
    entry = known.get(line.method)
    return words.settings(entry.params) or "by default" if entry else ""


def _chosen(search: SearchSummary) -> str:
    if not search.trial:
        return "as given"
    return ", ".join(f"{each.name} {words.plain(each.chosen)}" for each in search.settings)


def _remarks(table: LeaderboardTable) -> Iterator[str]:
    for line in table.lines:
        if line.lack:
            yield f"{line.label} has no place: {line.lack}."
    for difference in table.apart:
        yield f"Not ranked with the table above: {difference}."


def _experiments(boards: Sequence[Leaderboard]) -> paste.Sheet:
    """Experiments whose methods the page has, each once."""
    found = {
        part.source: part for board in boards for table in board.tables for part in table.parts
    }
    columns = tuple(Column(title, kind="text") for title in ("plan", "seeds", "published by"))
    lines = [
        TableLine(
            part.called,
            "method",
            (
                TableCell(part.summary.experiment.digest[:12]),
                TableCell(words.seed_ranges(part.summary.seeds)),
                TableCell(f"SUPREME {part.provenance.versions.get('supreme', 'unknown')}"),
            ),
        )
        for part in found.values()
    ]
    caption = "A plan is named by the first digits of its digest."
    table = Table("", columns, tuple(lines), head="experiment")
    return paste.Sheet("experiments", "all", caption, table)
