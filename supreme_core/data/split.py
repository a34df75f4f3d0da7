"""Split of a scenario: the samples that are forgotten and those that are retained."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from supreme_core.api.canonical import digest
from supreme_core.api.records import Named
from supreme_core.errors import SpecError, nearest_or_all
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Forgets

Indices = NDArray[np.int64]

Number = TypeVar("Number", bound=np.generic)

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]

GroupKind = Literal["class", "fine class", "identity"]

KINDS: dict[GroupKind, str] = {
    "class": "classes",
    "fine class": "fine classes",
    "identity": "identities",
}
"""Kinds of things that can be chosen by number or name, each with its plural."""

LONGEST_NAME = 1024


def _nothing() -> Indices:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Labels:
    """All that a scenario may look at.  train: (N,), test: (T,) class numbers.

    train_fine, test_fine: numbers of finer classes, None where the dataset has none.
    train_identities, test_identities: numbers of the people (or other identities) that the samples
    are of, None where the dataset does not know them.
    logit_confidence: (N,) log(p / (1 - p)) of each training sample's label by the seed's original;
    None except for a scenario that needs it.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    class_names: tuple[str, ...]
    train_fine: NDArray[np.int64] | None = None
    test_fine: NDArray[np.int64] | None = None
    fine_class_names: tuple[str, ...] = ()
    train_identities: NDArray[np.int64] | None = None
    test_identities: NDArray[np.int64] | None = None
    identity_names: tuple[str, ...] = ()
    logit_confidence: NDArray[np.float64] | None = None

    def trained_on(self, part: Indices) -> Self:
        """Labels with a part of the training set for all of it."""
        return replace(
            self,
            train=self.train[part],
            train_fine=_taken(self.train_fine, part),
            train_identities=_taken(self.train_identities, part),
            logit_confidence=_taken(self.logit_confidence, part),
        )

    def tested_on(self, part: Indices) -> Self:
        """Labels with a part of the training set in the place of the test set."""
        return replace(
            self,
            test=self.train[part],
            test_fine=_taken(self.train_fine, part),
            test_identities=_taken(self.train_identities, part),
        )


@dataclass(frozen=True)
class Trigger:
    """A square that is drawn into a corner of an image.

    size: its side as a share of the image's.  value: of its pixels, in every channel.
    """

    size: float
    corner: Corner
    value: int


@dataclass(frozen=True)
class Poison:
    """Fault of the forget set. The original is trained on it, Retrained never sees it.

    labels: (F,) those of the forget set, in place of the dataset's.
    held_out: (P,) sorted test samples; copies of them are spoilt in the same way and are the cell's
    forget_test, while the test set itself stays as it is.  held_out_labels: (P,) of the copies.
    trigger: drawn on the images of the forget set and of the copies; None for wrong labels alone.
    """

    labels: Indices
    held_out: Indices
    held_out_labels: Indices
    trigger: Trigger | None = None


@dataclass(frozen=True)
class Request:
    """A request to forget, one of several that come one after another.

    forget: the samples of this one.  retain: what is retained after it.  classes: the classes of
    which nothing is retained after it.
    """

    forget: Indices
    retain: Indices
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Sorted indices. forget, retain and validation partition the training set.

    forget_test and retain_test partition the test set; forget_test is empty where nothing of it is
    like the forget set in particular.  classes: the classes of which nothing is retained, so that
    their labels are no longer valid; empty where single samples or parts of classes are forgotten.
    poison: None where the data are those of the dataset.
    sequence: the requests that make up the forget set, in order; empty where it is forgotten at
    once.
    named: the classes and the like that the scenario names, for the record; no part of a digest.

    validation: what nobody trains on.  forget_validation: those of it that are like the forgotten
    ones: of their classes, or all of it where single samples are forgotten.
    in_place_of_test: training samples that were set aside and take the place of the test set, where
    settings are tried; the other sets of test samples are then places in it. Empty elsewhere.
    """

    forget: Indices
    retain: Indices
    forget_test: Indices
    retain_test: Indices
    classes: tuple[int, ...]
    poison: Poison | None = None
    sequence: tuple[Request, ...] = ()
    named: tuple[Named, ...] = ()
    validation: Indices = field(default_factory=_nothing)
    forget_validation: Indices = field(default_factory=_nothing)
    in_place_of_test: Indices = field(default_factory=_nothing)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Requests to a method, one after another; mostly one."""
        return self.sequence or (Request(self.forget, self.retain, self.classes),)

    @cached_property
    def digest(self) -> str:
        """Names the whole split: held-out test samples, and the order of the requests, included."""
        meaning: dict[str, Any] = {
            "forget": self.forget_digest,
            "forgetTest": self.forget_test.tolist(),
        }
        if self.poison:
            held_out = zip(self.poison.held_out, self.poison.held_out_labels, strict=True)
            meaning["copies"] = [[int(sample), int(label)] for sample, label in held_out]
        if self.sequence:
            meaning["requests"] = [request.forget.tolist() for request in self.sequence]
        if len(self.validation):
            meaning["validation"] = self.validation.tolist()
        if len(self.in_place_of_test):
            meaning["inPlaceOfTest"] = self.in_place_of_test.tolist()
        return digest(meaning)

    @cached_property
    def forget_digest(self) -> str:
        """Names the forget set and what is wrong with it; two scenarios that forget the same
        samples share their models."""
        meaning: dict[str, Any] = {"forget": self.forget.tolist()}
        if self.poison:
            trigger = self.poison.trigger
            meaning["labels"] = self.poison.labels.tolist()
            meaning["trigger"] = asdict(trigger) if trigger else None
        return digest(meaning)


