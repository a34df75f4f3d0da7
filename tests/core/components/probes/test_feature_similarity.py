"""Linear CKA against the ratio of HSICs that a slow loop over pairs of samples adds up."""

import numpy as np
import pytest
import torch

from supreme_core.components.probes import feature_similarity as module
from supreme_core.components.probes.feature_similarity import feature_similarity, linear_cka
from supreme_core.registry import NoParams
from tests.builders import tiny_network
from tests.core.components.probes.probe_tasks import (
    ORIGINAL,
    RETRAINED,
    UNLEARNED,
    features_of,
    probe_task,
)


def made_up(samples, features, seed):
    return torch.randn(samples, features, generator=torch.Generator().manual_seed(seed))


def hsic(x, y):
    """sum over pairs of centred Gram matrices: K' = HKH with K_ij = x_i · x_j."""
    n = len(x)
    total = 0.0
    grams = []
    for rows in (x, y):
        gram = [[float(np.dot(rows[i], rows[j])) for j in range(n)] for i in range(n)]
        means = [sum(row) / n for row in gram]
        mean = sum(means) / n
        grams.append(
            [[gram[i][j] - means[i] - means[j] + mean for j in range(n)] for i in range(n)]
        )
    for i in range(n):
        for j in range(n):
            total += grams[0][i][j] * grams[1][i][j]
    return total


def slow_cka(x, y):
    x, y = (np.asarray(each, dtype=np.float64) for each in (x, y))
    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5


@pytest.mark.parametrize(("one", "other"), [(6, 6), (6, 9), (40, 3)])
def test_it_is_the_ratio_of_hsics(one, other):
    x, y = made_up(17, one, 1), made_up(17, other, 2)
    y[:, :3] += x[:, :3]
    assert linear_cka(x, y) == pytest.approx(slow_cka(x, y), rel=1e-10)


@pytest.mark.parametrize("on", ["forget", "test"])
def test_it_compares_what_goes_into_the_heads(on):
    task = probe_task()
    found = feature_similarity(task, NoParams())
    own = features_of(tiny_network(UNLEARNED), task.sets[on])
    for name, seed in (("retrained", RETRAINED), ("original", ORIGINAL)):
        other = features_of(tiny_network(seed), task.sets[on])
        assert found[f"{on}/{name}"] == pytest.approx(slow_cka(own, other), rel=1e-6)
        assert found[f"{on}/{name}"] < 1


def test_a_model_is_exactly_like_itself():
    found = feature_similarity(probe_task(model=RETRAINED), NoParams())
    assert found["forget/retrained"] == found["test/retrained"] == 1.0


def test_a_rotation_a_scale_and_a_shift_change_nothing():
    x, y = made_up(30, 8, 1), made_up(30, 8, 2)
    rotation, _ = torch.linalg.qr(made_up(8, 8, 3).double())
    turned = (3.5 * x.double() @ rotation + 7).float()
    assert linear_cka(turned, x) == pytest.approx(1.0, abs=1e-9)
    assert linear_cka(turned, y) == pytest.approx(linear_cka(x, y), rel=1e-6)


def test_features_of_disjoint_samples_have_nothing_in_common():
    x, y = torch.zeros(4, 2), torch.zeros(4, 2)
    x[0, 0], x[1, 0] = 1, -1
    y[2, 0], y[3, 0] = 1, -1
    assert linear_cka(x, y) == 0.0


def test_features_that_do_not_vary_are_like_nothing():
    assert np.isnan(linear_cka(torch.ones(5, 3), made_up(5, 3, 1)))


def test_chunks_are_only_a_matter_of_memory(monkeypatch):
    x, y = made_up(50, 4, 1), made_up(50, 4, 2)
    whole = linear_cka(x, y)
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    assert linear_cka(x, y) == pytest.approx(whole, rel=1e-12)
