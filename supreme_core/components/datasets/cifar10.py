"""CIFAR-10: 60,000 photos of 10 things."""

from supreme_core.data.cifar_files import CIFAR10, read_cifar
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.registry import dataset

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


class Cifar10Params(SourceParams):
    """Files: cifar-10-binary.tar.gz, or the folder cifar-10-batches-bin in it."""


@dataset(classes=10)
def cifar10(params: Cifar10Params) -> ImageSet:
    """CIFAR-10: 50,000 training and 10,000 test photos of 10 things, colour, 32 pixels."""
    train, test = read_cifar("cifar10", CIFAR10, source=params.source)
    return ImageSet.of(
        train.images, train.labels[:, 0], test.images, test.labels[:, 0], class_names=CLASSES
    )
