"""Host time of a training step beside a plain PyTorch loop, and how many operators each launches.

    python benchmarks/step.py [--rounds 9] [--steps 60]

The network is so narrow and its images so small that kernels cost next to nothing: what is left is
what the host does for a step, and what a GPU would wait for. Both loops take turns in one process,
and CPU seconds are counted, so that a busy machine is busy for both.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim
from torch.autograd import DeviceType
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from supreme_core.api.v1alpha1 import Component, Precision, Schedule, Training
from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation.reproducibility import configure
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import ImageSource, ResidentPixels, Samples
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.fit import fit, unreported
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.recipe import Recipe

CPU = torch.device("cpu")
SHAPE = ImageShape(channels=3, size=8, classes=10)
PADDING = 1
MEAN, STD = 0.5, 0.25

VIEWS = frozenset(
    f"aten::{name}"
    for name in (
        *("alias", "as_strided", "detach", "detach_", "empty", "empty_like", "empty_strided"),
        *("expand", "permute", "resize_", "result_type", "select", "slice", "split", "squeeze"),
        *("t", "transpose", "unfold", "unsqueeze", "view", "_reshape_alias", "lift_fresh"),
    )
)
"""Operators that write no tensor: on a GPU they launch nothing."""


@dataclass(frozen=True)
class Case:
    """One step as both loops do it.  augmented: cropped and mirrored at random."""

    name: str
    batch_size: int
    augmented: bool = False
    precision: Precision = "fp32"

    @property
    def training(self) -> Training:
        names = ("random_crop", "horizontal_flip") if self.augmented else ()
        settings = {"random_crop": {"padding": PADDING}}
        return Training(
            epochs=1,
            batch_size=self.batch_size,
            precision=self.precision,
            optimizer=Component(
                name="sgd", params={"lr": 0.01, "momentum": 0.9, "weightDecay": 5e-4}
            ),
            schedule=Schedule(name="cosine"),
            augmentation=[Component(name=name, params=settings.get(name, {})) for name in names],
        )


CASES = (
    Case("fp32", 2),
    Case("fp32, batch 16", 16),
    Case("fp32, crop and flip", 2, augmented=True),
    Case("bf16", 2, precision="bf16"),
)

Steps = Callable[[int], None]
"""Work of a given number of steps."""


def network() -> nn.Module:
    made: nn.Module = ResNet18(SHAPE, width=1).to(memory_format=torch.channels_last)
    return made.train()


def pixels(count: int) -> Tensor:
    return torch.randint(0, 256, (count, SHAPE.channels, SHAPE.size, SHAPE.size), dtype=torch.uint8)


def ours(case: Case) -> Steps:
    """The loop that originals, retrained models and most methods go through."""
    model, recipe = network(), Recipe.of(case.training).fit(1)
    numerics = NumericsPolicy.of(case.training, Ranks.alone(CPU))

    def run(steps: int) -> None:
        count = steps * case.batch_size
        source = ImageSource(
            ResidentPixels(images[:count]), torch.full((3,), MEAN), torch.full((3,), STD)
        )
        samples = Samples(source, torch.arange(count), labels[:count])
        fit(model, samples, recipe, seed=1, numerics=numerics, report=unreported)

    images, labels = _data(case)
    return run


def plain(case: Case) -> Steps:
    """A loop as a user of torch writes it, with all images on the device."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    mean, std = (torch.full((1, 3, 1, 1), value) for value in (MEAN, STD))

    def run(steps: int) -> None:
        count = steps * case.batch_size
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        total = torch.zeros(())
        for chosen in torch.randperm(count).split(case.batch_size):
            batch = images[chosen]
            if case.augmented:
                batch = mirrored(cropped(batch))
            batch = batch.to(memory_format=torch.channels_last, dtype=torch.float32)
            batch = batch.div_(255).sub_(mean).div_(std)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=case.precision == "bf16"):
                logits = model(batch)
            loss = functional.cross_entropy(logits.float(), labels[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()

    images, labels = _data(case)
    return run


def cropped(batch: Tensor) -> Tensor:
    """A random window of each image with a black border."""
    padded = functional.pad(batch, (PADDING,) * 4)
    windows = padded.unfold(2, SHAPE.size, 1).unfold(3, SHAPE.size, 1)
    down, right = torch.randint(0, 2 * PADDING + 1, (2, len(batch)))
    return windows[torch.arange(len(batch)), :, down, right]


def mirrored(batch: Tensor) -> Tensor:
    """Half of the images, from right to left."""
    chosen = torch.rand(len(batch)) < 0.5
    return torch.where(chosen[:, None, None, None], batch.flip(-1), batch)


def _data(case: Case) -> tuple[Tensor, Tensor]:
    count = MOST_STEPS * case.batch_size
    return pixels(count), torch.arange(count) % SHAPE.classes


MOST_STEPS = 1000


def cpu_milliseconds(run: Steps, steps: int) -> float:
    """CPU milliseconds of a step."""
    start = time.process_time()
    run(steps)
    return 1000 * (time.process_time() - start) / steps


def launches(run: Steps) -> tuple[float, float]:
    """Operators of a step that write a tensor and call no other such operator, and how many of them
    only fill one; of ten steps without what a training does once."""
    few, many = (_counted(run, steps) for steps in (10, 20))
    return tuple((more - less) / 10 for less, more in zip(few, many, strict=True))  # type: ignore[return-value]


def _counted(run: Steps, steps: int) -> tuple[int, int]:
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run(steps)
    names = [
        event.name
        for event in profiled.events()
        if event.device_type == DeviceType.CPU and event.name.startswith("aten::")
        if event.name not in VIEWS
        if all(child.name in VIEWS for child in event.cpu_children)
    ]
    return len(names), sum(name in ("aten::fill_", "aten::zero_") for name in names)


def as_plain_torch() -> None:
    """Leave torch as it is where nobody asks for the same bits twice."""
    torch.use_deterministic_algorithms(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    print("| step | plain, ms | ours, ms | ours to plain | operators: plain | ours |")
    print("|---|---:|---:|---:|---:|---:|")
    for case in CASES:
        configure(CPU, case.precision)
        ways: dict[str, Steps] = {"plain": plain(case), "ours": ours(case)}
        found: dict[str, list[float]] = {name: [] for name in ways}
        counts: dict[str, tuple[float, float]] = {}
        for number in range(options.rounds + 1):
            for name, run in ways.items():
                configure(CPU, case.precision) if name == "ours" else as_plain_torch()
                if number == 0:  # also the first call of everything
                    counts[name] = launches(run)
                else:
                    found[name].append(cpu_milliseconds(run, options.steps))
        ratios = [mine / other for mine, other in zip(found["ours"], found["plain"], strict=True)]
        plain_ms, ours_ms = (statistics.median(found[name]) for name in ways)
        print(
            f"| {case.name} | {plain_ms:.2f} | {ours_ms:.2f} | {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
            f" | {counts['plain'][0]:.0f} | {counts['ours'][0]:.0f} |"
        )


if __name__ == "__main__":
    main()
