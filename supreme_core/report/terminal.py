"""The top of the report as tables of plain text: for the command, which fits them to a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from supreme_core.api.summary import Summary
from supreme_core.report import cells, tables
from supreme_core.report.answer import answer
from supreme_core.report.cells import TableCell


@dataclass(frozen=True)
class TextTable:
    """Columns and rows of text; the first column is the method. notes stand below the table.

    by_importance: places of the other columns; where there is no room, the last of them goes first.
    answer: a sentence that stands above the table, or nothing.
    Control characters of foreign text are gone, but rich's markup is not escaped: draw with `Text`.
    """

    title: str
    columns: tuple[str, ...]
    by_importance: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    answer: str = ""


def terminal_tables(summary: Summary) -> list[TextTable]:
    """One table for each scenario; notes on the whole experiment stand under the last."""
    indexed = tables.IndexedSummary(summary)
    drawn = [
        replace(
            _draw(tables.overview(indexed, scenario), indexed.title(scenario)),
            notes=tuple(map(_text, _notes(indexed, scenario))),
            answer=_text(answer(indexed, scenario)),
        )
        for scenario in indexed.scenarios
    ]
    if drawn:
        last = drawn[-1]
        drawn[-1] = replace(last, notes=(*last.notes, READ_AS, *tables.notes(indexed)))
    return drawn


def text_table(table: tables.Table, title: str) -> TextTable:
    """A table whose columns are as important as they stand, each with its intervals."""
    heads = ((f"{c.group}: {c.title}" if c.group else c.title, c.unit) for c in table.columns)
    return TextTable(
        title=_text(title),
        columns=(table.head, *(_text(f"{head}, {unit}" if unit else head) for head, unit in heads)),
        by_importance=tuple(range(1, len(table.columns) + 1)),
        rows=tuple((_text(line.title), *map(_text, map(str, line.cells))) for line in table.lines),
        notes=tuple(map(_text, table.remarks)),
    )


def _notes(indexed: tables.IndexedSummary, scenario: str) -> Iterator[str]:
    if indexed.facts[indexed.primary].has_gap:
        yield f"Margin of equivalence: {tables.margin(indexed, scenario, indexed.primary)}."
    yield from tables.overview_remarks(indexed, scenario)


READ_AS = (
    "Means over seeds, in brackets their unadjusted 95 % interval; the report has all intervals."
)


def _draw(table: tables.Table, title: str) -> TextTable:
    """Intervals of the primary metric only, so that a table fits a terminal of 100 columns."""
    shown = [column for column in table.columns if column.kind != "spread"]
    columns = tuple(f"{c.title}, {c.unit}" if c.unit else c.title for c in shown)
    lines = [(line.title, line.cells) for line in table.lines]
    if table.floor:
        lines.append((tables.FLOOR_TITLE, table.floor))
    places = range(1, len(shown) + 1)
    return TextTable(
        title=_text(title),
        columns=("method", *map(_text, columns)),
        by_importance=tuple(
            sorted(places, key=lambda place: IMPORTANCE.index(shown[place - 1].kind))
        ),
        rows=tuple((_text(title), *_texts(table, line)) for title, line in lines),
        notes=(),
    )


IMPORTANCE = "estimate", "gap", "verdict", "count", "apart", "companion"
"""Kinds of the overview's columns: what is read first, and shown in the narrowest terminal."""


def _texts(table: tables.Table, line: Sequence[TableCell]) -> list[str]:
    return [
        _text(cell.text if column.kind in ("companion", "verdict", "apart") else str(cell))
        for column, cell in zip(table.columns, line, strict=True)
        if column.kind != "spread"
    ]


def _text(text: str) -> str:
    """A hyphen for the minus sign, and nothing that would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text.replace(cells.MINUS, "-"))
