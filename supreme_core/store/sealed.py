"""JSON documents of a store that carry the digest of everything else that stands in them.

The digest finds damage and edits. It proves no author: whoever may write the store can make one.
"""

import json
from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import BaseModel

from supreme_core.api.canonical import digest
from supreme_core.api.model import parse_document, read_json
from supreme_core.errors import SpecError

SEAL: Final = "sha256"
"""The field with the digest."""

D = TypeVar("D", bound=BaseModel)


def sealed_json(document: Mapping[str, object], *, indent: int | None = 1) -> bytes:
    sealed = {**document, SEAL: digest(document)}
    return json.dumps(sealed, indent=indent, allow_nan=False).encode()


def parse_sealed(model: type[D], data: bytes, *, source: str) -> tuple[D, bool]:
    """The document, and whether it carries its digest; SpecError where the digest is another."""
    document = read_json(data, source=source)
    fields = document if isinstance(document, dict) else {}
    has_seal = SEAL in fields
    seal = fields.pop(SEAL, None)
    found = parse_document(model, document, source=source)
    # Of what stands there, which a version with further fields would write otherwise.
    digest_now = _digest(fields, source)
    if has_seal and seal != digest_now:
        raise SpecError(f"{source} has been changed since it was written")
    return found, has_seal


def parse_unchanged(model: type[D], data: bytes, *, source: str) -> D:
    """The document as it was written; SpecError where it has another digest, or none."""
    document, has_seal = parse_sealed(model, data, source=source)
    if not has_seal:
        raise SpecError(f"{source} has been changed since it was written: its digest is missing")
    return document


def _digest(document: Mapping[str, object], source: str) -> str:
    try:
        return digest(document)
    except ValueError as error:
        raise SpecError(f"{source} holds what no document has: {error}") from None
