"""ulira and bavaria against slow loops that fit each model's densities anew, with scipy's t."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from supreme_core.components.seed_metrics.bavaria import BavariaParams, bavaria, fitted_prior
from supreme_core.components.seed_metrics.ulira import UliraParams, ulira
from supreme_core.scoring.ensemble import Moments
from tests.core.components.seed_metrics.ensemble_pairs import ensemble_pair, of_logit_confidence


def variances(phi, strength):
    each = phi.var(axis=0, ddof=1)
    return (strength * each.mean() + (len(phi) - 1) * each) / (strength + len(phi) - 1)


def gaussian(x, others):
    return stats.norm.logpdf(x, others.mean(axis=0), np.sqrt(variances(others, 4.0)))


def published(x, others):
    """The prior of the author's code: all values are one heap."""
    return student(x, others, (others.mean(), 1.0, 2.0, others.var()))


def fitted(x, others):
    return student(x, others, [float(each[0, 0]) for each in fitted_prior(Moments.of(others))])


def student(x, others, prior):
    """The predictive density of a normal-inverse-gamma posterior, step by step."""
    m0, k0, a0, b0 = prior
    found = []
    for value, column in zip(x, others.T, strict=True):
        k, m, a, b = k0, m0, a0, b0
        for one in column:  # one model after the other updates what is known
            b += k * (one - m) ** 2 / (2 * (k + 1))
            m = (k * m + one) / (k + 1)
            k, a = k + 1, a + 0.5
        found.append(stats.t.logpdf(value, 2 * a, m, np.sqrt(b * (k + 1) / (a * k))))
    return np.array(found)


def slow(unlearned, retrained, log_density):
    """Scores of every model and sample, each model judged by all others."""
    scores = []
    for i in range(len(unlearned)):
        others = np.delete(unlearned, i, axis=0)
        scores.append(log_density(unlearned[i], others) - log_density(unlearned[i], retrained))
    negative = []
    for i in range(len(retrained)):
        others = np.delete(retrained, i, axis=0)
        negative.append(log_density(retrained[i], unlearned) - log_density(retrained[i], others))
    return np.concatenate(scores), np.concatenate(negative)


@pytest.mark.parametrize(
    ("metric", "params", "log_density"),
    [
        (ulira, UliraParams(false_positive_rate=0.1), gaussian),
        (bavaria, BavariaParams(false_positive_rate=0.1), published),
        (bavaria, BavariaParams(false_positive_rate=0.1, prior="fitted"), fitted),
    ],
    ids=["ulira", "bavaria", "bavaria with a fitted prior"],
)
def test_it_is_the_slow_loop(metric, params, log_density):
    found = ensemble_pair(5, 6, shift=0.7)
    positive, negative = slow(*found.logit_confidence, log_density)
    numbers = metric(found, params)
    assert numbers["accuracy"] == pytest.approx((np.mean(positive > 0) + np.mean(negative < 0)) / 2)
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    area = roc_auc_score(labels, np.concatenate([positive, negative]))
    assert numbers["auc"] == pytest.approx(area, rel=1e-9)
    threshold = np.sort(negative)[::-1][24]  # of 240 scores a tenth is 24
    assert numbers["tpr"] == pytest.approx(np.mean(positive > threshold), abs=1e-9)


def test_a_low_rate_of_false_alarms_needs_enough_of_retrained():
    assert ulira(ensemble_pair(5, 5), UliraParams())["tpr"] is None
    assert ulira(ensemble_pair(5, 5, samples=200), UliraParams())["tpr"] is not None


def test_models_that_never_differ_are_a_toss_up():
    same = of_logit_confidence(np.ones((4, 6)), np.ones((4, 6)))
    numbers = ulira(same, UliraParams())
    assert (numbers["accuracy"], numbers["auc"]) == (0.5, 0.5)


def test_moments_without_each_are_those_of_the_others():
    phi = np.random.default_rng(2).normal(100, 1, (5, 7))
    found = Moments.without_each(phi)
    assert found.models == 4
    for i in range(5):
        others = np.delete(phi, i, axis=0)
        assert found.mean[i] == pytest.approx(others.mean(axis=0))
        assert found.squares[i] == pytest.approx(3 * others.var(axis=0, ddof=1))


def test_the_fitted_prior_finds_the_parameters_that_samples_were_drawn_with():
    random = np.random.default_rng(3)
    samples, shape, scale, weight = 200_000, 6.0, 10.0, 0.5
    variance = stats.invgamma.rvs(shape, scale=scale, size=samples, random_state=random)
    level = random.normal(3.0, np.sqrt(variance / weight))
    phi = random.normal(level, np.sqrt(variance), (8, samples))
    found = [float(each[0, 0]) for each in fitted_prior(Moments.of(phi))]
    assert found == pytest.approx([3.0, weight, shape, scale], rel=0.1)
