"""Scenarios: partitions of training and test set, and draws that depend on the seed alone.

                  | partition | names, ranges | draws | defects of the reference
full_class        |     x     |       x       |       |
subclass          |     x     |       x       |       |
random_samples    |     x     |       x       |   x   |   6, 18, 19
memorised_samples |     x     |       x       |       |
confusion         |     x     |       x       |   x   |
backdoor          |     x     |       x       |   x   |
identity          |     x     |       x       |       |
sequential        |     x     |       x       |   x   |
"""

import random
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.split import Labels, Trigger, by_class, by_sample
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.errors import SpecError
from tests.builders import TINY_SHAPE, tiny_task
from tests.real_ranks import on_two_ranks

NAMES = ("aeroplane", "bird", "cat", "deer")


def labels_of(train, test=(0, 1, 2, 3), names=NAMES):
    return Labels(np.array(train, dtype=np.int64), np.array(test, dtype=np.int64), tuple(names))


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


AS_TEXT = sorted(map(str, range(1, 12)))
"""Names sorted as folders are: 1, 10, 11, 2, ..."""

TWO_READINGS = {
    "both": (
        (AS_TEXT, 10),
        "place 10, counted from 0, is '9', and the name '10' has place 1; give a name in quotes:"
        " '9' or '10'. Earlier versions took the place, so '9'",
    ),
    "no such name": (
        (AS_TEXT, 0),
        "place 0, counted from 0, is '1', and no class is called so; give a name in quotes: '1'."
        " Earlier versions took the place, so '1'",
    ),
    "no such place": (
        (AS_TEXT, 11),
        "place 11, counted from 0, is beyond the last one, and the name '11' has place 2; give a"
        " name in quotes: '11'",
    ),
    "zeros in front": (
        (["001", "002", "003"], 1),
        "place 1, counted from 0, is '002', and the name '001' has place 0; give a name in quotes:"
        " '002' or '001'. Earlier versions took the place, so '002'",
    ),
    "among words": (
        (["2", "background", "rose"], 2),
        "place 2, counted from 0, is 'rose', and the name '2' has place 0; give a name in quotes:"
        " 'rose' or '2'. Earlier versions took the place, so 'rose'",
    ),
}


