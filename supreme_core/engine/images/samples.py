"""Samples on the device: which images, with which labels, in which order they stand."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from supreme_core.engine.ranks.device import layout, sent
from supreme_core.errors import MethodFailed

PART_PIXELS = 2**20
"""Values that are normalised at one time; a batch of small images is one part."""

FIXED_BATCH_SIZE = 64
"""Samples of a batch in passes that add something up: fixed, so that the grid of batches and with
it every bit is the same on any number of ranks."""

Augment = Callable[[Tensor, Tensor], Tensor]
"""(images uint8, ids) to images uint8; one epoch's augmentation."""

ImageTransform = Callable[[Tensor], Tensor]
"""uint8 images to uint8 images of the size and the channels that a model sees."""


@dataclass(frozen=True)
class Batch:
    """images: (n, channels, height, width), normalised.  labels, ids: (n,)."""

    images: Tensor
    labels: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)


class Source(Protocol):
    """Images by number.  ids are on the CPU, images on the device."""

    def __len__(self) -> int: ...

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor: ...

    def ahead(self, ids: Tensor) -> None:
        """A hint: these are the images that are asked for next."""
        ...


@runtime_checkable
class BoundedSource(Source, Protocol):
    """Images whose values have ends, by which methods keep images that they make."""

    def pixel_range(self) -> tuple[Tensor, Tensor]:
        """Values of black and white as the model sees them, (channels, 1, 1) each."""
        ...


class Pixels(Protocol):
    """uint8 images (N, channels, height, width) by number, wherever they lie."""

    def __len__(self) -> int: ...

    def take(self, ids: Tensor) -> Tensor:
        """Images on the device, in the order of `ids`; the caller may change them."""
        ...

    def ahead(self, ids: Tensor) -> None:
        """A hint: these are taken next."""
        ...


@dataclass(frozen=True)
class ResidentPixels:
    """All images in one tensor on the device."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def take(self, ids: Tensor) -> Tensor:
        # Whole rows are copied; values[ids] gives the same bytes one by one, 7 times as slowly.
        return self.values.index_select(0, sent(ids, self.values.device))

    def ahead(self, ids: Tensor) -> None:
        """Nothing to fetch: the images are on the device already."""


@dataclass(frozen=True)
class ImageSource:
    """All images of one part of a dataset; fitted to the model and normalised when they are taken.

    mean, std: (channels,) on the scale 0..1.  fitted: None where the model sees them as they are.
    """

    pixels: Pixels
    mean: Tensor
    std: Tensor
    fitted: ImageTransform | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        chosen = self.pixels.take(ids)
        if augment is not None:
            chosen = augment(chosen, sent(ids, chosen.device))
        if self.fitted is not None:
            chosen = self.fitted(chosen)
        return self._normalised(chosen)

    def ahead(self, ids: Tensor) -> None:
        self.pixels.ahead(ids)

    def pixel_range(self) -> tuple[Tensor, Tensor]:
        return self.normalised(0), self.normalised(255)

    def normalised(self, value: int) -> Tensor:
        """Normalise a pixel value, 0..255, in each channel, (channels, 1, 1)."""
        return ((value / 255 - self.mean) / self.std)[:, None, None]

    def _normalised(self, images: Tensor) -> Tensor:
        """Normalise on a CPU in parts, so that what is between bytes and numbers stays in the
        cache."""
        mean, std = self.mean[:, None, None], self.std[:, None, None]
        normal = torch.empty(
            images.shape,
            dtype=mean.dtype,
            device=images.device,
            memory_format=layout(images.device),
        )
        in_cache = max(1, PART_PIXELS // images.shape[1:].numel())
        size = in_cache if images.device.type == "cpu" else len(images)
        parts = zip(torch.split(images, size), torch.split(normal, size), strict=True)
        for part, target in parts:
            target.copy_(part.to(mean.dtype).div_(255).sub_(mean).div_(std))
        return normal


@dataclass(frozen=True)
class TensorSource:
    """Images that a method made; they are normalised already and never augmented."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        chosen = self.pixels[sent(ids, self.pixels.device)]
        return chosen.contiguous(memory_format=layout(chosen.device))

    def ahead(self, ids: Tensor) -> None:
        """Nothing to fetch: the images are on the device already."""


@dataclass(frozen=True)
class JoinedSource:
    """Two sources as one; numbers of the second begin after the first."""

    first: Source
    second: Source

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        early, of_first, of_second = self._parts(ids)
        left = self.first.images(of_first, augment)
        right = self.second.images(of_second, augment)
        if left.shape[1:] != right.shape[1:]:  # an augmentation may cut images smaller
            raise MethodFailed(
                f"images of {tuple(left.shape[1:])} and of {tuple(right.shape[1:])} channels and"
                " pixels come together: training.augmentation cuts those of the dataset to another"
                " size than those that the method makes; use augmentation None for it"
            )
        # Where each image stands is found on the CPU: a mask would have the device wait for it.
        places = torch.cat([early.nonzero(), (~early).nonzero()]).flatten().argsort()
        joined = torch.cat([left, right]).index_select(0, sent(places, left.device))
        return joined.contiguous(memory_format=layout(left.device))

    def ahead(self, ids: Tensor) -> None:
        _, of_first, of_second = self._parts(ids)
        self.first.ahead(of_first)
        self.second.ahead(of_second)

    def _parts(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mask of the samples of the first source, and the numbers in the first and in the
        second."""
        border = len(self.first)
        early = ids < border
        return early, ids[early], ids[~early] - border


def is_resident(source: Source) -> bool:
    """Return whether all images lie on the device, where numbers that lie there too choose among
    them without a word of the host."""
    if isinstance(source, ImageSource):
        return isinstance(source.pixels, ResidentPixels)
    return isinstance(source, TensorSource)


@dataclass(frozen=True)
class Samples:
    """A sequence of labelled samples.

    ids: (n,) numbers in the source, on the CPU, which asks for images before the device has come
    that far.  labels: (n,) on the device.
    """

    source: Source
    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Tensor) -> Self:
        return replace(self, ids=self._ids(positions), labels=self._labels(positions))

    def with_labels(self, labels: Tensor) -> Self:
        assert labels.shape == self.labels.shape
        return replace(self, labels=labels.to(self.labels.device))

    def join(self, other: "Samples") -> "Samples":
        """Join these samples and the others, in this order."""
        labels = torch.cat([self.labels, other.labels])
        if other.source is self.source:
            return Samples(self.source, torch.cat([self.ids, other.ids]), labels)
        ids = torch.cat([self.ids, other.ids + len(self.source)])
        return Samples(JoinedSource(self.source, other.source), ids, labels)

    def batch(self, positions: Tensor, augment: Augment | None = None) -> Batch:
        ids, labels = self._ids(positions), self._labels(positions)
        return Batch(self.source.images(ids, augment), labels, sent(ids, labels.device))

    def ahead(self, positions: Tensor) -> None:
        """A hint that `batch` is asked for these next; right or wrong, it changes no number."""
        self.source.ahead(self._ids(positions))

    def batches(self, parts: Sequence[Tensor], augment: Augment | None = None) -> Iterator[Batch]:
        """A batch for each part; the images of the next are on their way while one is used."""
        for place, part in enumerate(parts, start=1):
            batch = self.batch(part, augment)
            if place < len(parts):
                self.ahead(parts[place])
            yield batch

    def _ids(self, positions: Tensor) -> Tensor:
        return self.ids[positions.to(self.ids.device)]

    def _labels(self, positions: Tensor) -> Tensor:
        return self.labels[sent(positions, self.labels.device)]
