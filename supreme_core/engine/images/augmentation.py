"""The augmentation of one epoch: the recipe's augmentations, one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from supreme_core.engine.images.randomness import Draw
from supreme_core.randomness import streams
from supreme_core.registry import Chosen


@dataclass(frozen=True, eq=False)
class EpochAugmentation:
    """Augmentation of one epoch of one training, keyed by the training's seed."""

    augmentations: Sequence[Chosen[Any, Any]]
    seed: int
    epoch: int

    def __call__(self, images: Tensor, ids: Tensor) -> Tensor:
        return self.drawn(images, lambda place: Draw(self.key(place), ids))

    def drawn(self, images: Tensor, draw: Callable[[int], Draw]) -> Tensor:
        """Augment images by other random numbers.  draw: those of the augmentation at a place."""
        for place, augmentation in enumerate(self.augmentations):
            images = augmentation(images, draw(place))
        return images

    def key(self, place: int) -> int:
        """Key of the random numbers of the augmentation at a place of the recipe."""
        name = self.augmentations[place].entry.name
        return streams.derive(self.seed, "augmentation", self.epoch, place, name)
