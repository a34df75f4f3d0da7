"""CPU cores of a process."""

import os
from pathlib import Path
from typing import Final

LIMITS: Final = Path("/sys/fs/cgroup")
"""Folder in which a container sees what Linux allows it."""


def cores(limits: Path = LIMITS) -> int:
    """CPU cores that this process may keep busy: what it is bound to, and its container's limit."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, _limit(limits) or mine)


def _limit(folder: Path) -> int | None:
    """Whole cores in a container's limit of CPU time, at least 1; None where it has none."""
    for quota, period in (
        (folder / "cpu.max", folder / "cpu.max"),
        (folder / "cpu/cpu.cfs_quota_us", folder / "cpu/cpu.cfs_period_us"),  # cgroups version 1
    ):
        try:
            time, every = quota.read_text().split()[0], period.read_text().split()[-1]
        except (OSError, IndexError):
            continue
        if time.isdecimal() and every.isdecimal():  # else `max` or -1: as much as there is
            return max(1, int(time) // int(every))
    return None
