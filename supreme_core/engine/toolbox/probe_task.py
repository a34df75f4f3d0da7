"""Task of a probe: a model that is never changed, the models of its seed that it is compared
with, and the samples of its cell.

Test samples are among them, as in any evaluation: nothing that is learnt here reaches a model.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from supreme_core.engine.evaluation.prediction import accuracy, rows
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.toolbox.head import linear_head, watched_head
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import Report
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.registry import SetName

Sets = Mapping[SetName, Samples]
"""The samples of a cell, without augmentation; forget_test may be empty."""


class Subject:
    """A model that probes look at. Who wants to change it gets a copy.

    make: gives the network, on the device in eval mode. It may have to unlearn again, for which it
    gets the checkpoints of the stage that asks first; the others find the network in memory.
    """

    def __init__(
        self,
        make: Callable[[Checkpoints], nn.Module],
        sets: Callable[[], Sets],
        *,
        classes: int,
        ranks: Ranks,
    ) -> None:
        self._make, self._sets = make, sets
        self._classes, self._ranks = classes, ranks
        self._network: nn.Module | None = None
        self._features: dict[SetName, Tensor] = {}
        self._accuracies: dict[SetName, float] = {}

    def use(self, network: nn.Module) -> None:
        """Use this network, which is in memory anyway, in the place of one that would be made."""
        self._network = network

    def load(self, checkpoints: Checkpoints) -> None:
        """Have the network in memory from here on."""
        if self._network is None:
            self._network = self._make(checkpoints)

    def release(self) -> None:
        """Free what the network and its features take; who looks again has it made again."""
        self._network = None
        self._features, self._accuracies = {}, {}

    def copy(self) -> nn.Module:
        """A network of its own for whoever changes it."""
        return copy.deepcopy(self._loaded())

    def features(self, on: SetName) -> Tensor:
        """(n, features) float32, see for_float64: what goes into the head; computed once."""
        if on not in self._features:
            found = features(self._loaded(), self._sets()[on], self._ranks)
            self._features[on] = for_float64(found)
        return self._features[on]

    def accuracy(self, on: SetName) -> float:
        """Share of right answers on a set that is not empty; computed once."""
        if on not in self._accuracies:
            self._accuracies[on] = accuracy(
                self._loaded(), self._sets()[on], classes=self._classes, ranks=self._ranks
            )
        return self._accuracies[on]

    def _loaded(self) -> nn.Module:
        self.load(Checkpoints.none(self._ranks))
        assert self._network is not None
        return self._network


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """One probe of one model of one cell.

    seed: of the probe's own random streams; the same for each model of the cell, so that what is
    drawn makes no difference between them.
    """

    subject: Subject
    original: Subject
    retrained: Subject
    sets: Sets
    shape: ImageShape
    numerics: NumericsPolicy
    seed: int
    report: Report

    @property
    def ranks(self) -> Ranks:
        return self.numerics.reduction.ranks

    @property
    def plain_numerics(self) -> NumericsPolicy:
        """Numerics of full precision whatever the model was trained in, as everything is
        evaluated."""
        if self.numerics.precision == "fp64":
            return self.numerics
        return replace(self.numerics, precision="fp32")

    def accuracy(self, network: nn.Module, on: SetName) -> float:
        """Share of right answers of a network on a set that is not empty."""
        return accuracy(network, self.sets[on], classes=self.shape.classes, ranks=self.ranks)


def features(network: nn.Module, samples: Samples, ranks: Ranks) -> Tensor:
    """(n, features) float32 in the order of `samples`, the head's inputs in eval mode."""
    width = linear_head(network).in_features
    with watched_head(network) as seen:
        return rows(
            network,
            samples,
            lambda images: seen(network, images)[0],
            width=width,
            ranks=ranks,
        )
