"""One switch for determinism, and the words for what a result was computed on."""

import os
from typing import Any

import torch

from supreme_core.environment import environment as numpy_environment
from supreme_core.environment import version

THREADS = 1
"""Threads of one rank on a CPU. Their number is part of the numerics (partial sums differ), so it
is fixed, and cores are used by ranks and by seeds side by side."""


def configure(device: torch.device) -> None:
    """Make every later operation deterministic, or an error; call it before CUDA starts."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cpu":
        torch.set_num_threads(THREADS)


def environment(device: torch.device, *, library: str = "") -> dict[str, Any]:
    """What a stage ran on, as its manifest and the report name it.

    library: the distribution that the model's code comes from, "" for our own.
    """
    facts: dict[str, Any] = {
        **numpy_environment(),
        "torch": str(torch.__version__),
        "device": "cpu",
        "threads": THREADS,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    if library:
        facts[library] = version(library)
    if device.type == "cuda":
        facts |= {
            "device": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts
