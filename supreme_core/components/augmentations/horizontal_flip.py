"""Mirror half of the images."""

from pydantic import Field
from torch import Tensor, arange, cat

from supreme_core.engine.images.randomness import Draw
from supreme_core.registry import Params, augmentation


class HorizontalFlipParams(Params):
    probability: float = Field(0.5, ge=0, le=1, description="Share of images that are mirrored.")


@augmentation()
def horizontal_flip(images: Tensor, draw: Draw, params: HorizontalFlipParams) -> Tensor:
    """Left and right exchanged with the given probability."""
    mirrored = draw.uniform(0) < params.probability
    both = cat([images, images.flip(-1)])  # whole images are then copied, not pixel by pixel
    return both.index_select(0, arange(len(images), device=images.device) + len(images) * mirrored)
