"""Whose fault a failed run is: that of the method, of a metric, or of the machine."""

import errno

import pytest

from supreme_core.errors import GivenUp, MethodFailed
from supreme_core.scoring import cause_of, reason


class OutOfMemoryError(RuntimeError):
    """Named like that of torch."""


class CudaOutOfMemory(OutOfMemoryError):
    """A subclass of it."""


MACHINE = [
    MemoryError("no"),
    OutOfMemoryError("CUDA out of memory"),
    CudaOutOfMemory("x"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 3 bytes"),
    RuntimeError("NCCL error in: ProcessGroupNCCL.cpp"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
]
OWN = [
    MethodFailed("the loss is not finite"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("CUDA error"),
    FileNotFoundError(errno.ENOENT, "No such file"),
    OSError("no number"),
]


@pytest.mark.parametrize("error", MACHINE, ids=repr)
@pytest.mark.parametrize("during", ["", "metrics"])
def test_memory_disks_and_devices_are_no_fault_of_a_method_or_a_metric(error, during):
    assert cause_of(error, during=during) == "infrastructure"


@pytest.mark.parametrize("error", OWN, ids=repr)
def test_everything_else_is(error):
    assert cause_of(error) == "method"
    assert cause_of(error, during="metrics") == "metric"


def test_a_reason_says_first_where_memory_ran_out_or_a_device_failed():
    assert reason(MemoryError("no"), during="metrics") == "metrics: out of memory: MemoryError: no"
    assert reason(GivenUp("device fault: X: y (on cpu)")) == "device fault: X: y (on cpu)"
    assert cause_of(GivenUp("device fault: X: y (on cpu)")) == "infrastructure"
