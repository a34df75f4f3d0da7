"""One step of training leaves the same model, whatever the number of micro-batches and ranks."""

from collections import Counter

import pytest
import torch
from torch import nn, optim
from torch.profiler import ProfilerActivity, profile

from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.loss import cross_entropy
from tests.builders import alone, plain, tiny_network, tiny_samples


def train(model, *, micro_batches=2, batch_size=16):
    how = Fit(epochs=1, batch_size=batch_size, optimizer=lambda p: optim.SGD(p, lr=0.1))
    samples, numerics = tiny_samples(), plain(micro_batches)
    fit(model, samples, how, seed=1, numerics=numerics, report=unreported, loss=cross_entropy)


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_the_count_of_batches_goes_up_by_one_for_each_step(micro_batches):
    model = tiny_network(3)
    before = int(model[1].num_batches_tracked)
    train(model, micro_batches=micro_batches)
    assert int(model[1].num_batches_tracked) == before + 3


def test_a_network_without_batch_norm_trains_also_with_empty_micro_batches():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    before = model[1].weight.clone()
    train(model, micro_batches=4, batch_size=3)
    assert not torch.equal(model[1].weight, before)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_model_keeps_its_mode(training):
    model = tiny_network(3).train(training)
    train(model)
    assert all(module.training == training for module in model.modules())


def test_parameters_that_share_their_gradient_are_summed_up_once():
    """Autograd gives a and b in x + a + b one and the same tensor; two leaves of ones are 2."""
    a, b = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    leaves = [
        list(torch.autograd.grad((torch.ones(3) + a + b).sum() * 1.0, [a, b])) for _ in range(2)
    ]
    sums = Reduction(alone().ranks, 2).sum(leaves)
    assert [total.tolist() for total in sums] == [[2, 2, 2], [2, 2, 2]]


class Twice(nn.Module):
    """A network that normalises twice by one layer."""

    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(1, momentum=None), nn.Linear(64, 4)

    def forward(self, images):
        return self.head(self.norm(self.norm(images) + 1).flatten(1))


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_norm_that_a_network_uses_twice_counts_a_step_once(micro_batches):
    model = Twice()
    train(model, micro_batches=micro_batches)
    assert int(model.norm.num_batches_tracked) == 3


def launched(run):
    """Calls of each operator."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    return Counter(event.name for event in profiled.events())


def test_one_micro_batch_launches_little_that_a_plain_loop_does_not():
    """BatchNorm's statistics are not copied there and back."""
    samples, model = tiny_samples(), tiny_network(3).train()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def plain_loop():
        for part in torch.arange(48).split(16):
            batch = samples.batch(part)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()

    ours = launched(lambda: train(model, micro_batches=1))
    theirs = launched(plain_loop)
    steps = 3
    assert ours["aten::clone"] - theirs["aten::clone"] < steps
    assert ours["aten::copy_"] - theirs["aten::copy_"] <= 7 * steps  # counts, gradients and curve
