"""The validation set: shares of each class counted by hand, partitions of the training set with
every scenario, which of it is like the forgotten samples, how far a seed decides, and what takes
the place of the test set where settings are tried."""

from dataclasses import replace

import numpy as np
import pytest

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Component, Training, Validation
from supreme_core.data.cells import Splits
from supreme_core.data.split import Labels, by_class, set_aside, without
from supreme_core.errors import SpecError

NAMES = ("aeroplane", "bird", "cat", "deer")
UNEVEN = np.repeat([0, 1, 2, 3], [400, 200, 30, 2])
FINE = np.arange(800) % 8
LABELS = Labels(
    FINE // 2,
    np.arange(4),
    NAMES,
    train_fine=FINE,
    test_fine=np.arange(8),
    fine_class_names=("jet", "glider", "wren", "kite", "tabby", "manx", "elk", "roe"),
)
SCENARIOS = {
    "full_class": {"classes": [1, 3]},
    "subclass": {"classes": ["wren"]},
    "random_samples": {"fraction": 0.1},
}


def split(name, validation):
    chosen = registry.scenario.resolve(Component(name=name, params=SCENARIOS[name]), at="scenario")
    forgets = chosen.entry.facts.forgets
    return without(LABELS, validation, forgets=forgets, choose=lambda labels: chosen(labels, 260))


class TestDraw:
    @pytest.mark.parametrize(
        ("fraction", "counts"),
        [(0.1, [40, 20, 3, 1]), (0.001, [1, 1, 1, 1]), (0.99, [396, 198, 29, 1])],
    )
    def test_each_class_gives_its_share_but_never_nothing_or_all(self, fraction, counts):
        drawn = set_aside(UNEVEN, fraction, 260)
        assert np.bincount(UNEVEN[drawn]).tolist() == counts
        assert (np.diff(drawn) > 0).all()

    def test_a_class_of_one_sample_gives_none(self):
        assert len(set_aside(np.array([0, 1]), 0.5, 260)) == 0

    def test_the_seed_decides_and_nothing_else(self):
        one, again, other = (set_aside(UNEVEN, 0.1, seed) for seed in (1, 1, 2))
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)

    def test_a_smaller_share_is_a_subset_of_a_larger_one(self):
        small, large = (set_aside(UNEVEN, fraction, 1) for fraction in (0.1, 0.3))
        assert np.isin(small, large).all()


class TestSplit:
    @pytest.mark.parametrize("name", SCENARIOS)
    def test_forget_retain_and_validation_part_the_training_set(self, name):
        validation = set_aside(LABELS.train, 0.1, 5)
        found = split(name, validation)
        parts = [found.forget, found.retain, found.validation]
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(800))
        assert np.array_equal(found.validation, validation)
        assert all((np.diff(part) > 0).all() for part in parts)

    def test_of_whole_classes_validation_samples_of_these_are_alike(self):
        found = split("full_class", set_aside(LABELS.train, 0.1, 5))
        assert set(LABELS.train[found.forget]) == {1, 3}
        assert not {1, 3} & set(LABELS.train[found.retain])
        alike = np.isin(LABELS.train[found.validation], [1, 3])
        assert np.array_equal(found.forget_validation, found.validation[alike])
        assert alike.sum() == 40

    def test_of_parts_of_classes_validation_samples_of_these_are_alike(self):
        found = split("subclass", set_aside(LABELS.train, 0.1, 5))
        assert len(found.forget_validation)
        assert set(FINE[found.forget_validation]) == {2} == set(FINE[found.forget])

    def test_of_single_samples_all_validation_samples_are_alike(self):
        found = split("random_samples", set_aside(LABELS.train, 0.1, 5))
        assert np.array_equal(found.forget_validation, found.validation)
        assert len(found.forget) == 72  # a tenth of what is left

    def test_the_test_set_is_parted_as_ever(self):
        found = split("full_class", set_aside(LABELS.train, 0.1, 5))
        assert (found.forget_test.tolist(), found.retain_test.tolist()) == ([1, 3], [0, 2])

    def test_the_digest_names_the_validation_set_where_there_is_one(self):
        plain = by_class(LABELS, (1,))
        digests = {plain.digest}
        for seed in (1, 2):
            validation = set_aside(LABELS.train, 0.1, seed)
            digests.add(
                without(
                    LABELS,
                    validation,
                    forgets="classes",
                    choose=lambda labels: by_class(labels, (1,)),
                ).digest
            )
        assert len(digests) == 3


