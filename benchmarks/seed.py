"""A whole seed beside the reference, supreme-unlearning 0.1.4: CPU seconds and wall time by stage.

    python benchmarks/seed.py                           width 64: an hour or more
    python benchmarks/seed.py --width 4 --epochs 1 --methods finetune --scenarios full_class

Original, Retrained and the paper's six methods are trained on scikit-learn's 1,500 digits, and each
model is evaluated by all metrics that are the default. Both sides have the same images, epochs,
batches of training, augmentation and width of ResNet-18, take turns, and compute with one thread on
the CPU. The reference is installed with uv, into an environment of its own under the cache folder;
where it cannot be, a line says so and ours is measured alone.

How each runs is its own affair, and part of what is measured. Ours is one trainer process, as
`supreme run` starts it. The reference has one process for training, one for each model that it
retrains or unlearns, and one for each that it evaluates, as its driver starts them, and 8 worker
processes for each data loader, whose CPU time is counted. What it takes to start all these
processes has a row of its own and is in no other; what its driver does around them is left out.

What is not the same:

* The reference passes over the test images after every epoch of Original, Retrained, finetune,
  random_labels and unsir, and keeps the best epoch of Original. That is in the rows of training and
  of methods. Ours never does, and its importances of ssd and lfssd are of single samples, where the
  reference's are of batches.
* One evaluation there is 14 passes over test images, by the model or by Retrained, and one by the
  model over training and test images in batches of one. Ours is one pass over all images, of which
  all metrics are computed; that of Retrained is made once, and counts as its own evaluation.
* Metrics of both: accuracy, loss, activation distance, completeness, JS divergence, distance of
  layers, a membership attack on the entropy, time and memory. Only ours: an attack on the loss,
  ToW, and ZRF with the predictions of a random network.
* Methods have the settings that either side takes by itself, which are the paper's. unsir is for
  whole classes only, on both sides.
* The reference's images have three equal channels, because its unsir knows no others; ours have
  one. That makes the first convolution dearer: 0.2 % of a pass at width 64, and 3 % at width 4.
* bf16 is ours alone; the reference stays in fp32.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from supreme_trainer.process import launch

from supreme_core.api.model import parse
from supreme_core.api.names import LOCAL_NAMESPACE, ORIGINAL, RETRAINED
from supreme_core.api.v1alpha1 import MethodEntry, UnlearningExperiment
from supreme_core.components.datasets.digits import DigitsParams, digits
from supreme_core.plan import importances_read, plan, step_of
from supreme_core.registry import catalog
from supreme_core.store.opening import open_storage
from supreme_core.store.results import ResultReader

PACKAGES = ("supreme-unlearning==0.1.4", "debugpy", "setuptools<81")
SCRIPT = Path(__file__).with_name("seed_reference.py")
METHODS = ("finetune", "bad_teacher", "random_labels", "unsir", "ssd", "lfssd")
NAMES = {
    **{name: name for name in (ORIGINAL, *METHODS)},
    RETRAINED: "retrain",
    "random_labels": "random_labeling",
}
"""The reference's name of each model."""

SCENARIOS = {
    "full_class": ("fullclass", ("-forget_class_name", "3")),
    "random_samples": ("random_", ("-forget_perc", "0.1")),
}
"""Our name of each scenario, the reference's, and what it is to forget there."""

PARAMS = {"full_class": {"classes": [3]}, "random_samples": {"fraction": 0.1}}
METRICS = (
    "accuracy,activation_distance,completeness,jsdiv,layerwise_distance,time,"
    "membership_inference_attack"
)
"""The reference's default metrics; its accuracy has the loss as well."""