class TestNumbersAndNames:
    @pytest.mark.parametrize(("asked", "readings"), TWO_READINGS.values(), ids=list(TWO_READINGS))
    def test_a_number_with_two_readings_is_refused_with_both(self, asked, readings):
        names, number = asked
        labels = labels_of(range(len(names)), range(len(names)), names)
        message = f"class {number} has two readings: {readings}"
        assert refused("full_class", labels, classes=[number]) == message
        assert refused("backdoor", labels, target=number, fraction=0.2) == message
        other = names[0 if number else 1]
        assert refused("confusion", labels, classes=[other, number], fraction=0.5) == message

    def test_identities_and_fine_classes_are_no_exception(self):
        names = ("s1", "s10", "s2")
        every = np.arange(6) % 3
        labels = replace(
            labels_of(np.arange(6) // 3, np.arange(6) // 3),
            train_fine=every,
            test_fine=every,
            fine_class_names=names,
            train_identities=every,
            test_identities=every,
            identity_names=names,
        )
        readings = "place 1, counted from 0, is 's10', and the name 's1' has place 0"
        assert f"identity 1 has two readings: {readings}" in refused(
            "identity", labels, identities=[1]
        )
        assert f"fine class 1 has two readings: {readings}" in refused(
            "subclass", labels, classes=[1]
        )
        assert split("identity", labels, identities=[2]).named[0].name == "s2"

    @pytest.mark.parametrize(
        "names",
        [[str(n) for n in range(10)], [f"{n:03}" for n in range(10)], [f"c{n}" for n in range(10)]],
    )
    def test_where_places_and_names_agree_a_number_is_taken(self, names):
        labels = labels_of(range(10), range(10), names)
        assert split("full_class", labels, classes=[3, 7]).classes == (3, 7)

    def test_a_text_is_always_a_name(self):
        labels = labels_of(range(11), range(11), AS_TEXT)
        assert split("full_class", labels, classes=["10"]).classes == (AS_TEXT.index("10"),)
        assert "unknown class '12'" in refused("full_class", labels, classes=["12"])


class TestNamed:
    """A name in a scenario is recorded, and is no part of what its split means."""

    @pytest.mark.parametrize(
        ("name", "params", "expected"),
        [
            ("full_class", {"classes": ["deer", 1]}, [("class", 1, "bird"), ("class", 3, "deer")]),
            ("subclass", {"classes": ["kite"]}, [("fine class", 3, "kite")]),
            ("random_samples", {"fraction": 0.1}, []),
            (
                "confusion",
                {"classes": [0, "cat"], "fraction": 0.1},
                [("class", 0, "aeroplane", "confused"), ("class", 2, "cat", "confused")],
            ),
            ("backdoor", {"target": 2, "fraction": 0.1}, [("class", 2, "cat", "target")]),
            (
                "sequential",
                {
                    "requests": [
                        {"name": "full_class", "params": {"classes": ["cat"]}},
                        {"name": "random_samples", "params": {"fraction": 0.1}},
                        {"name": "subclass", "params": {"classes": ["wren"]}},
                    ]
                },
                [("class", 2, "cat"), ("fine class", 2, "wren")],
            ),
        ],
    )
    def test_each_kind_with_number_and_name(self, name, params, expected):
        found = split(name, FINE, **params)
        assert [(each.kind, each.number, each.name, each.role) for each in found.named] == [
            (*each, "forgotten")[:4] for each in expected
        ]
        assert replace(found, named=()).digest == found.digest


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
            (
                "bird",
                f"unknown fine class 'bird'; fine classes of the dataset: {', '.join(PARTS)}",
            ),
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

    def test_stratified_every_class_loses_the_same_share(self):
        labels = labels_of([0] * 100 + [1] * 250 + [2] * 50 + [3] * 9)

        found = split("random_samples", labels, fraction=0.1, stratify="class")

        assert np.bincount(labels.train[found.forget]).tolist() == [10, 25, 5]
        assert_partition(found.forget, found.retain, 409)

    def test_stratified_smaller_shares_are_subsets_too(self):
        shares = [set(drawn(fraction=part, stratify="class")) for part in (0.02, 0.1, 0.9)]
        assert shares[0] < shares[1] < shares[2]

    def test_without_strata_the_draw_is_what_it_was_before_there_were_any(self):
        assert drawn() == drawn(stratify="none")
        assert drawn()[:8] == [4, 5, 6, 8, 14, 19, 23, 39]  # models in stores depend on it

    def test_a_stratified_share_of_no_sample_is_refused(self):
        labels = labels_of([0] * 9 + [1] * 5)
        message = refused("random_samples", labels, fraction=0.1, stratify="class")
        assert message == (
            "fraction 0.1 of 9 training samples of the largest class selects no sample;"
            " the smallest that does is 0.111112"
        )


LOGIT_CONFIDENCE = np.random.default_rng(3).permutation(1000) / 10 - 20
KNOWN = replace(EVEN, logit_confidence=LOGIT_CONFIDENCE)


class TestMemorisedSamples:
    def forgotten(self, memorisation, fraction=0.2, labels=KNOWN):
        found = split("memorised_samples", labels, fraction=fraction, memorisation=memorisation)
        assert_partition(found.forget, found.retain, 1000)
        assert (len(found.forget_test), found.classes) == (0, ())
        return found.forget

    def test_high_memorisation_is_what_the_original_finds_hardest(self):
        forgotten = self.forgotten("high")
        assert sorted(LOGIT_CONFIDENCE[forgotten]) == sorted(LOGIT_CONFIDENCE)[:200]

    def test_low_memorisation_is_what_it_finds_easiest(self):
        assert sorted(LOGIT_CONFIDENCE[self.forgotten("low")]) == sorted(LOGIT_CONFIDENCE)[800:]

    def test_mid_is_the_middle_of_the_order(self):
        assert sorted(LOGIT_CONFIDENCE[self.forgotten("mid")]) == sorted(LOGIT_CONFIDENCE)[400:600]

    def test_three_thirds_are_the_training_set(self):
        parts = [self.forgotten(which, fraction=0.3333) for which in ("low", "mid", "high")]
        assert len(set(np.concatenate(parts))) == 999

    def test_equal_confidences_are_taken_by_number(self):
        alike = replace(EVEN, logit_confidence=np.zeros(1000))
        assert self.forgotten("high", labels=alike).tolist() == list(range(200))

    def test_it_is_declared_to_need_the_original(self):
        needs = {entry.name: entry.facts.needs for entry in registry.scenario.entries()}
        assert {name for name, need in needs.items() if need} == {"memorised_samples"}


class TestConfusion:
    def test_a_share_of_both_classes_gets_the_label_of_the_other(self):
        labels = labels_of([0] * 100 + [1] * 50 + [2] * 30, test=[0, 1, 2, 1, 0])

        found = split("confusion", labels, classes=["aeroplane", "bird"], fraction=0.1)

        true = labels.train[found.forget]
        assert np.bincount(true).tolist() == [10, 5]
        assert found.poison.labels.tolist() == [{0: 1, 1: 0}[label] for label in true]
        assert_partition(found.forget, found.retain, 180)
        assert found.classes == ()

    def test_test_samples_of_both_classes_are_held_out_with_swapped_labels(self):
        labels = labels_of([0] * 100 + [1] * 50 + [2] * 30, test=[0, 1, 2, 1, 0])
        found = split("confusion", labels, classes=[0, 1], fraction=0.1)
        assert found.poison.held_out.tolist() == [0, 1, 3, 4]
        assert found.poison.held_out_labels.tolist() == [1, 0, 0, 1]
        assert found.poison.trigger is None
        assert found.retain_test.tolist() == [0, 1, 2, 3, 4]
        assert len(found.forget_test) == 0

    def test_larger_shares_confuse_the_same_samples_and_more(self):
        small, large = (
            set(split("confusion", classes=[0, 3], fraction=share).forget) for share in (0.1, 0.2)
        )
        assert small < large

    def test_each_seed_draws_others_unless_the_draw_is_fixed(self):
        def chosen(**more):
            return split("confusion", classes=[0, 3], fraction=0.1, **more).forget.tolist()

        assert chosen(seed=1) != chosen(seed=2)
        assert chosen(seed=1, draw="fixed") == chosen(seed=2, draw="fixed")

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            ([1, "bird"], "classes: both are 'bird'; two are needed"),
            ([1, "kat"], "unknown class 'kat'; did you mean 'cat'?"),
            ([0, 3], "class 'deer' has no training sample"),
            (
                [0, 1],
                "fraction 0.1 of 2 training samples of class 'bird' selects no sample;"
                " the smallest that does is 0.500000",
            ),
        ],
    )
    def test_what_cannot_be_confused_is_refused(self, classes, message):
        labels = labels_of([0] * 50 + [1] * 2 + [2] * 50)
        assert refused("confusion", labels, classes=classes, fraction=0.1) == message


