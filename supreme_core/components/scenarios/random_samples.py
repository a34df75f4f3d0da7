"""Forget single training samples, drawn at random."""

from typing import Literal

from pydantic import Field

from supreme_core.data.draw import DrawParams, first, first_of_each_class
from supreme_core.data.split import Labels, Split, by_sample
from supreme_core.registry import scenario


class RandomSamplesParams(DrawParams):
    fraction: float = Field(gt=0, lt=1, description="Share of the training set to forget.")
    stratify: Literal["none", "class"] = Field(
        "none", description="class: the same share of every class; none: as the draw has it."
    )


@scenario(forgets="samples", alike=False)
def random_samples(labels: Labels, seed: int, params: RandomSamplesParams) -> Split:
    """Forget a random share of the training set; smaller shares are subsets of larger ones."""
    total = len(labels.train)
    order = params.order(seed, "random_samples", total)
    if params.stratify == "class":
        return by_sample(labels, first_of_each_class(order, params.fraction, labels.train))
    return by_sample(labels, first(order, params.fraction, total))
