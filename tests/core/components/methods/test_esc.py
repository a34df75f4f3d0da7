"""ESC against a projection that numpy makes, and what it leaves of the forget set's features;
ESC-T against the authors' loop, with the mask's gradient written out.
"""

import numpy as np
import pytest
import torch

from supreme_core.components.methods.esc import EscParams, esc, removed
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.randomness import streams
from tests.builders import digest, tiny_network, tiny_task


def features(samples):
    """(n, 64) float64, what goes into the head."""
    batch = samples.batch(torch.arange(len(samples)))
    return tiny_network(3)[:4](batch.images).detach().double().numpy()


@pytest.mark.parametrize(
    ("fraction", "removed"), [(0.001, 1), (0.02, 1), (0.05, 3), (0.09, 5), (0.1, 6)]
)
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


@pytest.mark.parametrize(
    ("features", "expected"), [(512, 7), (768, 11), (96, 1), (64, 1), (200, 3)], ids=str
)
def test_by_default_it_removes_as_many_directions_as_the_authors_code(features, expected):
    """int(512 * 1.5 / 100) and so on, but one where that is none."""
    assert removed(EscParams().fraction, features) == expected
    assert max(int(features * 1.5 / 100), 1) == expected


@pytest.mark.parametrize(("fraction", "expected"), [(0.29, 29), (0.299, 29), (0, 0), (1, 100)])
def test_a_share_is_rounded_down_as_it_is_written(fraction, expected):
    assert removed(fraction, 100) == expected


def masked_by_hand(task, *, epochs, lr, batch_size, threshold):
    """The weight of the head, in numpy; the gradient of -CE by the rules for a trace."""
    inputs, labels = features(task.forget), task.forget.labels.numpy()
    head = tiny_network(3)[4]
    weight, bias = (each.detach().double().numpy() for each in (head.weight, head.bias))
    directions = np.linalg.svd(inputs, full_matrices=False)[2].T
    mask = np.ones_like(directions)
    for epoch in range(epochs):
        for positions in shuffled(12, batch_size)(epoch, streams.derive(task.seed, "mask", epoch)):
            x, y, kept = inputs[positions], labels[positions], directions * mask
            logits = x @ kept @ kept.T @ weight.T + bias
            right = logits.argmax(axis=1) == y
            if right.any():
                x, y, logits = x[right], y[right], logits[right]
                error = np.exp(logits - logits.max(axis=1, keepdims=True))
                error = error / error.sum(axis=1, keepdims=True) - np.eye(4)[y]
                towards = x.T @ (error @ weight) / len(x)  # of the matrix kept @ kept.T
                gradient = (towards + towards.T) @ kept * directions
                mask = np.clip(mask + lr * gradient, 0, 1)
        kept = directions * mask
        if not ((inputs @ kept @ kept.T @ weight.T + bias).argmax(axis=1) == labels).any():
            break
    kept = directions * (mask > threshold)
    return weight @ kept @ kept.T, mask


def test_a_mask_is_trained_as_the_authors_train_it():
    settings = {"epochs": 6, "lr": 2.0, "batch_size": 5, "threshold": 0.9}
    task = tiny_task(forget_classes=(0, 3))
    task = tiny_task(forget_classes=(0, 3), forget=task.forget.take(torch.arange(12)))
    expected, mask = masked_by_hand(task, **settings)
    assert 0 < (mask <= 0.9).mean() < 1
    esc(task, EscParams(variant="trained", **settings))
    actual = task.model[4].weight.detach().numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_mask_stops_once_nothing_that_is_forgotten_is_right():
    told = []
    task = tiny_task(report=lambda **step: told.append(step))
    esc(task, EscParams(variant="trained", epochs=50, lr=2.0))
    assert 1 < told[-1]["done"] < 50
