"""Promises of every registered metric over seeds, whoever wrote it.

its numbers and no others, in their range | deterministic | order of models and samples
irrelevant | same distributions near the null | far ones away from it
"""

from dataclasses import replace

import numpy as np
import pytest

from supreme_core import registry
from supreme_core.scoring.ensemble import Ensemble
from tests.core.components.seed_metrics.ensemble_pairs import ensemble_pair

ENTRIES = registry.seed_metric.entries()
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def values(entry, found):
    sets = entry.facts.sets or (None,)
    return [entry.function(replace(found, on=on), entry.params()) for on in sets]


def first(entry, **changes):
    """Return the metric's first number, on its first set."""
    found = values(entry, ensemble_pair(16, 16, samples=200, **changes))[0]
    return found[entry.facts.numbers[0]]


@every_entry
@pytest.mark.parametrize("models", [(8, 8), (9, 8)], ids=["even", "odd"])
def test_it_gives_its_numbers_in_their_range_and_the_same_again(entry, models):
    found = values(entry, ensemble_pair(*models))
    assert found == values(entry, ensemble_pair(*models))
    for numbers in found:
        assert tuple(numbers) == entry.facts.numbers
        for value in numbers.values():
            assert value is None or value >= (entry.facts.low or 0)
            assert value is None or entry.facts.high is None or value <= entry.facts.high


@every_entry
def test_it_needs_no_more_models_than_it_says(entry):
    fewest = entry.facts.fewest
    for numbers in values(entry, ensemble_pair(fewest, fewest)):
        assert numbers[entry.facts.numbers[0]] is not None


@every_entry
def test_order_of_models_and_samples_does_not_matter(entry):
    found = ensemble_pair()
    random = np.random.default_rng(5)
    samples = {name: random.permutation(len(labels)) for name, labels in found.labels.items()}

    def shuffled(models):
        order = random.permutation(8)
        return Ensemble(
            {name: m[order][:, samples[name]] for name, m in models.logit_confidence.items()},
            {name: a[order] for name, a in models.accuracy.items()},
        )

    other = replace(
        found,
        unlearned=shuffled(found.unlearned),
        retrained=shuffled(found.retrained),
        labels={name: labels[samples[name]] for name, labels in found.labels.items()},
    )
    for one, again in zip(values(entry, found), values(entry, other), strict=True):
        for number, value in one.items():
            assert again[number] == (None if value is None else pytest.approx(value, rel=1e-9))


@every_entry
def test_a_shifted_distribution_is_told_and_the_same_one_is_not(entry):
    same, other = first(entry), first(entry, shift=4.0)
    chance = {"lowest": 0.0, "highest": 1.0}.get(entry.facts.best, 0.5)
    if entry.name == "calibration":
        chance = 0.0455
    assert same == pytest.approx(chance, abs=0.2)
    assert abs(other - chance) > 0.3
