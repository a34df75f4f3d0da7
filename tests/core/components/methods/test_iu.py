"""The influence step against numpy: a gradient for each sample, the recursion written out."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.iu import IuParams, iu
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from tests.builders import tiny_network, tiny_task


def gradients(samples):
    """(n, weights) float64."""
    rows = []
    for i in range(len(samples)):
        model = tiny_network(3)
        batch = samples.batch(torch.tensor([i]))
        functional.cross_entropy(model(batch.images), batch.labels).backward()
        rows.append(torch.cat([each.grad.flatten() for each in model.parameters()]).double())
    return torch.stack(rows).numpy()


def flat(model):
    weights = [parameter.detach().flatten() for parameter in model.parameters()]
    return torch.cat(weights).double().numpy()


@pytest.mark.parametrize("in_order", [False, True], ids=["random", "dataset"])
@pytest.mark.parametrize("samples", [2, 20, 1000])
@pytest.mark.parametrize("classes", [(), (1,)], ids=str)
def test_the_step_is_that_of_the_recursion(samples, classes, in_order):
    """Samples are in the order of the dataset as in the authors' loop, where N does not change."""
    task = tiny_task(forget_classes=classes)
    of_forget, of_retain = gradients(task.forget), gradients(task.retain)
    share = len(of_forget) / len(of_retain)
    k = (of_forget.sum(axis=0) - share * of_retain.sum(axis=0)) / 48
    order = permutation(streams.derive(task.seed, "retain subset"), len(of_retain))[:samples]
    counted = samples if in_order else len(order)
    for number, i in enumerate(range(len(of_retain)) if in_order else order):
        if number == 0:
            o = of_retain[i].copy()
            continue
        g, product = of_retain[i], o @ of_retain[i]
        k = k - (k @ g) / (counted + product) * o
        o = o - product / (counted + product) * o
        if in_order and number > samples:
            break
    chosen = "dataset" if in_order else "random"
    iu(task, parse(IuParams, {"alpha": 3, "samples": samples, "order": chosen}))
    np.testing.assert_allclose(flat(task.model), flat(tiny_network(3)) + 3 * k, atol=1e-6)


def test_the_step_makes_the_loss_on_the_forget_set_grow_and_the_retain_set_less():
    task = tiny_task()
    iu(task, IuParams(alpha=2))
    changes = []
    for samples in (task.forget, task.retain):
        batch = samples.batch(torch.arange(len(samples)))
        after, before = (
            functional.cross_entropy(model(batch.images), batch.labels).item()
            for model in (task.model, tiny_network(3))
        )
        changes.append(after - before)
    assert changes[0] > 0.05
    assert changes[1] < changes[0]


def test_buffers_keep_their_bits():
    task = tiny_task()
    iu(task, IuParams(alpha=2))
    assert all(map(torch.equal, task.model.buffers(), tiny_network(3).buffers()))
