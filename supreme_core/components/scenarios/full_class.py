"""Forget every sample of one or more classes."""

from pydantic import Field

from supreme_core.data.split import Labels, Split, by_class, class_numbers
from supreme_core.registry import Params, scenario


class FullClassParams(Params):
    classes: list[int | str] = Field(
        min_length=1, max_length=1000, description="Classes to forget, by number or by name."
    )


@scenario(forgets="classes")
def full_class(labels: Labels, seed: int, params: FullClassParams) -> Split:
    """Forget all samples of some classes; the test samples of these classes are held out."""
    return by_class(labels, class_numbers(params.classes, labels.class_names))
