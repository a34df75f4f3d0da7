"""Patterns of names and paths, in which `*` stands for any characters but a slash. Pure."""

import re


def matches(pattern: str, name: str) -> bool:
    return bool(re.fullmatch("[^/]*".join(map(re.escape, pattern.split("*"))), name))


def holds(folder: str, path: str) -> bool:
    """Whether a path is a folder of this pattern, or lies in one."""
    parts, steps = folder.split("/"), path.split("/")
    return len(parts) <= len(steps) and all(map(matches, parts, steps))
