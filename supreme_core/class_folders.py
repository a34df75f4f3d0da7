"""Public sets that a user has to fetch, which come as one folder with a folder for each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.downloads import source_folder
from supreme_core.errors import SpecError
from supreme_core.image_files import SUFFIXES, decode_all, names_and_sizes
from supreme_core.image_set import ImageSet, SourceParams

AT = "dataset.params.source"

Files = Mapping[str, Sequence[Path]]
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
        32, ge=8, le=1024, description="Side in pixels after resize and centre crop; 224 for ViT."
    )

    def source_state(self) -> str | None:
        """Names and sizes of the files, which are the same wherever they were unpacked."""
        if not self.source or not self.root().is_dir():
            return None
        root = self.root()
        return names_and_sizes(root, [file for files in self.files().values() for file in files])

    def root(self) -> Path:
        """The set's own folder in the source, or the source itself where that is it."""
        source = Path(self.source).expanduser()
        return source if source.name == self.folder else source / self.folder

    def files(self) -> Files:
        folders = sorted(each for each in self.root().iterdir() if each.is_dir())
        return {
            folder.name: _images(folder)
            for folder in folders
            if not folder.name.startswith(".") and folder.name not in self.ignored
        }


def read_files(dataset: str, params: ClassFoldersParams) -> Files:
    """The images of each class; SpecError shows the layout that is expected."""
    if not params.source:
        raise SpecError(f"dataset {dataset} is not downloaded by itself\n{_layout(params)}")
    source_folder(params.source)
    if not params.root().is_dir():
        raise SpecError(f"{AT}: {params.source!r} has no folder {params.folder}\n{_layout(params)}")
    files = params.files()
    if len(files) != params.classes:
        raise SpecError(
            f"{AT}: {params.root()} has {len(files)} class folders, where {dataset} has"
            f" {params.classes}; for images of your own use image_folder\n{_layout(params)}"
        )
    for name, images in files.items():
        if len(images) < 2:
            raise SpecError(f"{AT}: class folder {name!r} has {len(images)} images; 2 are needed")
    return files


def image_set(
    params: ClassFoldersParams,
    train: Sequence[Sequence[Path]],
    test: Sequence[Sequence[Path]],
    *,
    class_names: tuple[str, ...],
) -> ImageSet:
    """train, test: the images of each class.  The set keeps the names of their files."""
    train_files, test_files = (
        [file for images in part for file in images] for part in (train, test)
    )
    return ImageSet.of(
        decode_all(train_files, size=params.size, mode="color", at=AT),
        _labels(train),
        decode_all(test_files, size=params.size, mode="color", at=AT),
        _labels(test),
        class_names,
        train_files=_names(train_files, params.root()),
        test_files=_names(test_files, params.root()),
    )


def _labels(images: Sequence[Sequence[Path]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(images)), [len(files) for files in images])


def _names(files: Sequence[Path], root: Path) -> tuple[str, ...]:
    return tuple(file.relative_to(root).as_posix() for file in files)


def _images(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def _layout(params: ClassFoldersParams) -> str:
    return (
        f"get {params.origin}, unpack it in any folder DIR to\n"
        f"    DIR/{params.folder}/{params.example}\n"
        "and give `supreme prepare FILE --from DIR --store URI`, or set dataset.params.source: DIR"
    )
