"""Images at another size, by integer arithmetic: the same bits on every device and in every batch.

It is what Pillow does, to the bit, so that images are what the usual recipes make of them: an
antialiased filter along the rows and then along the columns, each rounded to whole levels.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supreme_core.engine.ranks.device import sent

Interpolation = Literal["bilinear", "bicubic"]

BITS: Final = 22
"""Binary digits after the point of a weight; with 8 of a pixel and a sign they fit into int32."""


def resized(images: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """uint8 (n, channels, height, width): the short side becomes `size`, the other its share."""
    short = min(images.shape[2:])
    if short == size:
        return images
    height, width = (round(side * size / short) for side in images.shape[2:])
    return _along(_along(images, 3, width, interpolation), 2, height, interpolation)


def central(images: Tensor, size: int) -> Tensor:
    """The window of `size` by `size` pixels in the middle."""
    top, left = (round((side - size) / 2) for side in images.shape[2:])
    return images[:, :, top : top + size, left : left + size]


def _along(images: Tensor, dimension: int, size: int, interpolation: Interpolation) -> Tensor:
    if images.shape[dimension] == size:
        return images
    places, weights = _tables(images.shape[dimension], size, interpolation, images.device)
    shape = [1, 1, 1, 1]
    shape[dimension] = size
    total = torch.full((), 1 << (BITS - 1), dtype=torch.int32, device=images.device)
    for place, weight in zip(places, weights, strict=True):
        total = total + images.index_select(dimension, place) * weight.view(shape)
    return (total >> BITS).clamp_(0, 255).to(torch.uint8)


@cache
def _tables(
    before: int, after: int, interpolation: Interpolation, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Places and weights of a filter, sent to a device once."""
    with torch.inference_mode(False):  # else a training could not use what a prediction has made
        places, weights = map(torch.from_numpy, _filter(before, after, interpolation))
        return sent(places, device), sent(weights, device)


@cache
def _filter(
    before: int, after: int, interpolation: Interpolation
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(taps, after): which pixels make up each new one, and their weights times 2**BITS."""
    reach, kernel = KERNELS[interpolation]
    scale = before / after
    stretch = max(scale, 1.0)
    taps = math.ceil(reach * stretch) * 2 + 1
    places = np.zeros((taps, after), dtype=np.int64)
    weights = np.zeros((taps, after), dtype=np.int32)
    for new in range(after):
        centre = (new + 0.5) * scale
        first = max(int(centre - reach * stretch + 0.5), 0)
        last = min(int(centre + reach * stretch + 0.5), before)
        drawn = [kernel(abs(old - centre + 0.5) / stretch) for old in range(first, last)]
        whole = sum(drawn)
        places[: last - first, new] = range(first, last)
        weights[: last - first, new] = [_rounded(each / whole * (1 << BITS)) for each in drawn]
    return places, weights


def _triangle(distance: float) -> float:
    return max(1.0 - distance, 0.0)


def _cubic(distance: float) -> float:
    """Keys 1981, a = -1/2."""
    x, a = distance, -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _rounded(weight: float) -> int:
    return int(weight + math.copysign(0.5, weight))


KERNELS: Final[Mapping[Interpolation, tuple[float, Callable[[float], float]]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
}
"""Reach of each filter, in pixels of the smaller image, and its weight at a distance."""
