"""Unlearning: a method on a copy of Original, and what is kept of the model that it makes."""

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, get_args

from safetensors.torch import load_file
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.components import Unlearner
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.importances import Importances
from supreme_trainer.seed.predicting import made_predictions
from supreme_trainer.seed.stage import Later, Made, Stage, Stages, Stored
from supreme_trainer.seed.training import Trained, arrays, packed
from torch import nn

from supreme_core.api.names import PREDICTIONS, WEIGHTS
from supreme_core.api.orders import TrialPlan
from supreme_core.engine.networks import passes
from supreme_core.engine.networks.weights import on_cpu
from supreme_core.engine.toolbox.importance_kinds import KnownSums, in_order
from supreme_core.engine.toolbox.unlearning import UnlearningProblem, refuse_nonfinite
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.curve import document
from supreme_core.engine.training.recipe import ENGINE_VERSION
from supreme_core.errors import MethodFailed, number_of
from supreme_core.plan import Step
from supreme_core.registry import TrainingPart
from supreme_core.scoring.evaluation import Cost, ParameterDistance
from supreme_core.scoring.run_scoring import Unlearned, distances, read_unlearned
from supreme_core.tuning.budget import retraining_passes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MethodStage(Stage[Unlearned]):
    """A method on a copy of Original.

    keep: told the network where it is computed now, once everything is known of it.
    failed: told the passes of a method that has failed.

    importances: those that the method reads, over both parts; empty where it reads none.
    """

    context: SeedContext
    cell: Cell
    method: str
    repeat: int
    original: Later[Trained]
    keep: Callable[[nn.Module], None]
    failed: Callable[[int], None]
    importances: Sequence[Later[Importances]] = ()

    reads = (PREDICTIONS,)
    trains = True
    of_run = True

    @property
    def step(self) -> Step:
        return Step("unlearned", self.cell.title, self.method, self.repeat)

    @property
    def wanted(self) -> tuple[str, ...]:
        return (WEIGHTS,) if self.context.keep_unlearned_models else ()

    @property
    def first(self) -> Sequence[Later[Any]]:
        return self.importances

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        is_matched = self.context.streams.protocol == "matched"
        return {
            "engine": ENGINE_VERSION,
            "original": self.original.key,
            **self._unlearner.meaning(),
            "forgets": self.cell.forgets,
            "split": self.cell.split.digest,
            "seed": self.context.seed,
            "repeat": self.repeat,
            **({"protocol": "matched"} if is_matched else {}),
            **self.context.evaluation_meaning,
        }

    def make(self, checkpoints: Checkpoints) -> Made:
        network, cost = self._unlearn(checkpoints)
        made = made_predictions(self.context, self.cell, network)
        distant = self._distances(network)
        facts: dict[str, Any] = {
            "cost": cost.to_facts(),
            "distances": {name: asdict(distance) for name, distance in distant.items()},
        }
        if curves := document(checkpoints.curves):
            facts["curves"] = curves
        kept = {WEIGHTS: packed(network.state_dict())} if self.wanted else {}
        self.keep(network)
        return Made({**made.files, **kept}, {**made.facts, **facts})

    @abstractmethod
    def _distances(self, network: nn.Module) -> Mapping[str, ParameterDistance]:
        """Distances of the weights to those of Retrained."""

    def read(self, stored: Stored) -> Unlearned:
        return read_unlearned(stored.manifest.facts, stored.files[PREDICTIONS])

    def network_again(self, stages: Stages, checkpoints: Checkpoints) -> nn.Module:
        """The network of a stage that is done: from its weights where they were kept, and otherwise
        unlearned again.

        A method is a function of its task, so other bits mean another machine, which a warning
        says.
        """
        if kept := stages.beside(self, WEIGHTS):
            networks = self.context.networks(self.cell.data.shape)
            return networks.with_weights(load_file(kept))
        network, _ = self._unlearn(checkpoints)
        made = made_predictions(self.context, self.cell, network).files[PREDICTIONS]
        stored = stages.ensure(self).files[PREDICTIONS]
        if hashlib.sha256(made).hexdigest() != stored.sha256:  # type: ignore[arg-type]
            log.warning(
                "%s in %s was run again for a probe and predicts other bits than it did when its"
                " predictions were stored",
                *(self.method, self.cell.title),
            )
        return network

    @property
    def _unlearner(self) -> Unlearner:
        return self.context.components.runs[self.cell.title][self.method]

    def _unlearn(self, checkpoints: Checkpoints) -> tuple[nn.Module, Cost]:
        context, cell, unlearner = self.context, self.cell, self._unlearner
        augmented = unlearner.augmentation == "Training"
        problem = UnlearningProblem(
            networks=context.networks(cell.data.shape),
            train=cell.data.train,
            split=cell.split,
            forgets=cell.forgets,
            numerics=context.numerics,
            report=context.telemetry.progress,
            augmentation=context.components.recipe.augmentation if augmented else None,
        )
        first = [problem.networks.with_weights(self.original.value().weights)]
        known, shared = self._known(first[0])
        stream = context.streams.unlearning(self.repeat, unlearner.method.entry.name)
        meter = checkpoints.meter
        given = sum(cost.passes or 0 for cost in shared)
        try:
            with self._limited(given), meter.measured():
                # Popped, so that nothing here holds it once a later request has one of its own.
                network = problem.unlearn(
                    unlearner,
                    first.pop(),
                    seed=stream,
                    checkpoints=checkpoints,
                    importances=known,
                )
            refuse_nonfinite(network)
        except Exception:
            self.failed(meter.passes_so_far + given)
            raise
        for cost in shared:  # whoever reads them pays for them, whoever asked for them first
            meter.add(cost)
        return network, meter.cost

    def _limited(self, given: int) -> AbstractContextManager[None]:
        """Inside, a method may take no more than it should.  given: passes of what it reads."""
        return nullcontext()

    def _known(self, network: nn.Module) -> tuple[Mapping[str, KnownSums], Sequence[Cost]]:
        """Importances as the task has them, and what each of them took."""
        kind = self._unlearner.importances
        if kind is None:
            return {}, ()
        found = [each.once() for each in self.importances]
        parts = zip(get_args(TrainingPart), found, strict=True)
        sums = {part: in_order(network, each.sums) for part, each in parts}
        return {kind: sums}, [each.cost for each in found]


