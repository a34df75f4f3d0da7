"""Warnings of what is met again and again, such as a damaged object at each look at it."""

from collections.abc import Callable
from functools import cache

Warn = Callable[[str], None]


def once(warn: Warn) -> Warn:
    """Return `warn` as it takes each line once, for as long as what is returned is kept."""
    return cache(warn)
