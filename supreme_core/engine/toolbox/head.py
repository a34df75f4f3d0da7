"""The last layer of a network, for methods that work on what goes into it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from supreme_core.engine.images.samples import FIXED_BATCH_SIZE, Samples
from supreme_core.engine.networks.layers import layer_groups
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.toolbox.task import UnlearningTask

Features = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]
"""(network, images) to the head's inputs (n, features) and the logits (n, classes)."""


def find_linear_head(network: nn.Module) -> str | None:
    """The name of the linear layer that gives the logits; None where there is no single one."""
    owners = {name.rpartition(".")[0] for name in layer_groups(network)[-1].parameters}
    (name, *others) = owners
    return name if name and not others and type(network.get_submodule(name)) is nn.Linear else None


def linear_head(network: nn.Module) -> nn.Linear:
    """Linear head of a network that has one."""
    name = find_linear_head(network)
    assert name is not None  # what a method needs is checked before anything is trained
    head = network.get_submodule(name)
    assert isinstance(head, nn.Linear)
    return head


def replace_head(network: nn.Module, head: nn.Linear) -> None:
    """Put another layer in its place."""
    name = find_linear_head(network)
    assert name is not None
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, head)


@contextmanager
def watched_head(network: nn.Module) -> Iterator[Features]:
    """Inside, what goes into the head is seen, of the network itself and of copies made meanwhile.

    A copy calls the same hook, so the features are those of whichever ran last.
    """
    seen: list[Tensor] = []

    def keep(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = inputs

    def features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images)
        return seen.pop(), logits

    handle = linear_head(network).register_forward_pre_hook(keep)
    try:
        yield features
    finally:
        handle.remove()


@torch.no_grad()
def head_inputs(task: UnlearningTask, samples: Samples) -> Tensor:
    """(n, features) float64 on the CPU, in eval mode; every rank computes all of them."""
    parts = torch.split(torch.arange(len(samples)), FIXED_BATCH_SIZE)
    found = []
    with in_mode(task.model, training=False), watched_head(task.model) as features:
        for done, batch in enumerate(samples.batches(parts), start=1):
            inputs, logits = features(task.model, batch.images)
            found.append(inputs.cpu().double())
            task.report(done=done, total=len(parts), loss=logits.mean(), images=len(batch.ids))
    return torch.cat(found)
