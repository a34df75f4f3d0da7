"""Handwritten digits: 1,797 real 8x8 images that come with scikit-learn, so nothing is downloaded.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998 (its test
part, as scikit-learn ships it).
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.data.image_set import DatasetParams, ImageSet
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import dataset

SPLIT_KEY = 20_260_101
"""The split is part of the dataset, not of an experiment, so its key is fixed."""


class DigitsParams(DatasetParams):
    size: int = Field(
        32, ge=8, le=128, multiple_of=8, description="Side in pixels; each pixel becomes a square."
    )


@dataset(classes=10)
def digits(params: DigitsParams) -> ImageSet:
    """Handwritten digits of scikit-learn, grey, 10 classes; every fifth of a class is test."""
    from sklearn.datasets import load_digits  # with all of scikit-learn, which takes seconds

    pixels, labels = cast(
        tuple[NDArray[np.float64], NDArray[np.int64]], load_digits(return_X_y=True)
    )
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    factor = params.size // 8
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    test = _every_fifth_of_a_class(labels)
    return ImageSet.of(
        images[~test],
        labels[~test].astype(np.int64),
        images[test],
        labels[test].astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
    )


def _every_fifth_of_a_class(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Stratified: the first 20 % of each class in a fixed random order."""
    test = np.zeros(len(labels), dtype=bool)
    order = permutation(SPLIT_KEY, len(labels))
    for digit in np.unique(labels):
        members = order[labels[order] == digit]
        test[members[: len(members) // 5]] = True
    return test