def set_aside(train: NDArray[np.int64], fraction: float, seed: int) -> Indices:
    """Sorted indices of a share of each class, at least one where there are two, never all.

    train: (N,) class numbers.  seed: of the draw.
    """
    chosen = []
    for label in np.unique(train):
        members = np.flatnonzero(train == label)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        order = permutation(streams.derive(seed, "validation", int(label)), len(members))
        chosen.append(members[order[:count]])
    return np.sort(np.concatenate(chosen))


def halves(train: NDArray[np.int64], validation: Indices, seed: int) -> tuple[Indices, Indices]:
    """Two parts of the samples that are set aside: what methods select by, and what trials are
    compared by. Half of each class; the second part has the odd one.

    train: (N,) class numbers.  seed: of the draw.
    """
    chosen = []
    for label in np.unique(train[validation]):
        members = validation[train[validation] == label]
        order = permutation(streams.derive(seed, "halves", int(label)), len(members))
        chosen.append(members[order[: len(members) // 2]])
    selecting = np.sort(np.concatenate(chosen))
    return selecting, np.setdiff1d(validation, selecting)


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
        sequence=tuple(
            replace(request, forget=kept[request.forget], retain=kept[request.retain])
            for request in split.sequence
        ),
        validation=validation,
        forget_validation=alike,
    )


def by_class(labels: Labels, classes: tuple[int, ...]) -> Split:
    train, test = np.isin(labels.train, classes), np.isin(labels.test, classes)
    found = named_as(classes, labels.class_names)
    return _checked(Split(*_where(train), *_where(test), classes, named=found))


def by_fine_class(labels: Labels, fine: tuple[int, ...]) -> Split:
    """Parts of classes: the labels of the forgotten samples stay valid, for their siblings.

    Raises SpecError where a class would lose all of its parts: that is to forget the class.
    """
    assert labels.train_fine is not None
    assert labels.test_fine is not None
    train, test = np.isin(labels.train_fine, fine), np.isin(labels.test_fine, fine)
    found = named_as(fine, labels.fine_class_names, kind="fine class")
    return _of_staying_classes(labels, train, test, named=found, what="part")


def by_identity(labels: Labels, identities: tuple[int, ...]) -> Split:
    """People (or other identities), whose samples may be of any class.

    Raises SpecError where a class would lose all of them: that is to forget the class.
    """
    assert labels.train_identities is not None
    assert labels.test_identities is not None
    train = np.isin(labels.train_identities, identities)
    test = np.isin(labels.test_identities, identities)
    found = named_as(identities, labels.identity_names, kind="identity")
    return _of_staying_classes(labels, train, test, named=found, what="identity")


def _of_staying_classes(
    labels: Labels,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    *,
    named: tuple[Named, ...],
    what: str,
) -> Split:
    split = _checked(Split(*_where(train), *_where(test), (), named=named))
    emptied = np.setdiff1d(labels.train[train], labels.train[~train])
    if len(emptied):
        name = labels.class_names[emptied[0]]
        raise SpecError(
            f"it forgets every {what} of class {name!r}; to forget whole classes, use full_class"
        )
    return split


def class_numbers(
    chosen: Sequence[int | str], names: Sequence[str], *, kind: GroupKind = "class"
) -> tuple[int, ...]:
    """Sorted numbers of classes that are given by number or by name.

    SpecError for an unknown one, and for a number that could mean two of them: folders that are
    called 1 to 11 are sorted as text, so that "9" has number 10.
    """
    endings = _endings(names) if any(isinstance(each, int) for each in chosen) else {}
    return tuple(sorted({_number(each, names, endings, kind) for each in chosen}))


def named_as(
    numbers: Iterable[int],
    names: Sequence[str],
    *,
    kind: GroupKind = "class",
    role: Literal["forgotten", "confused", "target"] = "forgotten",
) -> tuple[Named, ...]:
    """The record of what a scenario names."""
    return tuple(
        Named(kind=kind, number=number, name=names[number][:LONGEST_NAME], role=role)
        for number in numbers
    )


def _number(
    chosen: int | str, names: Sequence[str], endings: Mapping[int, Sequence[str]], kind: GroupKind
) -> int:
    if isinstance(chosen, str):
        if chosen in names:
            return names.index(chosen)
        known = nearest_or_all(chosen, names, what=f"{KINDS[kind]} of the dataset")
        raise SpecError(f"unknown {kind} {chosen!r}{known}")
    there = names[chosen] if 0 <= chosen < len(names) else None
    called = [name for name in endings.get(chosen, ()) if name != there]
    if called or (there is not None and there.isdecimal() and int(there) != chosen):
        raise SpecError(_two_readings(chosen, there, called, names, kind))
    if there is None:
        raise SpecError(
            f"{kind} {chosen} is out of range; the dataset has {KINDS[kind]} 0 to {len(names) - 1}"
        )
    return chosen


def _endings(names: Sequence[str]) -> Mapping[int, Sequence[str]]:
    """The names that are a number or end in one, and have no other: 7 of "7", "007" and "s7"."""
    found = defaultdict[int, list[str]](list)
    for name in names:
        if match := re.fullmatch(r"\D*(\d{1,18})", name):
            found[int(match[1])].append(name)
    return found


def _two_readings(
    chosen: int, there: str | None, called: Sequence[str], names: Sequence[str], kind: GroupKind
) -> str:
    """Message on a number that is one class by its place and another one by its name."""
    meant = [*([] if there is None else [there]), *called[:1]]
    place = f"place {chosen}, counted from 0, is "
    place += "beyond the last one" if there is None else repr(there)
    name = f"no {kind} is called so"
    if called:
        name = f"the name {called[0]!r} has place {names.index(called[0])}"
    earlier = "" if there is None else f". Earlier versions took the place, so {there!r}"
    return (
        f"{kind} {chosen} has two readings: {place}, and {name}; give a name in quotes:"
        f" {' or '.join(map(repr, meant))}{earlier}"
    )


def by_sample(labels: Labels, forget: Indices) -> Split:
    train = np.zeros(len(labels.train), dtype=bool)
    train[forget] = True
    nothing = np.zeros(len(labels.test), dtype=bool)
    return _checked(Split(*_where(train), *_where(nothing), ()))


def by_poison(
    labels: Labels,
    forget: Indices,
    held_out: Indices,
    *,
    wrong: Callable[[Indices], Indices],
    trigger: Trigger | None = None,
    named: tuple[Named, ...] = (),
) -> Split:
    """Samples that are spoilt, in the training set to be forgotten, of the test set to be held out.

    wrong: the labels that take the place of the true ones.  named: the classes of these labels.
    """
    forget, held_out = np.sort(forget), np.sort(held_out)
    poison = Poison(wrong(labels.train[forget]), held_out, wrong(labels.test[held_out]), trigger)
    return replace(by_sample(labels, forget), poison=poison, named=named)


def in_sequence(labels: Labels, requests: Iterable[Callable[[Labels], Split]]) -> Split:
    """One request after another, each of them chosen among what the earlier ones left.

    A request may look at the labels of what is left and at those of the test set.
    """
    left = np.arange(len(labels.train))
    forgotten_test = np.zeros(len(labels.test), dtype=bool)
    sequence: list[Request] = []
    classes: tuple[int, ...] = ()
    named: tuple[Named, ...] = ()
    for choose in requests:
        split = choose(labels.trained_on(left))
        forget, left = left[split.forget], left[split.retain]
        forgotten_test[split.forget_test] = True
        classes = tuple(sorted({*classes, *split.classes}))
        named += split.named
        sequence.append(Request(forget, left, classes))
    forgotten = np.sort(np.concatenate([request.forget for request in sequence]))
    return Split(
        *(forgotten, left, *_where(forgotten_test), classes), sequence=tuple(sequence), named=named
    )


def _where(chosen: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _checked(split: Split) -> Split:
    if not len(split.forget):
        raise SpecError("it selects no training sample, so there is nothing to forget")
    if not len(split.retain):
        raise SpecError("it selects every training sample, so nothing is left to retrain on")
    return split


def _taken(numbers: NDArray[Number] | None, where: Indices) -> NDArray[Number] | None:
    return None if numbers is None else numbers[where]
