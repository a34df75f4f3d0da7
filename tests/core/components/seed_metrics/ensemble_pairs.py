"""Builders: models of many seeds with made-up logit confidences."""

import numpy as np

from supreme_core.scoring.ensemble import Ensemble, EnsemblePair

SETS = ("forget", "retain", "test", "forget_test")


def ensemble(models, *, samples=40, seed=0, shift=0.0, spread=1.0):
    """Each sample has a level and a width of its own, the same for every seed of the builder."""
    levels = np.random.default_rng(99)
    random = np.random.default_rng(seed)
    phi = {}
    for name in SETS:
        level, width = levels.normal(1, 2, samples), levels.gamma(4, 0.25, samples)
        phi[name] = level + spread * width * random.normal(0, 1, (models, samples))
    phi["forget"] = phi["forget"] + shift
    return Ensemble(phi, {name: random.uniform(0.7, 0.9, models) for name in SETS})


def ensemble_pair(
    unlearned=8, retrained=8, *, on="forget", samples=40, shift=0.0, spread=1.0, seed=0
):
    labels = np.arange(samples) % 3
    return EnsemblePair(
        ensemble(unlearned, samples=samples, seed=[seed, 1], shift=shift, spread=spread),
        ensemble(retrained, samples=samples, seed=[seed, 2]),
        dict.fromkeys(SETS, labels),
        "classes",
        on,
    )


def of_logit_confidence(unlearned, retrained, *, on="forget"):
    """Make predictions from logit confidences of one set, (models, samples)."""
    found = [Ensemble({on: np.asarray(m, float)}, {}) for m in (unlearned, retrained)]
    return EnsemblePair(*found, {}, "classes", on)
