"""Gradient ascent against a loop by hand, and what it does to BatchNorm."""

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.neg_grad import NegGradParams, neg_grad
from supreme_core.engine.training.loss import cross_entropy
from tests.builders import tiny_network, tiny_task


def after(**params):
    task = tiny_task()
    neg_grad(task, parse(NegGradParams, params))
    return task


def test_ascent_is_a_descent_of_the_negative_loss():
    """Two full-batch epochs in eval mode, where neither order nor micro-batches matter."""
    model, task = tiny_network(3), tiny_task()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    batch = task.forget.batch(torch.arange(len(task.forget)))
    for _ in range(2):
        optimizer.zero_grad()
        (-functional.cross_entropy(model(batch.images), batch.labels)).backward()
        optimizer.step()
    actual = after(epochs=2, lr=0.01, keepStatistics=True).model
    for one, other in zip(actual.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_loss_on_the_forget_set_grows():
    task = after()
    batch = task.forget.batch(torch.arange(len(task.forget)))
    before = cross_entropy(tiny_network(3), batch).mean()
    assert cross_entropy(task.model, batch).mean() > before + 0.1


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "moving"])
def test_statistics_of_batch_norm_stay_only_if_asked(kept):
    buffers = zip(
        after(keepStatistics=kept).model.buffers(), tiny_network(3).buffers(), strict=True
    )
    assert all(torch.equal(one, other) for one, other in buffers) == kept
