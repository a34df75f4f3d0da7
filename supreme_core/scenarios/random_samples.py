"""Forget single training samples, drawn at random."""

from typing import Literal

import numpy as np
from pydantic import Field

from supreme_core import seeds
from supreme_core.errors import SpecError
from supreme_core.hashing import permutation
from supreme_core.registry import Params, scenario
from supreme_core.split import FIXED, Labels, Split, by_sample


class RandomSamplesParams(Params):
    fraction: float = Field(gt=0, lt=1, description="Share of the training set to forget.")
    draw: Literal["per_seed", "fixed"] = Field(
        "per_seed", description="Other samples for each training seed, or the same for all."
    )


@scenario(forgets="samples")
def random_samples(labels: Labels, seed: int, params: RandomSamplesParams) -> Split:
    """Forget a random share of the training set; smaller shares are subsets of larger ones."""
    total = len(labels.train)
    count = int(np.floor(params.fraction * total + 1e-9))
    if count == 0:
        raise SpecError(
            f"fraction {params.fraction} of {total} training samples selects no sample;"
            f" the smallest that does is {np.ceil(1e6 / total) / 1e6:.6f}"
        )
    key = seeds.derive(seed if params.draw == "per_seed" else FIXED, "scenarios", "random_samples")
    return by_sample(labels, np.sort(permutation(key, total)[:count]))
