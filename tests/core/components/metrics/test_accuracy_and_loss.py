"""accuracy and loss against scikit-learn, and their defects upstream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from supreme_core.components.metrics.accuracy import accuracy
from supreme_core.components.metrics.loss import loss
from supreme_core.registry import NoParams
from tests.core.components.metrics.evaluations import evaluation, positions, two_models

SETS = ("forget", "retain", "test", "forget_test", "retain_test")


@pytest.mark.parametrize("on", SETS)
def test_accuracy_is_that_of_scikit_learn(on):
    cell = evaluation(on=on)
    expected = accuracy_score(cell.unlearned.labels, cell.unlearned.predicted)
    assert accuracy(cell, NoParams()) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("on", ["forget", "test", "forget_test", "retain_test"])
def test_loss_is_that_of_scikit_learn(on):
    cell = evaluation(on=on)
    probabilities = np.exp(cell.unlearned.log_probabilities)
    expected = log_loss(cell.unlearned.labels, probabilities, labels=range(4))
    assert loss(cell, NoParams()) == pytest.approx(expected, rel=1e-12)


def test_loss_of_a_model_that_knows_nothing_is_the_logarithm_of_the_classes():
    assert loss(two_models(np.zeros((7, 10)), np.zeros((7, 10))), NoParams()) == pytest.approx(
        np.log(10), rel=1e-15
    )


@pytest.mark.parametrize(("logit", "expected"), [(1e4, 0.0), (-1e4, 1e4 + np.log(2))])
def test_loss_of_extreme_logits_is_exact(logit, expected):
    cell = two_models([[logit, 0, 0]], [[0, 0, 0]])
    assert loss(cell, NoParams()) == pytest.approx(expected, rel=1e-15)


def test_sample_without_finite_logits_is_never_right():
    """argmax of NaN is 0, which would be a right answer for class 0."""
    cell = two_models([[np.nan] * 3, [np.inf, 0, 0], [5, 0, 0]], np.zeros((3, 3)), labels=[0, 0, 0])
    assert accuracy(cell, NoParams()) == pytest.approx(1 / 3)


def test_defect_04_accuracy_is_exact_with_a_ragged_last_batch():
    """64 right and 1 wrong: batches of 64 have a mean of means of 1/2."""
    logits = np.array([[1, 0]] * 64 + [[0, 1]])
    assert accuracy(two_models(logits, logits), NoParams()) == 64 / 65


def test_defect_04_loss_is_exact_with_a_ragged_last_batch():
    logits = np.array([[0, 0]] * 64 + [[0, 10]])
    expected = (64 * np.log(2) + 10 + np.log1p(np.exp(-10))) / 65
    assert loss(two_models(logits, logits), NoParams()) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("on", SETS)
def test_defect_05_every_sample_of_a_set_counts_once(on):
    """All numbers of samples are odd, so that a sampler for 2 ranks would have padded."""
    train, test, subsets = positions()
    subsets["test"] = np.arange(len(test))
    labels = test if "test" in on else train
    found = evaluation(on=on).unlearned.labels
    assert found.tolist() == labels[subsets[on]].tolist()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_accuracy_is_right_answers_over_samples(runs):
    right = np.concatenate([np.full(count, value) for value, count in runs])
    logits = np.stack([right, ~right], axis=1)
    assert accuracy(two_models(logits, logits), NoParams()) == right.sum() / len(right)
