"""Errors that come from a fault of a device, of memory, of a group of ranks or of a machine.

The classes are those of torch; the words are what torch, CUDA and its libraries were seen to say.
"""

import errno

import pytest
import torch
from torch import distributed

from supreme_core.errors import GraphFault, MethodFailed, SpecError, SupremeError
from supreme_core.system.ending import as_told
from supreme_core.system.faults import fault_of, raise_fault

CUDA = (
    "an illegal memory access was encountered",
    "device-side assert triggered",
    "uncorrectable ECC error encountered",
    "unspecified launch failure",
    "misaligned address",
    "the launch timed out and was terminated",
    "no CUDA-capable device is detected",
)
DEVICE = [
    *(torch.AcceleratorError(f"CUDA error: {words}\nCompile with ...") for words in CUDA),
    *(RuntimeError(f"CUDA error: {words}") for words in CUDA),  # as torch up to 2.7 says it
    torch.AcceleratorError("without a word that is known"),
    RuntimeError("CUDA driver error: invalid device context"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"),
    RuntimeError("HIP error: invalid device function"),
    GraphFault("a CUDA graph gave other bits"),
]
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
    torch.AcceleratorError("CUDA error: out of memory"),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 3 bytes"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: 3 bytes"),
    RuntimeError("unable to mmap 8 bytes from file </x>: Cannot allocate memory (12)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
]
RANKS = [
    distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled cuda error"),
    distributed.DistNetworkError("the connection was closed"),
    RuntimeError("NCCL error in: ProcessGroupNCCL.cpp"),
    RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed"),
]
MACHINE = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
]
NONE = [
    MethodFailed("the loss is not finite"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("Expected all tensors to be on the same device, cuda:0 and cpu"),
    RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if ..."),
    RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm(...)`"),
    ValueError("CUDA error"),
    KeyError("out of memory"),
    FileNotFoundError(errno.ENOENT, "No such file"),
    OSError("no number"),
]
KINDS = {"device": DEVICE, "memory": MEMORY, "ranks": RANKS, "machine": MACHINE, None: NONE}
TABLE = [(error, fault) for fault, errors in KINDS.items() for error in errors]


@pytest.mark.parametrize(("error", "fault"), TABLE, ids=repr)
def test_an_error_is_told_by_its_class_or_its_words(error, fault):
    assert fault_of(error) == fault


def caught_and_raised(cause, *, quiet):
    """Return the error that replaces another, as a method with a message of its own raises it."""
    try:
        try:
            raise cause
        except Exception as error:
            if quiet:
                raise ValueError("no such layer") from None
            raise MethodFailed("the method did not work") from error
    except Exception as error:
        return error


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("fault", ["device", "memory", "ranks", "machine"])
def test_an_error_in_the_place_of_a_fault_is_the_fault(fault, quiet):
    assert fault_of(caught_and_raised(KINDS[fault][0], quiet=quiet)) == fault
    assert fault_of(ExceptionGroup("two", [ValueError("no"), KINDS[fault][0]])) == fault


def test_of_several_faults_that_of_the_device_counts():
    error = caught_and_raised(MEMORY[0], quiet=False)
    error.__cause__.__context__ = DEVICE[0]
    assert fault_of(error) == "device"


def test_errors_that_lead_to_one_another_in_a_circle_are_no_trap():
    error, other = ValueError("one"), ValueError("two")
    error.__cause__, other.__cause__ = other, error
    assert fault_of(error) is None


@pytest.mark.parametrize("error", [DEVICE[0], MEMORY[0], MEMORY[2]], ids=repr)
def test_a_command_tells_of_a_fault_in_a_line_and_blames_nobody(error):
    told = as_told(error)
    assert type(told) is SupremeError
    assert "\n" not in str(told)
    assert not isinstance(told, SpecError)


def test_only_faults_are_raised_again():
    raise_fault(ValueError("no"))
    with pytest.raises(MemoryError):
        raise_fault(MemoryError())
