"""Turn each image by a random angle about its centre; what comes in from outside is black.

All of it is integer arithmetic on cosines and sines from a table made on the CPU, so that a sample
has the same bits in every batch and on every device.
"""

from functools import cache
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from supreme_core.engine.images.randomness import Draw
from supreme_core.engine.ranks.device import sent
from supreme_core.registry import Params, augmentation

ANGLES: Final = 4096
"""Equally likely angles from -degrees to degrees."""

BITS: Final = 16
"""Binary digits after the point of cosines and coordinates."""

WEIGHT_BITS: Final = 8
"""Binary digits of the weights of bilinear interpolation."""


class RotationParams(Params):
    degrees: float = Field(15, gt=0, le=180, description="Largest angle, to either side.")
    interpolation: Literal["nearest", "bilinear"] = Field(
        "nearest", description="Take the nearest pixel, or weigh the four around."
    )


@augmentation()
def rotation(images: Tensor, draw: Draw, params: RotationParams) -> Tensor:
    """Each image turned about its centre by an angle within the given one, on black."""
    turns = _turns(params.degrees, images.device)[draw.integers(0, ANGLES)]
    rows, columns = _origins(turns, *images.shape[2:])
    bordered = functional.pad(images, (1, 1, 1, 1))
    if params.interpolation == "nearest":
        for each in (rows, columns):
            each += 1 << (BITS - 1)
            each >>= BITS
        return _taken(bordered, rows, columns)
    return _weighed(bordered, rows, columns)


def angles(degrees: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(ANGLES,) all angles in degrees; positive ones turn against the clock."""
    return np.linspace(-degrees, degrees, ANGLES)


@cache
def _turns(degrees: float, device: torch.device) -> Tensor:
    """(ANGLES, 2) cosine and sine of each angle, times 2**BITS, sent to a device once."""
    radians = np.deg2rad(angles(degrees))
    scaled = np.stack([np.cos(radians), np.sin(radians)], axis=1) * 2**BITS
    table = torch.from_numpy(np.rint(scaled).astype(np.int32))  # enough for sides up to 13,000
    return sent(table, device)


def _origins(turns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(n, height, width) row and column, times 2**BITS, from which each pixel comes."""
    cosine, sine = turns[:, 0, None, None], turns[:, 1, None, None]
    # Twice the distance from the centre, which lies between pixels where a side is even.
    y, x = (torch.arange(side, dtype=torch.int32, device=turns.device) for side in (height, width))
    down, right = 2 * y[:, None] - (height - 1), 2 * x[None, :] - (width - 1)
    # The first sum of each has a single row; only the last addition is for every pixel.
    rows = sine * right + ((height - 1) << BITS) + cosine * down
    columns = cosine * right + ((width - 1) << BITS) - sine * down
    rows >>= 1
    columns >>= 1
    return rows, columns


def _taken(bordered: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(n, channels, height, width) pixels at the given places, black outside.

    bordered: the images with a black border of one pixel, which stands for everything outside.
    """
    count, channels, height, width = bordered.shape
    places = rows.clamp(-1, height - 2).add_(1).mul_(width)
    places += columns.clamp(-1, width - 2).add_(1)
    flat = places.to(torch.int64).flatten(1)[:, None].expand(-1, channels, -1)
    return bordered.flatten(2).gather(2, flat).view(count, channels, height - 2, width - 2)


def _weighed(bordered: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Weigh the four pixels around each place by nearness; round to the nearest level."""
    one, shift = 1 << WEIGHT_BITS, BITS - WEIGHT_BITS
    rows, columns = (rows + (1 << shift >> 1)) >> shift, (columns + (1 << shift >> 1)) >> shift
    top, left = rows >> WEIGHT_BITS, columns >> WEIGHT_BITS
    lower, later = (rows & (one - 1))[:, None], (columns & (one - 1))[:, None]
    upper, former = one - lower, one - later
    total = (
        _taken(bordered, top, left) * (upper * former)
        + _taken(bordered, top, left + 1) * (upper * later)
        + _taken(bordered, top + 1, left) * (lower * former)
        + _taken(bordered, top + 1, left + 1) * (lower * later)
    )
    return ((total + one * one // 2) >> 2 * WEIGHT_BITS).to(torch.uint8)
