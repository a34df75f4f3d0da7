"""Unlearning as a library does it: from a model and samples to the tasks of methods.

    problem = UnlearningProblem(networks=..., train=..., split=..., forgets=..., numerics=...)
    model = problem.unlearn(method, networks.with_weights(weights), seed=1)

Whoever has a trained model needs no trainer and no store for this; the trainer does the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from supreme_core.data.split import Indices, Request, Split
from supreme_core.engine.images.samples import Augment, Samples
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.networks.weights import are_finite, on_cpu
from supreme_core.engine.toolbox.importance_kinds import KnownSums
from supreme_core.engine.toolbox.task import Method, UnlearningTask
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import Report, unreported
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.registry import Forgets


@dataclass(frozen=True, kw_only=True)
class UnlearningProblem:
    """A training set, what of it is to be forgotten, and the kind of network that learnt it.

    train: the samples that the original was trained on, and those that were set aside.
    augmentation: of the trainings of methods, see UnlearningTask; None for none.
    """

    networks: NetworkFactory
    train: Samples
    split: Split
    forgets: Forgets
    numerics: NumericsPolicy
    report: Report = unreported
    augmentation: Callable[[int], Callable[[int], Augment]] | None = None

    def unlearn(
        self,
        method: Method,
        model: nn.Module,
        *,
        seed: int,
        checkpoints: Checkpoints | None = None,
        importances: Mapping[str, KnownSums] | None = None,
    ) -> nn.Module:
        """The model after the last request; each is asked for on what the one before left.

        model: a copy of the original, which the method changes in place.
        importances: those of the original over the parts of the first request, which are known.
        """
        for number, request in enumerate(self.split.requests):
            if number:  # a fresh network, whatever the method did to the modules
                model = self.networks.with_weights(on_cpu(model.state_dict()))
                seed = streams.derive(seed, "next request")
                importances = None
            task = self.task(model, request, seed=seed, checkpoints=checkpoints)
            method(replace(task, importances=importances or {}))
        return model

    def task(
        self,
        model: nn.Module,
        request: Request,
        *,
        seed: int,
        checkpoints: Checkpoints | None = None,
    ) -> UnlearningTask:
        """The task of one request, for one method."""
        return UnlearningTask(
            model=model,
            forget=self.train.take(torch.from_numpy(request.forget)),
            retain=self.train.take(torch.from_numpy(request.retain)),
            forgets=self.forgets,
            forget_classes=request.classes,
            shape=self.networks.shape,
            numerics=self.numerics,
            seed=seed,
            report=self.report,
            checkpoints=checkpoints or Checkpoints.none(self.numerics.reduction.ranks),
            new_network=self.networks.new,
            random_network=self.networks.random,
            validation=self._set_aside(self.split.validation),
            forget_validation=self._set_aside(self.split.forget_validation),
            augmentation=self.augmentation,
        )

    def _set_aside(self, positions: Indices) -> Samples | None:
        return self.train.take(torch.from_numpy(positions)) if len(positions) else None


def refuse_nonfinite(network: nn.Module) -> None:
    """MethodFailed where an unlearned model has numbers that are not finite."""
    if name := nonfinite(network):
        raise MethodFailed(f"the unlearned model has non-finite numbers in {name}")


def nonfinite(network: nn.Module) -> str | None:
    """Name of the first weights that are not finite; None where all are."""
    state = network.state_dict()
    floating = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    finite = zip(floating, are_finite(list(floating.values())), strict=True)
    return next((name for name, is_finite in finite if not is_finite), None)