class TestBackdoor:
    def test_a_share_of_the_training_set_is_taken_from_the_other_classes(self):
        found = split("backdoor", target="cat", fraction=0.05)
        assert len(found.forget) == 50
        assert 2 not in EVEN.train[found.forget]
        assert found.poison.labels.tolist() == [2] * 50
        assert_partition(found.forget, found.retain, 1000)

    def test_all_other_test_samples_are_held_out_as_the_target(self):
        found = split("backdoor", target=2, fraction=0.05)
        assert found.poison.held_out.tolist() == [0, 1, 3]
        assert found.poison.held_out_labels.tolist() == [2, 2, 2]
        assert found.retain_test.tolist() == [0, 1, 2, 3]

    def test_the_trigger_is_what_was_asked_for(self):
        wanted = {"size": 0.25, "corner": "top_left", "value": 7}
        found = split("backdoor", target=2, fraction=0.05, **wanted)
        assert found.poison.trigger == Trigger(**wanted)

    def test_more_than_the_other_classes_have_is_refused(self):
        assert refused("backdoor", target=2, fraction=0.8) == (
            "fraction 0.8 of 1000 training samples is 800, and only 750 of them are of other"
            " classes than the target"
        )

    def test_a_share_of_no_sample_and_an_unknown_target_are_refused(self):
        assert "selects no sample" in refused("backdoor", target=2, fraction=1e-4)
        assert refused("backdoor", target="dear", fraction=0.1) == (
            "unknown class 'dear'; did you mean 'deer'?"
        )


