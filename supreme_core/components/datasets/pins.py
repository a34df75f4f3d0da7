"""Pins Face Recognition: photos of 105 people, with a split into training and test that it lacks.

Others train and test on all of its images. Here a fifth of each person's images is test, drawn once
for all by name of the person and order of the files, and no image is on both sides.
"""

from typing import ClassVar, Final

from supreme_core.data.class_folders import AT, ClassFoldersParams, Files, image_set, read_tree
from supreme_core.data.image_files import readable
from supreme_core.data.image_set import ImageSet
from supreme_core.data.image_tree import FoundPath, sha256_of
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
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
    tree = read_tree("pins", params)
    files = {name.removeprefix(PREFIX): images for name, images in tree.classes().items()}
    train, test = split(files)
    return image_set(tree, params, train=train, test=test)


def split(files: Files) -> tuple[dict[str, list[FoundPath]], dict[str, list[FoundPath]]]:
    """Training and test files of each person, in the order they came in.

    Files with the same bytes count as one image, which is on one side only; where two people share
    it, on the side that it has for the first of them.
    """
    tested: dict[str, bool] = {}
    train, test = {}, {}
    for name, found in files.items():
        contents = {each: _content(each) for each in found}
        images = list(dict.fromkeys(contents.values()))
        share = max(len(images) // 5, int(len(images) > 1))
        wanted = share - sum(tested.get(image, False) for image in images)
        undecided = [
            images[place]
            for place in permutation(streams.derive(SPLIT_KEY, name), len(images))
            if images[place] not in tested
        ]
        for place, image in enumerate(undecided):
            tested[image] = place < wanted
        train[name] = [each for each in found if not tested[contents[each]]]
        test[name] = [each for each in found if tested[contents[each]]]
    return train, test


def _content(image: FoundPath) -> str:
    with readable(image.path, at=AT):
        return sha256_of(image.path)
