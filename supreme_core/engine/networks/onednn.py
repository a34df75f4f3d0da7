"""Facts of oneDNN, which computes convolutions on a CPU for torch."""

import os
from typing import Final

import torch
from torch import nn

INSTRUCTIONS: Final = "ONEDNN_MAX_CPU_ISA"
"""Variable that names the newest instructions of the processor that oneDNN may use. It is read
once, before the first kernel."""

FEWEST_CHANNELS: Final = 8
"""Bound on channels: in torch 2.15 the heap was damaged with 1 to 6 of them, and not with 7
to 16."""


def keep_from_damage(network: nn.Module) -> None:
    """Have oneDNN do without AVX2 where its kernel for that writes past the end of an array.

    On processors with AVX2 and without AVX-512 it does so for the gradient of the weights of a 1x1
    convolution with stride 2 and few input channels in the layout channels_last: a training ends in
    "double free or corruption". Only such networks pay for it. Call it before the first pass.
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX2" and any(
        map(_is_narrow, network.modules())
    ):
        os.environ.setdefault(INSTRUCTIONS, "AVX")


def _is_narrow(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels // module.groups < FEWEST_CHANNELS
    )
