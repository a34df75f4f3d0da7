"""Outputs: what follows from logits, against scipy; and the samples it is about."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from scipy.stats import entropy

from supreme_core.scoring.evaluation import Outputs
from tests.core.components.metrics.evaluations import evaluation, made_up_logits


@pytest.fixture
def logits():
    return made_up_logits(29, classes=5)


@pytest.fixture
def labels():
    return np.arange(29) % 5


def test_outputs_are_those_of_scipy(logits, labels):
    found = Outputs.of(logits, labels)
    probabilities = softmax(logits.astype(float), axis=1)
    of_label = probabilities[np.arange(29), labels]
    assert found.predicted.tolist() == logits.argmax(axis=1).tolist()
    assert found.loss == pytest.approx(-np.log(of_label), rel=1e-12)
    assert found.entropy == pytest.approx(entropy(probabilities, axis=1), rel=1e-12)
    assert expit(found.logit_confidence) == pytest.approx(of_label, rel=1e-12)
    assert found.log_probabilities == pytest.approx(log_softmax(logits.astype(float), axis=1))


def test_everything_is_float64_whatever_came(logits, labels):
    found = Outputs.of(logits, labels)
    numbers = (
        found.loss,
        found.logit_confidence,
        found.entropy,
        found.logits,
        found.log_probabilities,
    )
    assert {each.dtype for each in numbers} == {np.dtype(np.float64)}
    assert found.predicted.dtype == np.int64


def test_layout_in_memory_does_not_change_a_bit(logits, labels):
    one, other = Outputs.of(logits, labels), Outputs.of(np.asfortranarray(logits), labels)
    assert one.loss.tobytes() == other.loss.tobytes()
    assert one.entropy.tobytes() == other.entropy.tobytes()


def test_a_sample_of_extreme_logits_has_finite_outputs():
    found = Outputs.of(np.array([[1e4, -1e4, 0]] * 3, dtype=np.float32), np.arange(3))
    assert found.loss.tolist() == [0.0, 2e4, 1e4]
    assert found.logit_confidence.tolist() == [1e4, -2e4, -1e4]
    assert found.entropy.tolist() == [0.0] * 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_of_logits_that_are_not_finite_has_no_prediction(bad):
    found = Outputs.of(np.array([[bad, 1.0], [3.0, 1.0]]), np.array([0, 0]))
    assert found.predicted.tolist() == [-1, 0]
    for numbers in (
        found.loss,
        found.logit_confidence,
        found.entropy,
        found.log_probabilities[:, 0],
    ):
        assert np.isnan(numbers).tolist() == [True, False]


def test_input_logits_are_not_written_to():
    logits = np.array([[np.inf, 1.0]])
    Outputs.of(logits, np.array([0]))
    assert logits.tolist() == [[np.inf, 1.0]]


def test_taken_samples_know_where_they_stood(logits, labels):
    whole = Outputs.of(logits, labels)
    some = whole.take(np.array([3, 5, 8]))
    assert whole.positions is None
    assert some.positions.tolist() == [3, 5, 8]
    assert some.take(np.array([2, 0])).positions.tolist() == [8, 3]
    assert some.loss.tolist() == whole.loss[[3, 5, 8]].tolist()
    assert len(some) == 3


def test_generators_of_one_evaluation_seed_agree_and_of_others_differ():
    one, same, other = (evaluation(seed=seed).generator("attack").random() for seed in (1, 1, 2))
    assert one == same != other
    assert evaluation(seed=1).generator("another").random() != one
