"""Bring images to another size, usually for a random window out of them."""

from pydantic import Field
from torch import Tensor

from supreme_core.engine.images.randomness import Draw
from supreme_core.engine.images.resize import Interpolation, resized
from supreme_core.registry import Params, augmentation


class ResizeParams(Params):
    size: int = Field(256, ge=8, le=1024, description="Short side afterwards, in pixels.")
    interpolation: Interpolation = Field(
        "bicubic", description="Antialiased filter, the same as Pillow's."
    )


@augmentation()
def resize(images: Tensor, draw: Draw, params: ResizeParams) -> Tensor:
    """Every image with its short side at the given size."""
    return resized(images, params.size, params.interpolation)
