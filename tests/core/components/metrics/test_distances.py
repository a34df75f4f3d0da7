"""js_divergence, kl_divergence, activation_distance, completeness, layer_distance and zrf.

Against scipy, a slow loop and closed forms; limits: equal models, disjoint certainty, underflow.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from supreme_core.components.metrics.activation_distance import (
    ActivationDistanceParams,
    activation_distance,
)
from supreme_core.components.metrics.completeness import completeness
from supreme_core.components.metrics.js_divergence import js_divergence
from supreme_core.components.metrics.kl_divergence import kl_divergence
from supreme_core.components.metrics.layer_distance import layer_distance
from supreme_core.components.metrics.zrf import zrf
from supreme_core.registry import NoParams
from supreme_core.scoring.divergence import LN2, jensen_shannon
from supreme_core.scoring.evaluation import ParameterDistance
from tests.core.components.metrics.evaluations import evaluation, made_up_logits, two_models

HERE, THERE = np.eye(3)[[0, 1]] * 1e4, np.eye(3)[[1, 2]] * 1e4
logit_pairs = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        *[arrays(np.float32, (n, 5), elements=st.floats(-1e4, 1e4, width=32)) for _ in range(2)]
    )
)


def value(metric, *logits, **settings):
    params = ActivationDistanceParams if metric is activation_distance else NoParams
    return metric(two_models(*logits), params(**settings))


def random_pair(n=33):
    return made_up_logits(n, classes=7, seed=1), made_up_logits(n, classes=7, seed=2)


def test_js_divergence_is_the_mean_of_scipys():
    p, q = (softmax(logits.astype(float), axis=1) for logits in random_pair())
    expected = np.mean([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)])
    assert value(js_divergence, *random_pair()) == pytest.approx(expected, rel=1e-12)


def test_js_divergence_of_a_certain_and_an_undecided_model_has_its_closed_form():
    """p = (1, 0), q = (1/2, 1/2): JS = (3/4) ln(4/3)."""
    assert value(js_divergence, [[1e4, 0]], [[0, 0]]) == pytest.approx(0.75 * np.log(4 / 3))


def test_js_divergence_of_near_predictions_does_not_drown_in_rounding():
    """JS = d^2 / 32 + O(d^4) for p = sigmoid(d / 2), q = 1/2 of two classes: (dp)^2 / 2."""
    near = value(js_divergence, [[1e-4, 0]], [[0, 0]])
    assert near == pytest.approx((1e-4 / 4) ** 2 / 2, rel=1e-5)


def test_kl_divergence_is_the_mean_of_scipys_with_retrained_first():
    unlearned, retrained = (softmax(logits.astype(float), axis=1) for logits in random_pair())
    expected = np.mean(entropy(retrained, unlearned, axis=1))
    assert value(kl_divergence, *random_pair()) == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(np.mean(entropy(unlearned, retrained, axis=1)), rel=0.01)


def test_kl_divergence_of_an_undecided_and_a_nearly_certain_model_has_its_closed_form():
    """p' = (1/2, 1/2), p = sigmoid(+-d): KL = ln cosh(d / 2); the other way round it is another."""
    assert value(kl_divergence, [[4.0, 0]], [[0, 0]]) == pytest.approx(np.log(np.cosh(2)))
    assert value(kl_divergence, [[0, 0]], [[1e4, 0]]) == pytest.approx(np.log(2))


def test_kl_divergence_stays_finite_where_a_probability_underflows():
    """p of the class that Retrained is sure of is exp(-1e4), which is 0 in any float."""
    assert value(kl_divergence, HERE, THERE) == pytest.approx(1e4)


def test_kl_divergence_of_equal_models_is_exactly_zero():
    assert value(kl_divergence, HERE, HERE) == 0.0
    assert value(kl_divergence, *[random_pair()[0]] * 2) == 0.0


ALIKE = np.zeros((1, 5), np.float32), np.float32([[0.0, *[2**-52] * 4]])


@given(logits=logit_pairs)
@example(logits=ALIKE)
@settings(max_examples=30, deadline=None)
def test_kl_divergence_is_at_least_twice_the_squared_total_variation(logits):
    """Pinsker's inequality, up to rounding."""
    p, q = (softmax(each.astype(float), axis=1) for each in logits)
    variation = np.mean((np.abs(p - q).sum(axis=1) / 2) ** 2)
    assert value(kl_divergence, *logits) >= 2 * variation * (1 - 1e-12) - 1e-15


def test_activation_distance_has_the_root_of_the_mean_square_as_a_setting():
    p, q = (softmax(logits.astype(float), axis=1) for logits in random_pair())
    expected = math.sqrt(np.square(p - q).sum() / len(p))
    found = value(activation_distance, *random_pair(), mean="quadratic")
    assert found == pytest.approx(expected, rel=1e-12)
    assert found > value(activation_distance, *random_pair())
    assert value(activation_distance, HERE, THERE, mean="quadratic") == math.sqrt(2)


def test_activation_distance_without_its_setting_keeps_the_key_that_it_had():
    assert ActivationDistanceParams().identity() == {}
    assert ActivationDistanceParams(mean="quadratic").identity() == {"mean": "quadratic"}