PEOPLE = replace(
    labels_of([0, 0, 0, 1, 1, 1, 2, 3], test=[0, 1, 2, 3]),
    train_identities=np.array([0, 1, 1, 1, 2, 2, 3, 3]),
    test_identities=np.array([1, 0, 2, 1]),
    identity_names=("ada", "bob", "eve", "zoe"),
)


class TestIdentity:
    def test_all_samples_of_a_person_are_forgotten_whatever_their_class(self):
        found = split("identity", PEOPLE, identities=["bob"])
        assert found.forget.tolist() == [1, 2, 3]
        assert found.forget_test.tolist() == [0, 3]
        assert_partition(found.forget, found.retain, 8)
        assert_partition(found.forget_test, found.retain_test, 4)
        assert found.classes == ()

    def test_a_person_who_is_not_in_the_test_set_has_nothing_held_out(self):
        people = replace(PEOPLE, test_identities=np.array([0, 0, 0, 0]))
        assert len(split("identity", people, identities=["bob"]).forget_test) == 0

    def test_a_person_by_number_is_that_by_name(self):
        by_number, by_name = (split("identity", PEOPLE, identities=[which]) for which in (1, "bob"))
        assert by_number.digest == by_name.digest

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            (4, "identity 4 is out of range; the dataset has identities 0 to 3"),
            ("eva", "unknown identity 'eva'; did you mean 'eve'?"),
            (
                "zoe",
                "it forgets every identity of class 'cat'; to forget whole classes, use full_class",
            ),
        ],
    )
    def test_who_cannot_be_forgotten_is_refused(self, chosen, message):
        assert refused("identity", PEOPLE, identities=[chosen]) == message

    def test_a_dataset_without_identities_is_refused(self):
        message = refused("identity", identities=[1])
        assert message.startswith("the dataset knows no identities, as image_folder does")


CLASS_ONE = {"name": "full_class", "params": {"classes": [1]}}
TENTH = {"name": "random_samples", "params": {"fraction": 0.1}}


