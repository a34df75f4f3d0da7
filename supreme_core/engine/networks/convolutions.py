"""The convolutions of a network, for methods that damage them before they repair it."""

from torch import nn


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """All convolutions with trainable weights, by name, in the network's order."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad
    }


def is_convolutional(network: nn.Module) -> bool:
    """Return whether a network has a convolution whose windows overlap; one that cuts patches does
    not count."""
    return any(
        size > stride
        for layer in convolutions(network).values()
        for size, stride in zip(layer.kernel_size, layer.stride, strict=True)
    )
