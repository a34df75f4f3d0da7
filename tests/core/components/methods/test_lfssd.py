"""LFSSD needs no labels, and follows SSD's rule with absolute gradients of the output's size."""

import numpy as np
import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.lfssd import lfssd
from supreme_core.engine.toolbox.dampening import DampeningParams
from tests.builders import tiny_network, tiny_task


def dampened(task, **params):
    lfssd(task, parse(DampeningParams, params))
    return np.concatenate([p.detach().numpy().ravel() for p in task.model.parameters()])


def mean_sizes(model, samples):
    """Mean over samples of |d ||f(x)||² / d weight|, one backward pass each, all weights flat."""
    total = 0
    for i in range(len(samples)):
        model.zero_grad()
        (model(samples.batch(torch.tensor([i])).images) ** 2).sum().backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        total = total + gradient.double().abs().numpy()
    return total / len(samples)


def test_labels_do_not_matter():
    task = tiny_task()
    other = tiny_task(
        forget=task.forget.with_labels(torch.full_like(task.forget.labels, 3)),
        retain=task.retain.with_labels(torch.zeros_like(task.retain.labels)),
    )
    assert dampened(task, alpha=1).tobytes() == dampened(other, alpha=1).tobytes()


@pytest.mark.parametrize(("alpha", "lambda_"), [(1.1, 1), (1, 0.3)], ids=str)
def test_lfssd_equals_the_papers_rule_weight_by_weight(alpha, lambda_):
    task, model = tiny_task(), tiny_network(3)
    of_forget = mean_sizes(model, task.forget)
    of_all = mean_sizes(model, task.forget.join(task.retain))
    expected = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    for i in range(expected.size):
        if of_forget[i] > alpha * of_all[i]:
            expected[i] *= min(1, lambda_ * of_all[i] / of_forget[i])
    actual = dampened(task, alpha=alpha, **{"lambda": lambda_})
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
