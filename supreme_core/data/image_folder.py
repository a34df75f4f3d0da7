"""Anybody's own images: <path>/train/<class>/<image> and <path>/test/<class>/<image>.

Where it is known whom an image shows, <class>/<identity>/<image>.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

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
    train, test = (_files(root / part, params) for part in ("train", "test"))
    return ImageSet.of(
        _images(train, params),
        _labels(train, root / "train", class_names),
        _images(test, params),
        _labels(test, root / "test", class_names),
        class_names,
        **(_identities(train, test) if params.identities else {}),
    )


def _files(part: Path, params: ImageFolderParams) -> list[Path]:
    """The images of one part, sorted by path."""
    files = [file for file in image_files(part) if len(file.relative_to(part).parts) > 1]
    if not files:
        raise SpecError(
            f"dataset.params.path: no images in {part.name}/<class>/ of {params.path!r}"
        )
    for file in files:
        if params.identities and len(file.relative_to(part).parts) != 3:
            raise SpecError(
                f"dataset.params.path: {str(file)!r} is not in <class>/<identity>/, as"
                " identities: true expects"
            )
    return files


def _images(files: Sequence[Path], params: ImageFolderParams) -> NDArray[np.uint8]:
    return decode_all(files, size=params.size, mode=params.mode, at=AT)


def _labels(files: Sequence[Path], part: Path, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    labels = np.empty(len(files), dtype=np.int64)
    for position, file in enumerate(files):
        class_name = file.relative_to(part).parts[0]
        if class_name not in class_names:
            raise SpecError(
                f"dataset.params.path: class {class_name!r} is in test/ but not in train/"
                f"{nearest(class_name, class_names)}"
            )
        labels[position] = class_names.index(class_name)
    return labels


def _identities(train: Sequence[Path], test: Sequence[Path]) -> dict[str, Any]:
    """Whom the images show: their numbers, in the order of the names."""
    names = tuple(sorted({file.parent.name for file in (*train, *test)}))
    numbers = {name: number for number, name in enumerate(names)}
    train_identities, test_identities = (
        np.array([numbers[file.parent.name] for file in files], dtype=np.int64)
        for files in (train, test)
    )
    return {
        "train_identities": train_identities,
        "test_identities": test_identities,
        "identity_names": names,
    }
