"""Mirror half of the images."""

from pydantic import Field
from torch import Tensor, where

from supreme_core.engine.randomness import Draw
from supreme_core.registry import Params, augmentation


class HorizontalFlipParams(Params):
    probability: float = Field(0.5, ge=0, le=1, description="Share of images that are mirrored.")


@augmentation()
def horizontal_flip(images: Tensor, draw: Draw, params: HorizontalFlipParams) -> Tensor:
    """Left and right exchanged with the given probability."""
    mirrored = draw.uniform(0) < params.probability
    return where(mirrored[:, None, None, None], images.flip(-1), images)
