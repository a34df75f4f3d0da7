"""Samples on the device: which images, with which labels, in which order they stand."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

Augment = Callable[[Tensor, Tensor], Tensor]
"""(images uint8, ids) to images uint8; one epoch's augmentation."""

Fitted = Callable[[Tensor], Tensor]
"""uint8 images to uint8 images of the size and the channels that a model sees."""


@dataclass(frozen=True)
class Batch:
    """images: (n, channels, height, width), normalised.  labels, ids: (n,)."""

    images: Tensor
    labels: Tensor
    ids: Tensor


class Source(Protocol):
    """Images by number."""

    def __len__(self) -> int: ...

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor: ...


class Pixels(Protocol):
    """uint8 images (N, channels, height, width) by number, wherever they lie."""

    def __len__(self) -> int: ...

    def take(self, ids: Tensor) -> Tensor:
        """Those images, on the device, in the order of `ids`; the caller may change them."""
        ...


@dataclass(frozen=True)
class ResidentPixels:
    """All images in one tensor on the device."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def take(self, ids: Tensor) -> Tensor:
        return self.values[ids]


@dataclass(frozen=True)
class ImageSource:
    """All images of one part of a dataset; fitted to the model and normalised when they are taken.

    mean, std: (channels,) on the scale 0..1.  fitted: None where the model sees them as they are.
    """

    pixels: Pixels
    mean: Tensor
    std: Tensor
    fitted: Fitted | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        chosen = self.pixels.take(ids)
        if augment is not None:
            chosen = augment(chosen, ids)
        if self.fitted is not None:
            chosen = self.fitted(chosen)
        scaled = chosen.to(self.mean.dtype).div_(255)
        normal = scaled.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])
        return normal.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class TensorSource:
    """Images that a method made; they are normalised already and never augmented."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        return self.pixels[ids].contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class JoinedSource:
    """Two sources as one; numbers of the second begin after the first."""

    first: Source
    second: Source

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        border = len(self.first)
        early = ids < border
        left = self.first.images(ids[early], augment)
        right = self.second.images(ids[~early] - border, augment)
        joined = torch.empty(
            (len(ids), *left.shape[1:]), dtype=left.dtype, device=ids.device
        ).contiguous(memory_format=torch.channels_last)
        joined[early], joined[~early] = left, right
        return joined


@dataclass(frozen=True)
class Samples:
    """A sequence of labelled samples.  ids: (n,) numbers in the source.  labels: (n,)."""

    source: Source
    ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Tensor) -> Self:
        positions = positions.to(self.ids.device)
        return replace(self, ids=self.ids[positions], labels=self.labels[positions])

    def with_labels(self, labels: Tensor) -> Self:
        assert labels.shape == self.labels.shape
        return replace(self, labels=labels.to(self.labels.device))

    def join(self, other: "Samples") -> "Samples":
        """These samples, then the others."""
        labels = torch.cat([self.labels, other.labels])
        if other.source is self.source:
            return Samples(self.source, torch.cat([self.ids, other.ids]), labels)
        ids = torch.cat([self.ids, other.ids + len(self.source)])
        return Samples(JoinedSource(self.source, other.source), ids, labels)

    def batch(self, positions: Tensor, augment: Augment | None = None) -> Batch:
        positions = positions.to(self.ids.device)
        ids = self.ids[positions]
        return Batch(self.source.images(ids, augment), self.labels[positions], ids)
