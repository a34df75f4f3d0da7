"""What commands say on a terminal or into a pipe."""

from collections.abc import Iterable
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from supreme_core.api.run import ExperimentOrder, Summary
from supreme_core.report.terminal import TextTable, plain_text, terminal_tables

T = TypeVar("T")

HEADING_WIDTH = 11


def show(summary: Summary, console: Console) -> None:
    for text_table in terminal_tables(summary):
        console.print()
        if console.is_terminal:
            console.print(_rich(text_table))
            for note in text_table.notes:
                console.print(note, style="dim", markup=False, highlight=False)
        else:
            console.print(plain_text(text_table), markup=False, highlight=False, soft_wrap=True)
    console.print()


def tell_where(store: str, order: ExperimentOrder, console: Console) -> None:
    experiment = f"{store.rstrip('/')}/{order.prefix}"
    console.print(f"experiment: {experiment}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"report:     {experiment}/report.html", markup=False, highlight=False, soft_wrap=True
    )


def tracked(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    """Items as they come, counted by a bar where somebody watches."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(items, what, total, console=console, disable=hidden, transient=True)


def _rich(text_table: TextTable) -> Table:
    table = Table(
        title=Text(text_table.title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
    )
    # An interval stands on a line of its own and is never broken; headings may be.
    rows = [[cell.replace(" [", "\n[") for cell in row] for row in text_table.rows]
    for position, column in enumerate(text_table.columns):
        width = max((len(line) for row in rows for line in row[position].splitlines()), default=0)
        table.add_column(
            Text(column),
            justify="right" if position else "left",
            min_width=width,
            max_width=max(width, HEADING_WIDTH),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