BATCH_SIZE = 64
SEED = 260
START, REST = "start of processes", "data, splits and the rest"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """A seed as both compute it."""

    width: int
    epochs: int
    precision: str
    methods: Sequence[str]
    scenarios: Sequence[str]

    @property
    def milestones(self) -> list[int]:
        return sorted({max(1, 2 * self.epochs // 3), max(1, 5 * self.epochs // 6)})

    def models(self, scenario: str) -> list[str]:
        """The models that are evaluated in a scenario."""
        fitting = [name for name in self.methods if name != "unsir" or scenario == "full_class"]
        return [ORIGINAL, RETRAINED, *fitting]

    @property
    def document(self) -> dict[str, Any]:
        settings = {"lr": 0.1, "momentum": 0.9, "weightDecay": 5e-4}
        decay = {"milestones": self.milestones, "gamma": 0.2}
        return {
            "apiVersion": "supreme.dev/v1alpha1",
            "kind": "UnlearningExperiment",
            "metadata": {"name": "seed"},
            "spec": {
                "seeds": {"start": SEED, "count": 1},
                "dataset": {"name": "digits"},
                "model": {"name": "resnet18", "params": {"width": self.width}},
                "training": {
                    "epochs": self.epochs,
                    "batchSize": BATCH_SIZE,
                    "precision": self.precision,
                    "optimizer": {"name": "sgd", "params": settings},
                    "schedule": {"name": "multistep", "params": decay, "warmupEpochs": 1},
                    "augmentation": [
                        {"name": "random_crop", "params": {"padding": 4}},
                        {"name": "horizontal_flip"},
                        {"name": "rotation", "params": {"degrees": 15}},
                    ],
                },
                "scenarios": [{"name": name, "params": PARAMS[name]} for name in self.scenarios],
                "methods": [{"name": name} for name in self.methods],
            },
        }


@dataclass
class Seconds:
    """CPU seconds of a process and of its children, and wall time."""

    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.cpu - other.cpu, self.wall - other.wall)


Rows = dict[str, Seconds]
"""Time by row of the table, in the order of the table."""


def training(model: str, scenario: str = "") -> str:
    return f"training of {model}" + (f" · {scenario}" if scenario else "")


def unlearning(method: str, scenario: str) -> str:
    return f"{method} · {scenario}"


def evaluation(model: str, scenario: str) -> str:
    return f"evaluation of {model} · {scenario}"


def importances(kind: str | None, scenario: str) -> str:
    return f"importances ({kind}) · {scenario}"


def rows_of(case: Case) -> Iterator[str]:
    yield START
    yield training(ORIGINAL)
    for scenario in case.scenarios:
        yield training(RETRAINED, scenario)
        for model in case.models(scenario):
            if model in case.methods:
                yield unlearning(model, scenario)
            yield evaluation(model, scenario)
    yield REST


def ours(case: Case, folder: Path) -> Rows:
    """A seed by a trainer, whose events say at what it is."""
    experiment = parse(UnlearningExperiment, case.document)
    whole = plan(experiment, catalog.bundled(), namespace=LOCAL_NAMESPACE)
    store = folder / "store"
    shared = {"experiment": whole.experiment.to_document(), "work": whole.work.to_document()}
    order = folder / "order.json"
    order.write_text(json.dumps({**shared, "store": str(store), "seed": SEED}))
    clock = Clock()
    with (folder / "log").open("wb") as log:
        process = launch.start(order, "--device", "cpu", log=log, environment={})
        _follow(process, clock)
    if process.returncode:
        sys.exit((folder / "log").read_text()[-2000:])
    result = ResultReader(open_storage(str(store))).of(whole)[SEED]
    for run in result.runs:
        if run.status != "ok":
            sys.exit(f"{run.method} in {run.scenario} failed: {run.reason}")
        if run.method in case.methods:  # whose stage predicts too, which is evaluation
            own = Seconds(
                *(run.metrics[name] or 0.0 for name in ("device_seconds", "wall_seconds"))
            )
            stage = unlearning(run.method, run.scenario)
            kind = importances_read(MethodEntry(name=run.method), catalog.bundled())
            # Each kind is read by one of METHODS, whose time has it.
            read = clock.rows.pop(importances(kind, run.scenario), Seconds())
            clock.rows[evaluation(run.method, run.scenario)] += clock.rows[stage] + read - own
            clock.rows[stage] = own
    for row in clock.rows.keys() - set(rows_of(case)):
        clock.rows[REST] += clock.rows.pop(row)
    return clock.rows


@dataclass
class Clock:
    """Time of a trainer, for the innermost stage that it is at. before: a look at both clocks."""

    rows: Rows = field(default_factory=lambda: defaultdict(Seconds))
    before: Seconds = field(default_factory=Seconds)
    at: list[str] = field(default_factory=lambda: [START])

    def look(self, now: Seconds) -> None:
        self.rows[self.at[-1]] += now - self.before
        self.before = now


def _follow(process: "subprocess.Popen[bytes]", clock: Clock) -> None:
    used, begun = _children(), time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        clock.look(Seconds(_cpu_of(process.pid), time.monotonic() - begun))
        if clock.at == [START]:
            clock.at = [REST]
        if event["event"] == "stage-started":
            clock.at.append(_row(event))
        elif event["event"] == "stage-finished" and len(clock.at) > 1:
            # What is found in the store has not started.
            clock.at = clock.at[:-1] if clock.at[-1] == _row(event) else clock.at
    process.wait()
    clock.look(Seconds(_children() - used, time.monotonic() - begun))


def _row(event: dict[str, Any]) -> str:
    step = step_of(event)
    if step.stage == "original":
        return training(ORIGINAL)
    if step.stage == "retrained":
        return training(RETRAINED, step.scenario)
    if step.stage == "unlearned":
        return unlearning(step.method, step.scenario)
    if step.stage == "importances":
        return importances(step.metric, step.scenario)
    if step.scenario and step.method:
        return evaluation(step.method, step.scenario)
    return REST


def _cpu_of(pid: int) -> float:
    """CPU seconds so far of a process that runs, and of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / TICKS


def _children() -> float:
    """CPU seconds of all children of this process that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass
class Reference:
    """The reference's seed, a process for each stage. python: that has it installed."""

    python: Path
    case: Case
    folder: Path
    rows: Rows = field(default_factory=lambda: defaultdict(Seconds))

    def run(self) -> Rows:
        self._write()
        common = ["-net", "ResNet18", "-dataset", "Digits", "-classes", "10", "-lr", "0.1"]
        common += ["-batch_size", str(BATCH_SIZE), "-precision", "32-true"]
        seeds = ["-training_seed", str(SEED), "-unlearning_seed", str(SEED)]
        self._stage(training(ORIGINAL), "train", [*common, *seeds])
        for scenario in self.case.scenarios:
            self._scenario(scenario, common)
        return self.rows

    def _scenario(self, scenario: str, common: Sequence[str]) -> None:
        kind, forgets = SCENARIOS[scenario]
        logs = self.folder / "logs" / kind / "Digits" / "ResNet18" / "classes_10" / "forget"
        logs.mkdir(parents=True)
        arguments = ["-type_of_unlearning_strategy", kind, *forgets, *common, "-seed", str(SEED)]
        arguments += ["-weight_path", str(self._weights()), "-eval_metrics", METRICS]
        # Retrained first, as all others are compared with it.
        for model in sorted(self.case.models(scenario), key=lambda model: model != RETRAINED):
            chosen = [*arguments, "-method", NAMES[model]]
            row = unlearning(model, scenario)
            if model in (ORIGINAL, RETRAINED):
                trained = model == RETRAINED
                row = training(model, scenario) if trained else evaluation(model, scenario)
            self._stage(row, "unlearn", chosen, LOG_DIR=str(logs))
            evaluated = {"LOG_DIR": str(logs), "PERFORM_EVALUATION": "true"}
            self._stage(evaluation(model, scenario), "unlearn", chosen, **evaluated)

    def _write(self) -> None:
        """Images and recipe for `seed_reference.py`."""
        made = digits(DigitsParams())
        images = self.folder / "digits.npz"
        parts = {"train": made.train_images, "test": made.test_images}
        labels = {"train_labels": made.train_labels, "test_labels": made.test_labels}
        colour = {
            name: part.transpose(0, 2, 3, 1).repeat(3, axis=3) for name, part in parts.items()
        }
        np.savez(images, **colour, **labels)
        seed = {
            "images": str(images),
            "mean": list(made.mean) * 3,
            "std": list(made.std) * 3,
            "width": self.case.width,
            "epochs": self.case.epochs,
            "milestones": self.case.milestones,
        }
        (self.folder / "seed.json").write_text(json.dumps(seed))

    def _weights(self) -> Path:
        """The last, and so the best, of the epochs whose weights training has left."""
        found = self.folder.glob("logs/training/**/*-best.pth")
        return max(found, key=lambda path: int(path.stem.split("-")[-2]))

    def _stage(self, row: str, stage: str, arguments: Sequence[str], **variables: str) -> None:
        log = self.folder / "log"
        command = [self.python, SCRIPT, self.folder / "seed.json", stage, *arguments]
        own = {"OMP_NUM_THREADS": "1", "SUPREME_PROJECT_ROOT": str(self.folder)}
        begun, used, clock = time.monotonic(), _children(), time.time()
        with log.open("wb") as output:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, **own, **variables},
            )
        took = Seconds(_children() - used, time.monotonic() - begun)
        said = log.read_text(errors="replace")
        if not re.search(r"(?i)(training|unlearning|evaluation) completed successfully", said):
            sys.exit(f"{said[-4000:]}\nThe reference failed at: {row}")
        started = json.loads((self.folder / "started.json").read_text())
        start = Seconds(started["cpu"], started["wall"] - clock)
        self.rows[START] += start
        self.rows[row] += took - start


