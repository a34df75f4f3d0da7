"""Facts of the data that a model must know."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageShape:
    """channels, side of the square images in pixels, number of classes."""

    channels: int
    size: int
    classes: int
