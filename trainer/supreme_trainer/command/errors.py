"""Errors as a person meets them."""

from io import StringIO

import click

from supreme_core.errors import SupremeError


def tell(error: SupremeError) -> int:
    """Print the lines of an error on standard error and return the exit status."""
    for line in str(error).splitlines():
        tell_line(line)
    return error.exit_code


def tell_line(line: str) -> None:
    from rich.console import Console  # which --help does without
    from supreme_trainer.command.sentences import say

    say(Console(stderr=True), f"error: {line}", indent="  ")


def tell_usage(error: click.ClickException) -> None:
    """Print how a command is called and what is wrong with how it was, as wide as the terminal."""
    from rich.console import Console
    from supreme_trainer.command.sentences import INDENT, say

    text = StringIO()
    error.show(text)
    lines = text.getvalue().rstrip().expandtabs(len(INDENT))
    say(Console(stderr=True), lines, indent="  ")
