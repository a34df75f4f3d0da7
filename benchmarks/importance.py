"""Cost of importances beside a plain training step, by sample.

    python benchmarks/importance.py [--rounds 3] [--samples 64]

Both take turns in one process, and CPU seconds are counted, so that a busy machine is busy for
both. The training step is one of plain torch on the same network: forward, backward, SGD. What the
importances consist of is measured apart: both passes through the activations, the matrix products
that give each sample's gradients, and whatever else copies, squares and adds. The trial on three
samples, which is made once for thousands, is left out.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn, optim
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation.reproducibility import configure
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import ImageSource, ResidentPixels, Samples
from supreme_core.engine.toolbox.importance_by_layer import add_by_layer, regular_layers
from supreme_core.engine.training.loss import cross_entropy

CPU = torch.device("cpu")
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network and the side of the images that it sees."""

    width: int
    size: int

    @property
    def name(self) -> str:
        return f"resnet18, width {self.width}, {self.size} pixels"

    def network(self) -> nn.Module:
        shape = ImageShape(channels=1, size=self.size, classes=CLASSES)
        made: nn.Module = ResNet18(shape, width=self.width).to(memory_format=torch.channels_last)
        return made

    def samples(self, count: int) -> Samples:
        pixels = torch.randint(0, 256, (count, 1, self.size, self.size), dtype=torch.uint8)
        source = ImageSource(ResidentPixels(pixels), torch.tensor([0.5]), torch.tensor([0.25]))
        return Samples(source, torch.arange(count), torch.arange(count) % CLASSES)


CASES = (Case(64, 32), Case(16, 32), Case(64, 8))


def training_step(case: Case, samples: Samples) -> Callable[[], object]:
    """One step over all samples."""
    model = case.network().train()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def run() -> None:
        batch = samples.batch(torch.arange(len(samples)))
        optimizer.zero_grad()
        cross_entropy(model, batch).mean().backward()
        optimizer.step()

    return run


def sums(case: Case, samples: Samples) -> Callable[[], object]:
    """The sums over all samples as one batch; every layer of the network has a rule."""
    model = case.network().eval()
    batch = samples.batch(torch.arange(len(samples)))
    layers = regular_layers(model, batch, cross_entropy)
    found = {
        parameter: torch.zeros_like(
            parameter, dtype=torch.float64, memory_format=torch.contiguous_format
        )
        for parameter in model.parameters()
    }
    return lambda: add_by_layer(model, layers, batch, cross_entropy, "squared", found)


def cpu_milliseconds(run: Callable[[], object], count: int) -> float:
    """CPU milliseconds of a sample."""
    start = time.process_time()
    run()
    return 1000 * (time.process_time() - start) / count


def shares(run: Callable[[], object]) -> tuple[float, float]:
    """Shares of matrix products, and of the passes through convolutions, in the time of a run."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    events = [each for each in profiled.key_averages() if each.device_type == DeviceType.CPU]
    total = sum(each.self_cpu_time_total for each in events)
    products = sum(each.self_cpu_time_total for each in events if each.key == "aten::bmm")
    passes = sum(
        each.self_cpu_time_total
        for each in events
        if each.key in ("aten::mkldnn_convolution", "aten::convolution_backward")
    )
    return products / total, passes / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=64)
    options = parser.parse_args()
    configure(CPU, "fp32")
    print("| network | step, ms a sample | importances | ratio | products | convolutions | rest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        samples = case.samples(options.samples)
        ways = {"step": training_step(case, samples), "importances": sums(case, samples)}
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds + 1):
            for name, run in ways.items():
                spent = cpu_milliseconds(run, options.samples)
                if number:  # the first call of everything chooses kernels and takes memory
                    found[name].append(spent)
        products, passes = shares(ways["importances"])
        ratios = [
            mine / other for mine, other in zip(found["importances"], found["step"], strict=True)
        ]
        step, mine = (statistics.median(found[name]) for name in ways)
        print(
            f"| {case.name} | {step:.2f} | {mine:.2f} | {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
            f" | {products:.0%} | {passes:.0%} | {1 - products - passes:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