OF_TRIALS = {
    **SCENARIOS,
    "identity": {"identities": [0, 7]},
    "backdoor": {"target": "cat", "fraction": 0.05},
    "confusion": {"classes": [0, 2], "fraction": 0.2},
    "memorised_samples": {"fraction": 0.1, "memorisation": "high"},
    "sequential": {
        "requests": [{"name": name, "params": SCENARIOS[name]} for name in reversed(SCENARIOS)]
    },
}


class TestTrials:
    """Where settings are tried, with every scenario: there is no test set."""

    @staticmethod
    def split(name, seed, **others):
        labels = replace(
            LABELS,
            train_identities=np.arange(800) // 4 % 20,
            test_identities=np.arange(4),
            identity_names=tuple(f"person {number}" for number in range(20)),
            logit_confidence=np.random.default_rng(0).normal(size=800),
        )
        labels = replace(labels, **others)
        component = Component(name=name, params=OF_TRIALS[name])
        chosen = registry.scenario.resolve(component, at="scenario")
        splits = Splits(
            scenarios={name: chosen}, validation=Validation(fraction=0.2), for_trials=True
        )
        return splits.of(name, labels, seed)

    def test_every_scenario_is_here(self):
        assert {entry.name for entry in registry.scenario.entries()} == OF_TRIALS.keys()

    @pytest.mark.parametrize("name", OF_TRIALS)
    def test_nothing_of_the_test_set_decides_a_split(self, name):
        draw = np.random.default_rng(1)
        for seed in (9000, 9001):
            known = self.split(name, seed)
            for test in (draw.permutation(LABELS.test), draw.integers(0, 4, 50), np.empty(0, int)):
                others = {
                    "test": test,
                    "test_fine": draw.integers(0, 8, len(test)),
                    "test_identities": draw.integers(0, 20, len(test)),
                }
                assert self.split(name, seed, **others).digest == known.digest

    @pytest.mark.parametrize("name", OF_TRIALS)
    def test_trials_are_compared_by_samples_that_no_model_and_no_method_sees(self, name):
        found = self.split(name, 9000)
        parts = (found.forget, found.retain, found.validation, found.in_place_of_test)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(800))
        assert len(found.in_place_of_test) == len(found.validation) == 80
        assert np.isin(found.forget_validation, found.validation).all()
        places = np.concatenate([found.forget_test, found.retain_test])
        assert np.array_equal(np.sort(places), np.arange(80))
        if found.poison:
            assert np.isin(found.poison.held_out, np.arange(80)).all()


class TestSpec:
    def test_a_recipe_without_validation_says_nothing_of_it(self):
        assert "validation" not in Training().to_document()

    def test_the_best_epoch_needs_something_to_select_by(self):
        with pytest.raises(SpecError, match="no samples are set aside to select by"):
            parse(Training, {"selection": "best_validation"})
        training = parse(
            Training, {"selection": "best_validation", "validation": {"fraction": 0.1}}
        )
        assert training.validation.draw == "per_seed"

    @pytest.mark.parametrize("fraction", [0, 0.6, "0.1"])
    def test_a_share_that_is_none_is_refused(self, fraction):
        with pytest.raises(SpecError, match=r"validation\.fraction is"):
            parse(Training, {"validation": {"fraction": fraction}})
