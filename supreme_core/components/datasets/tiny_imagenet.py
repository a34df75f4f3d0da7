"""Tiny ImageNet: 200 classes of ImageNet in 64 pixels, as Stanford's course CS231n published it.

Its validation images are the test set here, as everywhere, since nobody knows the labels of its
test images. The images are ImageNet's: for research and teaching that earn nothing, by the terms
of https://image-net.org/download.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from supreme_core.data.image_set import ImageSet
from supreme_core.data.image_tree import walk
from supreme_core.data.published import (
    AT,
    ListedImage,
    Parts,
    PublishedParams,
    found_root,
    read_set,
    table,
)
from supreme_core.errors import SpecError
from supreme_core.registry import dataset

CLASSES: Final = 200
ANNOTATIONS: Final = "val/val_annotations.txt"


class TinyImagenetParams(PublishedParams):
    """Files: tiny-imagenet-200/train/<wnid>/images/*.JPEG, val/images/*.JPEG and their lists."""

    folder: ClassVar[str] = "tiny-imagenet-200"
    lists: ClassVar[tuple[str, ...]] = ("words.txt", ANNOTATIONS)
    folders: ClassVar[tuple[str, ...]] = ("train", "val/images")
    origin: ClassVar[str] = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    layout: ClassVar[tuple[str, ...]] = (
        "words.txt",
        "train/<wnid>/images/<wnid>_0.JPEG",
        "val/images/val_0.JPEG",
        ANNOTATIONS,
    )

    size: int = Field(64, ge=8, le=1024, description="Side in pixels; the images have 64.")

    def parts(self, root: Path) -> Parts:
        tree = walk(root / "train", at=AT, depth=2)
        numbers = {folder.name: number for number, folder in enumerate(tree.folders)}
        train = [
            ListedImage(f"train/{image.name}", numbers[image.parts[0]]) for image in tree.images
        ]
        test = []
        for file, wnid, *_ in table(root / ANNOTATIONS, columns=2):
            if wnid not in numbers:
                raise SpecError(f"{AT}: {ANNOTATIONS} has {wnid!r}, which is no folder of train/")
            test.append(ListedImage(f"val/images/{file}", numbers[wnid]))
        return Parts(train, sorted(test, key=lambda image: image.name), tree.notes("train"))


@dataset(classes=CLASSES)
def tiny_imagenet(params: TinyImagenetParams) -> ImageSet:
    """Tiny ImageNet: 100,000 training and 10,000 test photos of 200 classes, colour, 64 pixels."""
    root = found_root("tiny_imagenet", params)
    tree = walk(root / "train", at=AT, depth=2)
    wnids = [folder.name for folder in tree.folders]
    if len(wnids) != CLASSES:
        raise SpecError(
            f"{AT}: {str(root / 'train')!r} has {len(wnids)} class folders, where tiny_imagenet has"
            f" {CLASSES}; for images of your own use image_folder"
        )
    if empty := tree.without_images():
        raise SpecError(f"{AT}: {empty}")
    return read_set("tiny_imagenet", params, _names(root, wnids), size=params.size)


def _names(root: Path, wnids: Sequence[str]) -> list[str]:
    """The first word of each class; where two classes share it, with their wnids."""
    words = dict(fields[:2] for fields in table(root / "words.txt", columns=2))
    if unknown := [wnid for wnid in wnids if wnid not in words]:
        raise SpecError(f"{AT}: words.txt has no line for {unknown[0]!r}, a folder of train/")
    first = {wnid: words[wnid].partition(",")[0].strip() for wnid in wnids}
    shared = Counter(first.values())
    return [f"{name} ({wnid})" if shared[name] > 1 else name for wnid, name in first.items()]
