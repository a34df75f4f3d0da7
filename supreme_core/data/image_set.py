"""A prepared data set: plain arrays, the same bytes for everybody who reads its digest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.api.canonical import digest
from supreme_core.data.split import Labels
from supreme_core.errors import SpecError, SupremeError, few
from supreme_core.registry import Chosen, Params
from supreme_core.store.artefacts import Manifest

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
FINE_ARRAYS = ("train_fine_labels", "test_fine_labels")
IDENTITY_ARRAYS = ("train_identities", "test_identities")
"""Stored only where a set has them, so that the digests of the others are what they were."""

LABELS = (*(name for name in ARRAYS if name.endswith("labels")), *FINE_ARRAYS, *IDENTITY_ARRAYS)
"""Arrays without the images."""

LISTING = "images.json"

HISTOGRAM_IMAGES = 256
"""Images that are counted at one time."""


class DatasetParams(Params):
    """Base of a dataset's settings.

    location: the setting that says in which folder the files are, None where there are none.
    changed_source: what to do where the files are others than those that were prepared.
    """

    location: ClassVar[str | None] = None
    changed_source: ClassVar[str] = (
        "give spec.dataset.params.revision a new value to prepare them again"
    )

    def source_state(self) -> str | None:
        """A cheap fingerprint of the files that the data come from, None where there are none.

        It is recorded when the arrays are prepared. A later run on a machine that sees the source
        with another fingerprint looks at the content, and stops where that is another one too,
        instead of using arrays of other images.
        """
        return None

    def source_content(self) -> str | None:
        """A fingerprint of all bytes of the files, which a copy has too; None where the cheap one
        is as good."""
        return None


class SourceParams(DatasetParams):
    """Settings of a public dataset: wherever its files lie, they are the same data."""

    location: ClassVar[str | None] = "source"
    changed_source: ClassVar[str] = (
        "use another store for them, or take spec.dataset.params.source away to use what is there"
    )

    source: str = Field(
        "",
        description="Folder that holds the files; needed only to prepare them, never part of what"
        " the data are. Empty: a download, where the licence allows one.",
    )

    def identity(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_document().items() if name != "source"}


@dataclass(frozen=True)
class ImageSet:
    """Images of a training and a test set.

    *_images: (n, channels, height, width) uint8.  *_labels: (n,) int64 class numbers.
    mean, std: of each channel of the training images, on the scale 0..1.
    *_fine_labels: (n,) int64 numbers of finer classes, each of which lies within one class; None
    where there are none.  *_identities: (n,) int64 numbers of the people (or other identities) that
    the images show, None where nobody knows.  *_files: which file each image came from, for the
    record.  notes: what users should know of how the images were read, a line each.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_fine_labels: NDArray[np.int64] | None = None
    test_fine_labels: NDArray[np.int64] | None = None
    fine_class_names: tuple[str, ...] = ()
    train_identities: NDArray[np.int64] | None = None
    test_identities: NDArray[np.int64] | None = None
    identity_names: tuple[str, ...] = ()
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        train_images: NDArray[np.uint8],
        train_labels: NDArray[np.int64],
        test_images: NDArray[np.uint8],
        test_labels: NDArray[np.int64],
        class_names: tuple[str, ...],
        **more: Any,
    ) -> Self:
        """The set with mean and standard deviation taken from its own training images.

        more: fine labels, identities, names of files and notes, where the set has them.
        """
        mean, std = _channel_statistics(train_images)
        return cls(
            train_images, train_labels, test_images, test_labels, class_names, mean, std, **more
        )

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return int(self.train_images.shape[1])

    @property
    def size(self) -> int:
        return int(self.train_images.shape[2])

    @property
    def labels(self) -> Labels:
        """Labels, as scenarios see them."""
        return Labels(
            self.train_labels,
            self.test_labels,
            self.class_names,
            train_fine=self.train_fine_labels,
            test_fine=self.test_fine_labels,
            fine_class_names=self.fine_class_names,
            train_identities=self.train_identities,
            test_identities=self.test_identities,
            identity_names=self.identity_names,
        )

    def write(self, folder: Path) -> dict[str, Path]:
        """The arrays as .npy files without pickle, and where their images came from.

        Into files, because a set can take most of the memory and is not to be there twice.
        """
        names = [
            name
            for name in ARRAYS + FINE_ARRAYS + IDENTITY_ARRAYS
            if getattr(self, name) is not None
        ]
        paths = {f"{name}.npy": folder / f"{name}.npy" for name in names}
        try:
            for name in names:
                array = np.ascontiguousarray(getattr(self, name))
                np.save(paths[f"{name}.npy"], array, allow_pickle=False)
            if self.train_files:
                listing = {"train": self.train_files, "test": self.test_files}
                paths[LISTING] = folder / LISTING
                paths[LISTING].write_bytes(json.dumps(listing, indent=0).encode())
        except OSError as error:
            raise SupremeError(
                f"the prepared images cannot be written to {folder}: {error.strerror or error};"
                " free some space there, or set TMPDIR to another folder"
            ) from None
        return paths

    def facts(self) -> dict[str, object]:
        fine = {"fineClassNames": list(self.fine_class_names)} if self.fine_class_names else {}
        known = {"identityNames": list(self.identity_names)} if self.identity_names else {}
        return {
            **fine,
            **known,
            **({"notes": list(self.notes)} if self.notes else {}),
            "classNames": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "trainSamples": len(self.train_labels),
            "testSamples": len(self.test_labels),
        }

    @classmethod
    def read(cls, paths: Mapping[str, Path], facts: Mapping[str, object]) -> Self:
        """The set from its files, images memory-mapped, so that ranks of one machine share them.

        A store replaces and removes files but never writes into one, so a map stays as it is.
        """
        arrays: dict[str, Any] = {
            name: np.load(paths[f"{name}.npy"], mmap_mode="r", allow_pickle=False)
            for name in ARRAYS + FINE_ARRAYS + IDENTITY_ARRAYS
            if name in ARRAYS or f"{name}.npy" in paths
        }
        return cls(
            **arrays,
            class_names=tuple(facts["classNames"]),  # type: ignore[arg-type]
            mean=tuple(facts["mean"]),  # type: ignore[arg-type]
            std=tuple(facts["std"]),  # type: ignore[arg-type]
            fine_class_names=tuple(facts.get("fineClassNames", ())),  # type: ignore[arg-type]
            identity_names=tuple(facts.get("identityNames", ())),  # type: ignore[arg-type]
            notes=tuple(facts.get("notes", ())),  # type: ignore[arg-type]
        )


