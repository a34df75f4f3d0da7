"""What a scenario decides: which samples are forgotten and which are retained."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supreme_core import seeds
from supreme_core.artefacts import digest
from supreme_core.errors import SpecError, nearest
from supreme_core.hashing import permutation
from supreme_core.registry import Forgets

Indices = NDArray[np.int64]

FIXED = 0
"""The seed of draws that are the same for every training seed."""


def _nothing() -> Indices:
    return np.empty(0, dtype=np.int64)


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

    def trained_on(self, part: Indices) -> "Labels":
        """The same with a part of the training set for all of it."""
        fine = None if self.train_fine is None else self.train_fine[part]
        return replace(self, train=self.train[part], train_fine=fine)

    def tested_on(self, part: Indices) -> "Labels":
        """The same with a part of the training set in the place of the test set."""
        fine = None if self.train_fine is None else self.train_fine[part]
        return replace(self, test=self.train[part], test_fine=fine)


@dataclass(frozen=True)
class Split:
    """Sorted indices. forget, retain and validation partition the training set.

    forget_test and retain_test partition the test set; forget_test is empty where single samples
    are forgotten.  classes: the classes of which nothing is retained, so that their labels are no
    longer valid; empty where single samples or parts of classes are forgotten.

    validation: what nobody trains on.  forget_validation: those of it that are like the forgotten
    ones: of their classes, or all of it where single samples are forgotten.
    """

    forget: Indices
    retain: Indices
    forget_test: Indices
    retain_test: Indices
    classes: tuple[int, ...]
    validation: Indices = field(default_factory=_nothing)
    forget_validation: Indices = field(default_factory=_nothing)

    @cached_property
    def digest(self) -> str:
        """Names the whole split, held-out test samples included."""
        validation = {"validation": self.validation.tolist()} if len(self.validation) else {}
        return digest(
            {"forget": self.forget_digest, "forgetTest": self.forget_test.tolist(), **validation}
        )

    @cached_property
    def forget_digest(self) -> str:
        """Names the forget set; two scenarios that forget the same samples share their models."""
        return digest({"forget": self.forget.tolist()})


def set_aside(train: NDArray[np.int64], fraction: float, seed: int) -> Indices:
    """Sorted indices of a share of each class, at least one where there are two, never all.

    train: (N,) class numbers.  seed: of the draw.
    """
    chosen = []
    for label in np.unique(train):
        members = np.flatnonzero(train == label)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        order = permutation(seeds.derive(seed, "validation", int(label)), len(members))
        chosen.append(members[order[:count]])
    return np.sort(np.concatenate(chosen))


def without(
    labels: Labels, validation: Indices, *, forgets: Forgets, choose: Callable[[Labels], Split]
) -> Split:
    """The split that a scenario makes of what is not set aside.

    Which validation samples are like those to be forgotten it says as it does of test samples.
    """
    kept = np.setdiff1d(np.arange(len(labels.train)), validation)
    split = choose(labels.trained_on(kept))
    alike = validation
    if forgets == "classes":
        alike = validation[choose(labels.tested_on(validation).trained_on(kept)).forget_test]
    return replace(
        split,
        forget=kept[split.forget],
        retain=kept[split.retain],
        validation=validation,
        forget_validation=alike,
    )


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
