"""Anybody's own images: <path>/train/<class>/<image> and <path>/test/<class>/<image>."""

from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from supreme_core.errors import SpecError, nearest
from supreme_core.image_set import DatasetParams, ImageSet
from supreme_core.registry import dataset

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolderParams(DatasetParams):
    path: str = Field(description="Folder that holds train/ and test/, with a folder a class.")
    size: int = Field(32, ge=8, le=1024, description="Side in pixels after resize and centre crop.")
    mode: Literal["color", "grey"] = Field("color", description="Channels: 3 or 1.")
    revision: str = Field(
        "", description="Give it a new value when the images have changed, to prepare them again."
    )

    def source_state(self) -> str | None:
        """Names, sizes and times of the files; None where the folder is not on this machine."""
        root = Path(self.path)
        if not root.is_dir():
            return None
        state = sha256()
        for file in _files(root):
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
    files = [file for file in _files(part) if len(file.relative_to(part).parts) > 1]
    if not files:
        raise SpecError(
            f"dataset.params.path: no images in {part.name}/<class>/ of {params.path!r}"
        )
    channels = 3 if params.mode == "color" else 1
    images = np.empty((len(files), channels, params.size, params.size), dtype=np.uint8)
    labels = np.empty(len(files), dtype=np.int64)
    for position, file in enumerate(files):
        class_name = file.relative_to(part).parts[0]
        if class_name not in class_names:
            raise SpecError(
                f"dataset.params.path: class {class_name!r} is in test/ but not in train/"
                f"{nearest(class_name, class_names)}"
            )
        images[position] = _decode(file, params)
        labels[position] = class_names.index(class_name)
    return images, labels


def _decode(file: Path, params: ImageFolderParams) -> NDArray[np.uint8]:
    """(channels, size, size): short side to `size` (bicubic, antialiased), then the centre."""
    try:
        with Image.open(file) as opened:
            if opened.mode[0] in "IF":  # Pillow would cut them off at 255: all but black is white
                raise ValueError("it has more than 8 bits a channel")
            image = ImageOps.exif_transpose(opened).convert(
                "RGB" if params.mode == "color" else "L"
            )
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise SpecError(
            f"dataset.params.path: {str(file)!r} is not a readable image: {error}"
        ) from None
    scale = params.size / min(image.size)
    width, height = (max(params.size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - params.size) // 2, (height - params.size) // 2
    image = image.crop((left, top, left + params.size, top + params.size))
    pixels = np.asarray(image, dtype=np.uint8).reshape(params.size, params.size, -1)
    return pixels.transpose(2, 0, 1)


def _files(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)
