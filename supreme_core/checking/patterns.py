"""Lists of patterns of names and of folders. Pure.

In a pattern `*` stands for any characters but a slash; one that begins with `!` takes back what
others of its list allow.
"""

import re
from collections.abc import Callable, Sequence


def names_it(patterns: Sequence[str], name: str) -> bool:
    """Return whether one of the patterns is that of a name."""
    return _allowed(patterns, lambda pattern: matches(pattern, name))


def holds_it(patterns: Sequence[str], path: str) -> bool:
    """Return whether a path is a folder of one of the patterns, or lies in one."""
    return _allowed(patterns, lambda pattern: holds(pattern, path))


def matches(pattern: str, name: str) -> bool:
    return bool(re.fullmatch("[^/]*".join(map(re.escape, pattern.split("*"))), name))


def holds(folder: str, path: str) -> bool:
    """Return whether a path is a folder of this pattern, or lies in one."""
    parts, steps = folder.split("/"), path.split("/")
    return len(parts) <= len(steps) and all(map(matches, parts, steps))


def _allowed(patterns: Sequence[str], fits: Callable[[str], bool]) -> bool:
    taken_back = (pattern[1:] for pattern in patterns if pattern.startswith("!"))
    return any(map(fits, patterns)) and not any(map(fits, taken_back))
