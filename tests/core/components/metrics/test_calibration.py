"""brier_score, prediction_entropy and expected_calibration_error.

Against scikit-learn, scipy, a loop over bins and closed forms; limits: certainty, a uniform guess,
confidences on the edge of a bin, logits that are not numbers.
"""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import brier_score_loss

from supreme_core.components.metrics.brier_score import brier_score
from supreme_core.components.metrics.expected_calibration_error import (
    ExpectedCalibrationErrorParams,
    expected_calibration_error,
)
from supreme_core.components.metrics.prediction_entropy import prediction_entropy
from supreme_core.registry import NoParams, metric
from supreme_core.scoring.rows import measure
from tests.core.components.metrics.evaluations import evaluation, made_up_logits, two_models

SETS = ("forget", "test", "forget_test", "retain_test")


def of(logits, labels=None):
    return two_models(logits, logits, labels)


def with_confidences(confidences):
    """Logits of two classes whose first has these softmax outputs, of at least 1/2."""
    confidences = np.asarray(confidences)
    return np.stack([np.log(confidences), np.log1p(-confidences)], axis=1)


@pytest.mark.parametrize("on", SETS)
def test_brier_score_is_that_of_scikit_learn(on):
    cell = evaluation(on=on)
    p = softmax(cell.unlearned.logits, axis=1)
    expected = brier_score_loss(cell.unlearned.labels, p, labels=range(4), scale_by_half=False)
    assert brier_score(cell, NoParams()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [([1e4, 0, 0, 0], 0.0), ([0, 1e4, 0, 0], 2.0), ([0, 0, 0, 0], 1 - 1 / 4)],
    ids=["right", "wrong", "uniform"],
)
def test_brier_score_of_certainty_and_of_a_guess(logits, expected):
    assert brier_score(of([logits]), NoParams()) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("on", SETS)
def test_prediction_entropy_is_the_mean_of_scipys(on):
    cell = evaluation(on=on)
    expected = np.mean(entropy(softmax(cell.unlearned.logits, axis=1), axis=1))
    assert prediction_entropy(cell, NoParams()) == pytest.approx(expected, rel=1e-12)


def test_prediction_entropy_needs_no_logits_of_the_retain_set():
    cell = evaluation(on="retain")
    assert cell.unlearned.logits is None
    expected = np.mean(cell.unlearned.entropy)
    assert prediction_entropy(cell, NoParams()) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("logits", "expected"), [([0] * 10, np.log(10)), ([1e4] + [0] * 9, 0.0)])
def test_prediction_entropy_of_a_guess_and_of_certainty(logits, expected):
    assert prediction_entropy(of([logits]), NoParams()) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("bins", [1, 7, 15, 200])
@pytest.mark.parametrize("on", SETS)
def test_calibration_error_is_that_of_a_loop_over_bins(on, bins):
    cell = evaluation(on=on)
    p = softmax(cell.unlearned.logits, axis=1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == cell.unlearned.labels
    expected = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            distance = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / len(right) * distance
    found = expected_calibration_error(cell, ExpectedCalibrationErrorParams(bins=bins))
    assert found == pytest.approx(expected, rel=1e-10)


def test_calibration_error_has_fifteen_bins_where_nothing_else_is_said():
    assert ExpectedCalibrationErrorParams().bins == 15


def test_model_that_is_right_as_often_as_it_is_confident_has_no_calibration_error():
    labels = [0, 0, 0, 1]
    cell = of(with_confidences([0.75] * 4), labels)
    found = expected_calibration_error(cell, ExpectedCalibrationErrorParams())
    assert found == pytest.approx(0, abs=1e-7)  # logits are stored in float32


@pytest.mark.parametrize(("label", "expected"), [(0, 0.0), (1, 1.0)])
def test_calibration_error_of_certainty_lies_in_the_last_bin(label, expected):
    cell = of([[1e4, 0]] * 3, [label] * 3)
    assert expected_calibration_error(cell, ExpectedCalibrationErrorParams()) == expected


def test_errors_of_different_bins_do_not_cancel_out():
    """0.6 and always right, 0.9 and always wrong: the means alone would say 0.25."""
    cell = of(with_confidences([0.6, 0.6, 0.9, 0.9]), [0, 0, 1, 1])
    one = expected_calibration_error(cell, ExpectedCalibrationErrorParams(bins=1))
    ten = expected_calibration_error(cell, ExpectedCalibrationErrorParams(bins=10))
    assert one == pytest.approx(0.25, abs=1e-6)
    assert ten == pytest.approx((0.4 + 0.9) / 2, abs=1e-6)


def test_confidence_on_an_edge_belongs_to_the_bin_below():
    """1/2 is the end of the first of two bins, and 0.6 lies in the second."""
    cell = of(np.concatenate([[[0.0, 0.0]], with_confidences([0.6])]), [1, 0])
    found = expected_calibration_error(cell, ExpectedCalibrationErrorParams(bins=2))
    assert found == pytest.approx((0.5 + 0.4) / 2, abs=1e-6)


@pytest.mark.parametrize(
    "name", ["brier_score", "prediction_entropy", "expected_calibration_error"]
)
def test_model_without_finite_outputs_has_no_value(name):
    entry = metric.get(name)
    logits = made_up_logits(9)
    logits[3, 1] = np.nan
    found = measure([(name, entry, entry.params())], of(logits))
    assert found[f"forget_{name}"] is None
