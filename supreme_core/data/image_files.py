"""Images in files, decoded to arrays of one size. No torch.

What a file is, its bytes say and not its name: a JPEG that is called .png is read as a JPEG. Of
several frames the first is taken. What is transparent shows white. More than 8 bits a channel are
refused, where Pillow would cut them off.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from supreme_core.errors import SpecError, one_line
from supreme_core.system.files import require_file

FORMATS: Final = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "JPEG",
    "JPEG2000",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)
"""Formats of photos and scans. Others that Pillow knows are fonts, icons, or programs to be run."""

LONGEST: Final = 16
"""Times its short side that are looked at of a long image, around its centre. More is cut off
before the image is resized, which would make one of 1 x 20,000 pixels a giant."""

MOST_PIXELS: Final = 120_000_000
"""Most pixels of one image. A file of 20 kB can claim as many, and they take up to 1 GB of
memory."""

TOO_MANY: Final = f"more than the {MOST_PIXELS:,} that are read"

STRIP: Final = 64
"""Rows that are converted at a time: a large image is in memory twice, and not four times."""

MOST_UNREADABLE: Final = 10
"""Most unreadable files that are named at one time."""

Mode = Literal["color", "grey"]


@dataclass(frozen=True)
class Decoded:
    """pixels: (n, channels, size, size).  animated: how many files have more than one frame."""

    pixels: NDArray[np.uint8]
    animated: int = 0


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of files in these formats, as Pillow knows them; in small letters, with the dot."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in FORMATS)


def decode_all(files: Sequence[Path], *, size: int, mode: Mode, at: str) -> Decoded:
    """SpecError under `at` names the files that are no readable images, a line each."""
    pixels = np.empty((len(files), 3 if mode == "color" else 1, size, size), dtype=np.uint8)
    animated, unreadable = 0, list[str]()
    for position, file in enumerate(files):
        try:
            with readable(file, at=at), _opened(file) as opened:
                animated += getattr(opened, "is_animated", False)
                pixels[position] = _decoded(opened, size=size, mode=mode)
        except SpecError as error:
            unreadable.append(str(error))
            if len(unreadable) == MOST_UNREADABLE:
                unreadable.append(f"{at}: there may be more of these; the others were not read")
                break
    if unreadable:
        raise SpecError("\n".join(unreadable))
    return Decoded(pixels, animated)


@contextmanager
def readable(file: Path, *, at: str) -> Iterator[None]:
    """Turn every error with a file in this block into a SpecError that names it."""
    try:
        require_file(file)
        yield
    except Exception as error:  # Pillow raises nearly everything for damaged files
        reason = _reason(error)
        raise SpecError(f"{at}: {str(file)!r} is not a readable image: {reason}") from None


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Pillow warns of images that are read here, and has an error for far larger ones.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"it has {width:,} x {height:,} pixels, {TOO_MANY}")
            yield opened


def _decoded(opened: Image.Image, *, size: int, mode: Mode) -> NDArray[np.uint8]:
    """(channels, size, size): short side to `size` (bicubic, antialiased), then the centre."""
    if opened.mode[0] in "IF":  # Pillow would cut them off at 255: all but black is white
        raise ValueError("it has more than 8 bits a channel")
    ImageOps.exif_transpose(opened, in_place=True)
    image = _flat(_centre(opened), "RGB" if mode == "color" else "L")
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8).reshape(size, size, -1).transpose(2, 0, 1)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The image on white in this mode."""
    if image.mode == mode and not image.has_transparency_data:
        return image
    flat = Image.new(mode, image.size)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        flat.paste(_on_white(strip).convert(mode), (0, top))
    return flat


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _centre(image: Image.Image) -> Image.Image:
    """Cut from a very long image the part around its centre, which alone is seen."""
    most = LONGEST * min(image.size)
    if max(image.size) <= most:
        return image  # and no copy of it
    left, top = (max(0, side - most) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _reason(error: Exception) -> str:
    match error:
        case UnidentifiedImageError():
            return f"its bytes are none of {', '.join(FORMATS)}"
        case OSError(strerror=str(reason)):
            return reason
        case Image.DecompressionBombError():
            return f"its pixels are {TOO_MANY}"
        case OSError() | ValueError():
            return one_line(error) or type(error).__name__
    return one_line(f"{type(error).__name__}: {error}")
