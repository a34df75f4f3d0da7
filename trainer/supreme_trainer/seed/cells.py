"""Cells: the scenarios of a seed, each with its split and its data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data
from torch import nn

from supreme_core.data.split import Indices, Split
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.toolbox.probe_task import Sets, Subject
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.registry import Forgets


@dataclass(frozen=True)
class Cell:
    """One scenario of the seed: its name in tables, its split and its data.

    data: those of the dataset, with the poison of this cell where it has one.
    """

    title: str
    forgets: Forgets
    split: Split
    data: Data

    @classmethod
    def of(
        cls,
        context: SeedContext,
        data: Data,
        title: str,
        logit_confidence: NDArray[np.float64] | None = None,
    ) -> "Cell":
        """The cell of a scenario; SpecError names the scenario where its split cannot be made.

        data: of the dataset.  logit_confidence: of the original, for a split that is made from it.
        """
        labels = replace(data.labels, logit_confidence=logit_confidence)
        split = context.splits.of(title, labels, context.seed)
        return cls(title, context.splits.forgets(title), split, data.of_cell(split))

    def subject(self, context: SeedContext, make: Callable[[Checkpoints], nn.Module]) -> Subject:
        """A model of the cell for probes; it is made when the first probe looks at it."""
        classes = self.data.shape.classes
        return Subject(make, lambda: self.sets, classes=classes, ranks=context.ranks)

    @cached_property
    def sets(self) -> Sets:
        """The samples that probes look at."""
        held_out = self.data.held_out
        if held_out is None:
            held_out = _taken(self.data.test, self.split.forget_test)
        return {
            "forget": _taken(self.data.train, self.split.forget),
            "retain": _taken(self.data.train, self.split.retain),
            "test": self.data.test,
            "forget_test": held_out,
            "retain_test": _taken(self.data.test, self.split.retain_test),
        }


def _taken(samples: Samples, positions: Indices) -> Samples:
    return samples.take(torch.from_numpy(positions))
