"""Pins Face Recognition: photos of 105 people, with a split into training and test that it lacks.

Others train and test on all of its images. Here a fifth of each person's images is test, drawn once
for all by name of the person and order of the files, and no image is on both sides.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Final

from supreme_core import seeds
from supreme_core.class_folders import ClassFoldersParams, image_set, read_files
from supreme_core.hashing import permutation
from supreme_core.image_set import ImageSet
from supreme_core.registry import dataset

PREFIX: Final = "pins_"

SPLIT_KEY: Final = 20_260_101
"""The split is part of the dataset, not of an experiment, so its key is fixed."""


class PinsParams(ClassFoldersParams):
    """Files: 105_classes_pins_dataset/pins_<Name>/<image>.jpg."""

    folder: ClassVar[str] = "105_classes_pins_dataset"
    classes: ClassVar[int] = 105
    origin: ClassVar[str] = "the set hereisburak/pins-face-recognition from Kaggle"
    example: ClassVar[str] = "pins_<Name>/<image>.jpg"


@dataset(classes=105)
def pins(params: PinsParams) -> ImageSet:
    """Pins Face Recognition: photos of 105 people, colour; a fifth of each person's is test."""
    files = read_files("pins", params)
    train, test = split({name.removeprefix(PREFIX): images for name, images in files.items()})
    return image_set(
        params,
        list(train.values()),
        list(test.values()),
        class_names=tuple(train),
    )


def split(
    files: dict[str, Sequence[Path]],
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Training and test files of each person, in the order they came in.

    Files with the same bytes count as one image, which is on one side only; where two people share
    it, on the side that it has for the first of them.
    """
    tested: dict[bytes, bool] = {}
    train, test = {}, {}
    for name, paths in files.items():
        contents = {path: sha256(path.read_bytes()).digest() for path in paths}
        images = list(dict.fromkeys(contents.values()))
        share = max(len(images) // 5, int(len(images) > 1))
        wanted = share - sum(tested.get(image, False) for image in images)
        undecided = [
            images[place]
            for place in permutation(seeds.derive(SPLIT_KEY, name), len(images))
            if images[place] not in tested
        ]
        for place, image in enumerate(undecided):
            tested[image] = place < wanted
        train[name] = [path for path in paths if not tested[contents[path]]]
        test[name] = [path for path in paths if tested[contents[path]]]
    return train, test
