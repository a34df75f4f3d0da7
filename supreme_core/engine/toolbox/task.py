"""Task of an unlearning method: a model, what to forget, what to keep, and nothing else.

There is no path and no test data here, so a method cannot leak either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn, optim

from supreme_core.engine.evaluation.prediction import accuracy
from supreme_core.engine.images import randomness
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import Augment, BoundedSource, Samples
from supreme_core.engine.networks.layers import LayerGroup, Unit, layer_groups
from supreme_core.engine.ranks.device import sent
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.importance_kinds import KnownSums
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import Fit, Report, fit
from supreme_core.engine.training.loss import Loss, cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.observer import Observer
from supreme_core.engine.training.sample_order import Order
from supreme_core.randomness import streams
from supreme_core.registry import Forgets


@dataclass(frozen=True, kw_only=True)
class UnlearningTask:
    """One cell, one method, one repeat.

    model: a copy of the original in eval mode; the method changes it in place.
    forget, retain: the two parts of the training set; who trains on them by `fit` may see them
      augmented, and nobody else does.
    forget_classes: the classes of which nothing is retained; empty where single samples or parts of
      classes are forgotten. Then every label is still a right one for some retained sample.
    seed: of this method's own random streams. Every draw must be the same on all ranks.
    validation: samples of the training set that nobody trained on; None where none are set aside.
    forget_validation: those of them that are like the ones to be forgotten.
    observers: of every training of the model.
    importances: what is known of the model as it is given, by the names of kinds; only methods that
      say so in their facts are given any, and they read them before they change a weight.
    augmentation: (seed of a training) to the augmentation of each of its epochs; None for none.
    """

    model: nn.Module
    forget: Samples
    retain: Samples
    forgets: Forgets
    forget_classes: tuple[int, ...]
    shape: ImageShape
    numerics: NumericsPolicy
    seed: int
    report: Report
    checkpoints: Checkpoints
    new_network: Callable[[int], nn.Module]
    random_network: Callable[[int], nn.Module]
    validation: Samples | None = None
    forget_validation: Samples | None = None
    observers: tuple[Observer, ...] = ()
    importances: Mapping[str, KnownSums] = field(default_factory=dict)
    augmentation: Callable[[int], Callable[[int], Augment]] | None = None

    @property
    def reduction(self) -> Reduction:
        return self.numerics.reduction

    @property
    def ranks(self) -> Ranks:
        return self.reduction.ranks

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    @cached_property
    def is_forgotten_class(self) -> Tensor:
        """(classes,) bool on the device, where it lies from the first step that asks on."""
        forgotten = torch.zeros(self.shape.classes, dtype=torch.bool)
        forgotten[list(self.forget_classes)] = True
        return sent(forgotten, self.device)

    def accuracy(self, samples: Samples) -> float:
        """Accuracy of the model as it is now, in eval mode; the same number on every rank."""
        return accuracy(self.model, samples, classes=self.shape.classes, ranks=self.ranks)

    def observed(self, observer: Observer) -> Self:
        """The same task, with somebody more who goes along with its trainings."""
        return replace(self, observers=(*self.observers, observer))

    def generator(self, *address: str | int) -> torch.Generator:
        """A CPU generator of this method's own, the same on all ranks."""
        return randomness.generator(self.seed, *address)

    @property
    def pixel_range(self) -> tuple[Tensor, Tensor]:
        """Values of black and white in normalised images, (channels, 1, 1) each."""
        source = self.forget.source
        assert isinstance(source, BoundedSource)  # the samples of a task are those of a dataset
        return source.pixel_range()

    def layer_groups(self, unit: Unit = "block") -> list[LayerGroup]:
        """The model's layers in order, the head last; together they have all that is trainable."""
        return layer_groups(self.model, unit)

    def new_model(self, *address: str | int) -> nn.Module:
        """A network of the same kind as training starts with it, on the device, in eval mode: its
        weights are fresh and random, or the pretrained ones with a random head."""
        return self.new_network(streams.derive(self.seed, *address))

    def random_model(self, *address: str | int) -> nn.Module:
        """Model with fresh and random weights in any case: it knows nothing."""
        return self.random_network(streams.derive(self.seed, *address))

    def fit(
        self,
        samples: Samples,
        *,
        name: str,
        epochs: int,
        batch_size: int,
        optimizer: Callable[[list[nn.Parameter]], optim.Optimizer],
        loss: Loss = cross_entropy,
        rate: Callable[[float], float] = lambda epoch: 1.0,
        order: Order | None = None,
        training: bool = True,
        before_step: Callable[[float], None] | None = None,
    ) -> None:
        """Train the model on `samples`; `name` is the address of the order, of dropout and of
        the augmentation. What else can be asked for is described at Fit."""
        seed = streams.derive(self.seed, name)
        how = Fit(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            rate=rate,
            augment=self.augmentation(seed) if self.augmentation else None,
            order=order,
            training=training,
            before_step=before_step,
            observers=self.observers,
        )
        fit(
            self.model,
            samples,
            how,
            seed=seed,
            numerics=self.numerics,
            report=self.report,
            loss=loss,
            checkpoints=self.checkpoints,
            name=name,
        )


Method = Callable[[UnlearningTask], None]
"""A method with its settings, and whatever is wrapped around it already."""
