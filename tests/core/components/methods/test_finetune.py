"""Fine-tuning against a plain loop over the retain set, and what it never sees."""

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.finetune import FinetuneParams, finetune
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.randomness import streams
from tests.builders import RecordingTask, plain, tiny_network, tiny_task


@pytest.mark.parametrize("settings", [{}, {"momentum": 0, "weightDecay": 0.1, "lr": 0.2}], ids=str)
def test_it_is_a_plain_loop_over_the_retain_set(settings):
    params = parse(FinetuneParams, {"epochs": 2, "batchSize": 10, **settings})
    task = tiny_task(kind=RecordingTask, numerics=plain(1))
    finetune(task, params)
    model = tiny_network(3).train()
    optimizer = optim.SGD(
        model.parameters(),
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
    )
    for epoch in range(2):
        seed = streams.derive(streams.derive(task.seed, "retain"), "order", epoch)
        for positions in shuffled(len(task.retain), 10)(epoch, seed):
            batch = task.retain.batch(positions)
            optimizer.zero_grad()
            functional.cross_entropy(model(batch.images), batch.labels).backward()
            optimizer.step()
    for one, other in zip(task.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    samples, _ = task.phases["retain"]
    assert not torch.isin(samples.ids, task.forget.ids).any()
