"""The ℓ1 term against autograd's own, how it falls, and that without it this is fine-tuning."""

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.finetune import FinetuneParams, finetune
from supreme_core.components.methods.l1_sparse import L1SparseParams, l1_sparse
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.randomness import streams
from tests.builders import digest, plain, tiny_network, tiny_task


def after(**params):
    task = tiny_task(numerics=plain(1))
    l1_sparse(task, parse(L1SparseParams, params))
    return task


def test_without_its_weight_it_is_fine_tuning():
    task = tiny_task(numerics=plain(1))
    finetune(task, FinetuneParams(epochs=3, lr=0.01, batch_size=256))
    assert digest(after(gamma=0, epochs=3).model) == digest(task.model)


@pytest.mark.parametrize(("plain_epochs", "factors"), [(0, [1, 0.75, 0.5, 0.25]), (2, [1, 0.5])])
def test_the_loss_is_that_of_the_paper_with_a_falling_weight(plain_epochs, factors):
    task = after(gamma=0.01, epochs=4, plainEpochs=plain_epochs, batchSize=10)
    model = tiny_network(3).train()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    order = shuffled(len(task.retain), 10)
    for epoch, factor in enumerate([*factors, 0, 0][:4]):
        seed = streams.derive(streams.derive(task.seed, "retain"), "order", epoch)
        for positions in order(epoch, seed):
            batch = task.retain.batch(positions)
            norm = sum(parameter.abs().sum() for parameter in model.parameters())
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch.images), batch.labels)
            (loss + 0.01 * factor * norm).backward()
            optimizer.step()
    for one, other in zip(task.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_epochs_that_are_all_plain_are_fine_tuning():
    """The authors' code has all of γ in each of these epochs."""
    assert digest(after(epochs=2, plainEpochs=2).model) == digest(after(epochs=2, gamma=0).model)


def test_batches_are_those_of_the_authors_command():
    assert L1SparseParams().batch_size == 256


def test_a_large_weight_makes_weights_small():
    norms = [
        sum(parameter.abs().sum().item() for parameter in after(gamma=gamma).model.parameters())
        for gamma in (0, 0.1)
    ]
    assert norms[1] < 0.8 * norms[0]
