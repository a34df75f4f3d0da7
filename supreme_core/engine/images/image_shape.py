"""What a model must know of the data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageShape:
    """channels, side of the square images in pixels, number of classes."""

    channels: int
    size: int
    classes: int
