"""The top of the report as plain tables: for the CLI, which draws them with rich or as text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from supreme_core.api.run import Summary
from supreme_core.report import cells, tables
from supreme_core.report.cells import Cell


@dataclass(frozen=True)
class TextTable:
    """Columns and rows of text; the first column is the method. notes stand below the table.

    Control characters of foreign text are gone, but rich's markup is not escaped: draw with `Text`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def terminal_tables(summary: Summary) -> list[TextTable]:
    """One table for each scenario; notes on the whole experiment stand under the last."""
    reading = tables.Reading(summary)
    drawn = [
        _draw(tables.overview(reading, scenario), reading.title(scenario))
        for scenario in reading.scenarios
    ]
    if drawn:
        drawn[-1] = replace(drawn[-1], notes=(READ_AS, *tables.notes(reading)))
    return drawn


READ_AS = "Means over seeds, in brackets their 95 % interval; the report has all intervals."


def plain_text(table: TextTable) -> str:
    """The table with aligned columns, numbers to the right, for a log or a pipe."""
    widths = [
        max(len(column) // 3 + 3, *(len(row[i]) for row in table.rows), *map(len, column.split()))
        for i, column in enumerate(table.columns)
    ]
    heads = [wrap(text, width) for text, width in zip(table.columns, widths, strict=True)]
    tallest = max(map(len, heads))
    head = zip(*([""] * (tallest - len(lines)) + lines for lines in heads), strict=True)
    ruler = tuple("-" * width for width in widths)
    lines = [_line(texts, widths) for texts in (*head, ruler, *table.rows)]
    return "\n".join([table.title, *lines, *table.notes]) + "\n"


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(texts, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
    return "  ".join(padded).rstrip()


def _draw(table: tables.Table, title: str) -> TextTable:
    """Intervals of the primary metric only, so that a table fits a terminal of 100 columns."""
    columns = tuple(f"{c.title}, {c.unit}" if c.unit else c.title for c in table.columns)
    lines = [(line.title, line.cells) for line in table.lines]
    if table.floor:
        lines.append((tables.FLOOR_TITLE, table.floor))
    return TextTable(
        title=_text(title),
        columns=("method", *_shown(table, columns)),
        rows=tuple((_text(title), *_shown(table, _texts(table, line))) for title, line in lines),
        notes=(),
    )


def _texts(table: tables.Table, line: Sequence[Cell]) -> list[str]:
    return [
        cell.text if column.kind in ("companion", "verdict") else str(cell)
        for column, cell in zip(table.columns, line, strict=True)
    ]


def _shown(table: tables.Table, texts: Sequence[str]) -> list[str]:
    return [
        _text(text)
        for column, text in zip(table.columns, texts, strict=True)
        if column.kind != "spread"
    ]


def _text(text: str) -> str:
    """A hyphen for the minus sign, and nothing that would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text.replace(cells.MINUS, "-"))
