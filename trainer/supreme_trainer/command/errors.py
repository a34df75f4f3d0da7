"""Errors as a person meets them."""

from supreme_core.errors import SupremeError


def tell(error: SupremeError) -> int:
    """Print the lines of an error on standard error and return the exit status."""
    for line in str(error).splitlines():
        tell_line(line)
    return error.exit_code


def tell_line(line: str) -> None:
    from rich.console import Console  # which --help does without
    from supreme_trainer.command.screen import say

    say(Console(stderr=True), f"error: {line}", indent="  ")
