"""Image sets whose images are files of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supreme_core.data.image_files import Mode, decode_all
from supreme_core.data.image_set import ImageSet
from supreme_core.data.image_tree import frames_note
from supreme_core.data.split import Labels
from supreme_core.errors import SpecError


@dataclass(frozen=True)
class Part:
    """Files of the training or of the test set, with the number of the class of each."""

    files: Sequence[Path]
    labels: NDArray[np.int64]


class UnreadableImages(SpecError):
    """Error with a line for each file that is no readable image.

    labels: those of the set, on which scenarios can be tried nevertheless.
    """

    def __init__(self, message: str, labels: Labels) -> None:
        super().__init__(message)
        self.labels = labels


def decoded_set(
    train: Part,
    test: Part,
    class_names: tuple[str, ...],
    *,
    size: int,
    mode: Mode,
    at: str,
    notes: Sequence[str] = (),
    **more: Any,
) -> ImageSet:
    """Decode both parts; UnreadableImages under `at` names what cannot be read of either.

    more: identities and names of files, where the set has them.
    """
    decoded, unreadable = [], list[str]()
    for part in (train, test):
        try:
            decoded.append(decode_all(part.files, size=size, mode=mode, at=at))
        except SpecError as error:
            unreadable.append(str(error))
    if unreadable:
        labels = Labels(
            train.labels,
            test.labels,
            class_names,
            train_identities=more.get("train_identities"),
            test_identities=more.get("test_identities"),
            identity_names=more.get("identity_names", ()),
        )
        raise UnreadableImages("\n".join(unreadable), labels)
    first, second = decoded
    return ImageSet.of(
        first.pixels,
        train.labels,
        second.pixels,
        test.labels,
        class_names,
        notes=(*notes, *frames_note(first.animated + second.animated)),
        **more,
    )
