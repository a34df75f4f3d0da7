"""Output of commands on a terminal or into a pipe."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from supreme_trainer.command.sentences import say

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder

T = TypeVar("T")


def say_found(line: str) -> None:
    """A line of what a command has found or done, wrapped by words on a terminal."""
    say(Console(), line, indent="  ")


def say_beside(line: str) -> None:
    """A line on standard error, beside what a command has found."""
    say(Console(stderr=True), line, indent="  ")


def tell_where(store: str, order: ExperimentOrder, console: Console) -> None:
    experiment = f"{store.rstrip('/')}/{order.prefix}"
    console.print(f"experiment: {experiment}", markup=False, highlight=False, soft_wrap=True)
    report = f"report:     {report_of(store, order)}"
    console.print(report, markup=False, highlight=False, soft_wrap=True)


def report_of(store: str, order: ExperimentOrder) -> str:
    return f"{store.rstrip('/')}/{names.report_key(order.prefix)}"


def tracked(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    """Items as they come, counted by a bar where somebody watches."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(items, what, total, console=console, disable=hidden, transient=True)
