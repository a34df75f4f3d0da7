"""ESC against a projection that numpy makes, and what it leaves of the forget set's features."""

import numpy as np
import pytest
import torch

from supreme_core.methods.esc import EscParams, esc
from tests.builders import digest, tiny_network, tiny_task


def features(samples):
    """(n, 64) float64, what goes into the head."""
    batch = samples.batch(torch.arange(len(samples)))
    return tiny_network(3)[:4](batch.images).detach().double().numpy()


@pytest.mark.parametrize(("fraction", "removed"), [(0.001, 1), (0.02, 1), (0.05, 3), (0.1, 6)])
def test_the_head_forgets_the_leading_directions(fraction, removed):
    task = tiny_task()
    esc(task, EscParams(fraction=fraction))
    values, vectors = np.linalg.eigh(features(task.forget).T @ features(task.forget))
    leading = vectors[:, np.argsort(values)[::-1][:removed]]
    projection = np.eye(64) - leading @ leading.T
    before = tiny_network(3)[4].weight.detach().double().numpy()
    actual = task.model[4].weight.detach().numpy()
    np.testing.assert_allclose(actual, before @ projection, atol=1e-6)


def test_with_as_many_directions_as_samples_the_head_sees_nothing_of_the_forget_set():
    """12 samples have 12 directions at most, of 64: then only the bias is left for them."""
    task = tiny_task()
    esc(task, EscParams(fraction=12 / 64))
    batch = task.forget.batch(torch.arange(12))
    logits = task.model(batch.images)
    torch.testing.assert_close(logits, task.model[4].bias.expand(12, 4), rtol=0, atol=1e-4)


def test_everything_but_the_heads_weight_keeps_its_bits():
    task = tiny_task()
    esc(task, EscParams())
    before = tiny_network(3).state_dict()
    changed = [n for n, t in task.model.state_dict().items() if not torch.equal(t, before[n])]
    assert changed == ["4.weight"]


def test_more_directions_than_there_are_leave_what_no_sample_has():
    task = tiny_task()
    esc(task, EscParams(fraction=1))
    assert task.model[4].weight.isfinite().all()
    assert digest(task.model) != digest(tiny_network(3))
