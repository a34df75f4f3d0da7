"""Knowledge of a model once its weights are rounded to a few bits."""

import torch
from torch import nn

from supreme_core.engine.toolbox.probe_task import ProbeTask
from supreme_core.registry import probe
from supreme_core.scoring.probe_settings import QuantisationSettings


@probe(version=2, source="Zhang et al. 2024, arXiv:2410.16454")
def quantisation(task: ProbeTask, params: QuantisationSettings) -> dict[str, float]:
    """Accuracy on each set of a copy whose matrices and kernels are rounded.

    Every parameter with two dimensions or more becomes s · round(w / s) with one scale
    s = max |w| / (2^(bits - 1) - 1) for the tensor; biases and norms keep their bits. Computed in
    floating point, as the same numbers.
    """
    network = task.subject.copy()
    quantise(network, bits=params.bits)
    return {on: task.accuracy(network, on) for on, samples in task.sets.items() if len(samples)}


@torch.no_grad()
def quantise(network: nn.Module, *, bits: int) -> None:
    """Round the weights in place: symmetric, a scale for each tensor."""
    levels = 2 ** (bits - 1) - 1
    for parameter in network.parameters():
        if parameter.ndim > 1 and (largest := parameter.abs().max()) > 0:
            scale = largest / levels
            parameter.copy_((parameter / scale).round() * scale)
