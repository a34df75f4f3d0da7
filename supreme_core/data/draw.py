"""Draw samples by chance: a pure function of the seed, the scenario's name and a share."""

from typing import Literal

import numpy as np
from pydantic import Field

from supreme_core.data.split import Indices
from supreme_core.errors import SpecError
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params

FIXED = 0


class DrawParams(Params):
    """Settings of a scenario that draws its samples."""

    draw: Literal["per_seed", "fixed"] = Field(
        "per_seed", description="Other samples for each training seed, or the same for all."
    )

    def order(self, seed: int, scenario: str, samples: int) -> Indices:
        """All samples of the training set, in the order in which they are drawn."""
        key = streams.derive(seed if self.draw == "per_seed" else FIXED, "scenarios", scenario)
        return permutation(key, samples)


def first(order: Indices, fraction: float, total: int, *, of: str = "training samples") -> Indices:
    """The first of an order, as many as the share of a total; so a smaller share is a subset.

    Raises SpecError where that is no sample.  of: what the total counts.
    """
    count = _whole_part(fraction, total)
    if count == 0:
        raise SpecError(
            f"fraction {fraction} of {total} {of} selects no sample;"
            f" the smallest that does is {np.ceil(1e6 / total) / 1e6:.6f}"
        )
    return order[:count]


def first_of_each_class(order: Indices, fraction: float, labels: Indices) -> Indices:
    """The same share of every class, rounded down.  labels: (N,) of the samples in their order.

    Raises SpecError where that is no sample even of the largest class.
    """
    classes = [order[labels[order] == number] for number in np.unique(labels)]
    largest = max(classes, key=len)
    first(largest, fraction, len(largest), of="training samples of the largest class")
    return np.concatenate([each[: _whole_part(fraction, len(each))] for each in classes])


def _whole_part(fraction: float, total: int) -> int:
    """fraction * total rounded down, but not where only the product's last bits are missing."""
    return int(np.floor(fraction * total + 1e-9))
