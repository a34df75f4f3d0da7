"""Machine that trainers run on: its system, its memory."""

import sys
from contextlib import suppress
from pathlib import Path

from supreme_core.errors import EXIT_INVALID
from supreme_core.system.cores import LIMITS

MEMORY = Path("/proc/meminfo")


def check_system(platform: str) -> None:
    """End this process where nothing can run on the system.  platform: sys.platform.

    In plain Python: what would tell an error otherwise may not be importable there.
    """
    if platform in ("win32", "cygwin"):
        words = "error: SUPREME runs on Linux and macOS; on Windows, install and run it in WSL2"
        print(words, file=sys.stderr)
        sys.exit(EXIT_INVALID)


def free_memory(limits: Path = LIMITS, told: Path = MEMORY) -> int | None:
    """Bytes that new processes may take: what the system has, within the container's limit; None
    where neither says so."""
    found = []
    with suppress(OSError):
        lines = [line.split() for line in told.read_text().splitlines()]
        found += [int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"]
    with suppress(OSError, ValueError):  # `max` is no number: as much as there is
        limit = int((limits / "memory.max").read_text())
        kept = (limits / "memory.stat").read_text().splitlines()
        cache = sum(int(line.split()[1]) for line in kept if line.startswith("inactive_file "))
        used = int((limits / "memory.current").read_text())
        found.append(max(0, limit - used + cache))  # the system takes that back where it needs it
    return min(found, default=None)
