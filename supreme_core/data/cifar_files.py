"""The binary version of CIFAR-10 and CIFAR-100: records of label bytes and 3,072 pixels.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The better known
python version holds pickles, which nothing here ever loads.
"""

import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from supreme_core.data.downloads import RemoteFile, obtain, source_folder
from supreme_core.errors import SpecError, number_of
from supreme_core.system.files import read_file

SIDE: Final = 32
PIXELS: Final = 3 * SIDE * SIDE
MOST_BYTES: Final = 512 * 1024 * 1024
"""Largest size of one file; the largest one that was published has 154 MB."""


@dataclass(frozen=True)
class Archive:
    """A tar file and the folder in it.  labels: how many classes each label byte may name."""

    file: RemoteFile
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Records:
    """images: (n, 3, 32, 32) uint8.  labels: (n, label bytes) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


# Both md5 sums are those that the page of the data gives beside the links to the binary version.
CIFAR10: Final = Archive(
    RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ),
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test=("test_batch.bin",),
    labels=(10,),
)
CIFAR100: Final = Archive(
    RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "md5:03b5dce01913d631647c71ecec9e9cb8",
    ),
    folder="cifar-100-binary",
    train=("train.bin",),
    test=("test.bin",),
    labels=(20, 100),  # coarse, fine
)

FINE_CLASSES: Final = (
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
)

SUPERCLASSES: Final[Mapping[str, Sequence[int]]] = {
    "aquatic_mammals": (4, 30, 55, 72, 95),
    "fish": (1, 32, 67, 73, 91),
    "flowers": (54, 62, 70, 82, 92),
    "food_containers": (9, 10, 16, 28, 61),
    "fruit_and_vegetables": (0, 51, 53, 57, 83),
    "household_electrical_devices": (22, 39, 40, 86, 87),
    "household_furniture": (5, 20, 25, 84, 94),
    "insects": (6, 7, 14, 18, 24),
    "large_carnivores": (3, 42, 43, 88, 97),
    "large_man-made_outdoor_things": (12, 17, 37, 68, 76),
    "large_natural_outdoor_scenes": (23, 33, 49, 60, 71),
    "large_omnivores_and_herbivores": (15, 19, 21, 31, 38),
    "medium_mammals": (34, 63, 64, 66, 75),
    "non-insect_invertebrates": (26, 45, 77, 79, 99),
    "people": (2, 11, 35, 46, 98),
    "reptiles": (27, 29, 44, 78, 93),
    "small_mammals": (36, 50, 65, 74, 80),
    "trees": (47, 52, 56, 59, 96),
    "vehicles_1": (8, 13, 48, 58, 90),
    "vehicles_2": (41, 69, 81, 85, 89),
}
"""The 20 classes of CIFAR-100's coarse labels, and the numbers of the fine classes in each."""


def read_cifar(dataset: str, archive: Archive, *, source: str) -> tuple[Records, Records]:
    """Training and test records, from the archive or from the folder that it unpacks to."""
    unpacked = source_folder(source) / archive.folder if source else None
    if unpacked and unpacked.is_dir() and not (unpacked.parent / archive.file.name).is_file():
        contents = _read_folder(unpacked, archive)
    else:
        (path,) = obtain(dataset, [archive.file], source=source)
        contents = _read_archive(path, archive)
    return _taken(contents, archive.train, archive), _taken(contents, archive.test, archive)


def read_cifar100(dataset: str, *, source: str) -> tuple[Records, Records]:
    """Records with coarse and fine labels, which fit each other."""
    train, test = read_cifar(dataset, CIFAR100, source=source)
    superclass = superclass_of_fine()
    for part in (train, test):
        coarse, fine = part.labels.T
        if (superclass[fine] != coarse).any():
            raise SpecError(f"{CIFAR100.folder} is damaged: fine and coarse labels do not fit")
    return train, test


def superclass_of_fine() -> NDArray[np.int64]:
    """(100,) the coarse class of each fine one."""
    table = np.empty(len(FINE_CLASSES), dtype=np.int64)
    for number, members in enumerate(SUPERCLASSES.values()):
        table[list(members)] = number
    return table


def _read_folder(folder: Path, archive: Archive) -> dict[str, bytes]:
    try:
        names = archive.train + archive.test
        return {name: read_file(folder / name, limit=MOST_BYTES) for name in names}
    except OSError as error:
        raise SpecError(
            f"spec.dataset.params.source: cannot read {error.filename}: {error.strerror}"
        ) from None


def _read_archive(path: Path, archive: Archive) -> dict[str, bytes]:
    wanted = {f"{archive.folder}/{name}": name for name in archive.train + archive.test}
    contents = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if member.name in wanted and (file := tar.extractfile(member)):
                    contents[wanted[member.name]] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SpecError(f"{path} is no readable archive: {error}") from None
    if missing := sorted(set(wanted.values()) - set(contents)):
        raise SpecError(f"{path} has no {archive.folder}/{missing[0]}")
    return contents


def _records(data: bytes, archive: Archive, name: str) -> Records:
    width = len(archive.labels)
    if not data or len(data) % (width + PIXELS):
        raise SpecError(
            f"{archive.folder}/{name} has {number_of(len(data), 'byte')}, no whole number of"
            f" records of {width + PIXELS} bytes"
        )
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, width + PIXELS)
    labels = rows[:, :width].astype(np.int64)
    if (labels >= np.array(archive.labels)).any():
        raise SpecError(f"{archive.folder}/{name} is damaged: it has labels that name no class")
    return Records(rows[:, width:].reshape(-1, 3, SIDE, SIDE), labels)


def _taken(contents: dict[str, bytes], names: Sequence[str], archive: Archive) -> Records:
    """The records of some files, one after the other, whose bytes go: no set is held twice."""
    parts = [_records(contents.pop(name), archive, name) for name in names]
    return Records(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
