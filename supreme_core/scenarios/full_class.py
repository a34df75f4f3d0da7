"""Forget every sample of one or more classes."""

from pydantic import Field

from supreme_core.errors import SpecError, nearest
from supreme_core.registry import Params, scenario
from supreme_core.split import Labels, Split, by_class


class FullClassParams(Params):
    classes: list[int | str] = Field(
        min_length=1, max_length=1000, description="Classes to forget, by number or by name."
    )


@scenario(forgets="classes")
def full_class(labels: Labels, seed: int, params: FullClassParams) -> Split:
    """Forget all samples of some classes; the test samples of these classes are held out."""
    return by_class(labels, tuple(sorted({_number(name, labels) for name in params.classes})))


def _number(name: int | str, labels: Labels) -> int:
    names = labels.class_names
    if isinstance(name, int):
        if 0 <= name < len(names):
            return name
        raise SpecError(
            f"class {name} is out of range; the dataset has classes 0 to {len(names) - 1}"
        )
    if name in names:
        return names.index(name)
    raise SpecError(f"unknown class {name!r}{nearest(name, names)}")
