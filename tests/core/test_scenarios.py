"""What is forgotten: partitions of training and test set, and draws that depend on the seed alone.

                 | partition | names, ranges | draws | defects of the reference
full_class       |     x     |       x       |       |
subclass         |     x     |       x       |       |
random_samples   |     x     |       x       |   x   |   6, 18, 19
"""

import random
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.engine.randomness import global_seed
from supreme_core.engine.shape import ImageShape
from supreme_core.errors import SpecError
from supreme_core.split import Labels, by_class, by_sample
from tests.builders import TINY_SHAPE, tiny_task
from tests.real_ranks import on_two_ranks

NAMES = ("aeroplane", "bird", "cat", "deer")


def labels_of(train, test=(0, 1, 2, 3)):
    return Labels(np.array(train, dtype=np.int64), np.array(test, dtype=np.int64), NAMES)


EVEN = labels_of(np.arange(1000) % 4)

PARTS = ("jet", "glider", "wren", "kite", "tabby", "manx", "elk", "roe")
"""Fine classes; two of them, 2n and 2n + 1, are in class n."""

some_labels = st.lists(st.integers(0, 3), min_size=2, max_size=60).map(labels_of)


def fine_labels_of(train, test=range(8)):
    train, test = (np.array(part, dtype=np.int64) for part in (train, test))
    return Labels(
        *(train // 2, test // 2, NAMES), train_fine=train, test_fine=test, fine_class_names=PARTS
    )


FINE = fine_labels_of(np.arange(1000) % 8)


def split(name, labels=EVEN, *, seed=260, **params):
    component = Component(name=name, params=params)
    return registry.scenario.resolve(component, at="scenario")(labels, seed)


def refused(name, labels=EVEN, **params):
    with pytest.raises(SpecError) as error:
        split(name, labels, **params)
    return str(error.value)


def assert_partition(left, right, n):
    assert np.array_equal(np.sort(np.concatenate([left, right])), np.arange(n))
    assert np.array_equal(left, np.sort(left))
    assert np.array_equal(right, np.sort(right))


def drawn(*, seed=260, **params):
    return split("random_samples", seed=seed, **({"fraction": 0.1} | params)).forget.tolist()


class TestPartitions:
    @settings(deadline=None)
    @given(some_labels, st.sets(st.integers(0, 3), min_size=1, max_size=3))
    def test_full_class_parts_both_sets_by_class(self, labels, classes):
        assume(0 < np.isin(labels.train, list(classes)).sum() < len(labels.train))

        found = split("full_class", labels, classes=sorted(classes))

        assert_partition(found.forget, found.retain, len(labels.train))
        assert_partition(found.forget_test, found.retain_test, len(labels.test))
        assert all(label in classes for label in labels.train[found.forget])
        assert not any(label in classes for label in labels.train[found.retain])
        assert labels.test[found.forget_test].tolist() == sorted(classes)
        assert found.classes == tuple(sorted(classes))

    @settings(deadline=None)
    @given(
        st.integers(2, 200),
        st.floats(0, 1, exclude_min=True, exclude_max=True),
        st.integers(0, 2**32 - 1),
    )
    def test_random_samples_part_the_training_set_only(self, n, fraction, seed):
        assume(fraction * n >= 1)
        assume(fraction < 1 - 1e-6)

        found = split("random_samples", labels_of([0] * n), seed=seed, fraction=fraction)

        assert_partition(found.forget, found.retain, n)
        assert_partition(found.forget_test, found.retain_test, 4)
        assert len(found.forget) == int(fraction * n + 1e-9)
        assert len(found.forget_test) == 0
        assert found.classes == ()


class TestFullClass:
    def test_a_class_by_number_is_the_class_by_name(self):
        by_number, by_name = (split("full_class", classes=[which]) for which in (2, "cat"))
        assert by_number.digest == by_name.digest
        assert by_name.classes == (2,)

    def test_order_and_repetition_of_classes_mean_nothing(self):
        found = split("full_class", classes=["deer", 1, 3, "bird"])
        assert found.classes == (1, 3)
        assert found.digest == split("full_class", classes=[1, 3]).digest

    @pytest.mark.parametrize("number", [4, -1, 1000])
    def test_a_number_out_of_range_is_refused(self, number):
        message = f"class {number} is out of range; the dataset has classes 0 to 3"
        assert refused("full_class", classes=[number]) == message

    def test_an_unknown_name_is_refused_with_the_nearest(self):
        message = "unknown class 'airplane'; did you mean 'aeroplane'?"
        assert refused("full_class", classes=["airplane"]) == message

    def test_a_class_without_training_samples_leaves_nothing_to_forget(self):
        message = "it selects no training sample, so there is nothing to forget"
        assert refused("full_class", labels_of([0, 1, 1]), classes=[3]) == message

    def test_all_classes_leave_nothing_to_retrain_on(self):
        message = "it selects every training sample, so nothing is left to retrain on"
        assert refused("full_class", classes=[0, 1, 2, 3]) == message

    def test_the_seed_means_nothing(self):
        one, other = (split("full_class", classes=[1], seed=seed) for seed in (1, 2))
        assert one.digest == other.digest


class TestSubclass:
    @settings(deadline=None)
    @given(
        st.lists(st.integers(0, 7), min_size=2, max_size=60),
        st.sets(st.sampled_from([0, 2, 4, 6]), min_size=1),
    )
    def test_it_parts_both_sets_by_fine_class(self, train, chosen):
        labels = fine_labels_of([*train, 1, 3, 5, 7, *sorted(chosen)])

        found = split("subclass", labels, classes=sorted(chosen))

        assert_partition(found.forget, found.retain, len(labels.train))
        assert_partition(found.forget_test, found.retain_test, 8)
        assert set(labels.train_fine[found.forget]) == chosen
        assert not chosen & set(labels.train_fine[found.retain])
        assert labels.test_fine[found.forget_test].tolist() == sorted(chosen)

    def test_no_class_goes_as_a_whole_so_every_label_stays_valid(self):
        found = split("subclass", FINE, classes=["wren"])
        assert found.classes == ()
        assert set(FINE.train[found.retain]) == {0, 1, 2, 3}
        assert set(FINE.train[found.forget]) == {1}

    def test_a_fine_class_by_number_is_that_by_name(self):
        by_number, by_name = (split("subclass", FINE, classes=[which]) for which in (5, "manx"))
        assert by_number.digest == by_name.digest

    def test_all_parts_of_a_class_are_the_class(self):
        message = "it forgets every part of class 'bird'; to forget whole classes, use full_class"
        assert refused("subclass", FINE, classes=["wren", "kite", "elk"]) == message

    def test_all_fine_classes_leave_nothing_to_retrain_on(self):
        assert "selects every training sample" in refused("subclass", FINE, classes=list(PARTS))

    def test_a_dataset_without_fine_classes_is_refused(self):
        message = "the dataset has no fine classes, as cifar20 has; use full_class"
        assert refused("subclass", classes=[1]) == message

    @pytest.mark.parametrize(
        ("which", "message"),
        [
            (8, "fine class 8 is out of range; the dataset has fine classes 0 to 7"),
            ("wrem", "unknown fine class 'wrem'; did you mean 'wren'?"),
            ("bird", "unknown fine class 'bird'"),
        ],
    )
    def test_an_unknown_fine_class_is_refused(self, which, message):
        assert refused("subclass", FINE, classes=[which]) == message


class TestRandomSamples:
    def test_smaller_shares_are_subsets_of_larger_ones(self):
        shares = [set(drawn(fraction=fraction)) for fraction in (0.01, 0.1, 0.5, 0.999)]
        assert [len(share) for share in shares] == [10, 100, 500, 999]
        assert shares[0] < shares[1] < shares[2] < shares[3]

    @pytest.mark.parametrize(
        ("fraction", "n", "count"), [(0.1, 1440, 144), (0.29, 100, 29), (1 / 3, 3, 1), (0.7, 10, 7)]
    )
    def test_a_share_that_is_a_whole_number_of_samples_is_not_rounded_down(
        self, fraction, n, count
    ):
        found = split("random_samples", labels_of([0] * n), fraction=fraction)
        assert len(found.forget) == count

    def test_classes_are_forgotten_about_evenly(self):
        counts = np.bincount(EVEN.train[drawn(fraction=0.5)], minlength=4)
        assert np.all(np.abs(counts - 125) < 30)  # three standard deviations of a draw of 500

    def test_per_seed_draws_others_for_each_seed(self):
        assert drawn(seed=1) != drawn(seed=2)
        assert drawn(seed=1) == drawn(seed=1, draw="per_seed")

    def test_fixed_draws_the_same_for_every_seed(self):
        assert drawn(seed=1, draw="fixed") == drawn(seed=2, draw="fixed")

    @pytest.mark.parametrize("n", [3, 7, 1440, 50_000])
    def test_a_share_of_no_sample_is_refused_and_the_hint_works(self, n):
        labels = labels_of([0] * n)
        message = refused("random_samples", labels, fraction=0.5 / n)
        smallest = float(message.rpartition(" ")[2])
        assert message.startswith(f"fraction {0.5 / n} of {n} training samples selects no sample;")
        assert len(split("random_samples", labels, fraction=smallest).forget) == 1

    def test_a_share_of_practically_all_samples_leaves_nothing_to_retrain_on(self):
        assert "selects every training sample" in refused("random_samples", fraction=1 - 1e-15)


class TestDigests:
    def test_equal_forget_sets_have_one_digest_whoever_chose_them(self):
        chosen = split("full_class", classes=[2])
        same = by_sample(EVEN, np.flatnonzero(EVEN.train == 2)[::-1])
        assert chosen.forget_digest == same.forget_digest
        assert chosen.digest != same.digest  # the held-out test samples differ

    def test_other_forget_sets_have_other_digests(self):
        splits = [split("full_class", classes=[number]) for number in range(4)]
        splits += [split("random_samples", fraction=0.1, seed=seed) for seed in range(4)]
        assert len({found.forget_digest for found in splits}) == 8
        assert len({found.digest for found in splits}) == 8

    def test_a_digest_is_the_same_in_every_version(self):
        """It is part of the keys of models that are in stores already."""
        found = by_class(labels_of([0, 1, 2, 1]), (1,))
        assert found.forget.tolist() == [1, 3]
        assert found.forget_digest == sha256(b'{"forget":[1,3]}').hexdigest()


def forgotten_on(ranks):
    """Draw after the main rank alone has used up random numbers, as the reference's does."""
    if ranks.is_main:
        torch.rand(100)
        random.random()
    return drawn()


class TestDefectsOfTheReference:
    def test_defect_06_every_rank_forgets_the_same_samples(self):
        """Its ranks draw from generators that only rank 0 has used before."""
        assert on_two_ranks(forgotten_on) == [drawn(), drawn()]

    @pytest.mark.parametrize("width", [1, 4])
    def test_defect_18_the_forget_set_does_not_depend_on_the_model(self, width):
        """Its draw comes after that of the weights, from the same generator."""
        expected = drawn()
        with global_seed(width):
            registry.model.resolve(
                Component(name="resnet18", params={"width": width}), at="spec.model"
            )(ImageShape(channels=3, size=8, classes=4))
            assert drawn() == expected

    @pytest.mark.parametrize("state", [0, 1])
    def test_defect_18_the_forget_set_does_not_depend_on_what_ran_before(self, state):
        expected = drawn()
        before = random.getstate(), np.random.get_state()
        try:
            with global_seed(state):
                random.seed(state)
                np.random.seed(state)
                registry.method.get("finetune").function(
                    task := tiny_task(), registry.method.get("finetune").params()
                )
                assert task.shape == TINY_SHAPE
                assert drawn() == expected
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])

    def test_defect_19_repeats_of_unlearning_forget_the_same_samples(self):
        """Its J-th repeat draws on where the last one stopped; ours has nothing to go on from."""
        assert drawn() == drawn() == drawn()

    @pytest.mark.parametrize("fraction", [0.05, 0.1])
    def test_defect_22_held_out_samples_of_a_random_draw_are_those_of_the_test_set(self, fraction):
        """Its held-out set is the forget set itself, so it measures memory by memory."""
        found = split("random_samples", fraction=fraction, seed=1)
        assert len(found.forget_test) == 0  # nothing of the training set stands in for test samples
        assert not set(found.forget.tolist()) & set(found.retain.tolist())
