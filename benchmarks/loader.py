"""CPU seconds of loading and augmenting images, against torchvision's transforms in a DataLoader.

    python benchmarks/loader.py        prints a Markdown table; a minute or two

README.md says what is compared and what is not.
"""

import resource
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from supreme_core.api.v1alpha1 import Component, Training
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.samples import Augment, ImageSource, Samples
from supreme_core.engine.images.streaming import Placement, placed
from supreme_core.engine.training.recipe import Recipe

BATCH_SIZE = 64
ROUNDS = 3
DEGREES = 15
CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Case:
    """side: of the images as they come, in pixels.  size: as a model gets them."""

    side: int
    size: int
    count: int
    training: bool

    @property
    def name(self) -> str:
        sides = f"{self.side}" if self.side == self.size else f"{self.side} → {self.size}"
        return f"{sides}, {'training' if self.training else 'evaluation'}"

    @property
    def padding(self) -> int:
        return self.size // 8

    def images(self, side: int) -> NDArray[np.uint8]:
        """(count, side, side, 3) noise; how long anything here takes does not depend on it."""
        shape = (self.count, side, side, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


CASES = [
    Case(side, size, count, training)
    for side, size, count in ((32, 32, 10_000), (224, 224, 1_000), (256, 224, 1_000))
    for training in (True, False)
]


def ours(case: Case, where: Placement) -> Callable[[], None]:
    """A pass as the engine makes it: rows of bytes, augmented and normalised by the batch."""
    samples, augment = _samples(case, where), _augment(case)

    def work() -> None:
        for _ in samples.batches(_parts(case), augment):
            pass

    return work


def gathered(case: Case) -> Callable[[], None]:
    """The part of it that stays on the CPU where a GPU augments and normalises."""
    source = _samples(case, "Resident").source
    assert isinstance(source, ImageSource)

    def work() -> None:
        for part in _parts(case):
            source.pixels.take(part)

    return work


def torchvisions(case: Case, workers: int) -> Callable[[], None]:
    """A pass of torchvision's transforms over decoded images that are in memory."""
    loader = DataLoader(Decoded(case), batch_size=BATCH_SIZE, shuffle=True, num_workers=workers)

    def work() -> None:
        for _ in loader:
            pass

    return work


class Decoded(Dataset[tuple[torch.Tensor, int]]):
    """Images of Pillow with torchvision's transforms."""

    def __init__(self, case: Case) -> None:
        self.images = [Image.fromarray(image) for image in case.images(case.side)]
        steps: list[Any] = [transforms.Resize(case.size)] if case.side != case.size else []
        if case.training:
            steps += [
                transforms.RandomCrop(case.size, padding=case.padding),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(DEGREES),
            ]
        steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[position]), 0


def _samples(case: Case, where: Placement) -> Samples:
    values = np.ascontiguousarray(case.images(case.size).transpose(0, 3, 1, 2))
    source = ImageSource(placed(values, where, CPU), torch.tensor(MEAN), torch.tensor(STD))
    return Samples(source, torch.arange(case.count), torch.zeros(case.count, dtype=torch.int64))


def _augment(case: Case) -> Augment | None:
    if not case.training:
        return None
    augmentation = [
        Component(name="random_crop", params={"padding": case.padding}),
        Component(name="horizontal_flip"),
        Component(name="rotation", params={"degrees": DEGREES}),
    ]
    epochs = Recipe.of(Training(augmentation=augmentation)).fit(0).augment
    assert epochs is not None
    return epochs(0)


def _parts(case: Case) -> Sequence[torch.Tensor]:
    return torch.split(torch.randperm(case.count), BATCH_SIZE)


def _cpu_seconds() -> float:
    """Return the CPU time of this process with all its threads, and of its children that have
    ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


CONTENDERS: dict[str, Callable[[Case], Callable[[], None]]] = {
    "ours": lambda case: ours(case, "Resident"),
    "ours, streamed": lambda case: ours(case, "Streamed"),
    "ours, gathering only": gathered,
    "torchvision": lambda case: torchvisions(case, 0),
    "torchvision, 2 workers": lambda case: torchvisions(case, 2),
}


def measured(case: Case) -> dict[str, float]:
    """CPU seconds for 1,000 images of each contender: the median of rounds, in turn."""
    works = {name: make(case) for name, make in CONTENDERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS + 1):
        for name, work in works.items():
            # As a trainer is set up; torchvision's own code would only be slowed down by it.
            torch.use_deterministic_algorithms(name.startswith("ours"))
            before = _cpu_seconds()
            work()
            if number:  # the first round warms up
                seconds[name].append(1000 * (_cpu_seconds() - before) / case.count)
    return {name: median(rounds) for name, rounds in seconds.items()}


def table(found: dict[str, dict[str, float]]) -> Iterable[str]:
    """Seconds, and how often torchvision's time holds ours, without and with workers."""
    yield f"| pixels | {' | '.join(CONTENDERS)} | ÷ ours | ÷ gathering only |"
    yield "| --- |" + " ---: |" * (len(CONTENDERS) + 2)
    for name, seconds in found.items():
        cells = [f"{value:.4f}" for value in seconds.values()]
        for mine in ("ours", "ours, gathering only"):
            single, workers = (
                seconds[other] / seconds[mine]
                for other in ("torchvision", "torchvision, 2 workers")
            )
            cells.append(f"{single:.1f} to {workers:.1f}")
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    torch.set_num_threads(THREADS)
    found = {case.name: measured(case) for case in CASES}
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
