"""Differences between a CPU, a GPU of NVIDIA (cuda) and one of Apple (mps), in one place.

| what                   | cpu            | cuda          | mps                          |
| ---------------------- | -------------- | ------------- | ---------------------------- |
| images and kernels lie | channels last  | channels last | contiguous                   |
| sums in float64 are on | it             | it            | the CPU: it has no float64   |
| copies to the device   | there are none | run aside     | are waited for               |
| most memory            | of the process | of tensors    | that Metal gave this process |
| images evaluated, and  | 256            | 512           | 256                          |
| gradients, at one time | 2**22          | 2**26         | 2**22                        |

Nobody has run it on an Apple machine. Why mps differs: torch's BatchNorm raises in the backward
pass of images that lie channels last (pytorch PR 188371), and a copy that runs aside reads what its
source has become meanwhile (pytorch issue 139550).
"""

import gc
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from supreme_core.errors import SpecError

WITHOUT_A_WAY = (
    r"(?P<repeated>\S+) does not have a deterministic implementation"
    r"|The operator '(?P<missing>[^']+)' is not currently implemented"
)
"""Beginnings of torch's errors where a device has no way to do something, or none that gives the
same bits again."""

DRIVER = Path("/proc/driver/nvidia/version")

EVALUATION_BATCH: Final = {"cpu": 256, "cuda": 512, "mps": 256}
"""Images of one pass of an evaluation, by kind of device.

Fixed, because the bits of a convolution can depend on the size of the batch: what memory is free
decides no bit."""

GRADIENT_ELEMENTS: Final = {"cpu": 2**22, "cuda": 2**26, "mps": 2**22}
"""Most elements of a layer's per-sample gradients alive at once, or one sample's, by kind of
device. More is slower on a CPU, as it misses the cache; fewer are more launches on a GPU. Fixed,
because the order of additions depends on it."""

MPS_SINCE = (2, 15)
"""The first torch that refuses the operations of mps whose results are others from call to call."""


def chosen(asked: str) -> str:
    """The kind of device for `auto`, `cpu`, `cuda` or `mps`; SpecError where it is not here.

    auto is never mps: it computes less, and numbers of a CPU are those that have been tried.
    """
    if asked == "auto":
        return "cuda" if _why_no_cuda() is None else "cpu"
    why = {"cuda": _why_no_cuda, "mps": _why_no_mps}.get(asked, lambda: None)()
    if why:
        raise SpecError(f"--device is {asked}, but {why}; use cpu or auto")
    return asked


def _why_no_cuda() -> str | None:
    if torch.version.hip:
        return "this torch is for AMD's GPUs (ROCm), on which nothing was tried"
    if torch.cuda.is_available():
        return None
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if given is None else f", where CUDA_VISIBLE_DEVICES is {given!r}"
    return f"torch sees no CUDA device here{hidden}"


def _why_no_mps() -> str | None:
    if not torch.backends.mps.is_available():
        return "torch sees no GPU of Apple here"
    if not is_torch_since(MPS_SINCE):
        needed = ".".join(map(str, MPS_SINCE))
        return (
            f"torch {torch.__version__} does not refuse what it cannot repeat there; {needed} does"
        )
    return None


def is_torch_since(version: tuple[int, int]) -> bool:
    """Return whether this torch is of a version, or of a later one."""
    return tuple(map(int, torch.__version__.split(".")[:2])) >= version


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The values on a device; on CUDA without a wait for what it is still computing."""
    return values.to(device, non_blocking=device.type == "cuda")


def layout(device: torch.device) -> torch.memory_format:
    """Memory format of images and kernels."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def for_float64(values: Tensor) -> Tensor:
    """The same values where there is float64: on their device, or else on the CPU."""
    return values.cpu() if values.device.type == "mps" else values


def finish_work(device: torch.device) -> None:
    """Wait for what a GPU is still computing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def name(device: torch.device) -> str:
    """Name of the device in the report."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{_chip()} (mps)"
    return "cpu"


def which(device: torch.device) -> str:
    """The name of a device and, of a GPU of NVIDIA, what tells it from others of that name."""
    if device.type != "cuda":
        return name(device)
    return f"{name(device)}, GPU-{torch.cuda.get_device_properties(device).uuid}"


def cuda_facts(device: torch.device) -> dict[str, Any]:
    """Facts of a GPU of NVIDIA and of its libraries by which kernels are chosen, and with them
    bits.

    The name of a slice by MIG has its profile; memory and multiprocessors are those of the slice.
    """
    properties = torch.cuda.get_device_properties(device)
    return {
        "capability": f"{properties.major}.{properties.minor}",
        "memory": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "driver": _driver(),
        "cublas": _version_of("nvidia-cublas"),
        "nccl": _version_of("nvidia-nccl"),
    }


def _driver() -> str:
    """Version of NVIDIA's kernel module, such as `550.54.15`."""
    with suppress(OSError):
        words = DRIVER.read_text().split()
        found = (word for word in words if re.fullmatch(r"\d+(\.\d+)+", word))
        return next(found, "unknown")
    return "unknown"


def _version_of(prefix: str) -> str:
    """Version of the package whose name is the prefix, or that and CUDA's number, as `-cu12`."""
    named = re.compile(rf"{prefix}(-cu\d+)?")
    found = (each.version for each in metadata.distributions() if named.fullmatch(each.name or ""))
    return next(found, "unknown")


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


def release_memory(device: torch.device) -> None:
    """Give back what nobody uses any more, of the process and of torch's cache for a GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _chip() -> str:
    """Name of the chip, such as `Apple M2 Pro`."""
    ask = ["sysctl", "-n", "machdep.cpu.brand_string"]
    with suppress(OSError):
        told = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        if told:
            return told
    return platform.machine()
