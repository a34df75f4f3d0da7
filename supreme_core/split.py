"""What a scenario decides: which samples are forgotten and which are retained."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supreme_core.artefacts import digest
from supreme_core.errors import SpecError, nearest

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """All that a scenario may look at.  train: (N,), test: (T,) class numbers.

    train_fine, test_fine: numbers of finer classes, None where the dataset has none.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    class_names: tuple[str, ...]
    train_fine: NDArray[np.int64] | None = None
    test_fine: NDArray[np.int64] | None = None
    fine_class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Sorted indices. forget and retain partition the training set.

    forget_test and retain_test partition the test set; forget_test is empty where single samples
    are forgotten.  classes: the classes of which nothing is retained, so that their labels are no
    longer valid; empty where single samples or parts of classes are forgotten.
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


def by_fine_class(labels: Labels, fine: tuple[int, ...]) -> Split:
    """Parts of classes: the labels of the forgotten samples stay valid, for their siblings.

    Raises SpecError where a class would lose all of its parts: that is to forget the class.
    """
    assert labels.train_fine is not None
    assert labels.test_fine is not None
    train, test = np.isin(labels.train_fine, fine), np.isin(labels.test_fine, fine)
    emptied = np.setdiff1d(labels.train[train], labels.train[~train])
    split = _checked(Split(*_where(train), *_where(test), ()))
    if len(emptied):
        name = labels.class_names[emptied[0]]
        raise SpecError(
            f"it forgets every part of class {name!r}; to forget whole classes, use full_class"
        )
    return split


def class_numbers(
    chosen: Iterable[int | str], names: Sequence[str], *, kind: str = "class"
) -> tuple[int, ...]:
    """Sorted numbers of classes that are given by number or by name; SpecError for an unknown."""
    return tuple(sorted({_number(each, names, kind) for each in chosen}))


def _number(chosen: int | str, names: Sequence[str], kind: str) -> int:
    if isinstance(chosen, int):
        if 0 <= chosen < len(names):
            return chosen
        raise SpecError(
            f"{kind} {chosen} is out of range; the dataset has {kind}es 0 to {len(names) - 1}"
        )
    if chosen in names:
        return names.index(chosen)
    raise SpecError(f"unknown {kind} {chosen!r}{nearest(chosen, names)}")


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