def test_activation_distance_is_that_of_an_obvious_loop():
    unlearned, retrained = random_pair()
    distances = []
    for z, z_retrained in zip(unlearned.tolist(), retrained.tolist(), strict=True):
        p = [math.exp(a) / sum(math.exp(b) for b in z) for a in z]
        q = [math.exp(a) / sum(math.exp(b) for b in z_retrained) for a in z_retrained]
        distances.append(math.sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True))))
    expected = math.fsum(distances) / len(distances)
    assert value(activation_distance, unlearned, retrained) == pytest.approx(expected, rel=1e-12)


def test_completeness_counts_agreement_whether_right_or_wrong():
    unlearned, retrained = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[0, 1, 2, 0]]
    assert value(completeness, unlearned, retrained) == 3 / 4


def test_zrf_is_one_minus_the_divergence_in_bits():
    unlearned, untrained = random_pair()
    p, q = (softmax(logits.astype(float), axis=1) for logits in (unlearned, untrained))
    bits = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert value(zrf, unlearned, untrained) == pytest.approx(1 - np.mean(bits), rel=1e-12)


def test_zrf_reads_the_untrained_model():
    cell = evaluation(on="forget")
    other = {**cell.predictions, "retrained": cell.predictions["original"]}
    assert zrf(replace(cell, predictions=other), NoParams()) == zrf(cell, NoParams())


def test_layer_distance_is_that_of_all_parameters_as_one_vector():
    random = np.random.default_rng(0)
    layers = [random.normal(size=size) for size in (12, 3, 40)]
    distances = {
        str(number): ParameterDistance(distance=float(np.linalg.norm(layer)), norm=1.0)
        for number, layer in enumerate(layers)
    }
    expected = np.linalg.norm(np.concatenate(layers))
    cell = replace(evaluation(), distances=distances)
    assert layer_distance(cell, NoParams()) == pytest.approx(expected, rel=1e-14)


def test_layer_distance_is_undefined_where_no_weights_were_compared():
    assert layer_distance(replace(evaluation(), distances={}), NoParams()) is None


@pytest.mark.parametrize(
    ("metric", "equal", "disjoint"),
    [
        (js_divergence, 0.0, LN2),
        (activation_distance, 0.0, math.sqrt(2)),
        (completeness, 1.0, 0.0),
        (zrf, 1.0, 0.0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_limits_are_reached_exactly(metric, equal, disjoint):
    assert value(metric, HERE, HERE) == equal
    assert value(metric, *[random_pair()[0]] * 2) == equal
    assert value(metric, HERE, THERE) == disjoint


@pytest.mark.parametrize("metric", [js_divergence, activation_distance, completeness, zrf])
@given(logits=logit_pairs)
@settings(max_examples=30, deadline=None)
def test_distance_is_symmetric_and_in_its_range(metric, logits):
    one, other = logits
    found = value(metric, one, other)
    assert found == pytest.approx(value(metric, other, one), rel=1e-12)
    assert (
        0.0
        <= found
        <= {"activation_distance": math.sqrt(2), "js_divergence": LN2}.get(metric.__name__, 1.0)
        * (1 + 1e-15)
    )


@pytest.mark.parametrize(("high", "low"), [(1e4, -1e4), (3e38, -3e38)], ids=["1e4", "largest"])
def test_defect_03_js_divergence_is_symmetric_bounded_and_finite_on_underflow(high, low):
    """Upstream: KL(m || p), log(0), and the sum divided by the number of classes as well."""
    one, other = [[high, low, 0], [low, low, high]], [[low, high, 0], [low, low, high]]
    assert value(js_divergence, one, other) == value(js_divergence, other, one) == LN2 / 2


def test_defect_03_zrf_inherits_a_js_divergence_that_is_one():
    """Disjoint predictions give 0 for any number of classes, not 1 - 1 / C or minus infinity."""
    certain = np.eye(100)[[3, 7]] * 1e4
    assert value(zrf, certain, certain[::-1]) == 0.0


def test_pitfall_04_js_divergence_sums_over_classes():
    """Classes that no model ever predicts add nothing; a mean over classes would shrink."""
    one, other = random_pair()
    padding = np.full((len(one), 50), -1e4, dtype=np.float32)
    wide = [np.concatenate([logits, padding], axis=1) for logits in (one, other)]
    assert value(js_divergence, *wide) == pytest.approx(value(js_divergence, one, other))


def test_pitfall_05_divergence_of_underflowed_probabilities_is_finite():
    log_p, log_q = np.array([[0.0, -800.0]]), np.array([[-800.0, 0.0]])
    assert np.exp(log_p).min() == 0.0
    assert jensen_shannon(log_p, log_q) == pytest.approx(LN2)


def test_defect_16_activation_distance_is_the_mean_l2_and_not_the_root_mean_square():
    """Distances 0 and sqrt 2: the mean is sqrt(1/2), the root of the mean square 1."""
    unlearned, retrained = np.stack([HERE[0], HERE[0]]), np.stack([HERE[0], THERE[0]])
    assert value(activation_distance, unlearned, retrained) == pytest.approx(math.sqrt(0.5))
