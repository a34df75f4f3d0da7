"""Cost of a piece of work: wall time, device time, memory, passes. Evaluation is never inside."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch

from supreme_core.engine.networks import passes
from supreme_core.engine.ranks.device import finish_work
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.scoring.evaluation import Cost

STATUS = Path("/proc/self/status")
CLEAR_REFERENCES = Path("/proc/self/clear_refs")


class CostMeter:
    """Meter of a block of work that all ranks do, of which evaluations are left out.

    It is made before the block has put anything on a GPU: what lies there by then, such as a
    dataset, is none of the block's memory.

    earlier: what interrupted attempts at the same block took.  cost: that of the block with these
    attempts, once the block is done; the same on every rank.
    """

    cost: Cost

    def __init__(self, ranks: Ranks) -> None:
        self.earlier: Cost | None = None
        self._ranks = ranks
        self._before = _allocated(ranks.device)
        self._wall = self._processor = 0.0
        self._peak = 0
        self._passes = passes.Passes()
        self._began: tuple[float, float, passes.Passes] | None = None

    @contextmanager
    def measured(self) -> Iterator[Self]:
        """Measure the block inside."""
        self._go_on()
        yield self
        self._stop()
        ranks = self._ranks
        self.cost = self._with_earlier(
            wall=max(ranks.each(self._wall)),
            device=sum(ranks.each(self._on_device)),
            peak=int(max(ranks.each(float(self._peak)))),
            made=self._passes.over(ranks),
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let what happens inside, in the middle of a block, cost nothing."""
        is_running = self._began is not None
        if is_running:
            self._stop()
        try:
            with passes.uncounted():
                yield
        finally:
            if is_running:
                self._go_on()

    def go_on_from(self, earlier: Cost) -> None:
        """Continue a block that was interrupted after `earlier`.

        What this attempt has done again until here takes time a second time, but it is the same
        work, so its passes are those that `earlier` has.
        """
        self.earlier = earlier
        passes.count_instead(self._made, earlier.passes or 0)
        self._passes = passes.Passes()
        if self._began is not None:
            self._began = (*self._began[:2], passes.so_far())

    @property
    def passes_so_far(self) -> int:
        """Passes until now, also of a block that has failed."""
        return self._made.estimated(self._ranks) + ((self.earlier and self.earlier.passes) or 0)

    @property
    def _made(self) -> passes.Passes:
        """Passes of this attempt until now."""
        if self._began is None:
            return self._passes
        return self._passes + (passes.so_far() - self._began[2])

    def so_far(self) -> Cost:
        """Cost until now; the other ranks are taken to have worked as long as this one."""
        if self._began is not None:
            self._stop()
            self._go_on()
        return self._with_earlier(
            wall=self._wall,
            device=self._on_device * self._ranks.size,
            peak=self._peak,
            made=self._passes.estimated(self._ranks),
        )

    def add(self, shared: Cost) -> None:
        """Count what the block was given, as if it had computed it, once it is done."""
        self.cost = _together(self.cost, shared)

    def _with_earlier(self, *, wall: float, device: float, peak: int, made: int) -> Cost:
        own = Cost(wall, device, peak, passes=made, is_shared=self._ranks.shares_device)
        return _together(self.earlier or Cost(0.0, 0.0, 0, passes=0), own)

    @property
    def _on_device(self) -> float:
        return self._processor if self._ranks.device.type == "cpu" else self._wall

    def _go_on(self) -> None:
        _start_memory(self._ranks.device)
        finish_work(self._ranks.device)
        self._began = time.perf_counter(), time.process_time(), passes.so_far()

    def _stop(self) -> None:
        assert self._began is not None
        finish_work(self._ranks.device)
        wall, processor, made = self._began
        self._wall += time.perf_counter() - wall
        self._processor += time.process_time() - processor
        self._passes += passes.so_far() - made
        self._peak = max(self._peak, peak_memory(self._ranks.device) - self._before)
        self._began = None


def _together(one: Cost, other: Cost) -> Cost:
    return Cost(
        wall_seconds=one.wall_seconds + other.wall_seconds,
        device_seconds=one.device_seconds + other.device_seconds,
        peak_memory_bytes=max(one.peak_memory_bytes, other.peak_memory_bytes),
        passes=None if one.passes is None or other.passes is None else one.passes + other.passes,
        is_shared=one.is_shared or other.is_shared,
    )


def _allocated(device: torch.device) -> int:
    """Bytes of tensors on a GPU; 0 where memory is counted by process."""
    return int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else 0


def _start_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()
    else:
        try:
            CLEAR_REFERENCES.write_text("5")  # Linux: the peak of this process starts again
        except OSError:
            pass  # elsewhere the peak is that of the whole process, an upper bound


def peak_memory(device: torch.device) -> int:
    """Most bytes of this rank so far: allocated on a GPU, resident on a CPU.

    Metal tells no peak; what it gives to a process it leaves there until it is asked to take it.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024
