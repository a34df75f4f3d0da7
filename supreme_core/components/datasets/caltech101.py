"""Caltech 101: photos of 101 categories.

F.-F. Li et al., "Learning Generative Visual Models from Few Training Examples", 2004. CC BY 4.0.
"""

from typing import ClassVar

from supreme_core.data.class_folders import ClassFoldersParams, image_set, read_tree
from supreme_core.data.image_set import ImageSet
from supreme_core.registry import dataset


class Caltech101Params(ClassFoldersParams):
    """Files: 101_ObjectCategories/<category>/image_0001.jpg; BACKGROUND_Google is left out."""

    folder: ClassVar[str] = "101_ObjectCategories"
    classes: ClassVar[int] = 101
    ignored: ClassVar[tuple[str, ...]] = ("BACKGROUND_Google",)
    origin: ClassVar[str] = "caltech-101.zip from https://data.caltech.edu/records/mzrjq-6wc02"
    example: ClassVar[str] = "<category>/image_0001.jpg"


@dataset(classes=101)
def caltech101(params: Caltech101Params) -> ImageSet:
    """Caltech 101: photos of 101 categories, colour; the first 80 % of each are for training."""
    tree = read_tree("caltech101", params)
    files = tree.classes()
    borders = {name: len(images) * 4 // 5 for name, images in files.items()}
    return image_set(
        tree,
        params,
        train={name: images[: borders[name]] for name, images in files.items()},
        test={name: images[borders[name] :] for name, images in files.items()},
    )
