"""Forget what the original knows by heart, what it understands, or what lies between them."""

from typing import Literal

import numpy as np
from pydantic import Field

from supreme_core.data.draw import first
from supreme_core.data.split import Indices, Labels, Split, by_sample
from supreme_core.registry import Params, scenario


class MemorisedSamplesParams(Params):
    fraction: float = Field(gt=0, lt=1, description="Share of the training set to forget.")
    memorisation: Literal["low", "mid", "high"] = Field(
        description="Samples to forget: those that the original finds easiest, hardest (high), or"
        " those in the middle of this order."
    )


@scenario(forgets="samples", needs=("margins",), alike=False)
def memorised_samples(labels: Labels, seed: int, params: MemorisedSamplesParams) -> Split:
    """Forget the share of the training set that is memorised least, most, or in between.

    Zhao et al. 2024, arXiv:2406.01257, order samples by how much a model's answer depends on having
    seen them, which takes many trainings. The proxy here is the logit confidence log(p / (1 - p))
    of the sample's own label by the seed's original, small where a sample is an exception that had
    to be memorised. So each seed, and each recipe, forgets other samples.
    """
    assert labels.logit_confidence is not None
    hardest_first = np.argsort(labels.logit_confidence, kind="stable")
    count = len(first(hardest_first, params.fraction, len(labels.train)))
    return by_sample(labels, _part(hardest_first, count, params.memorisation))


def _part(order: Indices, count: int, memorisation: Literal["low", "mid", "high"]) -> Indices:
    rest = len(order) - count
    start = {"high": 0, "mid": rest // 2, "low": rest}[memorisation]
    return order[start : start + count]
