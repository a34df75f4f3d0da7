"""Public sets that a user has to fetch, which come as one folder with a folder for each class."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.data.downloads import folder_if_there, source_folder
from supreme_core.data.from_files import Part, decoded_set
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.data.image_tree import FoundPath, Tree, fingerprint, size_of, walk
from supreme_core.errors import SpecError

AT: Final = "spec.dataset.params.source"

Files = Mapping[str, Sequence[FoundPath]]
"""The images of each class, sorted by name, by the name of the class's folder, in that order."""


class ClassFoldersParams(SourceParams):
    """Settings of such a set.

    folder: its name.  classes: how many class folders it has.  ignored: folders that are no class.
    origin: where a user gets it.  example: the path of an image below `folder`.
    """

    folder: ClassVar[str]
    classes: ClassVar[int]
    ignored: ClassVar[tuple[str, ...]] = ()
    origin: ClassVar[str]
    example: ClassVar[str]

    size: int = Field(
        32,
        ge=8,
        le=1024,
        description="Side in pixels after resize and centre crop; 224 for a ViT.",
    )

    def source_state(self) -> str | None:
        """Names and sizes of the files, which are the same wherever they were unpacked."""
        source = folder_if_there(self.source) if self.source else None
        if source is None or not os.path.isdir(self.root(source)):
            return None
        return fingerprint(self.tree(source).images, size_of, at=AT)

    def root(self, source: Path) -> Path:
        """The set's own folder in the source, or the source itself where that is it."""
        return source if source.name == self.folder else source / self.folder

    def tree(self, source: Path) -> Tree:
        return walk(self.root(source), at=AT, depth=1, ignored=self.ignored)


def read_tree(dataset: str, params: ClassFoldersParams) -> Tree:
    """The set's class folders, each with an image for either part; SpecError shows the layout."""
    if not params.source:
        raise SpecError(f"dataset {dataset} is not downloaded by itself\n{_layout(params)}")
    source = source_folder(params.source)
    if not os.path.isdir(params.root(source)):
        raise SpecError(f"{AT}: {str(source)!r} has no folder {params.folder}\n{_layout(params)}")
    tree = params.tree(source)
    if len(tree.folders) != params.classes:
        raise SpecError(
            f"{AT}: {tree.root} has {len(tree.folders)} class folders, where {dataset} has"
            f" {params.classes}; for images of your own use image_folder\n{_layout(params)}"
        )
    if few := tree.without_images(fewest=2):
        raise SpecError(f"{AT}: {few}")
    return tree


def image_set(tree: Tree, params: ClassFoldersParams, *, train: Files, test: Files) -> ImageSet:
    """train, test: parts of the tree by the name of the class, which they have in one order.

    The set keeps the names of their files.
    """
    train_images, test_images = (
        [image for images in part.values() for image in images] for part in (train, test)
    )
    return decoded_set(
        Part([image.path for image in train_images], _labels(train)),
        Part([image.path for image in test_images], _labels(test)),
        tuple(train),
        size=params.size,
        mode="color",
        at=AT,
        train_files=tuple(image.name for image in train_images),
        test_files=tuple(image.name for image in test_images),
        notes=tree.notes(params.folder),
    )


def _labels(images: Files) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(images)), [len(files) for files in images.values()])


def _layout(params: ClassFoldersParams) -> str:
    return (
        f"get {params.origin}, unpack it in any folder DIR to\n"
        f"    DIR/{params.folder}/{params.example}\n"
        "and give `supreme prepare FILE --from DIR --store URI`, or set"
        " spec.dataset.params.source: DIR"
    )
