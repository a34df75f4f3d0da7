"""Requirements of methods, and which networks meet them. Names of layers, and features."""

import copy

import pytest
import timm
import torch
from torch import nn

from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.convolutions import convolutions, is_convolutional
from supreme_core.engine.toolbox.head import (
    find_linear_head,
    linear_head,
    replace_head,
    watched_head,
)
from supreme_core.engine.toolbox.requirements import missing
from tests.builders import tiny_network

NETWORKS = {
    "tiny": lambda: tiny_network(3),
    "resnet18": lambda: ResNet18(ImageShape(3, 16, 4), width=2),
    "timm/test_vit": lambda: timm.create_model("test_vit", num_classes=4),
    "timm/test_convnext": lambda: timm.create_model("test_convnext", num_classes=4),
    "convolutional head": lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 1)),
}


@pytest.mark.parametrize(
    ("name", "has_convolutions", "head"),
    [
        ("tiny", True, "4"),
        ("resnet18", True, "head"),
        ("timm/test_vit", False, "head"),
        ("timm/test_convnext", True, "head.fc"),
        ("convolutional head", True, None),
    ],
)
def test_networks_have_what_they_have(name, has_convolutions, head):
    network = NETWORKS[name]()
    assert is_convolutional(network) == has_convolutions
    assert find_linear_head(network) == head
    told = missing(network, ("convolutions", "linear_head"))
    if not has_convolutions:
        assert told == "convolutions whose windows overlap"
    elif head is None:
        assert told == "a single linear layer that gives the logits"
    else:
        assert told is None


def test_nothing_is_missing_where_nothing_is_needed():
    assert missing(NETWORKS["timm/test_vit"](), ()) is None


def test_convolutions_are_named_in_order_without_frozen_ones():
    network = NETWORKS["convolutional head"]()
    assert list(convolutions(network)) == ["0", "1"]
    network[0].weight.requires_grad_(False)
    assert list(convolutions(network)) == ["1"]


@pytest.mark.parametrize("name", ["tiny", "resnet18", "timm/test_convnext"])
def test_the_head_makes_the_logits_of_the_features_that_are_seen(name):
    network = NETWORKS[name]().eval()
    size = (2, 1, 8, 8) if name == "tiny" else (2, 3, 32, 32)
    with watched_head(network) as features:
        for each in (network, copy.deepcopy(network)):
            seen, logits = features(each, torch.rand(size))
            assert seen.ndim == 2
            torch.testing.assert_close(linear_head(network)(seen), logits)
    assert not linear_head(network)._forward_pre_hooks


def test_a_head_can_be_replaced():
    network = NETWORKS["timm/test_convnext"]()
    wider = nn.Linear(linear_head(network).in_features, 5)
    replace_head(network, wider)
    assert linear_head(network) is wider
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 5)