def installed(cache: Path, python: str) -> Path:
    """The Python that has the reference, which is installed where it is not yet. RuntimeError
    where it cannot be.

    python: what uv calls the Python to take.
    """
    folder = cache / "supreme-unlearning-0.1.4"
    own, done = folder / "bin" / "python", folder / "installed"
    if done.exists():
        return own
    uv = shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv is not on the PATH")
    cache.mkdir(parents=True, exist_ok=True)
    # pyenv's python3.9 answers only where a version is chosen; elsewhere the variable says nothing.
    variables = {"PYENV_VERSION": python, **os.environ}
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", python, folder],
        [uv, "pip", "install", "--quiet", "--python", own, *PACKAGES],
        [own, "-c", "import supreme, torch, torchvision"],
    ):
        ended = subprocess.run(command, env=variables, capture_output=True, text=True)
        if ended.returncode:
            lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            raise RuntimeError(lines[0].removeprefix("error: "))
    done.touch()
    return own


def table(case: Case, rounds: Sequence[dict[str, Rows]]) -> Iterable[str]:
    """Medians of the rounds; a ratio is the median of the ratios of rounds."""
    names = list(rows_of(case))
    if "reference" not in rounds[0]:
        yield "| stage | ours, CPU s | ours, wall s |"
        yield "|---|---:|---:|"
    else:
        sides = "reference, CPU s | ours, CPU s | ratio | reference, wall s | ours, wall s"
        yield f"| stage | {sides} |"
        yield "|---|---:|---:|---:|---:|---:|"
    trainings = [name for name in names if name.startswith("training")]
    evaluations = [name for name in names if name.startswith("evaluation")]
    rest = {START, REST, *trainings, *evaluations}
    for title, part in [
        *((name, [name]) for name in names),
        ("**all trainings**", trainings),
        ("**all methods**", [name for name in names if name not in rest]),
        ("**all evaluations**", evaluations),
        ("**all but the start of processes**", names[1:]),
        ("**all**", names),
    ]:
        yield _line(title, part, rounds)


