"""Images in files: found by name, decoded to arrays of one size. No torch."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from supreme_core.errors import SpecError

SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

Mode = Literal["color", "grey"]


def image_files(root: Path) -> list[Path]:
    """Every image below a folder, sorted by path."""
    return sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES)


def names_and_sizes(root: Path, files: Iterable[Path]) -> str:
    """A fingerprint of files that copying them does not change."""
    state = sha256()
    for file in files:
        state.update(f"{file.relative_to(root).as_posix()} {file.stat().st_size}\n".encode())
    return state.hexdigest()


def decode_all(files: Sequence[Path], *, size: int, mode: Mode, at: str) -> NDArray[np.uint8]:
    """(n, channels, size, size); SpecError under `at` names a file that is no readable image."""
    images = np.empty((len(files), 3 if mode == "color" else 1, size, size), dtype=np.uint8)
    for position, file in enumerate(files):
        images[position] = decode(file, size=size, mode=mode, at=at)
    return images


def decode(file: Path, *, size: int, mode: Mode, at: str) -> NDArray[np.uint8]:
    """(channels, size, size): short side to `size` (bicubic, antialiased), then the centre."""
    try:
        with Image.open(file) as opened:
            if opened.mode[0] in "IF":  # Pillow would cut them off at 255: all but black is white
                raise ValueError("it has more than 8 bits a channel")
            image = ImageOps.exif_transpose(opened).convert("RGB" if mode == "color" else "L")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise SpecError(f"{at}: {str(file)!r} is not a readable image: {error}") from None
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8).reshape(size, size, -1).transpose(2, 0, 1)
