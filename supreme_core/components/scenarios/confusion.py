"""Forget wrong labels: the original was taught to take parts of two classes for each other."""

import numpy as np
from pydantic import Field

from supreme_core.data.draw import DrawParams, first
from supreme_core.data.split import Indices, Labels, Split, by_poison, class_numbers, named_as
from supreme_core.errors import SpecError
from supreme_core.registry import scenario


class ConfusionParams(DrawParams):
    classes: list[int | str] = Field(
        min_length=2, max_length=2, description="The two classes, by number or by name."
    )
    fraction: float = Field(
        gt=0, lt=1, description="Share of each class's training samples that get the other's label."
    )


@scenario(forgets="samples", poisons=True)
def confusion(labels: Labels, seed: int, params: ConfusionParams) -> Split:
    """Forget samples of two classes that were trained on with each other's label.

    The interclass confusion test of Goel et al. 2022, arXiv:2201.06640. Held out are the test
    samples of both classes, with swapped labels too: the accuracy there, and on the forget set, is
    the share that the model still confuses.
    """
    pair = class_numbers(params.classes, labels.class_names)
    if len(pair) == 1:
        raise SpecError(f"classes: both are {labels.class_names[pair[0]]!r}; two are needed")

    def swapped(true: Indices) -> Indices:
        return np.where(true == pair[0], pair[1], pair[0])

    order = params.order(seed, "confusion", len(labels.train))
    chosen = [_of_class(labels, order, number, params.fraction) for number in pair]
    held_out = np.flatnonzero(np.isin(labels.test, pair))
    return by_poison(
        labels,
        np.concatenate(chosen),
        held_out,
        wrong=swapped,
        named=named_as(pair, labels.class_names, role="confused"),
    )


def _of_class(labels: Labels, order: Indices, number: int, fraction: float) -> Indices:
    members = order[labels.train[order] == number]
    name = labels.class_names[number]
    if not len(members):
        raise SpecError(f"class {name!r} has no training sample")
    return first(members, fraction, len(members), of=f"training samples of class {name!r}")
