"""Fashion-MNIST: articles of clothing in the IDX format.

H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747. MIT licence.
"""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from supreme_core.data.downloads import RemoteFile, obtain
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.errors import SpecError
from supreme_core.registry import dataset

HOST: Final = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# The md5 sums are those of torchvision.datasets.FashionMNIST.
FILES: Final = (
    RemoteFile(f"{HOST}/train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    RemoteFile(f"{HOST}/train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe"),
    RemoteFile(f"{HOST}/t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
    RemoteFile(f"{HOST}/t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310"),
)

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class FashionMnistParams(SourceParams):
    """Files: the four .gz files under their own names."""


@dataset(classes=10)
def fashion_mnist(params: FashionMnistParams) -> ImageSet:
    """Fashion-MNIST: 60,000 training and 10,000 test articles of clothing, grey, 28 pixels."""
    paths = obtain("fashion_mnist", FILES, source=params.source)
    train_images, train_labels, test_images, test_labels = map(_read_idx, paths)
    return ImageSet.of(
        train_images[:, None],
        train_labels.astype(np.int64),
        test_images[:, None],
        test_labels.astype(np.int64),
        class_names=CLASSES,
    )


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """IDX: two zero bytes, the type (8 is uint8), the number of axes, their sizes, the values."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"{path} is no readable gzip file: {error}") from None
    axes = data[3] if data[:3] == b"\x00\x00\x08" and len(data) > 3 else 0
    shape = tuple(int(side) for side in np.frombuffer(data[4 : 4 + 4 * axes], dtype=">u4"))
    values = np.frombuffer(data[4 + 4 * axes :], dtype=np.uint8)
    if not axes or len(values) != prod(shape):
        raise SpecError(f"{path} is no IDX file of bytes")
    return values.reshape(shape)