def _line(title: str, part: Sequence[str], rounds: Sequence[dict[str, Rows]]) -> str:
    sums = [
        {side: sum((rows[name] for name in part), Seconds()) for side, rows in each.items()}
        for each in rounds
    ]
    cpu = {side: [each[side].cpu for each in sums] for side in sums[0]}
    wall = {side: median(each[side].wall for each in sums) for side in sums[0]}
    if "reference" not in cpu:
        return f"| {title} | {median(cpu['ours']):.1f} | {wall['ours']:.1f} |"
    pairs = zip(cpu["reference"], cpu["ours"], strict=True)
    # A clock of 10 ms tells nothing of what takes less than a tenth of a second.
    ratios = [theirs / mine if min(theirs, mine) > 0.1 else None for theirs, mine in pairs]
    known = [ratio for ratio in ratios if ratio is not None]
    ratio = f"{median(known):.2f}" if len(known) == len(ratios) else ""
    return (
        f"| {title} | {median(cpu['reference']):.1f} | {median(cpu['ours']):.1f} | {ratio}"
        f" | {wall['reference']:.1f} | {wall['ours']:.1f} |"
    )


def main() -> None:
    options = _options()
    case = Case(
        options.width, options.epochs, options.precision, options.methods, options.scenarios
    )
    try:
        python = None if options.alone else installed(options.cache, options.python)
    except RuntimeError as error:
        python = None
        told = f"The reference cannot be installed, so ours is measured alone: {error}"
        print(told, file=sys.stderr)
    rounds: list[dict[str, Rows]] = []
    for number in range(options.rounds):
        found: dict[str, Rows] = {}
        for side in ("ours", "reference") if number % 2 == 0 else ("reference", "ours"):
            with tempfile.TemporaryDirectory(prefix="supreme-seed-") as folder:
                if side == "ours":
                    found[side] = ours(case, Path(folder))
                elif python:
                    found[side] = Reference(python, case, Path(folder)).run()
        rounds.append(found)
        total = {side: sum(rows.values(), Seconds()).cpu for side, rows in found.items()}
        said = ", ".join(f"{side} {cpu:.0f} CPU s" for side, cpu in total.items())
        load = os.getloadavg()[0]
        print(f"round {number + 1}: {said}; load average {load:.1f}", file=sys.stderr)
    print("\n".join(table(case, rounds)))


def _options() -> argparse.Namespace:
    def some(known: Iterable[str]) -> dict[str, Any]:
        names = list(known)
        return {"nargs": "+", "choices": names, "default": names, "metavar": "NAME"}

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of ours")
    parser.add_argument("--methods", **some(METHODS))
    parser.add_argument("--scenarios", **some(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="leave the reference out")
    parser.add_argument("--cache", type=Path, default=home / "supreme-benchmarks")
    parser.add_argument("--python", default="3.9", help="Python of the reference, as uv finds it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
