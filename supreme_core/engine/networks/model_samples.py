"""Samples of a dataset as a model sees them."""

import numpy as np
import torch
from numpy.typing import NDArray

from supreme_core.data.image_set import ImageSet
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import ImageSource, Samples
from supreme_core.engine.images.streaming import Placement, placed
from supreme_core.engine.networks.architecture import Architecture


def model_samples(
    images: ImageSet, architecture: Architecture, device: torch.device, where: Placement
) -> tuple[Samples, Samples]:
    """The training and the test set; labels on the device, images where they are to lie."""

    def samples(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Samples:
        seen = architecture.input
        source = ImageSource(
            placed(pixels, where, device),
            torch.tensor((seen and seen.mean) or images.mean, device=device),
            torch.tensor((seen and seen.std) or images.std, device=device),
            fitted=seen.fitted if seen else None,
        )
        ids = torch.arange(len(labels))
        return Samples(source, ids, torch.from_numpy(np.array(labels)).to(device))

    return (
        samples(images.train_images, images.train_labels),
        samples(images.test_images, images.test_labels),
    )


def model_shape(images: ImageSet, architecture: Architecture) -> ImageShape:
    """Shape of the images as the model sees them; SpecError where it cannot see such images."""
    return architecture.shape(ImageShape(images.channels, images.size, images.classes))
