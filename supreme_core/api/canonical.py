"""One text for a document, and its digest: equal meaning gives equal bytes. Pure."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

DEPTH: Final = 64
"""Deepest nesting of a canonical document; a hostile one must not exhaust the stack."""


def keys_in(meaning: Mapping[str, object]) -> set[str]:
    """All 64-digit hex strings in a stage's meaning: candidate keys of its inputs."""
    return set(re.findall(r"\b[0-9a-f]{64}\b", canonical_json(meaning).decode()))


def digest(document: Mapping[str, object]) -> str:
    """The sha256 of the canonical JSON, in 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def canonical_json(document: Mapping[str, object]) -> bytes:
    """One spelling for each JSON object, whatever its order and whoever wrote it.

    UTF-8, keys sorted by code point, no white space. Numbers that are equal are written alike, so
    `1.0` becomes `1`, `1e3` becomes `1000` and `-0.0` becomes `0`; other floats have the shortest
    form that reads back as the same float. Booleans stay apart from numbers, tuples are lists.
    Raises ValueError for NaN, infinities, keys that are no strings and what JSON does not know.
    """
    normal = _normal(document, at="document", depth=0)
    try:
        return json.dumps(
            normal, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"document holds text that UTF-8 cannot write: {error.object!r}") from None


def _normal(value: object, *, at: str, depth: int) -> JsonValue:
    if depth > DEPTH:
        raise ValueError(f"{at[:80]}... is nested more than {DEPTH} levels deep")
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{at} is {value}; a number must be finite")
            return int(value) if value.is_integer() else float(value)
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"{at} has the key {key!r}; keys must be strings")
            return {
                str(key): _normal(item, at=f"{at}.{key}", depth=depth + 1)
                for key, item in value.items()
            }
        case list() | tuple():
            return [
                _normal(item, at=f"{at}[{index}]", depth=depth + 1)
                for index, item in enumerate(value)
            ]
    raise ValueError(f"{at} is a {type(value).__name__}, which JSON does not know")
