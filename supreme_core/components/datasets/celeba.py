"""CelebA: photos of 10,177 famous people, by one of their attributes; people can be forgotten.

Z. Liu et al., "Deep Learning Face Attributes in the Wild", 2015. Only for research that earns
nothing, by the agreement on its page. Training and test set are those of its authors, which have no
person in common; their validation images are left out.
"""

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from supreme_core.data.image_set import ImageSet
from supreme_core.data.published import (
    AT,
    ListedImage,
    Parts,
    PublishedParams,
    found_root,
    read_set,
    table,
)
from supreme_core.errors import SpecError, nearest
from supreme_core.registry import dataset

IMAGES: Final = "img_align_celeba"
ATTRIBUTES: Final = "list_attr_celeba.txt"
IDENTITIES: Final = "identity_CelebA.txt"
PARTITION: Final = "list_eval_partition.txt"
TRAIN, VALIDATION, TEST = "0", "1", "2"


class CelebaParams(PublishedParams):
    """Files: celeba/img_align_celeba/*.jpg and three lists."""

    folder: ClassVar[str] = "celeba"
    lists: ClassVar[tuple[str, ...]] = (ATTRIBUTES, IDENTITIES, PARTITION)
    folders: ClassVar[tuple[str, ...]] = (IMAGES,)
    origin: ClassVar[str] = (
        "the aligned images, attributes, identities and partition of"
        " https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )
    layout: ClassVar[tuple[str, ...]] = (f"{IMAGES}/000001.jpg", *lists)

    attribute: str = Field(
        "Smiling", description="The attribute that is the label, by its name in the list: Male, ..."
    )
    size: int = Field(64, ge=8, le=1024, description="Side in pixels after resize and centre crop.")

    def people(self, root: Path) -> dict[str, str]:
        """Person on each image."""
        return dict(fields[:2] for fields in table(root / IDENTITIES, columns=2))

    def names(self, root: Path) -> list[str]:
        """The people, in the order of their numbers."""
        return sorted(set(self.people(root).values()), key=lambda name: (len(name), name))

    def parts(self, root: Path) -> Parts:
        place = self._column(root)
        numbers = {name: number for number, name in enumerate(self.names(root))}
        people = self.people(root)
        part_of = dict(fields[:2] for fields in table(root / PARTITION, columns=2))
        parts: dict[str, list[ListedImage]] = {TRAIN: [], VALIDATION: [], TEST: []}
        for file, *values in table(root / ATTRIBUTES, columns=place + 2, skip=2):
            for listing, known in ((IDENTITIES, people), (PARTITION, part_of)):
                if file not in known:
                    raise SpecError(f"{AT}: {listing} has no line for {file!r}")
            if part_of[file] not in parts:
                raise SpecError(f"{AT}: {PARTITION} has {part_of[file]!r} for {file!r}, not 0 to 2")
            if values[place] not in ("1", "0", "-1"):
                raise SpecError(
                    f"{AT}: {ATTRIBUTES} has {values[place]!r} for {self.attribute} of {file!r},"
                    " which is neither 1 nor -1"
                )
            label = int(values[place] == "1")
            image = ListedImage(f"{IMAGES}/{file}", label, numbers[people[file]])
            parts[part_of[file]].append(image)
        return Parts(parts[TRAIN], parts[TEST])

    def _column(self, root: Path) -> int:
        rows = table(root / ATTRIBUTES, columns=1)
        _, known = next(rows, []), next(rows, [])
        if self.attribute not in known:
            raise SpecError(
                f"spec.dataset.params.attribute: {ATTRIBUTES} has no attribute {self.attribute!r}"
                f"{nearest(self.attribute, known)}"
            )
        return known.index(self.attribute)


@dataset(classes=2)
def celeba(params: CelebaParams) -> ImageSet:
    """CelebA: 162,770 training and 19,962 test faces by one attribute, colour, with identities."""
    root = found_root("celeba", params)
    attribute = params.attribute
    return read_set(
        "celeba",
        params,
        (f"not {attribute}", attribute),
        size=params.size,
        identity_names=params.names(root),
    )
