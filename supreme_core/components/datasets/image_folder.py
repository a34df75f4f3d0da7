"""Anybody's own images: <path>/train/<class>/<image> and <path>/test/<class>/<image>.

Where it is known whom an image shows, <class>/<identity>/<image>.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.data.downloads import folder_if_there, given_folder
from supreme_core.data.from_files import Part, decoded_set
from supreme_core.data.image_files import Mode
from supreme_core.data.image_set import DatasetParams, ImageSet
from supreme_core.data.image_tree import (
    FoundPath,
    Tree,
    fingerprint,
    is_hidden,
    sha256_of,
    size_and_time_of,
    walk,
)
from supreme_core.errors import SpecError, few, nearest
from supreme_core.registry import dataset

AT: Final = "spec.dataset.params.path"
PARTS: Final = ("train", "test")


class ImageFolderParams(DatasetParams):
    location: ClassVar[str | None] = "path"

    path: str = Field(
        description="Folder that holds train/ and test/, with a folder a class. One that does not"
        " begin with / or ~ is looked for where the command runs."
    )
    size: int = Field(32, ge=8, le=1024, description="Side in pixels after resize and centre crop.")
    mode: Mode = Field("color", description="Channels: 3 or 1.")
    identities: bool = Field(
        False,
        description="Each class folder has a folder for each person, or another identity, whose"
        " name means the same one in every class; the scenario identity can then forget it.",
        exclude_if=lambda value: not value,  # so that older digests stay what they are
    )
    revision: str = Field(
        "", description="Give it a new value when the images have changed, to prepare them again."
    )

    def source_state(self) -> str | None:
        """Names, sizes and times of the images; None where the folder is not on this machine."""
        return self._fingerprint(size_and_time_of)

    def source_content(self) -> str | None:
        return self._fingerprint(sha256_of)

    def _fingerprint(self, describe: Callable[[Path], object]) -> str | None:
        root = folder_if_there(self.path)
        if root is None:
            return None
        images = (
            FoundPath(image.path, (part, *image.parts))
            for part in PARTS
            if os.path.isdir(root / part)
            for image in walk(root / part, at=AT).images
        )
        return fingerprint(images, describe, at=AT)


@dataset(version=2)
def image_folder(params: ImageFolderParams) -> ImageSet:
    """Your own images in <path>/train/<class>/ and <path>/test/<class>/."""
    root = given_folder(params.path, at=AT)
    others = _other_folders(root)
    train, test = (_tree(root, part, others) for part in PARTS)
    if empty := train.without_images():
        raise SpecError(f"{AT}: in train/ of {str(root)!r} there is {empty}")
    class_names = tuple(folder.name for folder in train.folders)
    for tree in (train, test):
        _require_places(tree, params)
    train_part, test_part = (
        Part([image.path for image in tree.images], _labels(tree, class_names))
        for tree in (train, test)
    )
    return decoded_set(
        train_part,
        test_part,
        class_names,
        size=params.size,
        mode=params.mode,
        at=AT,
        notes=(*train.notes("train"), *test.notes("test"), *_others_note(others)),
        **(_identities(train.images, test.images) if params.identities else {}),
    )


def _other_folders(root: Path) -> list[str]:
    """The folders beside train/ and test/, none of which is read."""
    try:
        names = sorted(name for name in os.listdir(root) if os.path.isdir(root / name))
    except OSError as error:
        raise SpecError(f"{AT}: {str(root)!r} cannot be listed: {error.strerror}") from None
    return [name for name in names if name not in PARTS and not is_hidden(name)]


def _tree(root: Path, part: str, others: Sequence[str]) -> Tree:
    if not os.path.isdir(root / part):
        there = f"; there is {few(others)}" if others else ""
        raise SpecError(
            f"{AT}: {str(root)!r} has no folder {part!r};"
            f" expected train/<class>/<image> and test/<class>/<image>{there}"
        )
    tree = walk(root / part, at=AT)
    if not tree.images and (part == "test" or not tree.folders):
        inside = tree.passed_over() or "nothing"
        raise SpecError(
            f"{AT}: no images in {part}/<class>/ of {str(root)!r}; beside images there is {inside}"
        )
    return tree


def _require_places(tree: Tree, params: ImageFolderParams) -> None:
    for image in tree.images:
        if params.identities and len(image.parts) != 3:
            raise SpecError(
                f"{AT}: {str(image.path)!r} is not in <class>/<identity>/, as"
                " identities: true expects"
            )


def _labels(tree: Tree, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for image in tree.images:
        if image.parts[0] not in numbers:
            raise SpecError(
                f"{AT}: class {image.parts[0]!r} is in test/ but not in train/"
                f"{nearest(image.parts[0], class_names)}"
            )
    return np.array([numbers[image.parts[0]] for image in tree.images], dtype=np.int64)


def _others_note(others: Sequence[str]) -> tuple[str, ...]:
    return (f"not read, beside train/ and test/: {few(others)}",) if others else ()


def _identities(train: Sequence[FoundPath], test: Sequence[FoundPath]) -> dict[str, Any]:
    """Whom the images show: their numbers, in the order of the names."""
    names = tuple(sorted({image.parts[1] for image in (*train, *test)}))
    numbers = {name: number for number, name in enumerate(names)}
    train_identities, test_identities = (
        np.array([numbers[image.parts[1]] for image in images], dtype=np.int64)
        for images in (train, test)
    )
    return {
        "train_identities": train_identities,
        "test_identities": test_identities,
        "identity_names": names,
    }
