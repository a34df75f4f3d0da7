"""What a scenario decides: which samples are forgotten and which are retained."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supreme_core.artefacts import digest
from supreme_core.errors import SpecError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """All that a scenario may look at.  train: (N,), test: (T,) class numbers."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Sorted indices. forget and retain partition the training set.

    forget_test and retain_test partition the test set; forget_test is empty where single samples
    are forgotten.  classes: the forgotten classes, empty where single samples are forgotten.
    """

    forget: Indices
    retain: Indices
    forget_test: Indices
    retain_test: Indices
    classes: tuple[int, ...]

    @cached_property
    def digest(self) -> str:
        """Names the whole split, held-out test samples included."""
        return digest({"forget": self.forget_digest, "forgetTest": self.forget_test.tolist()})

    @cached_property
    def forget_digest(self) -> str:
        """Names the forget set; two scenarios that forget the same samples share their models."""
        return digest({"forget": self.forget.tolist()})


def by_class(labels: Labels, classes: tuple[int, ...]) -> Split:
    train, test = np.isin(labels.train, classes), np.isin(labels.test, classes)
    return _checked(Split(*_where(train), *_where(test), classes))


def by_sample(labels: Labels, forget: Indices) -> Split:
    train = np.zeros(len(labels.train), dtype=bool)
    train[forget] = True
    nothing = np.zeros(len(labels.test), dtype=bool)
    return _checked(Split(*_where(train), *_where(nothing), ()))


def _where(chosen: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _checked(split: Split) -> Split:
    if not len(split.forget):
        raise SpecError("it selects no training sample, so there is nothing to forget")
    if not len(split.retain):
        raise SpecError("it selects every training sample, so nothing is left to retrain on")
    return split
