"""One switch for determinism, and the words for what a result was computed on."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from supreme_core.api.v1alpha1 import Precision
from supreme_core.engine.images.randomness import check_draws
from supreme_core.engine.ranks.device import name
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import SpecError
from supreme_core.store.environment import environment as numpy_environment
from supreme_core.store.environment import version

THREADS = 1
"""Threads of one rank on a CPU. Their number is part of the numerics (partial sums differ), so it
is fixed, and cores are used by ranks and by seeds side by side."""

WITHOUT_A_WAY = (
    r"(?P<repeated>\S+) does not have a deterministic implementation"
    r"|The operator '(?P<missing>[^']+)' is not currently implemented"
)
"""Beginnings of torch's errors where a device has no way to do something, or none that gives the
same bits again."""


def configure(device: torch.device, precision: Precision) -> None:
    """Make every later operation deterministic, or an error; call it before CUDA starts."""
    torch.set_default_dtype(torch.float64 if precision == "fp64" else torch.float32)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
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


@contextmanager
def naming_operations(device: torch.device) -> Iterator[None]:
    """SpecError names the operation where torch has no deterministic way to do it."""
    try:
        yield
    except RuntimeError as error:
        words = re.match(WITHOUT_A_WAY, str(error))
        if not words:
            raise
        instead = "use a model, a method or a device that does without"
        if words["missing"]:
            what = f"torch has no {words['missing']} for {device.type}"
        else:
            what = (
                f"{words['repeated']} has no deterministic implementation on {device.type}, so no"
                " seed could be repeated"
            )
        raise SpecError(f"{what}; {instead}") from error


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
        }
    if device.type == "mps":
        facts["macos"] = platform.mac_ver()[0]  # its kernels are part of the system
    return facts
