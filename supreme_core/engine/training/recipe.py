"""Recipe of a training: the training section of a spec in the terms of the loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn, optim

from supreme_core import registry
from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.images.augmentation import EpochAugmentation
from supreme_core.engine.images.samples import Augment
from supreme_core.engine.training.fit import Fit
from supreme_core.registry import Chosen

ENGINE_VERSION = 1
"""Part of every key that training goes into; raised when the engine's numbers change."""


@dataclass(frozen=True)
class Recipe:
    """Recipe of originals and retrained models, all names resolved."""

    training: Training
    optimizer: Chosen[Any, Any]
    schedule: Chosen[Any, Any]
    augmentations: Sequence[Chosen[Any, Any]]

    @classmethod
    def of(cls, training: Training) -> "Recipe":
        at = "spec.training"
        return cls(
            training=training,
            optimizer=registry.optimizer.resolve(training.optimizer, at=f"{at}.optimizer"),
            schedule=registry.schedule.resolve(training.schedule, at=f"{at}.schedule"),
            augmentations=[
                registry.augmentation.resolve(component, at=f"{at}.augmentation[{position}]")
                for position, component in enumerate(training.augmentation)
            ],
        )

    def identity(self) -> dict[str, Any]:
        """Settings that mean something for a result, but for the number of ranks where that does
        too.

        Settings that came later stand here only where they do something, so that what was computed
        before them keeps its key.
        """
        training = self.training
        later: dict[str, Any] = {}
        if training.batch_norm == "batch" and training.micro_batches > 1:
            later["batchNorm"] = training.batch_norm
        if training.max_gradient_norm is not None:
            later["maxGradientNorm"] = training.max_gradient_norm
        if training.validation is not None:
            later["validation"] = training.validation.to_document()
        return {
            **later,
            "engine": ENGINE_VERSION,
            "epochs": self.training.epochs,
            "batchSize": self.training.batch_size,
            "microBatches": self.training.micro_batches,
            "reduction": self.training.reduction,
            "precision": self.training.precision,
            "selection": self.training.selection,
            "optimizer": self.optimizer.identity(),
            "schedule": self.schedule.identity(),
            "warmupEpochs": self.training.schedule.warmup_epochs,
            "augmentation": [chosen.identity() for chosen in self.augmentations],
        }

    def fit(self, seed: int) -> Fit:
        """The recipe for one training; `seed` keys the augmentation."""

        def optimizer(parameters: list[nn.Parameter]) -> optim.Optimizer:
            made: optim.Optimizer = self.optimizer(parameters)
            return made

        return Fit(
            epochs=self.training.epochs,
            batch_size=self.training.batch_size,
            optimizer=optimizer,
            max_gradient_norm=self.training.max_gradient_norm,
            rate=self._rate,
            augment=self.augmentation(seed) if self.augmentations else None,
        )

    def augmentation(self, seed: int) -> Callable[[int], Augment]:
        """Augmentation of each epoch of one training, keyed by `seed`."""
        return partial(EpochAugmentation, self.augmentations, seed)

    def _rate(self, epoch: float) -> float:
        """The schedule, times a linear warm-up that is above 0 from the first step on."""
        factor: float = self.schedule(epoch, self.training.epochs)
        warmup = self.training.schedule.warmup_epochs
        if epoch < warmup:
            factor *= max(epoch, 1e-3) / warmup
        return factor
