"""The splits of an experiment's scenarios: made by the trainer, and before it by whoever checks.

No torch, and nothing of the images but their labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from supreme_core.api.v1alpha1 import Validation
from supreme_core.data.draw import FIXED
from supreme_core.data.split import Indices, Labels, Split, halves, set_aside, without
from supreme_core.errors import SpecError
from supreme_core.registry import Chosen, Forgets


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Division of the training set of an experiment.

    scenarios: by their titles.  validation: what is set aside first, None for nothing.
    needs_validation: the name of a method or wrapper that needs validation samples like those to be
    forgotten, "" where none does.
    for_trials: settings are tried, for which there is no test set: one half of what is set aside
    takes its place, and methods see the other half.
    is_rehearsal: the scenarios are those of spec.tuning.rehearsal, in whatever order.
    """

    scenarios: Mapping[str, Chosen[Any, Any]]
    validation: Validation | None
    needs_validation: str = ""
    for_trials: bool = False
    is_rehearsal: bool = False

    def place(self, title: str) -> str:
        """Place of a scenario in the experiment, for messages."""
        if self.is_rehearsal:
            return f"spec.tuning.rehearsal ({title})"
        return f"spec.scenarios[{list(self.scenarios).index(title)}] ({title})"

    def forgets(self, title: str) -> Forgets:
        """Return what a scenario forgets: classes or samples."""
        forgets: Forgets = self.scenarios[title].entry.facts.forgets
        return forgets

    def needs_logit_confidence(self, title: str) -> bool:
        """Return whether a scenario's split is made from logit confidences of the original."""
        return "margins" in self.scenarios[title].entry.facts.needs

    def of(self, title: str, labels: Labels, seed: int) -> Split:
        """The split of a scenario; SpecError names its place where it cannot be made."""
        chosen = self.scenarios[title]
        try:
            return self._split(title, labels, seed, lambda labels: chosen(labels, seed))
        except SpecError as error:
            raise SpecError(f"{self.place(title)}: {error}") from None

    def set_aside(self, labels: Labels, seed: int) -> Indices:
        """The validation samples of a training seed; empty where nothing is set aside."""
        if self.validation is None:
            return np.empty(0, dtype=np.int64)
        return set_aside(labels.train, self.validation.fraction, self._drawn_by(seed))

    def _drawn_by(self, seed: int) -> int:
        """Seed of the draw of what is set aside."""
        assert self.validation is not None
        return seed if self.validation.draw == "per_seed" else FIXED

    def _split(
        self, title: str, labels: Labels, seed: int, choose: Callable[[Labels], Split]
    ) -> Split:
        validation = self.set_aside(labels, seed)
        if not len(validation):
            return choose(labels)
        selecting, comparing = validation, validation[:0]
        if self.for_trials:
            selecting, comparing = halves(labels.train, validation, self._drawn_by(seed))
            labels = labels.tested_on(comparing)
        split = without(labels, validation, forgets=self.forgets(title), choose=choose)
        if self.for_trials:
            split = replace(
                split,
                validation=selecting,
                forget_validation=np.intersect1d(split.forget_validation, selecting),
                in_place_of_test=comparing,
            )
        if self.needs_validation and not len(split.forget_validation):
            others = " but those that trials are compared by" if self.for_trials else ""
            raise SpecError(
                f"{self.needs_validation!r} needs validation samples like those to be forgotten,"
                f" and spec.training.validation.fraction sets none aside{others}; raise it"
            )
        return split
