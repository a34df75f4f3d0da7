"""Public sets that a user has to fetch, unpacked as they are published: images and their lists."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from supreme_core.data.downloads import folder_if_there, source_folder
from supreme_core.data.from_files import Part, decoded_set
from supreme_core.data.image_set import ImageSet, SourceParams
from supreme_core.data.image_tree import FoundPath, fingerprint, size_of
from supreme_core.errors import SpecError, number_of
from supreme_core.system.files import read_file

AT: Final = "spec.dataset.params.source"

MOST_BYTES: Final = 256 * 1024 * 1024
"""Largest size of one list; that of CelebA's attributes has 27 MB."""


class PublishedParams(SourceParams):
    """Settings of such a set. A subclass has a field `size`, the side of images in pixels.

    folder: the set's own.  lists: files in it that say what the images are.  folders: those with
    images.  origin: where a user gets it.  layout: paths below `folder`, for errors.
    """

    folder: ClassVar[str]
    lists: ClassVar[tuple[str, ...]] = ()
    folders: ClassVar[tuple[str, ...]]
    origin: ClassVar[str]
    layout: ClassVar[tuple[str, ...]]

    def source_state(self) -> str | None:
        """Names and sizes of the files, which are the same wherever they were unpacked."""
        source = folder_if_there(self.source) if self.source else None
        if source is None or any(_missing(self.root(source), self)):
            return None
        root = self.root(source)
        parts = self.parts(root)
        names = (*self.lists, *(image.name for image in (*parts.train, *parts.test)))
        return fingerprint((FoundPath(root / name, (name,)) for name in names), size_of, at=AT)

    def root(self, source: Path) -> Path:
        """The set's own folder in the source, or the source itself where that is it."""
        inside = source / self.folder
        return source if source.name == self.folder and not inside.is_dir() else inside

    @abstractmethod
    def parts(self, root: Path) -> "Parts":
        """The images of either part, as the set's lists and folders name them."""


@dataclass(frozen=True)
class ListedImage:
    """One image.  name: its path in the set's folder.  identity: whom it shows, -1 if unknown."""

    name: str
    label: int
    identity: int = -1


@dataclass(frozen=True)
class Parts:
    """Training and test images.  notes: what users should know of how they were found."""

    train: Sequence[ListedImage]
    test: Sequence[ListedImage]
    notes: tuple[str, ...] = ()


def read_set(
    dataset: str,
    params: PublishedParams,
    class_names: Iterable[str],
    *,
    size: int,
    identity_names: Sequence[str] = (),
) -> ImageSet:
    """The set with the names of its files; SpecError shows the layout that is expected."""
    root = found_root(dataset, params)
    parts = params.parts(root)
    train, test = parts.train, parts.test
    more: dict[str, Any] = {}
    if identity_names:
        more = {
            "train_identities": _numbers(image.identity for image in train),
            "test_identities": _numbers(image.identity for image in test),
            "identity_names": tuple(identity_names),
        }
    train_part, test_part = (
        Part([root / image.name for image in part], _numbers(image.label for image in part))
        for part in (train, test)
    )
    return decoded_set(
        train_part,
        test_part,
        tuple(class_names),
        size=size,
        mode="color",
        at=AT,
        train_files=tuple(image.name for image in train),
        test_files=tuple(image.name for image in test),
        notes=parts.notes,
        **more,
    )


def found_root(dataset: str, params: PublishedParams) -> Path:
    """The set's folder with all that belongs to it."""
    if not params.source:
        raise SpecError(f"dataset {dataset} is not downloaded by itself\n{_layout(params)}")
    source = source_folder(params.source)
    root = params.root(source)
    if not root.is_dir():
        raise SpecError(f"{AT}: {str(source)!r} has no folder {params.folder}\n{_layout(params)}")
    for missing in _missing(root, params):
        raise SpecError(f"{AT}: {str(root)!r} has no {missing}\n{_layout(params)}")
    return root


def table(path: Path, *, columns: int, skip: int = 0) -> Iterator[list[str]]:
    """The fields of each line of a list, at least `columns`; SpecError names a line with fewer.

    skip: lines at its beginning that are no rows.
    """
    try:
        lines = read_file(path, limit=MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{AT}: {str(path)!r} cannot be read: {reason}") from None
    for number, line in enumerate(lines[skip:], skip + 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not fields:
            continue
        if len(fields) < columns:
            raise SpecError(
                f"{AT}: line {number} of {str(path)!r} has {number_of(len(fields), 'field')},"
                f" not {columns}"
            )
        yield fields


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)


def _missing(root: Path, params: PublishedParams) -> Iterator[str]:
    yield from (f"folder {name}" for name in params.folders if not (root / name).is_dir())
    yield from (f"file {name}" for name in params.lists if not (root / name).is_file())


def _layout(params: PublishedParams) -> str:
    lines = "\n".join(f"    DIR/{params.folder}/{each}" for each in params.layout)
    return (
        f"get {params.origin}, unpack it in any folder DIR to\n{lines}\n"
        "and give `supreme prepare FILE --from DIR --store URI`, or set"
        " spec.dataset.params.source: DIR"
    )
