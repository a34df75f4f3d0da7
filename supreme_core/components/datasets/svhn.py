"""Street View House Numbers: cropped digits in MATLAB's version 5 format.

Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. For
non-commercial use. The `extra` part is left out.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from supreme_core.data.downloads import RemoteFile, obtain
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.errors import SpecError
from supreme_core.registry import dataset

# The md5 sums are those of torchvision.datasets.SVHN.
TRAIN: Final = RemoteFile(
    "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
    "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
)
TEST: Final = RemoteFile(
    "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
    "md5:eb5a983be6a315427106f1b164d9cef3",
)


class SvhnParams(SourceParams):
    """Files: train_32x32.mat and test_32x32.mat."""


@dataset(classes=10)
def svhn(params: SvhnParams) -> ImageSet:
    """House numbers: 73,257 training and 26,032 test digits from photos, colour, 32 pixels."""
    train, test = obtain("svhn", [TRAIN, TEST], source=params.source)
    return ImageSet.of(
        *_read(train), *_read(test), class_names=tuple(str(digit) for digit in range(10))
    )


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """X: (32, 32, 3, n) uint8.  y: (n, 1), where 10 stands for the digit 0."""
    contents = loadmat(path, variable_names=["X", "y"])
    images, labels = np.asarray(contents["X"]), np.asarray(contents["y"]).reshape(-1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != len(labels):
        raise SpecError(f"{path} has no images (32, 32, 3, n) with n labels")
    return images.transpose(3, 2, 0, 1), labels.astype(np.int64) % 10
