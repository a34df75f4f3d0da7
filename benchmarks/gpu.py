"""One GPU, at most eight minutes, no network: how fast it is, and whether its bits are stable.

    python -m benchmarks.gpu [--out gpu.json]               # from the repository root
    python -m benchmarks.gpu --device cpu --tiny            # the same paths; numbers mean nothing

Speed comes first, each part alone on the device, beside a plain loop of PyTorch in the same run;
then everything about bits, side by side. Each part is a process of its own. The file is written
after each of them, so that the time limit cuts off the rest only.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_bits
from supreme_core.system.variables import of_trainer

ROOT = Path(__file__).parents[1]
LIMIT = 465.0

ASKED = "name,driver_version,memory.total,clocks.sm,mig.mode.current"
"""Facts that nvidia-smi tells of a GPU."""

Found = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run of all parts.  end: time.monotonic() at which it is over."""

    device: str
    is_tiny: bool
    end: float

    def left(self) -> float:
        return max(1.0, self.end - time.monotonic())

    def part(self, name: str, *, most: float, reserve: float) -> Found:
        """Measurements of one part, as far as it comes.

        most: its seconds.  reserve: seconds that are left for later parts.
        """
        return _ended(self.started(name), min(most, max(20.0, self.left() - reserve)))

    def started(self, name: str) -> "subprocess.Popen[str]":
        words = [name, "--device", self.device, "--seconds", f"{self.left():.0f}"]
        if self.is_tiny:
            words.append("--tiny")
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_speed", *words],
            cwd=ROOT,
            env=of_trainer(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shared(self, count: int) -> Found:
        """Processes that train side by side on the device, all begun at once."""
        processes = [self.started("shared") for _ in range(count)]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
        for process in processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write("go\n")
                process.stdin.flush()
        each = [_ended(process, self.left()) for process in processes]
        rates = [found.get("ours", {}).get("images_per_s", 0.0) for found in each]
        return {"images_per_s_together": round(sum(rates), 1), "each": each}


def _ended(process: "subprocess.Popen[str]", seconds: float) -> Found:
    """Read what a process says until it ends or is killed: a measurement a line."""
    killer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    found: Found = {}
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(ValueError):
            found |= json.loads(line)
    killer.cancel()
    code = process.wait()
    return {**found, **({"exit_code": code} if code else {})}


def parts(run: Run) -> Iterator[tuple[str, Found]]:
    tiny = run.is_tiny
    yield "training", run.part("training", most=170, reserve=200)
    yield "ViT", run.part("vit", most=70, reserve=150)
    yield "sharing", {str(count): run.shared(count) for count in ((1, 2) if tiny else (1, 2, 4))}
    with tempfile.TemporaryDirectory(prefix="supreme-gpu-") as folder:
        yield "bits", gpu_bits.measured(Path(folder), run.device, is_tiny=tiny, left=run.left)


def facts(device: str) -> Found:
    """Facts of the machine and of what runs on it."""
    found: Found = {
        "device": device,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "commit": _told("git", "rev-parse", "HEAD"),
    }
    if device == "cuda":
        found["gpu"] = _told("nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader")
    return found


def _told(*command: str) -> str:
    with suppress(OSError):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return "unknown"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that only try the paths")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=LIMIT)
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    run = Run(options.device, options.tiny, begin + options.seconds)
    result = {**facts(options.device), "tiny": options.tiny, "parts": {}}
    found = parts(run)
    while True:
        since = time.monotonic()
        try:
            name, measurements = next(found)
        except StopIteration:
            break
        result["parts"][name] = {**measurements, "took_s": round(time.monotonic() - since, 1)}
        result["seconds"] = round(time.monotonic() - begin, 1)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        print(name, json.dumps(result["parts"][name]), flush=True)


if __name__ == "__main__":
    main()
