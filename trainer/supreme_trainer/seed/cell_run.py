"""One scenario of a seed: its references, its methods, and the record of each run."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from math import inf
from typing import Any, get_args

from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.importances import ImportancesStage
from supreme_trainer.seed.predicting import (
    NetworkPredictionsStage,
    NoisedPredictionsStage,
    PredictionsStage,
    UntrainedPredictionsStage,
)
from supreme_trainer.seed.probing import Probed, ProbeStage, probes_of_run
from supreme_trainer.seed.scoring import MetricsStage
from supreme_trainer.seed.stage import NO_FAILURES, Later, Stages
from supreme_trainer.seed.training import RetrainedStage, Trained
from supreme_trainer.seed.unlearning import MethodStage, TrialStage, UnlearnedStage

from supreme_core.api.names import NOISED, ORIGINAL, RETRAINED, UNTRAINED
from supreme_core.api.orders import RunOrder
from supreme_core.api.records import CellRecord, RunRecord
from supreme_core.engine.toolbox.importance_kinds import BY_NAME
from supreme_core.errors import HeldElsewhere, SupremeError
from supreme_core.plan import Step, scoring_steps
from supreme_core.registry import TrainingPart
from supreme_core.scoring.evaluation import Model, Predictions
from supreme_core.scoring.run_scoring import (
    Input,
    PredictionsAlone,
    Reference,
    ReferenceRun,
    RunInputs,
    Scoring,
    Unlearned,
    cause_of,
    needs_untrained,
    read_cost,
    reason,
)
from supreme_core.store.artefacts import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReferenceModel(Reference):
    """Original or one replica of Retrained, as the runs of a cell refer to it."""

    training: Later[Trained]
    predictions: Later[Predictions]
    replica: int
    probed: Probed


@dataclass
class Spent:
    """Work of a method until it failed; None where it did not begin, or has not failed."""

    passes: int | None = None

    def tell(self, passes: int) -> None:
        self.passes = passes


@dataclass(frozen=True)
class ModelOfRun:
    """A model that a run is about: Original, a replica of Retrained, or one that was unlearned.

    own: what is stored of it, which its metrics compare.
    stage: where it is to come from; None for a reference, which is there before any run.
    spent: of a method that has failed.
    """

    method: str
    repeat: int
    own: Input[Unlearned]
    probed: Probed
    stage: MethodStage | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def name(self) -> tuple[str, int]:
        return self.method, self.repeat


@dataclass
class CellResults:
    """Results of a cell, as far as they are known.

    record: None until all runs are known.  runs: by model and repeat.
    """

    record: CellRecord | None = None
    runs: dict[tuple[str, int], RunRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class CellRun:
    """trained: the original of the cell."""

    order: RunOrder
    stages: Stages
    context: SeedContext
    cell: Cell
    trained: Later[Trained]

    def compute(self, known: CellResults) -> CellResults:
        """The results of the cell, in the plan's order; None is recorded of a cell of which other
        processes are computing something. A team has no part in runs, whose costs are compared.

        known: what an earlier call gave, of which nothing is computed again.
        """
        if not self._has_references() or self.stages.is_team:
            return known
        models = list(self._models())
        runs = dict(known.runs)
        for model in self._in_order([each for each in models if each.name not in runs]):
            with suppress(HeldElsewhere):
                runs[model.name] = self._run(model)
        if any(model.name not in runs for model in models):
            return CellResults(runs=runs)
        self.stages.pass_over(chain(*map(self._importances, self._methods)))
        return CellResults(self._record(), {model.name: runs[model.name] for model in models})

    def _has_references(self) -> bool:
        """Have the references in the store, but for those that other processes are computing."""
        found = [self._has(self.original)]
        with self.stages.patiently():  # they take a pass or few
            if self.untrained:
                self.untrained.ensure()
            for stage in self._sanity.values():
                self.stages.ensure(stage)
        return all([*found, *map(self._has, self.replicas)])

    def _has(self, reference: ReferenceModel) -> bool:
        try:
            with self.stages.claim(reference.predictions.stage):
                reference.training.ensure()
                reference.predictions.ensure()
        except HeldElsewhere:
            return False
        return True

    def _in_order(self, models: list[ModelOfRun]) -> list[ModelOfRun]:
        """Beside other processes the longest first, as far as is known, so that none of them
        begins a long one when the others are done."""
        if not self.stages.crew:
            return models
        return sorted(models, key=self._expected_seconds, reverse=True)

    def _expected_seconds(self, model: ModelOfRun) -> float:
        seconds = self.stages.expected_seconds(model.stage.step) if model.stage else 0.0
        return inf if seconds is None else seconds

    @cached_property
    def original(self) -> ReferenceModel:
        return self._reference(ORIGINAL, 0, self.trained)

    @cached_property
    def replicas(self) -> list[ReferenceModel]:
        """The replicas of Retrained."""
        return [
            self._reference(
                RETRAINED,
                replica,
                self.stages.later(RetrainedStage(self.context, self.cell, replica)),
            )
            for replica in range(self.order.work.retrained_replicas)
        ]

    @property
    def retrained(self) -> ReferenceModel | None:
        """Retrained that runs are compared with; None in trials that do without it."""
        return self.replicas[0] if self.replicas else None

    def _reference(self, name: str, replica: int, trained: Later[Trained]) -> ReferenceModel:
        predictions = self.stages.later(
            PredictionsStage(self.context, self.cell, trained, name, replica)
        )
        networks = self.context.networks(self.cell.data.shape)
        subject = self.cell.subject(
            self.context, lambda checkpoints: networks.with_weights(trained.value().weights)
        )
        return ReferenceModel(
            name=name,
            training=trained,
            predictions=predictions,
            replica=replica,
            probed=Probed(trained.key, subject),
        )

    def _models(self) -> Iterator[ModelOfRun]:
        for each in (self.original, *self.replicas):
            own = ReferenceRun(each, retrained=self.retrained)
            yield ModelOfRun(each.name, each.replica, own, each.probed)
        for name, stage in self._sanity.items():
            alone = PredictionsAlone(self.stages.later(stage))
            subject = self.cell.subject(self.context, stage.network)
            yield ModelOfRun(name, 0, alone, Probed(stage.key, subject))
        for title in self._methods:
            for repeat in range(self.order.work.unlearning_repeats):
                yield self._unlearned(title, repeat)

    @property
    def _methods(self) -> Sequence[str]:
        """Titles of the methods, or of their trials, that are defined for the scenario."""
        return [
            title
            for title, chosen in self.context.components.runs[self.cell.title].items()
            if self.cell.forgets in chosen.method.entry.facts.forgets
        ]

    def _importances(self, title: str) -> list[ImportancesStage]:
        """Importances that a method reads, over each part of the training set."""
        kind = self.context.components.runs[self.cell.title][title].importances
        return [
            ImportancesStage(self.context, self.cell, self.original.training, BY_NAME[kind], part)
            for part in get_args(TrainingPart)
            if kind
        ]

    def _unlearned(self, title: str, repeat: int) -> ModelOfRun:
        subject = self.cell.subject(
            self.context, lambda checkpoints: stage.network_again(self.stages, checkpoints)
        )
        spent = Spent()
        common: dict[str, Any] = {
            "original": self.original.training,
            "keep": subject.use,
            "failed": spent.tell,
            "importances": [self.stages.later(each) for each in self._importances(title)],
        }
        stage: MethodStage
        if self.context.trials:
            common["trials"] = self.context.trials
            stage = TrialStage(self.context, self.cell, title, repeat, **common)
        else:
            common["retrained"] = self.replicas[0].training
            stage = UnlearnedStage(self.context, self.cell, title, repeat, **common)
        own = self.stages.later(stage)
        return ModelOfRun(title, repeat, own, Probed(own.key, subject), stage, spent)

    def _run(self, model: ModelOfRun) -> RunRecord:
        """A model's numbers; whatever goes wrong inside a method, a probe or a metric stays inside
        the record.

        Unless it goes wrong on some ranks only, which then wait for different things, or this
        process cannot go on because its device has given out. HeldElsewhere where another process
        is in charge of the run.
        """
        probes = self._probes(model)
        inputs = RunInputs(
            method=model.method,
            repeat=model.repeat,
            own=model.own,
            original=self.original,
            retrained=self.retrained,
            untrained=self.untrained,
            probes={
                which: {probe.title: self.stages.later(probe) for probe in found}
                for which, found in probes.items()
            },
        )
        metrics = MetricsStage(self.cell, self._scoring(inputs))
        failure = self._failure_of_needs(model, metrics)
        with self.stages.claim(metrics):
            crew = self.stages.crew
            if crew and (failed := crew.failed(metrics.key)):
                return self._failed_elsewhere(model, chain(*probes.values()), metrics, failed)
            record = self._measured(model, chain(*probes.values()), inputs, metrics, failure)
            if crew and record.status == "failed" and self.context.ranks.is_main:
                if self.stages.is_guest and record.cause == "infrastructure":
                    raise SupremeError(f"{metrics.step.title} failed here: {record.reason}")
                crew.record_failure(metrics.key, record)
            return record

    def _failure_of_needs(self, model: ModelOfRun, metrics: MetricsStage) -> Exception | None:
        """Have what a run needs, and give the error where it cannot be had. Before the run is
        claimed, so that nobody waits for it with a claim that others could not use either."""
        if model.stage is None:
            return None
        try:
            self.stages.prepare(model.stage, last=metrics)
        except NO_FAILURES:
            raise
        except Exception as error:  # such as foreign code, whose failure is a result
            return error
        return None

    def _measured(
        self,
        model: ModelOfRun,
        probes: Iterable[ProbeStage],
        inputs: RunInputs,
        metrics: MetricsStage,
        failure: Exception | None,
    ) -> RunRecord:
        """failure: what the run needs cannot be had."""
        compared: dict[str, Any] = {}  # told of a failed run too, where all of it is there
        step = model.stage.step if model.stage else metrics.step
        made: Manifest | None = None
        try:
            if failure:
                raise failure
            if model.stage:
                made = self.stages.ensure(model.stage)
            step = metrics.step
            for probe in probes:
                self.stages.ensure(probe)
            compared = inputs.compared()
            values = self.stages.value(metrics)
        except NO_FAILURES:
            raise
        except Exception as error:  # all of it is foreign code, whose failure is a result
            return self._failed(step, error, compared, self._passes(model, made))
        finally:
            model.probed.subject.release()
        passes = self._passes(model, made)
        return self._run_record(step, compared, status="ok", metrics=values, passes=passes)

    def _passes(self, model: ModelOfRun, made: Manifest | None) -> int | None:
        """Passes of a trial; None of everything else."""
        if not self.context.trials:
            return None
        return read_cost(made.facts).passes if made else model.spent.passes

    def _failed(
        self, step: Step, error: Exception, compared: dict[str, Any], passes: int | None
    ) -> RunRecord:
        log.error("%s failed: %s", step.title, error, exc_info=error)
        during = "metrics" if step.stage == "metrics" else ""
        why = reason(error, during=during)
        self._give_up(step)
        if not self.context.ranks.all_failed(repr(step)):
            raise SupremeError(f"{step.title} failed on this rank only: {why}")
        cause = cause_of(error, during=during)
        failure: dict[str, Any] = {"cause": cause, "reason": why, "passes": passes}
        return self._run_record(step, compared, status="failed", **failure)

    def _failed_elsewhere(
        self,
        model: ModelOfRun,
        probes: Iterable[ProbeStage],
        metrics: MetricsStage,
        failed: RunRecord,
    ) -> RunRecord:
        """The record of another process, which may be that of a run of another name that is the
        same work; what it has left in the store belongs to this run too."""
        if model.stage:
            self.stages.find(model.stage)
        for probe in probes:
            self.stages.find(probe)
        self._give_up(model.stage.step if model.stage else metrics.step)
        name = {"scenario": self.cell.title, "method": model.method, "repeat": model.repeat}
        return failed.model_copy(update=name)

    def _give_up(self, step: Step) -> None:
        """Tell that a step of a run is not going to be done, and what comes after it."""
        probing = self.context.components.probes
        rest = scoring_steps(self.cell.title, step.method, step.repeat, probing)
        self.stages.give_up([step, *rest])

    def _run_record(self, step: Step, compared: dict[str, Any], **outcome: Any) -> RunRecord:
        return RunRecord(
            scenario=self.cell.title,
            method=step.method,
            repeat=step.repeat,
            **outcome,
            **compared,
        )

    def _probes(self, model: ModelOfRun) -> dict[Model, list[ProbeStage]]:
        models: dict[Model, Probed] = {
            "unlearned": model.probed,
            "original": self.original.probed,
            **({"retrained": self.retrained.probed} if self.retrained else {}),
        }
        return probes_of_run(self.context, self.cell, model.method, model.repeat, models)

    def _scoring(self, inputs: RunInputs) -> Scoring:
        return Scoring(
            metrics=self.context.components.metrics,
            inputs=inputs,
            forgets=self.cell.forgets,
            streams=self.context.streams,
            repeats=self.order.work.evaluation_repeats,
        )

    @cached_property
    def untrained(self) -> Later[Predictions] | None:
        """Predictions of a random network, where a metric compares with them."""
        if not needs_untrained(self.context.components.metrics):
            return None
        return self.stages.later(UntrainedPredictionsStage(self.context, self.cell))

    @cached_property
    def _sanity(self) -> Mapping[str, NetworkPredictionsStage]:
        """Models that an honest objective ranks low, by their names; only trials are compared by
        one."""
        if not self.context.trials:
            return {}
        return {
            UNTRAINED: UntrainedPredictionsStage(self.context, self.cell),
            NOISED: NoisedPredictionsStage(self.context, self.cell, self.original.training),
        }

    def _record(self) -> CellRecord:
        split = self.cell.split
        return CellRecord(
            scenario=self.cell.title,
            forgets=self.cell.forgets,
            forget_digest=split.forget_digest,
            forget_samples=len(split.forget),
            retain_samples=len(split.retain),
            forget_test_samples=len(split.poison.held_out if split.poison else split.forget_test),
            named=list(split.named),
            retrained_predictions=[replica.predictions.key for replica in self.replicas],
        )
