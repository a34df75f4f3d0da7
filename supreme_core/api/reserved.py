"""Fields of the schema whose behaviour this version does not have: refused, never ignored."""

from collections.abc import Callable

from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.errors import SpecError

_RESERVED: tuple[tuple[str, Callable[[ExperimentSpec], object], object], ...] = (
    ("training.selection", lambda spec: spec.training.selection, "last"),
)
"""(field, how to read it, the one value that this version has)."""


def refuse_reserved(spec: ExperimentSpec) -> None:
    """SpecError names each field that asks for behaviour of a later version."""
    problems = [
        f"spec.{field} is {value!r}, which this version does not support yet; use {only!r}"
        for field, read, only in _RESERVED
        if (value := read(spec)) != only
    ]
    if problems:
        raise SpecError("\n".join(problems))
