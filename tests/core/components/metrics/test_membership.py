"""mia_loss_auc and mia_entropy: who is compared with whom, the numbers, the limits.

Independent sources: scikit-learn's weighted ROC area, all pairs in a loop, and a pipeline of
scikit-learn's own parts for the entropy attack.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from supreme_core.components.metrics.mia_entropy import mia_entropy
from supreme_core.components.metrics.mia_loss_auc import mia_loss_auc
from supreme_core.registry import NoParams
from supreme_core.scoring.fitted_membership import HoldOutParams
from supreme_core.scoring.membership import Contest, auc, contest
from tests.core.components.metrics.evaluations import (
    evaluation,
    forget_and_held_out,
    made_up_logits,
    outputs,
)

both_attacks = pytest.mark.parametrize(
    ("attack", "params"),
    [(mia_loss_auc, NoParams()), (mia_entropy, HoldOutParams())],
    ids=["mia_loss_auc", "mia_entropy"],
)


def confident(samples, *, sharpness, label=0, seed=0):
    """Logits for `label` around `sharpness`, of two classes, and the labels."""
    noise = np.random.default_rng(seed).normal(size=samples)
    logits = np.zeros((samples, 2))
    logits[:, label] = sharpness + noise
    return logits, np.full(samples, label)


def test_auc_is_that_of_scikit_learn_on_the_loss():
    cell = evaluation("samples")
    forget, test = cell.predictions["unlearned"]["forget"], cell.predictions["unlearned"]["test"]
    share = np.bincount(forget.labels, minlength=4) / np.bincount(test.labels, minlength=4)
    expected = roc_auc_score(
        [1] * len(forget) + [0] * len(test),
        np.concatenate([-forget.loss, -test.loss]),
        sample_weight=np.concatenate([np.ones(len(forget)), share[test.labels]]),
    )
    assert mia_loss_auc(cell, NoParams()) == pytest.approx(expected, rel=1e-12)


scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=15).map(np.array)


@given(members=scores, non_members=scores, data=st.data())
@settings(max_examples=60, deadline=None)
def test_auc_counts_pairs_and_half_the_ties(members, non_members, data):
    size = len(non_members)
    weights = np.array(data.draw(st.lists(st.floats(0.1, 9), min_size=size, max_size=size)))
    won = sum(
        weight * ((member > other) + (member == other) / 2)
        for member in members
        for other, weight in zip(non_members, weights, strict=True)
    )
    expected = won / (len(members) * weights.sum())
    assert auc(Contest(members, non_members, weights)) == pytest.approx(expected, abs=1e-12)


def test_auc_still_ranks_samples_whose_loss_rounds_to_zero():
    """Logits of 40 and 50 have losses of 1e-18 and 1e-22, which are 0 from log-softmax."""
    cell = forget_and_held_out(([[50.0, 0]] * 3, [0] * 3), ([[40.0, 0]] * 3, [0] * 3))
    assert np.ptp(cell.predictions["unlearned"]["forget"].loss) == 0.0
    assert mia_loss_auc(cell, NoParams()) == 1.0


@both_attacks
def test_attack_wins_where_forgotten_samples_stand_out(attack, params):
    cell = forget_and_held_out(confident(40, sharpness=20), confident(30, sharpness=0))
    assert attack(cell, params) == 1.0


@both_attacks
def test_attack_learns_nothing_where_all_samples_are_alike(attack, params):
    cell = forget_and_held_out(([[2.0, 0]] * 9, [0] * 9), ([[2.0, 0]] * 7, [0] * 7))
    assert attack(cell, params) == 0.5


@both_attacks
def test_attack_says_nothing_without_held_out_samples_of_the_classes(attack, params):
    other_class = forget_and_held_out(
        confident(9, sharpness=1, label=0), confident(9, sharpness=1, label=1), forgets="samples"
    )
    assert attack(other_class, params) is None
    without = replace(
        other_class,
        forgets="classes",
        predictions={"unlearned": {"forget": other_class.predictions["unlearned"]["forget"]}},
    )
    assert attack(without, params) is None


@both_attacks
def test_attack_says_nothing_of_a_model_without_finite_outputs(attack, params):
    broken = np.full((9, 2), np.nan), np.zeros(9, dtype=int)
    cell = forget_and_held_out(broken, confident(9, sharpness=1))
    assert attack(cell, params) is None


def test_a_poisoned_forget_set_is_compared_with_samples_that_are_poisoned_alike():
    """The samples of the test set have neither the trigger nor the wrong labels."""
    poisoned, alike = confident(40, sharpness=3), confident(30, sharpness=3, seed=1)
    cell = forget_and_held_out(poisoned, alike, forgets="samples")
    sets = {**cell.predictions["unlearned"], "forget_test": outputs(*alike)}
    sets["test"] = outputs(*confident(50, sharpness=-9))
    cell = replace(cell, predictions={"unlearned": sets})
    found = contest(cell, lambda each: each.logit_confidence)
    assert found.non_members.tolist() == sets["forget_test"].logit_confidence.tolist()


def test_members_of_a_class_without_held_out_samples_are_left_out():
    forget = np.array([[9.0, 0], [8, 0], [0, 1]]), np.array([0, 0, 1])
    held_out = np.array([[7.0, 0]]), np.array([0])
    cell = forget_and_held_out(forget, held_out, forgets="samples")
    assert contest(cell, lambda outputs: outputs.logit_confidence).members.tolist() == [9.0, 8.0]


@pytest.mark.parametrize("forgets", ["classes", "samples"])
def test_weighted_non_members_have_the_class_shares_of_the_members(forgets):
    random = np.random.default_rng(5)
    forget, test = random.choice(3, 50, p=[0.7, 0.2, 0.1]), random.choice(3, 70)
    cell = forget_and_held_out(
        (made_up_logits(50), forget), (made_up_logits(70), test), forgets=forgets
    )
    found = contest(cell, lambda outputs: outputs.labels.astype(float))
    shares = np.bincount(found.non_members.astype(int), found.weights) / found.weights.sum()
    assert shares == pytest.approx(np.bincount(forget) / 50)
    assert found.weights.mean() == pytest.approx(1.0)


def test_entropy_attack_is_that_of_scikit_learns_own_parts():
    """One class, so all weights are 1 and class_weight='balanced' is the same thing."""
    cell = forget_and_held_out(confident(31, sharpness=2), confident(19, sharpness=1, seed=1))
    sets = cell.predictions["unlearned"]
    entropy = np.concatenate([np.sort(sets[name].entropy) for name in ("forget_test", "forget")])
    is_member = np.repeat([0, 1], [19, 31])
    state = int(cell.generator("mia_entropy").integers(2**32))
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    called = [
        model.fit(entropy[fit, None], is_member[fit]).predict(entropy[judge, None])
        @ is_member[judge]
        for fit, judge in RepeatedStratifiedKFold(
            n_splits=5, n_repeats=5, random_state=state
        ).split(entropy, is_member)
    ]
    expected = sum(called) / (5 * 31)
    assert 0.3 < expected < 1.0
    assert mia_entropy(cell, HoldOutParams()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("members", "others", "defined"),
    [(1, 9, False), (9, 1, False), (2, 9, True), (9, 2, True), (3, 3, True), (5, 5, True)],
)
def test_entropy_attack_takes_fewer_folds_where_a_side_is_tiny(members, others, defined):
    cell = forget_and_held_out(
        confident(members, sharpness=2), confident(others, sharpness=1, seed=1)
    )
    found = mia_entropy(cell, HoldOutParams())
    assert (found is not None) == defined


@given(
    members=st.integers(2, 12), others=st.integers(2, 12), scale=st.sampled_from([1e-9, 1.0, 1e4])
)
@settings(max_examples=20, deadline=None)
def test_entropy_attack_never_warns_and_stays_in_range(members, others, scale):
    cell = forget_and_held_out(
        (made_up_logits(members, scale=scale), np.zeros(members, dtype=int)),
        (made_up_logits(others, scale=scale, seed=1), np.zeros(others, dtype=int)),
    )
    assert 0.0 <= mia_entropy(cell, HoldOutParams(folds=3, repeats=1)) <= 1.0


def test_defect_15_entropy_attack_really_differs_between_evaluation_seeds():
    forget, held_out = confident(40, sharpness=1), confident(40, sharpness=1, seed=1)
    found = {
        mia_entropy(forget_and_held_out(forget, held_out, seed=seed), HoldOutParams())
        for seed in range(4)
    }
    assert len(found) > 1


@both_attacks
def test_defect_17_only_forget_and_held_out_samples_of_its_classes_count(attack, params):
    """Upstream: members are the retain set, non-members all test samples."""
    cell = evaluation("classes")
    sets = cell.predictions["unlearned"]
    other = evaluation("classes", seed=9).predictions["unlearned"]
    changed = {**sets, **{name: other[name] for name in ("retain", "test", "retain_test")}}
    predictions = {**cell.predictions, "unlearned": changed}
    assert attack(replace(cell, predictions=predictions), params) == attack(cell, params)


def test_defect_17_no_leak_is_reported_for_a_hard_class_that_was_never_seen():
    """The forgotten class is harder than others, for unseen test samples of it just as well."""
    forget = confident(400, sharpness=0.0, seed=1)
    unseen, easy = confident(400, sharpness=0.0, seed=2), confident(400, sharpness=9.0, label=1)
    fair = mia_loss_auc(forget_and_held_out(forget, unseen), NoParams())
    test = tuple(np.concatenate(pair) for pair in zip(unseen, easy, strict=True))
    against_all_of_test = np.mean(
        [forget[0][:, 0, None] > test[0].max(axis=1)[None, :]]  # the lead of each sample
    )
    assert fair == pytest.approx(0.5, abs=0.06)
    assert against_all_of_test < 0.3


def test_defect_17_single_samples_of_hard_classes_are_compared_with_their_own_classes():
    """Class 0 is hard and makes up most of the forget set, but half of the test set."""
    hard, easy = confident(270, sharpness=0, seed=1), confident(30, sharpness=6, label=1, seed=2)
    forget = tuple(np.concatenate(pair) for pair in zip(hard, easy, strict=True))
    hard, easy = confident(300, sharpness=0, seed=3), confident(300, sharpness=6, label=1, seed=4)
    test = tuple(np.concatenate(pair) for pair in zip(hard, easy, strict=True))
    cell = forget_and_held_out(forget, test, forgets="samples")
    unmatched = contest(cell, lambda outputs: outputs.logit_confidence)
    unmatched = replace(unmatched, weights=np.ones_like(unmatched.weights))
    assert mia_loss_auc(cell, NoParams()) == pytest.approx(0.5, abs=0.05)
    assert auc(unmatched) < 0.4


def test_defect_17_entropy_attack_is_judged_on_samples_that_it_was_not_fitted_on():
    """With two folds of an even pattern the fitted cut is wrong for whatever was held out."""
    cell = forget_and_held_out(([[0.0, 0], [8, 0]], [0, 0]), ([[0.0, 0], [8, 0]], [0, 0]))
    values = [
        mia_entropy(replace(cell, seed=seed), HoldOutParams(folds=2, repeats=1))
        for seed in range(8)
    ]
    assert set(values) <= {0.0, 0.5}  # without a hold-out half of each fold would be called right
    assert 0.0 in values


def test_pitfall_10_over_forgetting_is_as_far_from_one_half_as_remembering():
    easy, hard = confident(20, sharpness=9), confident(20, sharpness=-9, seed=1)
    remembered = mia_loss_auc(forget_and_held_out(easy, hard), NoParams())
    over_forgotten = mia_loss_auc(forget_and_held_out(hard, easy), NoParams())
    assert (remembered, over_forgotten) == (1.0, 0.0)
