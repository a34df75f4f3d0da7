"""A trigger on images: drawn on whole bytes, before augmentation, resizing and normalisation."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from supreme_core.data.split import Trigger
from supreme_core.engine.images.samples import ImageSource, Pixels, Samples
from supreme_core.engine.ranks.device import sent


@dataclass(frozen=True)
class StampedPixels:
    """Images, some of which have the trigger.  marked: (N,) bool, which ones, on the device."""

    pixels: Pixels
    marked: Tensor
    trigger: Trigger

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, ids: Tensor) -> Tensor:
        images = self.pixels.take(ids)
        marked = self.marked.index_select(0, sent(ids, self.marked.device))
        rows, columns = window(images.shape[2], images.shape[3], self.trigger)
        images[:, :, rows, columns].masked_fill_(marked[:, None, None, None], self.trigger.value)
        return images

    def ahead(self, ids: Tensor) -> None:
        self.pixels.ahead(ids)


def stamped(samples: Samples, ids: Tensor, trigger: Trigger) -> Samples:
    """The same samples of a dataset with the trigger on the images with these numbers."""
    source = samples.source
    assert isinstance(source, ImageSource)  # the samples of a dataset
    marked = torch.zeros(len(source), dtype=torch.bool)
    marked[ids] = True
    pixels = StampedPixels(source.pixels, marked.to(source.mean.device), trigger)
    return replace(samples, source=replace(source, pixels=pixels))


def window(height: int, width: int, trigger: Trigger) -> tuple[slice, slice]:
    """Rows and columns that the trigger has in an image of that size."""
    side = max(1, round(trigger.size * min(height, width)))
    rows = slice(0, side) if trigger.corner.startswith("top") else slice(height - side, height)
    columns = slice(0, side) if trigger.corner.endswith("left") else slice(width - side, width)
    return rows, columns
