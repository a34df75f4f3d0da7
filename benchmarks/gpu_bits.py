"""Bits of trainers on one device, for benchmarks/gpu.py and tests/gpu.

A trainer is a process as `supreme run` starts it. Two stores are the same where every stage has the
same key and the same digests of files; costs are no part of it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from supreme_core import registry
from supreme_core.api import names
from supreme_core.api.model import parse
from supreme_core.api.orders import RunOrder
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.engine.training.checkpoint import VARIABLE
from supreme_core.engine.training.graphs import VARIABLE as GRAPHS
from supreme_core.plan import plan
from supreme_core.registry import catalog
from supreme_core.system.variables import of_trainer

ROOT = Path(__file__).parents[1]

CHEAPER: Mapping[str, Mapping[str, Any]] = {
    "iu": {"samples": 200},
    "l2ul": {"epochs": 3, "examples": 4},
    "unsir": {"noiseSteps": 4, "copies": 8},
}
"""Settings of methods whose defaults take minutes."""

FEW = ("finetune", "ssd")
OFTEN = {VARIABLE: "0.2"}

Document = dict[str, Any]
Found = dict[str, Any]


def every_method() -> tuple[str, ...]:
    return tuple(entry.name for entry in registry.method.entries())


def document(
    methods: Sequence[str] = FEW,
    *,
    width: int = 16,
    training: Mapping[str, Any] = {},
    streamed: bool = False,
) -> Document:
    """Digits, one seed, one class to be forgotten.  training: changes of the recipe."""
    sgd = {"name": "sgd", "params": {"lr": 0.05, "momentum": 0.9, "weightDecay": 5e-4}}
    crop = {"name": "random_crop", "params": {"padding": 1}}
    recipe = {"epochs": 1, "batchSize": 64, "optimizer": sgd, "augmentation": [crop], **training}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "gpu"},
        "spec": {
            "seeds": {"start": 260, "count": 1},
            "dataset": {"name": "digits"},
            "model": {"name": "resnet18", "params": {"width": width}},
            "training": recipe,
            "scenarios": [{"name": "full_class", "params": {"classes": [3]}}],
            "methods": [{"name": each, "params": dict(CHEAPER.get(each, {}))} for each in methods],
            "metrics": [{"name": "accuracy"}],
            **({"execution": {"dataPlacement": "Streamed"}} if streamed else {}),
        },
    }


@dataclass
class Trainer:
    """A trainer's process, or torchrun with several, and the folder with all that it leaves.

    device: cuda, or cpu to try the same there.
    """

    folder: Path
    document: Document
    device: str
    ranks: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        whole = plan(
            parse(UnlearningExperiment, self.document),
            catalog.bundled(),
            namespace=names.LOCAL_NAMESPACE,
        )
        order = RunOrder(
            experiment=whole.experiment,
            work=whole.work,
            data_placement=whole.data_placement,
            seed=260,
            store=str(self.folder / "store"),
        )
        (self.folder / "order.json").write_text(json.dumps(order.to_document()))
        self.start()

    def start(self) -> None:
        """Start it, or start it again after it was killed."""
        # NCCL takes no two ranks on one GPU.
        shares = self.ranks > 1 and self.device == "cuda" and _gpus() < self.ranks
        module = "benchmarks.ranks_on_one_gpu" if shares else "supreme_trainer.process.trainer"
        words = ["-m", module, str(self.folder / "order.json"), "--device", self.device]
        if self.ranks > 1:
            torchrun = ["-m", "torch.distributed.run", "--standalone"]
            words = [*torchrun, f"--nproc-per-node={self.ranks}", *words]
        with open(self.folder / "log", "ab") as log, open(self.folder / "events", "ab") as events:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env={**of_trainer(os.environ), **self.environment},
                stdout=events,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_in_training(self, *, seconds: float) -> bool:
        """Kill it once it has left a checkpoint; gives False where it never did."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if any(self.store.rglob("checkpoint*")):
                self.kill()
                return True
            time.sleep(0.02)
        return False

    def ended(self, *, seconds: float) -> int:
        """The exit code; it is killed where it takes longer."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        self.kill()
        return self.process.returncode

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def went_on(self) -> bool:
        """True if it went on with a training that was interrupted."""
        return "going on after step" in self.log

    def told(self) -> list[Found]:
        found = []
        for line in (self.folder / "events").read_text(errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def failures(self) -> list[str]:
        """Methods that failed."""
        ends = [each for each in self.told() if each.get("event") == "stage-finished"]
        return sorted({each["method"] for each in ends if each["status"] == "failed"})

    def digests(self) -> dict[str, Any]:
        """Digests of the files of each finished stage, by the stage and its key."""
        found = {}
        for path in self.store.rglob("manifest.json"):
            manifest = json.loads(path.read_text())
            files = {name: file["sha256"] for name, file in manifest["files"].items()}
            found[f"{manifest['stage']}/{manifest['key']}"] = files
        return found


def same(one: Trainer, other: Trainer) -> Found:
    """Compare the bits that two trainers left, and name stages that differ."""
    ours, theirs = one.digests(), other.digests()
    differing = sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))
    return {"same": bool(ours) and not differing, "stages": len(ours), "differing": differing[:6]}


def _gpus() -> int:

    return torch.cuda.device_count()


def measured(folder: Path, device: str, *, is_tiny: bool, left: Callable[[], float]) -> Found:
    """All trainers side by side on the device.  left: seconds until they are to be done."""
    width, long = (2, 6) if is_tiny else (64, 12)
    precisions = ("fp32", "bf16") if device == "cpu" else ("fp32", "tf32", "bf16", "fp16")

    def begun(
        name: str,
        *words: Any,
        ranks: int = 1,
        environment: Mapping[str, str] = {},
        **how: Any,
    ) -> Trainer:
        made = document(*words, width=width, **how)
        running[name] = Trainer(folder / name.replace(" ", "-"), made, device, ranks, environment)
        return running[name]

    running: dict[str, Trainer] = {}
    by_precision = {each: begun(each, training={"precision": each}) for each in precisions}
    again, streamed = begun("again"), begun("streamed", streamed=True)
    parts = {"microBatches": 2}
    alone, together = begun("alone", training=parts), begun("together", ranks=2, training=parts)
    begun("all methods", every_method()[:4] if is_tiny else every_method())
    epochs = {"epochs": long}
    whole = begun("whole", ["finetune"], training=epochs)  # of steps enough for graphs
    eager = begun("no graphs", ["finetune"], environment={GRAPHS: "0"}, training=epochs)
    killed = begun("killed", ["finetune"], environment=OFTEN, training=epochs)
    try:
        was_killed = killed.kill_in_training(seconds=left() / 2)
        if was_killed:
            killed.start()
        codes = {name: each.ended(seconds=left()) for name, each in running.items()}
    finally:
        for each in running.values():
            each.kill()
    return {
        "same bits": {
            "twice": same(by_precision["fp32"], again),
            "CUDA graphs and none": same(whole, eager),
            "resident and streamed": same(by_precision["fp32"], streamed),
            "one and two processes": same(alone, together),
            "killed and not": {**same(whole, killed), "went_on": was_killed and killed.went_on},
        },
        "trainers": {
            name: {"exit_code": codes[name], "failed": each.failures(), "end": each.log[-300:]}
            if codes[name] or each.failures()
            else {"exit_code": 0}
            for name, each in running.items()
        },
    }
