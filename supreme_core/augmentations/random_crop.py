"""Pad with black, then cut a random window of the old size."""

from pydantic import Field
from torch import Tensor, arange
from torch.nn import functional

from supreme_core.engine.randomness import Draw
from supreme_core.registry import Params, augmentation


class RandomCropParams(Params):
    padding: int = Field(4, ge=1, le=256, description="Black pixels added on each side.")


@augmentation()
def random_crop(images: Tensor, draw: Draw, params: RandomCropParams) -> Tensor:
    """A window of the image's size out of the image with a black border."""
    _, _, height, width = images.shape
    padded = functional.pad(images, (params.padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of every possible one
    samples, shifts = arange(len(images), device=images.device), 2 * params.padding + 1
    return windows[samples, :, draw.integers(0, shifts), draw.integers(1, shifts)]
