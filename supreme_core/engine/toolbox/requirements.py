"""Requirements of methods on a network, and whether it meets them."""

from collections.abc import Callable
from typing import Final

from torch import nn

from supreme_core.engine.networks.convolutions import is_convolutional
from supreme_core.engine.toolbox.head import find_linear_head
from supreme_core.registry import Need

FOUND: Final[dict[Need, tuple[str, Callable[[nn.Module], bool]]]] = {
    "convolutions": ("convolutions whose windows overlap", is_convolutional),
    "linear_head": (
        "a single linear layer that gives the logits",
        lambda network: find_linear_head(network) is not None,
    ),
}
"""Each in words, and whether a network has it; the other needs are of data."""


def asks_of_network(needs: tuple[Need, ...]) -> bool:
    """Return whether one of the needs is of the network."""
    return not FOUND.keys().isdisjoint(needs)


def missing(network: nn.Module, needs: tuple[Need, ...]) -> str | None:
    """The first of them that it has not, in words."""
    asked = (FOUND[need] for need in needs if need in FOUND)
    return next((words for words, has in asked if not has(network)), None)
