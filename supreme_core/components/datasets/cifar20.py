"""CIFAR-20: the photos of CIFAR-100 by their 20 coarse classes, for forgetting parts of classes."""

from supreme_core.data.cifar_files import FINE_CLASSES, SUPERCLASSES, read_cifar100
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.registry import dataset


class Cifar20Params(SourceParams):
    """Files: those of cifar100."""


@dataset(classes=20)
def cifar20(params: Cifar20Params) -> ImageSet:
    """CIFAR-100 by its 20 superclasses; its 100 classes are the fine ones, 5 in each."""
    train, test = read_cifar100("cifar100", source=params.source)
    return ImageSet.of(
        train.images,
        train.labels[:, 0],
        test.images,
        test.labels[:, 0],
        class_names=tuple(SUPERCLASSES),
        train_fine_labels=train.labels[:, 1],
        test_fine_labels=test.labels[:, 1],
        fine_class_names=FINE_CLASSES,
    )
