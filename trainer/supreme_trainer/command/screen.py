"""Tables on a terminal of any width, and in full into a pipe.

A number is never cut: where a table is too wide, intervals go onto lines of their own, names of
methods are wrapped, then whole columns are left out, and a line says which. A pipe, a file or a
terminal that knows no control characters (TERM=dumb) gets everything, on lines of any length.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.cells import cell_len, chop_cells
from rich.console import Console
from supreme_trainer.command.sentences import GAP, print_line, say, width_of, wrapped
from supreme_trainer.process.spelling import spelt

from supreme_core.api.summary import Summary
from supreme_core.report.terminal import TextTable, terminal_tables

ELSEWHERE = "the report"
WITH_TABLES = f"{ELSEWHERE} and the tables of `supreme report EXPERIMENT-URI --format csv`"
"""Places where every column is to be found; the latter where the results of seeds are in the
store."""


def show(summary: Summary, console: Console, *, elsewhere: str = WITH_TABLES) -> None:
    """The tables of a summary, and what is to be said about them."""
    show_tables(terminal_tables(summary), console, elsewhere=elsewhere)


def show_tables(tables: Iterable[TextTable], console: Console, *, elsewhere: str) -> None:
    """Each table below its title and its answer, and above its notes.

    elsewhere: what has every column.
    """
    for table in tables:
        fitted = fit(table, width_of(console), encoding=console.encoding)
        console.print()
        say(console, table.title, style="bold")
        if table.answer:
            say(console, table.answer)
        for line in fitted.lines:
            print_line(console, line)
        for note in [*_on_left_out(fitted, elsewhere), *table.notes]:
            say(console, note, style="dim")
    console.print()


@dataclass(frozen=True)
class Fitted:
    """A table as lines.  left_out: titles of columns.  needs: the width that shows them all."""

    lines: Sequence[str]
    left_out: Sequence[str] = ()
    needs: int = 0


def fit(table: TextTable, width: int | None, *, encoding: str = "utf-8") -> Fitted:
    """The table with aligned columns, numbers to the right; width: None for any."""
    whole = _Grid.of(table, encoding)
    rule = "-" if width is None else spelt("─", encoding)
    if width is None or whole.width <= width:
        return Fitted(list(whole.lines(rule)))
    stacked = whole.stacked()
    kept = stacked.within(width)
    left_out = [head for place, head in enumerate(stacked.heads) if place not in kept.places]
    needs = width
    while left_out and len(stacked.within(needs).places) < len(stacked.heads):
        needs += 1
    return Fitted(list(kept.lines(rule)), left_out, needs)


def _on_left_out(fitted: Fitted, elsewhere: str) -> Iterator[str]:
    if fitted.left_out:
        yield (
            f"Left out, because the terminal is narrow: {'; '.join(fitted.left_out)}."
            f" A terminal of {fitted.needs} columns has all of it, and so have {elsewhere}."
        )


@dataclass(frozen=True)
class _Grid:
    """Texts that may have several lines, in columns of which some are shown.

    places: of the columns that are shown.  names: cells that the first column has.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    by_importance: Sequence[int]
    places: Sequence[int]
    names: int

    @classmethod
    def of(cls, table: TextTable, encoding: str) -> "_Grid":
        heads = [spelt(text, encoding) for text in table.columns]
        rows = [[spelt(text, encoding) for text in row] for row in table.rows]
        names = max(cell_len(text) for text in (heads[0], *(row[0] for row in rows)))
        return cls(heads, rows, table.by_importance, range(len(heads)), names)

    def stacked(self) -> "_Grid":
        """Stack each interval on a line of its own."""
        rows = [[row[0], *(text.replace(" [", "\n[") for text in row[1:])] for row in self.rows]
        return replace(self, rows=rows)

    def within(self, width: int) -> "_Grid":
        """The most important columns that fit, and names as wide as there is room for."""
        # Names get a quarter where their parts need it; then every part is on one line.
        pieces = [piece for row in self.rows for piece in _pieces(row[0])]
        least = min(max(map(cell_len, [self.heads[0], *pieces])), max(width // 4, 4))
        kept, used = [0], least
        for place in self.by_importance:
            used += GAP + self._column(place)
            if used > width and place != self.by_importance[0]:
                break
            kept.append(place)
        grid = replace(self, places=sorted(kept))
        room = width - sum(GAP + self._column(place) for place in grid.places[1:])
        return replace(grid, names=min(self.names, max(room, 4)))

    @property
    def width(self) -> int:
        return self.names + sum(GAP + self._column(place) for place in self.places[1:])

    def _column(self, place: int) -> int:
        """Width of a column, in which neither a number nor a word of the head is ever broken."""
        texts = [*self.heads[place].split(), *(row[place] for row in self.rows)]
        return max(cell_len(line) for text in texts for line in text.split("\n"))

    def lines(self, rule: str) -> Iterator[str]:
        widths = [self.names, *(self._column(place) for place in self.places[1:])]
        heads = [
            wrapped(self.heads[place], width)
            for place, width in zip(self.places, widths, strict=True)
        ]
        tallest = max(map(len, heads))
        yield from _aligned([[""] * (tallest - len(lines)) + lines for lines in heads], widths)
        yield (" " * GAP).join(rule * width for width in widths)
        for row in self.rows:
            texts = [row[place].split("\n") for place in self.places[1:]]
            if any(map(any, texts)):  # the noise floor may have nothing under the columns shown
                yield from _aligned([_broken(row[0], self.names), *texts], widths)


def _aligned(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Cells of several lines side by side: the first to the left, the others to the right."""
    for texts in zip_longest(*cells, fillvalue=""):
        blanks = [" " * (width - cell_len(text)) for width, text in zip(widths, texts, strict=True)]
        numbers = [blank + text for blank, text in zip(blanks[1:], texts[1:], strict=True)]
        yield (" " * GAP).join([texts[0] + blanks[0], *numbers]).rstrip()


def _pieces(name: str) -> list[str]:
    """Pieces of a name, which may be broken behind hyphens, underscores and the like."""
    return re.findall(r"[^-_/. ]+[-_/. ]*|[-_/. ]+", name)


def _broken(name: str, width: int) -> list[str]:
    """Break all of the name into lines of this width."""
    lines = [""]
    for piece in _pieces(name):
        for part in chop_cells(piece, width):
            if cell_len(lines[-1] + part) <= width:
                lines[-1] += part
            else:
                lines.append(part)
    return lines
