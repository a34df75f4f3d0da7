"""Arguments of public functions, refused in the words of experiments."""

import os
from collections.abc import Collection, Mapping
from typing import Any, SupportsIndex

import numpy as np

from supreme_core.api.v1alpha1 import SEED_LIMIT
from supreme_core.errors import SpecError, nearest_or_all, one_line

LONGEST_SHOWN = 80
"""Characters of a value that an error shows: it may be a table."""


def one_of(name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse a value that is none of those allowed; the SpecError names the nearest, or all."""
    choices = [*allowed]  # a value may have no hash
    if value not in choices:
        alike = next((each for each in choices if str(each) == str(value)), None)
        if alike is not None:  # of another type
            raise SpecError(f"{name} is {_shown(value)}; did you mean {alike!r}?")
        known = nearest_or_all(str(value), map(str, choices), what="allowed")
        raise SpecError(f"{name} is {_shown(value)}{known}")


def text(name: str, value: object, allowed: str) -> str:
    """The value, which has to be a text or the path of a file."""
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str):
        raise SpecError(f"{name} is {_shown(value)}; allowed: {allowed}")
    return found


def seed_number(value: object) -> int:
    """The value as a seed of random draws; numbers of numpy and torch are ones too."""
    found = whole(value)
    if found is None or not 0 <= found <= SEED_LIMIT:
        raise SpecError(f"seed is {_shown(value)}; allowed: a whole number from 0 to {SEED_LIMIT}")
    return found


def whole(value: object) -> int | None:
    """The value as an int; None where it is no whole number."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return value.__index__()
    except TypeError:  # an array or a tensor of another kind
        return None


def _shown(value: object) -> str:
    return one_line(repr(value), LONGEST_SHOWN)


def plain(value: Any) -> Any:
    """The value as documents have it: numbers of numpy and torch as those of Python, and arrays as
    lists."""
    match value:
        case Mapping():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case np.ndarray() | np.generic():
            return value.tolist()
    is_number = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_number else value
