"""The layers of a network, from the image to the logits, for methods that treat some apart."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd

Names = list[str]

Unit = Literal["block", "layer"]
"""Unit that counts as a layer: a block as a whole, or each convolution and each matrix by
itself."""

SINGLE = (_ConvNd, nn.Linear, nn.MultiheadAttention)
"""Modules that are a layer by themselves."""


@dataclass(frozen=True)
class LayerGroup:
    """Layer in the eyes of a method: a convolution with its norm, or a whole block.

    parameters: names of its trainable ones.  buffers: names of what the same modules keep beside
    them, such as the statistics of a BatchNorm.
    """

    parameters: tuple[str, ...]
    buffers: tuple[str, ...]


def layer_groups(network: nn.Module, unit: Unit = "block") -> list[LayerGroup]:
    """All trainable parameters, each in one group, the first layer first and the head last.

    Blocks: a model of timm knows its groups. Of any other a group is what stands in a sequence, or
    directly in a module that holds most of the network; what has no weights but those of a norm
    belongs to the layer before. Layers: see `_single_layers`.
    """
    if unit == "layer":
        parts = _single_layers(network)
    elif hasattr(network, "group_matcher"):
        parts = _as_timm_says(network)
    else:
        parts = _in_order(network)
    owners = {name: name.rpartition(".")[0] for name, _ in network.named_buffers()}
    groups = []
    for names in _without_bare_norms(network, parts):
        modules = {name.rpartition(".")[0] for name in names}
        buffers = tuple(name for name, owner in owners.items() if owner and owner in modules)
        groups.append(LayerGroup(tuple(names), buffers))
    return groups


@contextmanager
def trained_alone(network: nn.Module, groups: Iterable[LayerGroup]) -> Iterator[None]:
    """Inside, nothing but these groups is trainable; what it freezes is trainable again after."""
    chosen = {name for group in groups for name in group.parameters}
    frozen = [
        parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name not in chosen
    ]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _single_layers(network: nn.Module) -> list[Names]:
    """Each convolution, linear layer and attention begins a layer, in the order in which the
    network names them; what stands behind one and before the next, such as a norm, is in it, and
    what stands before all of them is in the first."""
    trainable = {id(parameter): name for name, parameter in _trainable(network)}
    parts: list[Names] = []
    early: Names = []
    for module in network.modules():
        own = [trainable.pop(id(each), "") for each in module.parameters(recurse=False)]
        names = [name for name in own if name]
        if names and isinstance(module, SINGLE):
            parts.append(early + names)
            early = []
        elif parts:
            parts[-1] += names
        else:
            early += names
    return parts or [early]


def _as_timm_says(network: Any) -> list[Names]:
    """timm's groups, and the module of the logits alone at the end."""
    from timm.models import group_parameters

    trainable = dict(_trainable(network))
    classifier = network.get_classifier()
    heads = classifier if isinstance(classifier, tuple | list | nn.ModuleList) else [classifier]
    last = {parameter for head in heads for parameter in head.parameters()}
    found = group_parameters(network, network.group_matcher(coarse=False))
    parts = [[name for name in names if name in trainable] for names in found.values()]
    body = [[name for name in part if trainable[name] not in last] for part in parts]
    return [*body, [name for name in trainable if trainable[name] in last]]


def _in_order(network: nn.Module) -> list[Names]:
    trainable = _trainable(network)
    half = sum(parameter.numel() for _, parameter in trainable) / 2
    names = [name for name, _ in trainable]
    return list(_units(network, "", names, half))


def _units(module: nn.Module, prefix: str, names: Names, half: float) -> Iterator[Names]:
    """names: of the parameters below `module`, whose own name is `prefix`."""
    below = [
        (child, path, mine)
        for name, child in module.named_children()
        if (mine := [each for each in names if each.startswith(f"{(path := prefix + name)}.")])
    ]
    weighty = [child for child, _, _ in below if any(each.ndim > 1 for each in child.parameters())]
    in_sequence = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    is_most = sum(parameter.numel() for parameter in module.parameters()) > half
    if not ((in_sequence and len(weighty) > 1) or (is_most and below)):
        yield names
        return
    inside = {name for _, _, mine in below for name in mine}
    own = [name for name in names if name not in inside]  # such as an embedding of positions
    for child, path, mine in below:
        for unit in _units(child, f"{path}.", mine, half):
            yield own + unit
            own = []


def _without_bare_norms(network: nn.Module, parts: Sequence[Names]) -> list[Names]:
    """The parts that have something, each with what has no matrix of its own behind it."""
    matrices = {name for name, parameter in network.named_parameters() if parameter.ndim > 1}
    joined: list[Names] = []
    for names in filter(None, parts):
        if joined and (matrices.isdisjoint(names) or matrices.isdisjoint(joined[-1])):
            joined[-1] = joined[-1] + names
        else:
            joined.append(names)
    return joined


def _trainable(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [each for each in network.named_parameters() if each[1].requires_grad]
