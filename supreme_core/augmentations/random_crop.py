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
    shifts = 2 * params.padding + 1
    rows = draw.integers(0, shifts)[:, None] + arange(height, device=images.device)
    columns = draw.integers(1, shifts)[:, None] + arange(width, device=images.device)
    samples = arange(len(images), device=images.device)
    # Advanced indices around a slice move to the front: (n, height, width, channels).
    cut = padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)