def read_labels(paths: Mapping[str, Path], facts: Mapping[str, object]) -> Labels:
    """The labels of a set from its files, by the names of their arrays; no image is read."""
    arrays = {name: np.load(path, allow_pickle=False) for name, path in paths.items()}
    return Labels(
        arrays["train_labels"],
        arrays["test_labels"],
        tuple(facts["classNames"]),  # type: ignore[arg-type]
        train_fine=arrays.get("train_fine_labels"),
        test_fine=arrays.get("test_fine_labels"),
        fine_class_names=tuple(facts.get("fineClassNames", ())),  # type: ignore[arg-type]
        train_identities=arrays.get("train_identities"),
        test_identities=arrays.get("test_identities"),
        identity_names=tuple(facts.get("identityNames", ())),  # type: ignore[arg-type]
    )


def dataset_meaning(chosen: Chosen[Any, Any]) -> dict[str, Any]:
    """Meaning of a prepared dataset; its digest is the key of the stage `datasets`."""
    return {"dataset": chosen.identity()}


def dataset_digest(manifest: Manifest) -> str:
    """sha256 over the digests of the arrays: what later stages name as their data."""
    arrays = {name: file for name, file in manifest.files.items() if name.endswith(".npy")}
    return digest({name: file.sha256 for name, file in arrays.items()})


def per_class(labels: Labels) -> list[tuple[str, int, int]]:
    """Name, training and test images of each class."""
    train, test = (
        np.bincount(part, minlength=len(labels.class_names)).tolist()
        for part in (labels.train, labels.test)
    )
    return list(zip(labels.class_names, train, test, strict=True))


def remarks(labels: Labels, facts: Mapping[str, Any]) -> list[str]:
    """Remarks that users should know before they trust numbers of a set, a line each.

    facts: those of the set, or of its manifest.
    """
    counts = per_class(labels)
    lacking = {
        "training": [name for name, train, _ in counts if not train],
        "test": [name for name, _, test in counts if not test],
    }
    missing = [f"no {part} image of class {few(names)}" for part, names in lacking.items() if names]
    return [*facts.get("notes", ()), *missing]


def refuse_changed_source(params: DatasetParams, facts: Mapping[str, object]) -> None:
    """SpecError where this machine sees other files than those that were prepared.

    facts: those of the prepared dataset's manifest.
    """
    source = params.source_state()
    if source is None or source == facts["source"]:
        return
    content = facts.get("sourceContent")
    if content is None or params.source_content() != content:
        raise SpecError(
            "spec.dataset: the source has changed since its images were prepared in this store;"
            f" {params.changed_source}"
        )


def check(images: ImageSet, name: str) -> ImageSet:
    """Refuse a set that no experiment could use; SpecError says why."""
    if not len(images.train_labels) or not len(images.test_labels):
        raise SpecError(f"dataset {name!r} has no training or no test images")
    present = np.unique(images.train_labels)
    if len(present) < 2:
        raise SpecError(f"dataset {name!r} has {len(present)} class; at least 2 are needed")
    return images


def _channel_statistics(
    images: NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel on the scale 0..1, exact through a histogram."""
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = _histogram(images[:, channel])
        mean = float(np.average(levels, weights=counts))
        means.append(mean)
        deviations.append(float(np.sqrt(np.average((levels - mean) ** 2, weights=counts))))
    return tuple(means), tuple(max(deviation, 1 / 255) for deviation in deviations)


def _histogram(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256,) how often each level occurs in (n, height, width); bincount needs 8 bytes a pixel."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(values), HISTOGRAM_IMAGES):
        some = values[start : start + HISTOGRAM_IMAGES]
        counts += np.bincount(some.reshape(-1), minlength=256)
    return counts
