"""Cost of a piece of work. Times are only compared with what must be true on any machine.

Evaluation is outside by construction: a cost is that of the block, and no block here or in the
trainer holds a call of `predict`. Memory is that of a process of its own: in one that holds much,
the system may take some back while a block allocates.
"""

import os
import resource
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from supreme_core.engine.evaluation import cost
from supreme_core.engine.evaluation.cost import CLEAR_REFERENCES, measured, peak_memory
from supreme_core.engine.ranks.ranks import Ranks
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
        with measured(ranks) as meter:
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
    with clock_watched() as outside, measured(ALONE) as meter, clock_watched() as inside:
        worked_for(100_000)
    assert inside[0] <= meter.cost.wall_seconds <= outside[0]
    assert inside[1] <= meter.cost.device_seconds <= outside[1]


def test_work_before_and_after_the_block_is_not_counted():
    with clock_watched() as outside:
        worked_for(100_000)
        with measured(ALONE) as meter:
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
    with pytest.raises(ZeroDivisionError), measured(ALONE) as meter:
        _ = 1 / 0
    assert not hasattr(meter, "cost")


def uneven(ranks):
    """Rank 1 holds 100 MB and works, rank 0 does nothing."""
    with measured(ranks) as meter:
        if not ranks.is_main:
            bytearray(b"\1") * (100 * MEGABYTE)
            worked_for(1_000_000)
    alone = Ranks.alone(ranks.device)
    with measured(alone) as idle:
        pass
    return meter.cost, idle.cost


def test_every_rank_is_told_the_cost_of_all():
    """The largest memory, and the sum of device times, also on the rank that did nothing."""
    (cost, idle), (same, _) = on_two_ranks(uneven)
    assert cost == same
    assert cost.peak_memory_bytes - idle.peak_memory_bytes > 50 * MEGABYTE
    assert cost.device_seconds > 0