@dataclass(frozen=True, kw_only=True)
class UnlearnedStage(MethodStage):
    """A method with its settings, in a seed of the experiment's own."""

    retrained: Later[Trained]

    name = "unlearned"

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {**super().meaning, "retrained": self.retrained.key}

    def _distances(self, network: nn.Module) -> Mapping[str, ParameterDistance]:
        return distances(arrays(on_cpu(network.state_dict())), self.retrained.value().arrays)


@dataclass(frozen=True, kw_only=True)
class TrialStage(MethodStage):
    """A method with settings that are tried. Nothing of it depends on Retrained.

    trials: MethodFailed where the method takes more than they may.  The budget is in no key, as it
    does not change what is computed within it.
    """

    trials: TrialPlan

    name = "trials"

    def _distances(self, network: nn.Module) -> Mapping[str, ParameterDistance]:
        return {}

    @contextmanager
    def _limited(self, given: int) -> Iterator[None]:
        epochs = self.context.components.recipe.training.epochs
        retraining = retraining_passes(epochs, len(self.cell.split.retain))
        budget = self.trials.share * retraining
        try:
            with passes.limited(budget - given):
                yield
        except passes.OverBudget:
            raise MethodFailed(
                f"it is over its budget of {number_of(int(budget), 'pass', 'passes')} of samples,"
                f" which is {self.trials.share:g} of Retrained's {retraining}"
            ) from None
