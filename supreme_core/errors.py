"""Every error that a user of SUPREME can meet, and what a process does about it.

    SupremeError
    ├── SpecError              what somebody wrote cannot be done as written
    ├── StorageError           the store refused or answered wrongly
    │   ├── StoreUnusable      wrong bucket, no permission, a file where a folder is expected
    │   └── StoreUnavailable   the store is away or out of space for now: try again
    ├── CorruptArtefact        stored bytes differ from the digest in their manifest
    ├── DownloadFailed         a public dataset could not be fetched from where it lies
    ├── RankLost               another process of this seed is gone or does not answer
    ├── DeviceFault            a device failed under a stage: a fresh process goes on
    ├── GraphFault             a CUDA graph gave other bits than the step that it replays
    ├── GivenUp                a stage that no further process tries: devices fail under it
    ├── HeldElsewhere          another process computes this stage: go on with something else
    └── MethodFailed           an unlearning method diverged or cannot run on this cell

`permanent` tells the operator whether a retry can help; `exit_code` follows sysexits where one
fits: 1 application error, 2 invalid input, 75 temporary failure.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final
from unicodedata import category

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_INVALID: Final = 2
EXIT_TEMPORARY: Final = 75
EXIT_SIGNAL: Final = 128
"""Plus the number of the signal that ended a process, as shells have it."""
EXIT_INTERRUPTED: Final = 130
EXIT_TERMINATED: Final = 143

NAMES_SHOWN: Final = 12
"""Names in one message, where there may be thousands."""

FEW_NAMES: Final = 5
"""Names in a part of a message that has to stay one line."""

MISTAKES_SHOWN: Final = 50
"""Mistakes in one message. To explain each of thousands takes seconds, and nobody reads them."""

LONGEST_NAME: Final = 300
"""Characters; no component or field has a name that is like a longer one."""

UNSEEN: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of Unicode whose characters are escaped."""


class SupremeError(Exception):
    """An error with a message for a person; never shown with a traceback."""

    permanent = False
    exit_code: int = EXIT_ERROR


class SpecError(SupremeError):
    """Error in what a user wrote: the message names the field, what came and what is allowed."""

    permanent = True
    exit_code = EXIT_INVALID


class StorageError(SupremeError):
    """The store did not do what was asked."""


class StoreUnusable(StorageError):
    """The store cannot work as configured; trying again does not help."""

    permanent = True
    exit_code = EXIT_INVALID


class StoreUnavailable(StorageError):
    """The store is away, overloaded or full; trying again later can help."""

    exit_code = EXIT_TEMPORARY


class CorruptArtefact(StorageError):
    """Stored bytes do not have the size or the sha256 that their manifest names."""


class DownloadFailed(SupremeError):
    """A file of a public dataset could not be had; the server or the network may come back."""

    exit_code = EXIT_TEMPORARY


class RankLost(SupremeError):
    """A rank cannot go on for want of another; which one, and why, that one or its watch says."""

    exit_code = EXIT_TEMPORARY


class DeviceFault(SupremeError):
    """A device gave out, so this process ends; nothing is said of what it was computing.

    is_recorded: it stands in the store, so the process that comes next knows of it.
    """

    exit_code = EXIT_TEMPORARY

    def __init__(self, message: str, *, is_recorded: bool, is_temporary: bool = True) -> None:
        super().__init__(message)
        self.is_recorded = is_recorded
        if not is_temporary:
            self.exit_code = EXIT_ERROR


class GraphFault(SupremeError):
    """A CUDA graph gave other bits than the step that it replays, or could not be replayed: a fault
    of the device, and no method's."""


class FailedBefore(SupremeError):
    """A stage is not tried again, which has failed for the reason that this says."""


class GivenUp(FailedBefore):
    """A stage was left undone after faults of devices; the machine's fault, and no method's."""


class HeldElsewhere(SupremeError):
    """Another process computes a stage, or has taken it over from this one."""


class MethodFailed(SupremeError):
    """An unlearning method could not produce a model; the other methods of the seed go on."""


def one_line(text: object, limit: int = 1024) -> str:
    """Quote another's words in a message: one line of at most `limit` characters.

    What is not printable, such as the control sequences of a terminal, becomes question marks.
    """
    line = " ".join(str(text)[: 4 * limit].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def escaped(text: str) -> str:
    """The text with every character that shows nothing, or changes how others are shown, as its
    escape: control sequences of terminals, marks of writing direction, halves of surrogates."""
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if category(each) in UNSEEN else each
        for each in text
    )


def quoted(name: str) -> str:
    """A name that somebody chose, in quotes, on one line and not too long."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def mistakes(lines: Iterable[str]) -> SpecError:
    """An error with a line for each mistake; what comes after many of them is not looked for."""
    found: dict[str, None] = {}
    for line in lines:
        if len(found) == MISTAKES_SHOWN and line not in found:
            found["there are more mistakes than these"] = None
            break
        found[line] = None
    return SpecError("\n".join(found))


def few(names: Sequence[str]) -> str:
    """`'a', 'b' and 998 more`: names in a message that stays one line, however many there are."""
    left = len(names) - FEW_NAMES
    more = f" and {left:,} more" if left > 0 else ""
    return f"{', '.join(map(repr, names[:FEW_NAMES]))}{more}"


def number_of(number: int, noun: str, plural: str = "", *, form: str = "") -> str:
    """`1 seed`, `2 seeds`.  plural: of a noun that takes more than an s.  form: of the number."""
    return f"{number:{form}} {noun if number == 1 else plural or f'{noun}s'}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'scrub'?` for the closest allowed name, or nothing where none is close."""
    if len(name) > LONGEST_NAME:
        return ""
    matches = get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def nearest_or_all(name: str, allowed: Iterable[str], *, what: str) -> str:
    """Nearest name, as `nearest`; where none is close, the allowed names after `what`, twelve of
    many."""
    known = list(allowed)
    return nearest(name, known) or f"; {what}: {listed(known)}"


def listed(names: Sequence[str]) -> str:
    """`a, b, c`: twelve of many names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more
