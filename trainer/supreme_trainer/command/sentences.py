"""Sentences on a terminal of any width, and in full into a pipe.

A pipe, a file or a terminal that knows no control characters (TERM=dumb) gets lines of any length.
What tells an error needs no more than this, and is there at once: of the tables, for which every
statistic is loaded, `supreme_trainer.command.screen` is the home.
"""

import re

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from supreme_trainer.process.spelling import spelt

from supreme_core.errors import escaped

GAP = 2
"""Blank cells between two columns."""

INDENT = "    "


def say(console: Console, text: str, *, indent: str = "", style: str = "") -> None:
    """Lines of words, wrapped where a terminal would cut one.

    indent: what continued lines begin with, after the blanks that the line itself begins with.
    """
    width = width_of(console)
    for line in text.splitlines() or [""]:
        line = spelt(escaped(line), console.encoding)
        below = " " * (len(line) - len(line.lstrip())) + indent
        for part in [line] if width is None else wrapped(line, width, indent=below):
            print_line(console, part, style=style)


def width_of(console: Console) -> int | None:
    """Cells in a line of the terminal; None where lines may have any length."""
    return console.width if console.is_terminal and not console.is_dumb_terminal else None


def wrapped(text: str, width: int, *, indent: str = "") -> list[str]:
    """Wrap by words; one that is longer than a line, such as a path, stays whole."""
    first, *words = re.findall(r" *[^ ]+", text) or [""]
    lines = [first]
    for word in words:
        if cell_len(lines[-1] + word) <= width:
            lines[-1] += word
        else:
            lines.append(indent + word.lstrip())
    return lines


def describe(console: Console, name: str, text: str, *, column: int) -> None:
    """A name, or none, and what is said about it."""
    width = width_of(console)
    name, text = (spelt(part, console.encoding) for part in (name, text))
    for line in described(name, text, column=column, width=width):
        print_line(console, line)


def described(name: str, text: str, *, column: int, width: int | None) -> list[str]:
    """A name and what is said about it, in a second column where that leaves room for words."""
    if width is None:
        return [f"{name:{column}}  {text}"]
    deeper = " " * (len(text) - len(text.lstrip()))
    if column + GAP > width / 2:
        lines = wrapped(f"{INDENT}{text}", width, indent=f"{INDENT}{deeper}")
        return [name, *lines] if name else lines
    indent = " " * (column + GAP) + deeper
    return wrapped(f"{name:{column}}  {text}", width, indent=indent)


def print_line(console: Console, text: str, *, style: str = "") -> None:
    """Print text unchanged: no markup, no emoji, nothing wrapped; NO_COLOR leaves no control
    characters."""
    console.print(Text(text, style="" if console.no_color else style), soft_wrap=True)
