"""CF-k and EU-k: which layers move, and from where. What all methods share is in
test_every_method.py; that the layers are the right ones, in engine/test_layers.py.

network             convolution and BatchNorm | head
k                   1 (the head), 2 (everything), more than there are
unit                blocks, which count as one; single layers
frozen              every bit of weights and buffers
"""

import pytest
import torch
from torch import nn, optim

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.training.loss import cross_entropy
from tests.builders import tiny_network, tiny_task

BODY = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
BUFFERS = ("1.running_mean", "1.running_var", "1.num_batches_tracked")
HEAD = ("4.weight", "4.bias")

both = pytest.mark.parametrize("name", ["cf_k", "eu_k"])


class Block(nn.Module):
    """Two layers that are one block, with what is left of a norm's work behind each."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(64, 64), nn.BatchNorm1d(64)
        self.second = nn.Linear(64, 64)

    def forward(self, features):
        return features + self.second(self.norm(self.first(features)).relu())


def with_a_block(seed):
    with global_seed(seed):
        return nn.Sequential(nn.Flatten(), Block(), Block(), nn.Linear(64, 4)).eval()


def state_after(name, *, task=None, **params):
    task = task or tiny_task()
    entry = registry.method.get(name)
    entry.function(task, parse(entry.params, params))
    return task.model.state_dict()


def moved(state, before):
    return {name for name in before if not torch.equal(state[name], before[name])}


@both
def test_only_the_head_moves_where_one_layer_is_asked_for(name):
    assert moved(state_after(name, epochs=2), tiny_task().model.state_dict()) == set(HEAD)


@both
@pytest.mark.parametrize("layers", [2, 99])
def test_everything_moves_where_all_layers_are_asked_for(name, layers):
    before = tiny_task().model.state_dict()
    assert moved(state_after(name, layers=layers, epochs=1), before) == set(before)


@both
@pytest.mark.parametrize(
    ("unit", "layers", "trained"),
    [
        ("block", 2, {"2.first", "2.norm", "2.second", "3"}),
        ("layer", 2, {"2.second", "3"}),
        ("layer", 3, {"2.first", "2.norm", "2.second", "3"}),
    ],
)
def test_k_counts_blocks_or_single_layers(name, unit, layers, trained):
    task = tiny_task(model=with_a_block(3), new_network=with_a_block)
    before = {name: each.clone() for name, each in task.model.state_dict().items()}
    state = state_after(name, task=task, unit=unit, layers=layers, epochs=2)
    assert {each.rpartition(".")[0] for each in moved(state, before)} == trained


def test_cf_k_of_all_layers_is_fine_tuning():
    settings = {"epochs": 2, "lr": 0.02, "batchSize": 16}
    tuned, forgotten = (
        state_after("finetune", **settings),
        state_after("cf_k", layers=2, **settings),
    )
    assert moved(forgotten, tuned) == set()


def test_cf_k_trains_the_head_as_if_it_stood_alone():
    """A loop over the frozen features, written out, gives the same."""
    task = tiny_task()
    entry = registry.method.get("cf_k")
    entry.function(task, parse(entry.params, {"epochs": 1, "batchSize": 1000}))

    reference = tiny_network(3)
    head = reference[-1]
    batch = tiny_task().retain.batch(torch.arange(36))
    optimizer = optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    cross_entropy(reference, batch).mean().backward()
    optimizer.step()
    torch.testing.assert_close(task.model[-1].weight, head.weight)


def test_eu_k_begins_as_training_begins():
    task = tiny_task()
    fresh = task.new_model("last layers").state_dict()
    state = state_after("eu_k", layers=1, epochs=0)
    original = task.model.state_dict()
    for name in HEAD:
        assert torch.equal(state[name], fresh[name])
        assert not torch.equal(state[name], original[name])
    assert all(torch.equal(state[name], original[name]) for name in BODY)


def test_eu_k_of_all_layers_begins_with_their_buffers_too():
    task = tiny_task()
    fresh = task.new_model("last layers").state_dict()
    state = state_after("eu_k", layers=2, epochs=0)
    assert all(torch.equal(state[name], fresh[name]) for name in fresh)
    assert set(BUFFERS) <= set(fresh)


@both
def test_the_model_is_trainable_and_in_eval_mode_afterwards_also_after_an_error(name):
    def report(**told):
        raise RuntimeError("somebody pulled the plug")

    task = tiny_task(report=report)
    with pytest.raises(RuntimeError, match="plug"):
        registry.method.get(name).function(task, registry.method.get(name).params())
    assert all(parameter.requires_grad for parameter in task.model.parameters())
    assert not any(module.training for module in task.model.modules())


@both
def test_the_head_of_the_tiny_network_learns_the_retained_classes(name):
    task = tiny_task()
    before = cross_entropy(task.model, task.retain.batch(torch.arange(36))).mean()
    entry = registry.method.get(name)
    entry.function(task, parse(entry.params, {"epochs": 20, "lr": 0.02}))
    assert cross_entropy(task.model, task.retain.batch(torch.arange(36))).mean() < before
