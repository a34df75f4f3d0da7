"""The layers of a network, from the image to the logits, for methods that treat some apart."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

Names = list[str]


@dataclass(frozen=True)
class LayerGroup:
    """What is one layer to a method: a convolution with its norm, or a whole block.

    parameters: names of its trainable ones.  buffers: names of what the same modules keep beside
    them, such as the statistics of a BatchNorm.
    """

    parameters: tuple[str, ...]
    buffers: tuple[str, ...]


def layer_groups(network: nn.Module) -> list[LayerGroup]:
    """All trainable parameters, each in one group, the first layer first and the head last.

    A model of timm knows its groups. Of any other a group is what stands in a sequence, or directly
    in a module that holds most of the network; what has no weights but those of a norm belongs to
    the layer before.
    """
    parts = _as_timm_says(network) if hasattr(network, "group_matcher") else _in_order(network)
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
