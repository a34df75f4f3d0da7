"""Small valid things, so that a test names only what it is about."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import nn

from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.images.samples import ImageSource, ResidentPixels, Samples
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import unreported
from supreme_core.engine.training.gradients import OptimizerStep
from supreme_core.engine.training.numerics import NumericsPolicy

TINY_SHAPE = ImageShape(channels=1, size=8, classes=4)


def tiny_network(seed):
    """A convolution with BatchNorm and a head, in eval mode, its statistics no longer 0 and 1."""
    with global_seed(seed):
        convolution = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        norm = nn.BatchNorm2d(4)
        network = nn.Sequential(convolution, norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))
        network(torch.randn(64, 1, 8, 8))
    return network.eval()


def tiny_samples(count=48, shape=TINY_SHAPE, device="cpu"):
    """Random images with labels 0, 1, 2, 3, 0, 1, ..."""
    generator = torch.Generator().manual_seed(1)
    size = (count, shape.channels, shape.size, shape.size)
    pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    half, quarter = torch.full((shape.channels,), 0.5), torch.full((shape.channels,), 0.25)
    ids = torch.arange(count)
    source = ImageSource(ResidentPixels(pixels.to(device)), half.to(device), quarter.to(device))
    return Samples(source, ids, (ids % shape.classes).to(device))


def alone(micro_batches=2, device="cpu"):
    return Reduction(Ranks.alone(torch.device(device)), micro_batches)


def plain(micro_batches=2, device="cpu", **changes):
    """Numerics of one rank in fp32."""
    return NumericsPolicy(alone(micro_batches, device), **changes)


def whole_step(positions):
    """The only step of an epoch, without augmentation."""
    return OptimizerStep(positions=positions, following=positions[:0], augment=None, dropout=3)


def digest(model):
    """sha256 over all weights and buffers."""
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()


def tiny_task(
    *, forget_classes=(1,), partly=False, kind=UnlearningTask, device="cpu", count=48, **changes
):
    """Forget classes of 48 images, or ten single images where `forget_classes` is empty.

    partly: forget only half of each class, as the scenario `subclass` does.
    """

    def network(seed):
        return tiny_network(seed).to(device)

    samples = tiny_samples(count, device=device)
    chosen = torch.isin(samples.labels.cpu(), torch.tensor(forget_classes, dtype=torch.int64))
    chosen = chosen if forget_classes else samples.ids < 10
    chosen &= samples.ids % 8 < 4 if partly else samples.ids >= 0
    forget, retain = (samples.take(part.nonzero().flatten()) for part in (chosen, ~chosen))
    forgets = "classes" if forget_classes else "samples"
    fields = {"model": network(3), "forget": forget, "retain": retain, "forgets": forgets}
    fields |= {
        "forget_classes": () if partly else forget_classes,
        "shape": TINY_SHAPE,
        "numerics": plain(device=device),
    }
    fields |= {"seed": 7, "report": unreported, "new_network": network, "random_network": network}
    fields |= {"checkpoints": Checkpoints.none(Ranks.alone(torch.device(device)))}
    return kind(**(fields | changes))


def tiny_validation(count=40, device="cpu"):
    """Other images than those of `tiny_samples`, as a task has them that sets samples aside."""
    whole = tiny_samples(48 + count, device=device)
    return whole.take(torch.arange(48, 48 + count))


@dataclass
class Slot:
    """A place for a checkpoint, in memory."""

    data: bytes | None = None

    def read(self):
        return self.data

    def write(self, data):
        self.data = data


@dataclass(frozen=True, kw_only=True)
class RecordingTask(UnlearningTask):
    """A task that keeps, by name, on what and how its model was trained."""

    phases: dict = field(default_factory=dict)

    def fit(self, samples, *, name, **how):
        self.phases[name] = (samples, how)
        super().fit(samples, name=name, **how)
