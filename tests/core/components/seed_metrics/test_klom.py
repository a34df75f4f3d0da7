"""klom: Gaussian divergence against a numerical integral, histograms against numpy and scipy."""

import numpy as np
import pytest
from scipy import integrate, stats

from supreme_core.components.seed_metrics.klom import (
    KlomParams,
    gaussian_divergence,
    histogram_divergence,
    klom,
)
from tests.core.components.seed_metrics.ensemble_pairs import ensemble_pair, of_logit_confidence

RANDOM = np.random.default_rng(1)
P, Q = RANDOM.normal(0, 1, (7, 5)), RANDOM.normal(0.5, 2, (9, 5))


def test_gaussian_divergence_is_the_integral_of_p_log_p_over_q():
    found = gaussian_divergence(P, Q, strength=0)
    for sample in range(5):
        p = stats.norm(P[:, sample].mean(), P[:, sample].std(ddof=1))
        q = stats.norm(Q[:, sample].mean(), Q[:, sample].std(ddof=1))
        integral, _ = integrate.quad(
            lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -15, 15
        )
        assert found[sample] == pytest.approx(integral, rel=1e-6)


def test_histogram_divergence_is_that_of_numpys_histograms_with_a_floor():
    found = histogram_divergence(P, Q, bins=20)
    for sample in range(5):
        both = np.concatenate([P[:, sample], Q[:, sample]])
        edges = np.linspace(both.min(), both.max(), 21)
        p, _ = np.histogram(P[:, sample], edges)
        q, _ = np.histogram(Q[:, sample], edges)
        slow = stats.entropy(p / 7, np.maximum(q / 9, 1e-5))
        # scipy normalises the second argument, which the published form does not
        slow -= np.log(np.maximum(q / 9, 1e-5).sum())
        assert found[sample] == pytest.approx(slow, rel=1e-9)


def test_equal_confidences_of_all_models_have_no_divergence():
    same = np.full((4, 3), 2.5)
    assert histogram_divergence(same, same, bins=20).tolist() == [0, 0, 0]
    assert gaussian_divergence(same, same, strength=4.0).tolist() == [0, 0, 0]


def test_variance_leans_on_that_of_other_samples_the_more_the_stronger():
    typical = np.full_like(P, np.sqrt(P.var(axis=0, ddof=1).mean()))
    strong = gaussian_divergence(P, Q, strength=1e9)
    mean = (P.mean(axis=0) - Q.mean(axis=0)) ** 2
    vp, vq = typical[0] ** 2, Q.var(axis=0, ddof=1).mean()
    assert strong == pytest.approx((np.log(vq / vp) + (vp + mean) / vq - 1) / 2, rel=1e-6)


@pytest.mark.parametrize("estimate", ["gaussian", "histogram"])
def test_mean_and_95th_percentile_are_those_of_the_samples(estimate):
    found = klom(of_logit_confidence(P, Q), KlomParams(estimate=estimate))
    each = (
        gaussian_divergence(P, Q, strength=4.0)
        if estimate == "gaussian"
        else histogram_divergence(P, Q, bins=20)
    )
    assert found == {"mean": each.mean(), "p95": np.quantile(each, 0.95)}


def test_logit_confidences_are_cut_at_a_hundred():
    far = ensemble_pair(shift=1e6)
    same = klom(of_logit_confidence(np.full((3, 2), 1e6), np.full((3, 2), 200.0)), KlomParams())
    assert same == {"mean": 0.0, "p95": 0.0}
    assert np.isfinite(klom(far, KlomParams())["mean"])
