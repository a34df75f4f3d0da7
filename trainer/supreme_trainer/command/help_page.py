"""Help of commands in the lines of a terminal, however narrow that is."""

import shutil
from collections.abc import Iterable
from typing import Final

import click

NARROW: Final = 60
"""Columns below which a description stands under its option and not beside it."""

FEWEST: Final = 20
"""Columns that a line of help has at least."""

LONGEST: Final = 200
"""Characters of a sentence about a command, more than any has: click would cut it."""


class HelpPage(click.HelpFormatter):
    """Help page; click's own has lines of at least 50 columns."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        super().__init__(indent_increment, width, max_width)
        if width is None:
            columns = shutil.get_terminal_size().columns - indent_increment
            self.width = max(FEWEST, min(self.width, columns))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        if self.width >= NARROW:
            super().write_dl(rows, col_max, col_spacing)
            return
        for name, about in rows:
            self.write_text(name)
            with self.indentation(), self.indentation():
                self.write_text(about)


class HelpContext(click.Context):
    """Call of a command that has such a page."""

    formatter_class = HelpPage


class InSentences:
    """Part of a command: a list of commands has a whole sentence for it, which is wrapped."""

    context_class: type[click.Context] = HelpContext

    def get_short_help_str(self, limit: int = LONGEST) -> str:
        return super().get_short_help_str(max(limit, LONGEST))  # type: ignore[misc,no-any-return]


class ToldCommand(InSentences, click.Command):
    """Command with such a help."""


class ToldGroup(InSentences, click.Group):
    """Group of such commands."""

    command_class = ToldCommand
    group_class = type
