"""Pad with black, then cut a random window, of the old size or of a smaller one."""

from pydantic import Field
from torch import Tensor, arange
from torch.nn import functional

from supreme_core.engine.images.randomness import Draw
from supreme_core.errors import SpecError
from supreme_core.registry import Params, augmentation


class RandomCropParams(Params):
    padding: int = Field(4, ge=0, le=256, description="Black pixels added on each side.")
    size: int | None = Field(
        None, ge=1, le=1024, description="Side of the window; null: that of the image."
    )


@augmentation()
def random_crop(images: Tensor, draw: Draw, params: RandomCropParams) -> Tensor:
    """A window out of the image with a black border, of the image's size or of a given one."""
    padded = functional.pad(images, (params.padding,) * 4)
    height, width = (params.size or side for side in images.shape[2:])
    down, right = padded.shape[2] - height + 1, padded.shape[3] - width + 1
    if min(down, right) < 1:
        raise SpecError(
            f"spec.training.augmentation: random_crop cannot cut a window of {params.size} pixels"
            f" out of {padded.shape[2]} x {padded.shape[3]}; put a resize before it"
        )
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of every possible one
    samples = arange(len(images), device=images.device)
    return windows[samples, :, draw.integers(0, down), draw.integers(1, right)]
