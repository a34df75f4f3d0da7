"""A prepared data set: plain arrays, the same bytes for everybody who reads its digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from supreme_core.artefacts import Manifest, digest
from supreme_core.errors import SpecError
from supreme_core.registry import Params

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class DatasetParams(Params):
    """Base of a dataset's settings."""

    def source_state(self) -> str | None:
        """A cheap fingerprint of the files that the data come from, None where there are none.

        It is recorded when the arrays are prepared. A later run on a machine that sees the source
        with another fingerprint stops instead of using arrays of other images.
        """
        return None


@dataclass(frozen=True)
class ImageSet:
    """Images of a training and a test set.

    *_images: (n, channels, height, width) uint8.  *_labels: (n,) int64 class numbers.
    mean, std: of each channel of the training images, on the scale 0..1.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(
        cls,
        train_images: NDArray[np.uint8],
        train_labels: NDArray[np.int64],
        test_images: NDArray[np.uint8],
        test_labels: NDArray[np.int64],
        class_names: tuple[str, ...],
    ) -> Self:
        """The set with mean and standard deviation taken from its own training images."""
        mean, std = _channel_statistics(train_images)
        return cls(train_images, train_labels, test_images, test_labels, class_names, mean, std)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return int(self.train_images.shape[1])

    @property
    def size(self) -> int:
        return int(self.train_images.shape[2])

    def files(self) -> dict[str, bytes]:
        """The arrays as .npy files without pickle."""
        return {f"{name}.npy": _npy(getattr(self, name)) for name in ARRAYS}

    def facts(self) -> dict[str, object]:
        return {
            "classNames": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "trainSamples": len(self.train_labels),
            "testSamples": len(self.test_labels),
        }

    @classmethod
    def read(cls, paths: Mapping[str, Path], facts: Mapping[str, object]) -> Self:
        """The set from its files, images memory-mapped, so that ranks of one machine share them."""
        arrays = {
            name: np.load(paths[f"{name}.npy"], mmap_mode="r", allow_pickle=False)
            for name in ARRAYS
        }
        return cls(
            **arrays,
            class_names=tuple(facts["classNames"]),  # type: ignore[arg-type]
            mean=tuple(facts["mean"]),  # type: ignore[arg-type]
            std=tuple(facts["std"]),  # type: ignore[arg-type]
        )


def dataset_digest(manifest: Manifest) -> str:
    """sha256 over the digests of the arrays: what later stages name as their data."""
    return digest({name: file.sha256 for name, file in manifest.files.items()})


def check(images: ImageSet, name: str) -> ImageSet:
    """Refuse a set that no experiment could use; SpecError says why."""
    if not len(images.train_labels) or not len(images.test_labels):
        raise SpecError(f"dataset {name!r} has no training or no test images")
    present = np.unique(images.train_labels)
    if len(present) < 2:
        raise SpecError(f"dataset {name!r} has {len(present)} class; at least 2 are needed")
    return images


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _channel_statistics(
    images: NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel on the scale 0..1, exact through a histogram."""
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1), minlength=256)
        mean = float(np.average(levels, weights=counts))
        means.append(mean)
        deviations.append(float(np.sqrt(np.average((levels - mean) ** 2, weights=counts))))
    return tuple(means), tuple(max(deviation, 1 / 255) for deviation in deviations)
