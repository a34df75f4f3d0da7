"""Cost of a piece of work. Times are only compared with what must be true on any machine.

Memory is that of a process of its own: in one that holds much, the system may take some back while
a block allocates. What a GPU holds is told by a stand-in for torch.cuda.
"""

import itertools
import os
import resource
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import inf

import pytest
import torch

from supreme_core.components.methods.finetune import FinetuneParams, finetune
from supreme_core.engine.evaluation import cost
from supreme_core.engine.evaluation.cost import CLEAR_REFERENCES, CostMeter, peak_memory
from supreme_core.engine.networks import passes
from supreme_core.engine.ranks.failure_watch import Watch
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.scoring.evaluation import Cost
from supreme_core.system.cores import cores
from supreme_core.system.variables import WORKERS_ON_DEVICE
from tests.builders import Slot, tiny_network, tiny_task
from tests.real_ranks import on_ranks, on_two_ranks

ALONE = Ranks.alone(torch.device("cpu"))
MEGABYTE = 1024 * 1024

knows_peaks = pytest.mark.skipif(
    not os.access(CLEAR_REFERENCES, os.W_OK),
    reason="the peak of a single block needs Linux's /proc",
)


def peaks_after(ranks, *blocks):
    """Peak memory of each block, which touches so many megabytes and gives them back."""
    peaks = []
    for megabytes in blocks:
        with CostMeter(ranks).measured() as meter:
            bytearray(b"\1") * (megabytes * MEGABYTE)
        peaks.append(meter.cost.peak_memory_bytes)
    return peaks


@contextmanager
def clock_watched():
    """The seconds of wall and processor time around a block, as [wall, processor] afterwards."""
    seconds = [time.perf_counter(), time.process_time()]
    yield seconds
    seconds[:] = time.perf_counter() - seconds[0], time.process_time() - seconds[1]


def worked_for(rounds):
    total = 0
    for number in range(rounds):
        total += number * number
    return total


def test_times_are_those_of_the_block_and_of_nothing_around_it():
    block = CostMeter(ALONE).measured()
    with clock_watched() as outside, block as meter, clock_watched() as inside:
        worked_for(100_000)
    assert inside[0] <= meter.cost.wall_seconds <= outside[0]
    assert inside[1] <= meter.cost.device_seconds <= outside[1]


def test_work_before_and_after_the_block_is_not_counted():
    with clock_watched() as outside:
        worked_for(100_000)
        with CostMeter(ALONE).measured() as meter:
            pass
        worked_for(100_000)
    assert 0 <= meter.cost.wall_seconds < outside[0]


@knows_peaks
def test_peak_memory_holds_200_megabytes_that_were_touched_and_given_back():
    ((without, with_memory),) = on_ranks(1, peaks_after, 0, 200)
    assert with_memory - without > 150 * MEGABYTE


@knows_peaks
def test_the_peak_of_an_earlier_block_does_not_stick():
    ((with_memory, without),) = on_ranks(1, peaks_after, 200, 0)
    assert with_memory - without > 150 * MEGABYTE


def test_what_happens_in_a_pause_takes_no_time():
    with CostMeter(ALONE).measured() as meter, clock_watched() as inside:
        with meter.paused():
            before = meter.so_far()
            worked_for(1_000_000)
            assert meter.so_far() == before
        worked_for(1)
    assert before.wall_seconds < meter.cost.wall_seconds < inside[0]
    assert meter.cost.device_seconds < inside[1] / 2


def test_a_pause_outside_of_a_block_is_no_pause():
    meter = CostMeter(ALONE)
    with meter.paused():
        pass
    assert meter.so_far() == Cost(0.0, 0.0, 0, passes=0)


def test_what_a_block_was_given_is_counted_as_its_own():
    with CostMeter(ALONE).measured() as meter:
        pass
    own = meter.cost
    meter.add(Cost(2.0, 3.0, own.peak_memory_bytes + 5))
    assert meter.cost == Cost(
        own.wall_seconds + 2, own.device_seconds + 3, own.peak_memory_bytes + 5
    )


def test_a_cost_is_shared_where_any_part_of_it_is():
    shares = replace(ALONE, shares_device=True)
    costs = []
    for first, then in ((shares, ALONE), (ALONE, shares), (ALONE, ALONE)):
        meter = CostMeter(then)
        meter.earlier = CostMeter(first).so_far()
        with meter.measured():
            pass
        costs.append(meter.cost)
        meter.add(CostMeter(shares).so_far())
        assert meter.cost.is_shared

    assert [each.is_shared for each in costs] == [True, True, False]
    assert ["is_shared" in each.to_facts() for each in costs] == [True, True, False]


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_processes_beyond_the_cores_share_them(monkeypatch, beside):
    """Each takes longer by the clock than alone, and tells of no speed that can be compared."""
    monkeypatch.setenv(WORKERS_ON_DEVICE, str(cores() + beside))
    ranks = Ranks.start("cpu", Watch(0, 1, lambda end: None), None)

    assert ranks.shares_device == (beside > 0)


def test_work_goes_on_to_count_after_a_pause_that_ended_the_method():
    """A look at the model that finds that it has forgotten enough ends the method so."""
    with CostMeter(ALONE).measured() as meter:
        with pytest.raises(ZeroDivisionError), meter.paused():
            _ = 1 / 0
        before = meter.so_far()
        worked_for(100_000)
    assert meter.cost.device_seconds > before.device_seconds


