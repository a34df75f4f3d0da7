"""Cause of a failed run: the method, a metric, or the machine."""

import errno
from types import SimpleNamespace

import pytest

from supreme_core.api.v1alpha1 import Component
from supreme_core.errors import CorruptArtefact, GivenUp, MethodFailed
from supreme_core.randomness.streams import Streams
from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Cost
from supreme_core.scoring.run_scoring import (
    ReadInputs,
    Scoring,
    Unlearned,
    cause_of,
    read_cost,
    read_metrics,
    reason,
)
from tests.core.components.metrics.evaluations import predictions


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


COST = {"wall_seconds": 1.5, "device_seconds": 1, "peak_memory_bytes": 10}


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"cost": None},
        {"cost": {}},
        {"cost": {**COST, "wall_seconds": "1"}},
        {"cost": {**COST, "wall_seconds": -1}},
        {"cost": {**COST, "wall_seconds": True}},
        {"cost": {**COST, "more": 1}},
        {"cost": {**COST, "is_shared": 1}},
    ],
)
def test_a_manifest_that_says_no_cost_is_damaged(facts):
    with pytest.raises(CorruptArtefact, match="the facts of a manifest have no 'cost'"):
        read_cost(facts)


def test_numbers_of_a_manifest_are_read_as_they_stand_there():
    assert read_cost({"cost": COST}).to_facts() == COST
    further = {**COST, "is_shared": True, "passes": 12}
    assert read_cost({"cost": further}).to_facts() == further
    assert read_metrics({"metrics": {"accuracy": 0, "loss": None}}) == {"accuracy": 0, "loss": None}


def test_a_cost_of_a_shared_device_stays_out_of_the_numbers():
    names = ("wall_seconds", "device_seconds", "peak_memory_bytes", "speed_up")
    scoring = Scoring(
        metrics={name: metric.resolve(Component(name=name), at="") for name in names},
        inputs=SimpleNamespace(method="ssd", repeat=0),
        forgets="classes",
        streams=Streams(0),
        repeats=1,
    )

    def missing(**shared):
        costs = [Cost(1.0, 2.0, 3, is_shared=shared.get(of, False)) for of in ("own", "retrained")]
        own = Unlearned(predictions(), {}, costs[0])
        others = {name: predictions() for name in ("original", "retrained")}
        values = scoring.values(ReadInputs(own, others, costs[1], {}))
        return {name for name, value in values.items() if value is None}

    assert missing() == set()
    assert missing(own=True) == set(names)
    assert missing(retrained=True) == {"speed_up"}


@pytest.mark.parametrize("metrics", [None, [], {"accuracy": "1"}, {"accuracy": True}])
def test_a_manifest_that_says_no_metrics_is_damaged(metrics):
    with pytest.raises(CorruptArtefact, match="the facts of a manifest have no"):
        read_metrics({"metrics": metrics})
