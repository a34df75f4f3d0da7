"""Some classes of ImageNet (ILSVRC 2012), with its validation images as the test set.

The images are for research and teaching that earn nothing, by the terms of
https://image-net.org/download, and only who has agreed to them may have them.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints

from supreme_core.data.image_set import ImageSet
from supreme_core.data.image_tree import walk
from supreme_core.data.published import AT, ListedImage, Parts, PublishedParams, read_set
from supreme_core.errors import SpecError, nearest
from supreme_core.registry import dataset

PARTS: Final = ("train", "val")
Wnid = Annotated[str, StringConstraints(pattern=r"^n[0-9]{8}$")]


class ImagenetSubsetParams(PublishedParams):
    """Files: imagenet/train/<wnid>/*.JPEG and imagenet/val/<wnid>/*.JPEG.

    The archive of validation images is flat; the script valprep.sh of torchvision's users, or any
    other that sorts them into folders by their class, gives this layout.
    """

    folder: ClassVar[str] = "imagenet"
    folders: ClassVar[tuple[str, ...]] = ("train", "val")
    origin: ClassVar[str] = "ILSVRC 2012 from https://image-net.org/download"
    layout: ClassVar[tuple[str, ...]] = (
        "train/<wnid>/<wnid>_1.JPEG",
        "val/<wnid>/ILSVRC2012_val_00000001.JPEG",
    )

    classes: list[Wnid] = Field(
        min_length=2,
        max_length=1000,
        description="The classes by their wnids, n01440764 and so on; sorted, so that their order"
        " means nothing.",
    )
    size: int = Field(
        64,
        ge=8,
        le=1024,
        description="Side in pixels after resize and centre crop; 256 for a model that sees 224.",
    )

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "classes": self.wnids()}

    def wnids(self) -> list[str]:
        return sorted(set(self.classes))

    def parts(self, root: Path) -> Parts:
        (train, train_notes), (test, test_notes) = (self._part(root, part) for part in PARTS)
        return Parts(train, test, (*train_notes, *test_notes))

    def _part(self, root: Path, part: str) -> tuple[list[ListedImage], tuple[str, ...]]:
        """The images of one part in the order of the classes, and notes on the rest."""
        wnids = self.wnids()
        there = {each.name for each in (root / part).iterdir() if each.is_dir()}
        for wnid in wnids:
            if wnid not in there:
                raise SpecError(
                    f"{AT}: {str(root / part)!r} has no folder {wnid!r}{nearest(wnid, there)}"
                )
        tree = walk(root / part, at=AT, depth=1, ignored=there.difference(wnids))
        if empty := tree.without_images():
            raise SpecError(f"{AT}: {part}/: {empty}")
        numbers = {wnid: number for number, wnid in enumerate(wnids)}
        images = [
            ListedImage(f"{part}/{image.name}", numbers[image.parts[0]]) for image in tree.images
        ]
        return images, tree.notes(part)


@dataset()
def imagenet_subset(params: ImagenetSubsetParams) -> ImageSet:
    """Some classes of ImageNet by their wnids, colour; its validation images are the test set."""
    return read_set("imagenet_subset", params, params.wnids(), size=params.size)
