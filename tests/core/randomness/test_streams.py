"""Random streams, against the hash that is their definition.

Covered: addresses, independence of the streams of all seeds, roles and repeats, the matched
protocol. Left out: what is drawn from them (engine/, test_measure.py).
"""

import hashlib
from itertools import product

import numpy as np
import pytest

from supreme_core.randomness.streams import Streams, derive


def test_an_address_is_hashed_as_json():
    text = b'[260,"unlearning",1,"methods","scrub"]'
    first = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    assert derive(260, "unlearning", 1, "methods", "scrub") == first // 2


def test_every_seed_repeat_and_evaluation_has_a_stream_of_its_own():
    """I x J x K of them, for two methods, and those of training beside them."""
    seeds, unlearning, evaluation = range(260, 270), range(5), range(4)
    found = {("training", i, r): Streams(i).training(r) for i, r in product(seeds, range(3))}
    for i, j, method in product(seeds, unlearning, ("finetune", "scrub")):
        found["unlearning", i, j, method] = Streams(i).unlearning(j, method)
    for i, j, k in product(seeds, unlearning, evaluation):
        found["evaluation", i, j, k] = derive(Streams(i).evaluation(j), "repeat", k)
    assert len(found) == 10 * (3 + 5 * 2 + 5 * 4)
    assert len(set(found.values())) == len(found)


def test_neighbouring_streams_are_not_correlated():
    streams = [
        derive(Streams(i).evaluation(j), "repeat", 0) for i, j in product(range(40), range(5))
    ]
    draws = np.array([np.random.default_rng(stream).normal(size=500) for stream in streams])
    correlations = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(500)
    assert np.mean(correlations**2) == pytest.approx(1 / 500, rel=0.05)


def test_matched_streams_are_that_of_the_training_seed():
    matched = Streams(260, "matched")
    assert matched.training() == Streams(260).training()
    assert matched.unlearning(0, "scrub") == matched.unlearning(0, "finetune") == matched.training()
    assert matched.evaluation() == matched.training()
    assert matched.training(1) != matched.training()
