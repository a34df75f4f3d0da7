"""Train and eval mode of a model, left as they were found."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Every module in one mode inside, and in its own mode afterwards, also after an error.

    What is frozen stays in eval mode: the statistics of a BatchNorm belong to its weights.
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    if training and not all(weight.requires_grad for weight in model.parameters()):
        for module, _ in before:
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training
