"""SalUn's mask against gradients sample by sample, and that what it freezes keeps every bit."""

import pytest
import torch
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.salun import SalunParams, salun
from supreme_core.engine.toolbox.saliency import largest
from tests.builders import digest, tiny_network, tiny_task


def saliencies(model, samples):
    """|Σ of gradients|, one backward pass for each sample."""
    totals = [torch.zeros_like(each, dtype=torch.float64) for each in model.parameters()]
    for i in range(len(samples)):
        batch = samples.batch(torch.tensor([i]))
        model.zero_grad()
        functional.cross_entropy(model(batch.images), batch.labels).backward()
        for total, parameter in zip(totals, model.parameters(), strict=True):
            total += parameter.grad
    return torch.cat([total.abs().flatten() for total in totals])


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_most_salient_weights_move_and_the_others_keep_their_bits_after_each_step(fraction):
    task, original, frozen = tiny_task(), tiny_network(3), []
    scores = saliencies(original, task.forget)
    count = round(fraction * len(scores))
    chosen = torch.zeros(len(scores), dtype=torch.bool)
    chosen[scores.argsort(descending=True)[:count]] = True
    before = flat(original)

    def report(*, done, total, loss, **more):
        frozen.append(torch.equal(flat(task.model)[~chosen], before[~chosen]))

    task = tiny_task(report=report)
    salun(task, parse(SalunParams, {"fraction": fraction, "epochs": 3, "batchSize": 10}))
    assert len(frozen) == 1 + 3 * (2 + 4)
    assert all(frozen)
    assert (flat(task.model)[chosen] != before[chosen]).float().mean() > 0.9


def test_no_salient_weights_leave_the_weights_as_they_are():
    task = tiny_task()
    salun(task, SalunParams(fraction=0))
    assert torch.equal(flat(task.model), flat(tiny_network(3)))


def test_all_weights_may_be_salient():
    one, other = tiny_task(), tiny_task()
    salun(one, SalunParams(fraction=1, epochs=1))
    salun(other, SalunParams(fraction=0.5, epochs=1))
    assert (flat(one.model) != flat(tiny_network(3))).float().mean() > 0.95
    assert digest(one.model) != digest(other.model)


def test_of_equal_values_the_first_ones_are_taken():
    masks = largest([torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([2.0, 0.0])], 0.5)
    assert masks[0].tolist() == [[False, True], [True, True]]
    assert masks[1].tolist() == [False, False]
