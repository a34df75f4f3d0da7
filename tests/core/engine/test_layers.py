"""Parameters that make up one layer, on networks small enough to say it by hand.

ours           ResNet-18: stem, eight blocks, head
sequences      nested, of single layers, with norms of their own
embeddings     parameters of a module that holds most of the network
frozen         what is not trainable is in no layer, and what is frozen keeps its bits in training

Families of real models are in models/test_families.py.
"""

from functools import partial

import pytest
import torch
from torch import nn, optim

from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.layers import LayerGroup, layer_groups, trained_alone
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.training.fit import Fit, fit, unreported
from tests.builders import TINY_SHAPE, plain, tiny_network, tiny_samples


class Transformer(nn.Module):
    """A stem, blocks inside an encoder with an embedding of its own, a norm and a head."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.stem = nn.Linear(4, 4)
        self.encoder = nn.Module()
        self.encoder.position = nn.Parameter(torch.zeros(1, 5, 4))
        self.encoder.blocks = nn.Sequential(Block(), Block())
        self.encoder.norm = nn.LayerNorm(4)
        self.heads = nn.Sequential(nn.Linear(4, 2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))


def parameters(network):
    return [set(group.parameters) for group in layer_groups(network)]


def test_a_resnet_is_its_stem_its_blocks_and_its_head():
    groups = layer_groups(ResNet18(ImageShape(3, 32, 7), width=2))
    first = {name.rpartition(".")[0].split(".convolution")[0] for name in groups[1].parameters}
    assert len(groups) == 10
    assert groups[0] == LayerGroup(
        ("stem.0.weight", "stem.1.weight", "stem.1.bias"),
        ("stem.1.running_mean", "stem.1.running_var", "stem.1.num_batches_tracked"),
    )
    assert first == {"stages.0.0", "stages.0.0.norm1", "stages.0.0.norm2"}
    assert groups[-1] == LayerGroup(("head.weight", "head.bias"), ())


def test_a_transformer_is_its_stem_its_blocks_and_its_head():
    stem, first, second, head = parameters(Transformer())
    assert stem == {"token", "stem.weight", "stem.bias"}
    assert "encoder.position" in first
    assert {name.split(".")[2] for name in first - {"encoder.position"}} == {"0"}
    assert {"encoder.norm.weight", "encoder.norm.bias"} < second
    assert head == {"heads.0.weight", "heads.0.bias"}


def test_a_norm_belongs_to_the_layer_before_and_to_the_first_where_there_is_none():
    network = nn.Sequential(
        nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)
    )
    assert parameters(network) == [
        {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"},
        {"4.weight", "4.bias"},
    ]


def test_sequences_are_taken_apart_wherever_they_stand():
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    network = nn.ModuleList([inner, nn.Sequential(nn.Dropout(), nn.Linear(3, 2))])
    assert [len(names) for names in parameters(network)] == [2, 2, 2]


def test_one_layer_alone_is_the_head():
    assert parameters(nn.Sequential(nn.Linear(3, 2))) == [{"0.weight", "0.bias"}]


def test_what_is_not_trainable_is_in_no_layer():
    network = tiny_network(1)
    network[4].bias.requires_grad_(False)
    assert parameters(network)[-1] == {"4.weight"}


def test_a_parameter_in_two_places_is_in_one_layer():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    network[1].weight = network[0].weight
    listed = [name for names in parameters(network) for name in names]
    assert sorted(listed) == ["0.bias", "0.weight", "1.bias", "2.bias", "2.weight"]


def trained_by_the_authors_of_cf_k(network, count):
    """Names of what is trained of the last convolutions and linear layers, as their loop has it."""
    listed = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    ]
    found, done = set(), 0
    for name, module in reversed(listed):
        found |= {f"{name}.{each}" for each, _ in module.named_parameters()}
        done += not isinstance(module, nn.BatchNorm2d)
        if done == count:
            break
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 6, 21])
def test_single_layers_of_a_resnet_are_those_that_the_authors_of_cf_k_count(count):
    network = ResNet18(ImageShape(3, 32, 7), width=2)
    groups = layer_groups(network, "layer")
    assert len(groups) == 21
    last = {name for group in groups[-count:] for name in group.parameters}
    assert last == trained_by_the_authors_of_cf_k(network, count)


def test_single_layers_of_a_transformer_have_all_that_is_trainable_once():
    network = Transformer()
    network.token.requires_grad_(False)
    groups = layer_groups(network, "layer")
    listed = [name for group in groups for name in group.parameters]
    wanted = {name for name, each in network.named_parameters() if each.requires_grad}
    assert sorted(listed) == sorted(wanted)
    assert [group.parameters[0] for group in groups] == [
        "stem.weight",
        "encoder.blocks.0.mlp.0.weight",
        "encoder.blocks.0.mlp.2.weight",
        "encoder.blocks.1.mlp.0.weight",
        "encoder.blocks.1.mlp.2.weight",
        "heads.0.weight",
    ]


def test_what_stands_before_the_first_single_layer_is_in_it():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    (only,) = layer_groups(network, "layer")
    assert set(only.parameters) == {name for name, _ in network.named_parameters()}


class TestTrainedAlone:
    def test_only_the_chosen_layers_are_trainable_inside_and_all_that_were_afterwards(self):
        network = tiny_network(1)
        network[1].bias.requires_grad_(False)
        with trained_alone(network, layer_groups(network)[-1:]):
            inside = [name for name, each in network.named_parameters() if each.requires_grad]
        after = [name for name, each in network.named_parameters() if not each.requires_grad]
        assert inside == ["4.weight", "4.bias"]
        assert after == ["1.bias"]

    def test_frozen_layers_are_in_eval_mode_while_the_rest_trains(self):
        network = nn.Sequential(tiny_network(1)[:4], nn.Dropout(), nn.Linear(64, 4))
        with (
            trained_alone(network, layer_groups(network)[-1:]),
            in_mode(network, training=True),
        ):
            assert [module.training for module in network] == [False, True, True]
            assert not network[0][1].training

    @pytest.mark.parametrize("micro_batches", [1, 4])
    def test_weights_and_statistics_of_frozen_layers_keep_their_bits(self, micro_batches):
        """A step may add up micro-batches: a weighted mean of equal numbers may differ from
        them."""
        network = tiny_network(1)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        how = Fit(epochs=2, batch_size=7, optimizer=partial(optim.SGD, lr=0.1))
        with trained_alone(network, layer_groups(network)[-1:]):
            fit(
                network,
                tiny_samples(20, TINY_SHAPE),
                how,
                seed=3,
                numerics=plain(micro_batches),
                report=unreported,
            )
        moved = [
            name for name, each in network.state_dict().items() if not each.equal(before[name])
        ]
        assert moved == ["4.weight", "4.bias"]