def peaks_around_a_pause(ranks):
    """Peak memory of a block with 200 MB in a pause, and of one with 200 MB before it."""
    peaks = []
    for before, within in ((0, 200), (200, 0)):
        with CostMeter(ranks).measured() as meter:
            bytearray(b"\1") * (before * MEGABYTE)
            with meter.paused():
                bytearray(b"\1") * (within * MEGABYTE)
        peaks.append(meter.cost.peak_memory_bytes)
    return peaks


@knows_peaks
def test_memory_of_a_pause_does_not_count_and_that_before_it_does():
    ((within, before),) = on_ranks(1, peaks_around_a_pause)
    assert before - within > 150 * MEGABYTE


def test_what_lay_on_a_gpu_before_is_none_of_the_memory(monkeypatch):
    """A dataset of 1,000 bytes, a network of 20 that is made before the block, 300 more in it."""
    allocated = {"now": 1000, "most": 1000}

    def allocate(more):
        allocated["now"] += more
        allocated["most"] = max(allocated.values())

    for name, answer in {
        "memory_allocated": lambda device: allocated["now"],
        "max_memory_allocated": lambda device: allocated["most"],
        "reset_peak_memory_stats": lambda device: allocated.update(most=allocated["now"]),
        "synchronize": lambda device: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    meter = CostMeter(Ranks.alone(torch.device("cuda", 0)))
    allocate(20)
    with meter.measured():
        allocate(300)
        allocate(-300)
        with meter.paused():
            allocate(5000)
            allocate(-5000)
    assert meter.cost.peak_memory_bytes == 320


@pytest.mark.parametrize(("system", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_without_proc_the_peak_is_what_the_system_tells_in_its_own_unit(
    monkeypatch, tmp_path, system, unit
):
    """macOS counts bytes, all others KiB."""
    monkeypatch.setattr(cost, "STATUS", tmp_path / "none")
    monkeypatch.setattr(sys, "platform", system)
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert told * unit <= peak_memory(torch.device("cpu")) < told * unit * 2


def test_a_block_that_raises_has_no_cost():
    with pytest.raises(ZeroDivisionError), CostMeter(ALONE).measured() as meter:
        _ = 1 / 0
    assert not hasattr(meter, "cost")


def fitted(ranks, *, share=inf, slot=None, stop_after=None, fails=False):
    """Work of every rank alike and three epochs of steps that ranks share, some of whose batches
    are odd; gives how it ended, and its passes.

    share: of the passes of all of it, more than which it may not take.
    """
    steps, interruption = itertools.count(1), Interruption(exit_code=143)

    def report(**step):
        if next(steps) == stop_after:
            interruption.request()

    numerics = NumericsPolicy(Reduction(ranks, micro_batches=2))
    task = tiny_task(
        model=passes.counted(tiny_network(3)),
        numerics=numerics,
        checkpoints=Checkpoints(ranks, interruption, slot),
        report=report,
    )
    meter, settings = task.checkpoints.meter, FinetuneParams(epochs=3, batch_size=7)
    try:
        with passes.limited(share * WHOLE), meter.measured():
            task.model(task.forget.batch(torch.arange(5)).images)
            finetune(task, settings)
            if fails:
                raise ZeroDivisionError
    except (passes.OverBudget, Terminated, ZeroDivisionError) as error:
        return type(error).__name__, meter.passes_so_far
    return "done", meter.cost.passes


WHOLE = 5 + 3 * 36 * 3
"""Passes of `fitted`: forward of five samples, and three epochs of 36 retained ones."""


@pytest.mark.parametrize(
    ("how", "ended", "made"),
    [
        ({}, "done", WHOLE),
        ({"share": 2.0, "fails": True}, "ZeroDivisionError", WHOLE),
        ({"share": 1.0}, "done", WHOLE),
        ({"share": 0.5}, "OverBudget", 5 + 36 * 3 + 3 * 21),
        ({"share": 0.01}, "OverBudget", 5),
    ],
)
def test_passes_until_the_end_are_the_same_on_one_rank_and_on_two(how, ended, made):
    assert fitted(ALONE, **how) == (ended, made)
    assert on_two_ranks(partial(fitted, **how)) == [(ended, made)] * 2


@pytest.mark.parametrize("stop_after", [2, 7])
def test_a_limit_counts_the_passes_of_an_attempt_that_was_stopped(stop_after):
    slot = Slot()
    assert fitted(ALONE, share=0.5, slot=slot, stop_after=stop_after)[0] == "Terminated"
    assert fitted(ALONE, share=0.5, slot=slot) == fitted(ALONE, share=0.5)


def uneven(ranks):
    """Rank 1 holds 100 MB and works, rank 0 does nothing."""
    with CostMeter(ranks).measured() as meter:
        if not ranks.is_main:
            bytearray(b"\1") * (100 * MEGABYTE)
            worked_for(1_000_000)
    alone = Ranks.alone(ranks.device)
    with CostMeter(alone).measured() as idle:
        pass
    return meter.cost, idle.cost


def test_every_rank_is_told_the_cost_of_all():
    """The largest memory, and the sum of device times, also on the rank that did nothing."""
    (cost, idle), (same, _) = on_two_ranks(uneven)
    assert cost == same
    assert cost.peak_memory_bytes - idle.peak_memory_bytes > 50 * MEGABYTE
    assert cost.device_seconds > 0