class TestSequential:
    def of(self, *requests, labels=EVEN, **more):
        return split("sequential", labels, requests=list(requests), **more)

    def test_the_forget_set_is_the_union_and_the_requests_part_it(self):
        found = self.of(CLASS_ONE, TENTH, {"name": "full_class", "params": {"classes": [1, 2]}})

        parts = [set(request.forget) for request in found.requests]
        assert [len(part) for part in parts] == [250, 75, len(parts[2])]
        assert set.union(*parts) == set(found.forget)
        assert sum(map(len, parts)) == len(found.forget)
        assert_partition(found.forget, found.retain, 1000)
        assert set(EVEN.train[found.retain]) == {0, 3}

    def test_what_is_retained_shrinks_with_each_request(self):
        found = self.of(CLASS_ONE, TENTH)
        gone = set()
        for request in found.requests:
            gone |= set(request.forget)
            assert set(request.retain) == set(range(1000)) - gone
            assert np.array_equal(request.retain, np.sort(request.retain))

    def test_classes_that_are_gone_stay_gone(self):
        found = self.of(CLASS_ONE, TENTH, {"name": "full_class", "params": {"classes": [0]}})
        assert [request.classes for request in found.requests] == [(1,), (1,), (0, 1)]
        assert found.classes == (0, 1)
        assert found.forget_test.tolist() == [0, 1]

    def test_the_first_request_forgets_what_it_forgets_alone(self):
        first = self.of(TENTH, CLASS_ONE).requests[0]
        assert first.forget.tolist() == drawn()

    def test_the_same_request_again_draws_other_samples_of_what_is_left(self):
        found = self.of(TENTH, TENTH, TENTH)
        assert [len(request.forget) for request in found.requests] == [100, 90, 81]
        assert len(found.forget) == 271

    def test_other_orders_have_one_forget_set_and_other_digests(self):
        two = {"name": "full_class", "params": {"classes": [2]}}
        one_way, other_way = self.of(CLASS_ONE, two), self.of(two, CLASS_ONE)
        at_once = split("full_class", classes=[1, 2])
        assert one_way.forget_digest == other_way.forget_digest == at_once.forget_digest
        assert len({each.digest for each in (one_way, other_way, at_once)}) == 3

    def test_a_request_for_what_is_gone_already_is_refused(self):
        assert refused("sequential", requests=[CLASS_ONE, CLASS_ONE]) == (
            "requests[1] (full_class): it selects no training sample, so there is nothing to forget"
        )

    @pytest.mark.parametrize(
        "request_",
        [
            {"name": "backdoor", "params": {"target": 1, "fraction": 0.1}},
            {"name": "memorised_samples", "params": {"fraction": 0.1, "memorisation": "low"}},
            {"name": "sequential", "params": {"requests": [TENTH, TENTH]}},
        ],
        ids=lambda request: request["name"],
    )
    def test_what_does_not_choose_by_labels_alone_is_refused(self, request_):
        message = refused("sequential", requests=[CLASS_ONE, request_])
        assert message.startswith(f"requests[1].name is '{request_['name']}', which cannot be one")

    def test_a_mistake_within_a_request_is_told_under_its_field(self):
        wrong = {"name": "full_class", "params": {"clases": [1]}}
        assert "requests[1].params.clases: unknown field 'clases'" in refused(
            "sequential", requests=[TENTH, wrong]
        )


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

    def test_what_is_wrong_with_the_forget_set_is_part_of_its_name(self):
        def poisoned(name, **params):
            return split(name, fraction=0.1, **params)

        swapped = poisoned("confusion", classes=[0, 1])
        clean = by_sample(EVEN, swapped.forget)
        doors = [
            poisoned("backdoor", target=2),
            poisoned("backdoor", target=2, value=0),
            poisoned("backdoor", target=2, corner="top_left"),
            poisoned("backdoor", target=2, size=0.5),
        ]
        found = [swapped, clean, *doors]
        assert len({each.forget_digest for each in found}) == len(found)
        assert len({each.digest for each in found}) == len(found)

    def test_a_digest_is_the_same_in_every_version(self):
        """The digest is part of the keys of models that are in stores already."""
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
        """The package's ranks draw from generators that only rank 0 has used before."""
        assert on_two_ranks(forgotten_on) == [drawn(), drawn()]

    @pytest.mark.parametrize("width", [1, 4])
    def test_defect_18_the_forget_set_does_not_depend_on_the_model(self, width):
        """The package draws after the weights, from the same generator."""
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
        """The package's J-th repeat continues the draws of the last one; ours has no state to
        continue."""
        assert drawn() == drawn() == drawn()

    @pytest.mark.parametrize("fraction", [0.05, 0.1])
    def test_defect_22_held_out_samples_of_a_random_draw_are_those_of_the_test_set(self, fraction):
        """The package holds the forget set itself out, so it measures memory by memory."""
        found = split("random_samples", fraction=fraction, seed=1)
        assert len(found.forget_test) == 0  # nothing of the training set stands in for test samples
        assert not set(found.forget.tolist()) & set(found.retain.tolist())
