"""NegGrad+ against a loop over two loaders, and what β means at its ends."""

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.neg_grad_plus import NegGradPlusParams, neg_grad_plus
from supreme_core.engine.toolbox.signed_labels import is_forgotten, marked, unmarked
from supreme_core.engine.training.sample_order import paired
from supreme_core.randomness import streams
from tests.builders import RecordingTask, plain, tiny_network, tiny_task


def after(**params):
    task = tiny_task(kind=RecordingTask, numerics=plain(1))
    neg_grad_plus(task, parse(NegGradPlusParams, params))
    return task


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "moving"])
@pytest.mark.parametrize("beta", [0.95, 0.5, 1])
def test_a_step_descends_on_the_weighted_difference_of_the_two_means(beta, kept):
    """A plain loop with the same pairs, both parts through the network as one batch."""
    task = after(epochs=2, beta=beta, batchSize=10, keepStatistics=kept)
    model, border = tiny_network(3).train(not kept), len(task.forget)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    everything = task.forget.join(task.retain)
    order = paired(border, len(task.retain), batch_size=10)
    for epoch in range(2):
        seed = streams.derive(streams.derive(task.seed, "both"), "order", epoch)
        for positions in order(epoch, seed):
            batch = everything.batch(positions)
            losses = functional.cross_entropy(model(batch.images), batch.labels, reduction="none")
            of_forget = losses[positions < border].mean()
            of_retain = losses[positions >= border].mean()
            optimizer.zero_grad()
            (beta * of_retain - (1 - beta) * of_forget).backward()
            optimizer.step()
    for one, other in zip(task.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_smaller_beta_forgets_more():
    accuracies = []
    for beta in (1, 0.6):
        task = after(beta=beta)
        batch = task.forget.batch(torch.arange(len(task.forget)))
        accuracies.append(functional.cross_entropy(task.model(batch.images), batch.labels).item())
    assert accuracies[0] < accuracies[1]


def test_marks_tell_forgotten_samples_and_keep_their_labels():
    task = tiny_task(forget_classes=(0, 3))
    both = marked(task.forget, task.retain)
    batch = both.batch(torch.arange(len(both)))
    assert is_forgotten(batch).tolist() == [True] * 24 + [False] * 24
    labels = torch.cat([task.forget.labels, task.retain.labels])
    assert torch.equal(unmarked(batch).labels, labels)
    assert (task.forget.labels >= 0).all()
