"""Settings of each trial: pure functions of the space, the number and the address."""

from itertools import islice, product
from math import prod
from typing import Any

from supreme_core.api.v1alpha1 import Sampler
from supreme_core.randomness.streams import derive
from supreme_core.tuning import sobol
from supreme_core.tuning.ranges import Space

Address = tuple[str, str]
"""Titles of the scenario and the method, each pair of which has points of its own."""


def settings_of(space: Space, number: int, sampler: Sampler, address: Address) -> dict[str, Any]:
    """Settings of a trial, which are no others whatever is asked for beside it.

    number: from 1.  Of a sampler that learns from trials these are settings to begin with.
    """
    names = sorted(space)
    if sampler == "grid":
        choices = product(*(space[name].values for name in names))
        return dict(zip(names, next(islice(choices, number - 1, None)), strict=True))
    if sampler == "sobol":
        places = sobol.point(number - 1, *address, dimensions=len(names))
    else:
        # 53 of 63 bits, as many as a float below 1 has.
        bits = [derive(0, "random", *address, number, name) >> 10 for name in names]
        places = [each / 2**53 for each in bits]
    return {name: space[name].at(place) for name, place in zip(names, places, strict=True)}


def points(space: Space, trials: int, sampler: Sampler) -> int:
    """Number of trials that a space has: of a grid never more than its points."""
    return min(trials, grid_points(space)) if sampler == "grid" else trials


def grid_points(space: Space) -> int:
    """Number of combinations in a space of choices."""
    return prod(len(each.values) for each in space.values())
