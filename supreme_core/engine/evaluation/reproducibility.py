"""One switch for determinism, and the words for what a result was computed on."""

import os
import platform
from typing import Any

import torch

from supreme_core.api.v1alpha1 import Precision
from supreme_core.engine.images.randomness import check_draws
from supreme_core.engine.ranks.device import cuda_facts, name
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import SpecError
from supreme_core.store.environment import environment as numpy_environment
from supreme_core.store.environment import version
from supreme_core.system.variables import FIXED

THREADS = 1
"""Threads of one rank on a CPU. Their number is part of the numerics (partial sums differ), so it
is fixed, and cores are used by ranks and by seeds side by side."""

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"

OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""Variable that some images set for NVIDIA's libraries, over torch's switches."""


def configure(
    device: torch.device, precision: Precision, *, evaluation: Precision = "fp32"
) -> None:
    """Make every later operation deterministic, or an error; call it before CUDA multiplies.

    precision: of trainings.  evaluation: of predictions.
    SpecError where a variable has a GPU compute otherwise than asked for.
    """
    _refuse_override(device, "training.precision", precision)
    _refuse_override(device, "evaluationPrecision", evaluation)
    torch.set_default_dtype(torch.float64 if precision == "fp64" else torch.float32)
    os.environ[WORKSPACE] = FIXED[WORKSPACE]
    torch.use_deterministic_algorithms(True)
    # Else torch fills each new tensor before its first use: a launch for each, and no other bit.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cpu":
        torch.set_num_threads(THREADS)
    if device.type == "mps":
        check_draws(device)


def _refuse_override(device: torch.device, field: str, precision: Precision) -> None:
    """SpecError where NVIDIA's libraries take TF32, or do without, whatever torch asks them for."""
    value = os.environ.get(OVERRIDE, "")
    harmless = ("", "0") if precision != "tf32" else ("",)
    if device.type == "cuda" and value not in harmless:
        raise SpecError(
            f"{OVERRIDE} is {value!r}, which goes before spec.{field} {precision!r}, so"
            " results would not be what they say; unset it"
        )


def environment(ranks: Ranks, *, reduction: str, library: str = "") -> dict[str, Any]:
    """Environment that a stage ran in, as its manifest and the report name it.

    reduction: the number of ranks is part of it only where results depend on it.  library: the
    distribution that the model's code comes from, "" for our own.
    """
    device = ranks.device
    facts: dict[str, Any] = {
        **numpy_environment(),
        "torch": str(torch.__version__),
        "device": name(device),
        "threads": THREADS,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    if reduction == "ddp":
        facts["ranks"] = ranks.size
    if library:
        facts[library] = version(library)
    if device.type == "cuda":
        facts |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            **cuda_facts(device),
        }
    if device.type == "mps":
        facts["macos"] = platform.mac_ver()[0]  # its kernels are part of the system
    return facts
