"""Cost of the fixed tree beside DistributedDataParallel: CPU seconds of all ranks, by step.

    python benchmarks/reduction.py [--ranks 2] [--rounds 3] [--steps 12]

Each row is one network and one way to add gradients up; the ways take turns, so that a busy machine
is busy for all of them. DistributedDataParallel is without SyncBatchNorm: its BatchNorm sees the
part of its rank. Two micro-batches on two ranks are that very split.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import timm
import torch
import torch.distributed as dist
from torch import nn, optim

from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import ImageSource, ResidentPixels, Samples
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.fit import Fit, fit
from supreme_core.engine.training.numerics import NumericsPolicy

SIDE = {"resnet18 width 16": 32, "ViT": 96}
BATCH_SIZE = {"resnet18 width 16": 64, "ViT": 32}

WAYS = {
    "ddp": lambda ranks: NumericsPolicy(Reduction(ranks, ranks.size), overlapped=True),
    "tree, 2 parts": lambda ranks: NumericsPolicy(Reduction(ranks, 2)),
    "tree, 4 parts": lambda ranks: NumericsPolicy(Reduction(ranks, 4)),
    "tree, 2 parts, BatchNorm over the batch": lambda ranks: NumericsPolicy(
        Reduction(ranks, 2), batch_norm="batch"
    ),
}


def network(name: str) -> nn.Module:
    if name == "ViT":
        made: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", img_size=SIDE[name], num_classes=10
        )
        return made
    return ResNet18(ImageShape(channels=3, size=SIDE[name], classes=10), width=16)


def cpu_seconds(rank: int, count: int, meeting: str, name: str, way: str, steps: int) -> float:
    """Return the CPU seconds of one rank, for each step after the first two."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    torch.manual_seed(0)
    model = network(name).to(memory_format=torch.channels_last)
    number = BATCH_SIZE[name] * (steps + 2)
    pixels = torch.randint(0, 256, (number, 3, SIDE[name], SIDE[name]), dtype=torch.uint8)
    source = ImageSource(ResidentPixels(pixels), torch.full((3,), 0.5), torch.full((3,), 0.25))
    samples = Samples(source, torch.arange(number), torch.arange(number) % 10)
    stamps = []

    def report(**progress: object) -> None:
        stamps.append(time.process_time())

    def optimizer(parameters: list[nn.Parameter]) -> optim.Optimizer:
        return optim.SGD(parameters, lr=0.01, momentum=0.9)

    fit(
        model,
        samples,
        Fit(epochs=1, batch_size=BATCH_SIZE[name], optimizer=optimizer),
        seed=1,
        numerics=WAYS[way](Ranks(rank, count, torch.device("cpu"))),
        report=report,
    )
    dist.destroy_process_group()
    return (stamps[-1] - stamps[1]) / (len(stamps) - 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    cases = [
        (name, way) for name in SIDE for way in WAYS if name != "ViT" or "BatchNorm" not in way
    ]
    found: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.ranks, mp_context=context) as pool:
        for _ in range(options.rounds):
            for name, way in cases:
                with tempfile.TemporaryDirectory() as folder:
                    meeting = (Path(folder) / "meeting").as_uri()
                    jobs = [
                        pool.submit(
                            cpu_seconds, rank, options.ranks, meeting, name, way, options.steps
                        )
                        for rank in range(options.ranks)
                    ]
                    found[name, way].append(sum(job.result() for job in jobs))
    print("| network | gradients | CPU ms a step, each round | median | to ddp |")
    print("|---|---|---|---|---|")
    for (name, way), seconds in found.items():
        ratio = statistics.median(
            mine / ddp for mine, ddp in zip(seconds, found[name, "ddp"], strict=True)
        )
        rounds = " / ".join(f"{1000 * value:.0f}" for value in seconds)
        median = 1000 * statistics.median(seconds)
        print(f"| {name} | {way} | {rounds} | {median:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
