"""The tensors of a network on their way into a file and back."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
"""Parameters and buffers by their names in the network's state dict."""


def trainable(module: nn.Module, *, recurse: bool = True) -> list[nn.Parameter]:
    """The parameters that are trained, in the module's order; those of its own without recurse."""
    return [parameter for parameter in module.parameters(recurse) if parameter.requires_grad]


def gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients that a step has set, which whoever adds a term to a loss may change."""
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert len(found) == len(parameters)
    return found


def are_finite(tensors: Sequence[Tensor]) -> list[bool]:
    """For each tensor of one device, if all its numbers are finite; the device is waited for
    once."""
    if not tensors:
        return []
    found: list[bool] = torch.stack([tensor.isfinite().all() for tensor in tensors]).tolist()
    return found


def laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The same numbers with the strides of a parameter: they can decide the last bit of a norm."""
    if tensor.shape != parameter.shape or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)


def on_cpu(tensors: Weights) -> dict[str, Tensor]:
    """Prepare tensors as safetensors takes them: on the CPU, contiguous, none in the memory of
    another.

    A network may use one parameter in two places; then its state dict names it twice.
    """
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        kept[name] = tensor
    return kept


def load_weights(network: nn.Module, weights: Weights) -> None:
    """Put all weights in place; RuntimeError where names or shapes are others."""
    state = OrderedDict(weights)
    # Which version of each layer they are for: a file has it not, and some layers of torchvision
    # refuse tensors that do not say it.
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state)
