"""The shadow class: where it begins, what is trained, and that nothing of it stays."""

import pytest
import torch
from torch import nn

from supreme_core.api.model import parse
from supreme_core.components.methods.boundary_expand import BoundaryExpandParams, boundary_expand
from tests.builders import RecordingTask, digest, tiny_network, tiny_task


def expanded(**params):
    task = tiny_task(kind=RecordingTask)
    boundary_expand(task, parse(BoundaryExpandParams, params))
    return task


def test_the_model_has_its_own_head_again():
    task, before = expanded(), tiny_network(3)
    assert task.model[4].weight.shape == (4, 64)
    assert list(task.model.state_dict()) == list(before.state_dict())
    assert digest(task.model) != digest(before)


def test_the_forget_set_is_trained_into_the_class_after_the_last():
    task = expanded()
    samples, _ = task.phases["forget"]
    assert torch.equal(samples.ids, task.forget.ids)
    assert set(samples.labels.tolist()) == {4}


def test_the_wide_head_has_the_old_rows_and_a_random_one_of_usual_size():
    seen = []

    class Watching(RecordingTask):
        def fit(self, samples, **how):
            seen.append([each.detach().clone() for each in self.model[4].parameters()])
            super().fit(samples, **how)

    for seed in (7, 8):
        boundary_expand(tiny_task(kind=Watching, seed=seed), BoundaryExpandParams(epochs=1))
    (weight, bias), (other, _) = seen
    before = tiny_network(3)[4]
    assert torch.equal(weight[:-1], before.weight)
    assert torch.equal(bias[:-1], before.bias)
    assert weight[-1].abs().max() <= 1 / 8  # of 64 features: uniform between ± 1 / sqrt(64)
    assert weight[-1].std().item() == pytest.approx(0.125 / 3**0.5, rel=0.3)
    assert not torch.equal(weight[-1], other[-1])


def test_forgotten_samples_lose_their_class():
    task = expanded(epochs=30, lr=0.05, keepStatistics=True)
    batch = task.forget.batch(torch.arange(len(task.forget)))
    after, before = (
        model(batch.images).softmax(dim=1)[:, 1].mean() for model in (task.model, tiny_network(3))
    )
    assert after < before - 0.02


def test_a_head_without_a_bias_gets_none():
    model = tiny_network(3)
    model[4] = nn.Linear(64, 4, bias=False)
    boundary_expand(tiny_task(model=model), BoundaryExpandParams(epochs=1))
    assert model[4].bias is None


def test_the_head_is_in_its_place_after_an_error_too():
    def report(**told):
        raise RuntimeError("somebody pulled the plug")

    task = tiny_task(report=report)
    head = task.model[4]
    with pytest.raises(RuntimeError, match="plug"):
        boundary_expand(task, BoundaryExpandParams())
    assert task.model[4] is head
