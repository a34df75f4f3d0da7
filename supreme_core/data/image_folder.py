"""Anybody's own images: <path>/train/<class>/<image> and <path>/test/<class>/<image>."""

from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.errors import SpecError, nearest
from supreme_core.image_files import Mode, decode_all, image_files
from supreme_core.image_set import DatasetParams, ImageSet
from supreme_core.registry import dataset

AT = "dataset.params.path"


class ImageFolderParams(DatasetParams):
    location: ClassVar[str | None] = "path"

    path: str = Field(description="Folder that holds train/ and test/, with a folder a class.")
    size: int = Field(32, ge=8, le=1024, description="Side in pixels after resize and centre crop.")
    mode: Mode = Field("color", description="Channels: 3 or 1.")
    revision: str = Field(
        "", description="Give it a new value when the images have changed, to prepare them again."
    )

    def source_state(self) -> str | None:
        """Names, sizes and times of the files; None where the folder is not on this machine."""
        root = Path(self.path)
        if not root.is_dir():
            return None
        state = sha256()
        for file in image_files(root):
            found = file.stat()
            line = f"{file.relative_to(root).as_posix()} {found.st_size} {found.st_mtime_ns}\n"
            state.update(line.encode())
        return state.hexdigest()


@dataset()
def image_folder(params: ImageFolderParams) -> ImageSet:
    """Your own images in <path>/train/<class>/ and <path>/test/<class>/."""
    root = Path(params.path)
    if not root.is_dir():
        raise SpecError(f"dataset.params.path: {params.path!r} is not a folder on this machine")
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise SpecError(
                f"dataset.params.path: {params.path!r} has no folder {part!r};"
                " expected train/<class>/<image> and test/<class>/<image>"
            )
    class_names = tuple(
        sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir())
    )
    train_images, train_labels = _read(root / "train", class_names, params)
    test_images, test_labels = _read(root / "test", class_names, params)
    return ImageSet.of(train_images, train_labels, test_images, test_labels, class_names)


def _read(
    part: Path, class_names: tuple[str, ...], params: ImageFolderParams
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = [file for file in image_files(part) if len(file.relative_to(part).parts) > 1]
    if not files:
        raise SpecError(
            f"dataset.params.path: no images in {part.name}/<class>/ of {params.path!r}"
        )
    labels = np.empty(len(files), dtype=np.int64)
    for position, file in enumerate(files):
        class_name = file.relative_to(part).parts[0]
        if class_name not in class_names:
            raise SpecError(
                f"dataset.params.path: class {class_name!r} is in test/ but not in train/"
                f"{nearest(class_name, class_names)}"
            )
        labels[position] = class_names.index(class_name)
    return decode_all(files, size=params.size, mode=params.mode, at=AT), labels
