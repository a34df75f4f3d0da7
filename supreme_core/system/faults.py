"""Faults of a device, of memory and of a machine, told from the errors that code raises. Pure.

| fault   | such as                                   | the process afterwards               |
| ------- | ----------------------------------------- | ------------------------------------ |
| device  | ECC error, illegal address, device assert | every later call to the device fails |
| memory  | no room on the device, or in the host     | sound, as soon as memory is released |
| ranks   | NCCL or gloo cannot reach another rank    | its group of ranks is of no more use |
| machine | a full disk, an input/output error        | sound                                |

None of them says anything of the method, the metric or the model that met it.
"""

import errno
from collections.abc import Iterator
from typing import Final, Literal

Fault = Literal["device", "memory", "ranks", "machine"]

WORST: Final[tuple[Fault, ...]] = ("device", "ranks", "memory", "machine")
"""Faults in order: of several errors that led to one another the first counts, which leaves the
least behind."""

CLASSES: Final[dict[str, Fault]] = {
    "OutOfMemoryError": "memory",
    "DistBackendError": "ranks",
    "DistNetworkError": "ranks",
    "AcceleratorError": "device",
    "GraphFault": "device",
}
"""Classes of torch, of libraries beside it, and of errors.py, by their names: torch is not imported
here."""

WORDS: Final[tuple[tuple[Fault, tuple[str, ...]], ...]] = (
    (
        "memory",
        (
            *("out of memory", "out_of_memory", "can't allocate memory", "cannot allocate memory"),
            *("not enough memory", "memoryallocation", "alloc_failed", "std::bad_alloc"),
            # What cuDNN says where no plan's workspace fits.
            *("unable to find an engine", "unable to find a valid cudnn algorithm"),
        ),
    ),
    ("ranks", ("nccl error", "ncclsystemerror", "ncclinternalerror", "ncclremoteerror", "gloo/")),
    ("machine", ("no space left on device", "input/output error")),
    (
        "device",
        (
            *("cuda error", "cuda driver error", "cuda runtime error", "error [cuda]", "cudaerror"),
            *("cuda_error_", "hip error", "device-side assert", "cublas_status_", "cublas error"),
            *("cudnn_status_", "cudnn error", "cusolver_status_", "cusparse_status_"),
            *("cufft_", "mps backend error", "ecc error"),
        ),
    ),
)
"""Words of a RuntimeError, in lower case; the first kind with such words counts."""

OF_THE_CALLER: Final = (
    *("status_not_supported", "status_bad_param", "status_invalid_value", "status_arch_mismatch"),
    "matrix_type_not_supported",
)
"""Answers of the same libraries to a call that cannot be: the same on every device."""

ERRNOS: Final[dict[int, Fault]] = {
    errno.ENOMEM: "memory",
    errno.ENOSPC: "machine",
    errno.EDQUOT: "machine",
    errno.EIO: "machine",
    errno.ENODEV: "machine",
    errno.ENXIO: "machine",
}


def fault_of(error: BaseException) -> Fault | None:
    """The fault that an error comes from, by itself or by what led to it; None for other errors.

    An error that was raised while a fault was handled comes from the fault, whatever it says.
    """
    found = {fault for each in _history(error) if (fault := _own(each))}
    return next((fault for fault in WORST if fault in found), None)


def raise_fault(error: BaseException) -> None:
    """Raise an error again that comes from a fault, before it is taken for somebody's mistake."""
    if fault_of(error):
        raise error


def _history(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        parts = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        waiting += [one for one in (each.__cause__, each.__context__, *parts) if one is not None]


def _own(error: BaseException) -> Fault | None:
    if isinstance(error, OSError):
        return ERRNOS.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return "memory"
    text = str(error).lower()
    if any(word in text for word in WORDS[0][1]) and isinstance(error, RuntimeError):
        return "memory"  # AcceleratorError says it too, and leaves the device sound
    names = (kind.__name__ for kind in type(error).__mro__)
    if fault := next((CLASSES[name] for name in names if name in CLASSES), None):
        return fault
    if not isinstance(error, RuntimeError) or any(word in text for word in OF_THE_CALLER):
        return None
    return next((kind for kind, words in WORDS if any(word in text for word in words)), None)
