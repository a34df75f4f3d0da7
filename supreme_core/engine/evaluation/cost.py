"""Cost of a piece of work: wall time, device time, memory. Evaluation is never inside."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from supreme_core.engine.ranks.device import finish_work
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.scoring.evaluation import Cost

STATUS = Path("/proc/self/status")
CLEAR_REFERENCES = Path("/proc/self/clear_refs")


class CostMeter:
    """The cost of the block that `measured` wrapped, over all ranks."""

    cost: Cost

    def add(self, earlier: Cost | None) -> None:
        """Count what interrupted attempts at the same block took."""
        if earlier:
            self.cost = Cost(
                wall_seconds=self.cost.wall_seconds + earlier.wall_seconds,
                device_seconds=self.cost.device_seconds + earlier.device_seconds,
                peak_memory_bytes=max(self.cost.peak_memory_bytes, earlier.peak_memory_bytes),
            )


@contextmanager
def measured(ranks: Ranks) -> Iterator[CostMeter]:
    """Measure a block that all ranks run; every rank gets the same numbers afterwards."""
    meter = CostMeter()
    _start_memory(ranks.device)
    finish_work(ranks.device)
    wall, processor = time.perf_counter(), time.process_time()
    yield meter
    finish_work(ranks.device)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    meter.cost = Cost(
        wall_seconds=max(ranks.each(wall)),
        device_seconds=sum(ranks.each(processor if ranks.device.type == "cpu" else wall)),
        peak_memory_bytes=int(max(ranks.each(float(peak_memory(ranks.device))))),
    )


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
