"""CIFAR-100: 60,000 photos of 100 things."""

from supreme_core.data.cifar_files import FINE_CLASSES, read_cifar100
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.registry import dataset


class Cifar100Params(SourceParams):
    """Files: cifar-100-binary.tar.gz, or the folder cifar-100-binary in it."""


@dataset(classes=100)
def cifar100(params: Cifar100Params) -> ImageSet:
    """CIFAR-100: 50,000 training and 10,000 test photos of 100 things, colour, 32 pixels."""
    train, test = read_cifar100("cifar100", source=params.source)
    return ImageSet.of(
        train.images, train.labels[:, 1], test.images, test.labels[:, 1], class_names=FINE_CLASSES
    )
