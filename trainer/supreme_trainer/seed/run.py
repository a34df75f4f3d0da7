"""The story of one seed: dataset, original, and for each scenario Retrained and every method.

    dataset -> original -> [scenario: predictions of Original
                                      Retrained, and its predictions
                                      [method: unlearned -> metrics]] -> RunResult

Each arrow is a stage that is looked up in the store before it is computed. Where a metric looks at
the model itself, its probe is a stage before the metrics of each run; a model that is no longer in
memory and was not kept is then unlearned again, once for all probes of the run. A scenario that
poisons its forget set has an original of its own, trained on the poisoned data.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from supreme_trainer.seed.components import Components
from supreme_trainer.seed.probing import CellProbes, Probed
from supreme_trainer.seed.stage import Stage, Stages
from supreme_trainer.seed.stages import Cell, Data, SeedStages, Start, Trained, arrays, packed
from supreme_trainer.seed.telemetry import Telemetry
from torch import nn

from supreme_core.api.names import ORIGINAL, PREDICTIONS, RETRAINED, WEIGHTS, artefact_prefix
from supreme_core.api.orders import RunOrder, work_digest
from supreme_core.api.records import CellRecord, DatasetRecord, RunRecord, RunResult
from supreme_core.data.image_set import dataset_digest, per_class, remarks
from supreme_core.engine.networks.architecture import Pretrained
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.errors import DeviceFault, RankLost, SpecError, StorageError, SupremeError
from supreme_core.plan import Step, scoring_steps
from supreme_core.randomness.streams import Streams
from supreme_core.scoring.evaluation import Model, Predictions
from supreme_core.scoring.run_scoring import (
    Unlearned,
    cause_of,
    needs_untrained,
    reason,
    reference_run,
)

log = logging.getLogger(__name__)


def run_seed(order: RunOrder, stages: Stages, *, ranks: Ranks, telemetry: Telemetry) -> RunResult:
    """Compute what is missing of one seed and gather its numbers.

    Raises SpecError before anything is trained where a name, a setting or a split cannot be.
    """
    started = _now()
    seed = SeedStages(
        Streams(order.seed, order.work.protocol),
        Components.of(order.work),
        ranks,
        telemetry,
        scratch=stages.scratch,
        data_placement=order.data_placement,
        keep_unlearned_models=order.keep_unlearned_models,
    )
    seed = _with_start(seed, stages)
    dataset = seed.dataset()
    data = stages.value(dataset)
    if _status(stages, dataset) == "computed":  # else whoever prepared it was told
        _tell_of(data, dataset, stages, seed)
    if data.placement == "Streamed":
        log.info("images are streamed")
    if seed.components.model.variant:
        seed.architecture.try_out(data.shape)
    seed.refuse_unfit_methods(data)
    seed.refuse_unfit_metrics(data)
    originals = Originals(stages, seed, data)
    results = [
        CellRun(order, stages, seed, data.of(cell.split), cell, *originals.of(cell)).compute()
        for cell in _cells(order, seed, data, originals)
    ]
    return RunResult(
        experiment=order.experiment,
        work_digest=work_digest(order.work),
        seed=order.seed,
        attempt=order.attempt,
        dataset=DatasetRecord(
            name=order.work.dataset.name,
            digest=data.digest,
            train_samples=len(data.train),
            test_samples=len(data.test),
            classes=data.shape.classes,
        ),
        cells=[record for record, _ in results],
        runs=[run for _, runs in results for run in runs],
        stages=stages.records,
        environments=stages.environments,
        kept_unlearned_models=order.keep_unlearned_models,
        started_at=started,
        finished_at=_now(),
    )


def prepare_seed(
    order: RunOrder,
    stages: Stages,
    *,
    ranks: Ranks,
    telemetry: Telemetry,
    source: str = "",
    weights: str = "",
) -> None:
    """Stage zero: dataset and pretrained weights in the store, and proof that the model and every
    split of this seed can be made and that the methods fit the model.

    source: a folder to read from instead of the one that the dataset's settings name.
    weights: a file to read instead of a download.
    """
    seed = SeedStages(
        Streams(order.seed, order.work.protocol),
        Components.of(order.work),
        ranks,
        telemetry,
        scratch=stages.scratch,
        data_placement="Streamed",  # nobody looks at the images here, so the device gets none
    )
    data = _prepare_dataset(order, seed, stages, source)
    pretrained = seed.architecture.pretrained
    if pretrained:
        _prepare_weights(seed, stages, pretrained, weights)
        _with_start(seed, stages).try_start(data.shape)
    elif weights:
        raise SpecError("--weights: spec.model does not start from pretrained weights")


def _prepare_dataset(order: RunOrder, seed: SeedStages, stages: Stages, source: str) -> Data:
    dataset = seed.dataset(source)
    data = stages.value(dataset)
    manifest = stages.ensure(dataset)
    _tell_of(data, dataset, stages, seed)
    seed.telemetry.dataset(
        name=order.work.dataset.name,
        digest=data.digest,
        trainSamples=len(data.train),
        testSamples=len(data.test),
        shape=list(data.images.train_images.shape[1:]),
        classes=data.shape.classes,
        perClass=per_class(data.labels),
        bytes=sum(file.size for file in manifest.files.values()),
        place=artefact_prefix(manifest.stage, manifest.key),
        status=_status(stages, dataset),
    )
    for scenario in order.work.scenarios:
        if not seed.splits.needs_logit_confidence(scenario.title):
            seed.cell(data.labels, scenario.title)
    if seed.components.model.variant:
        seed.architecture.try_out(data.shape)
    seed.refuse_unfit_methods(data)
    seed.refuse_unfit_metrics(data)
    return data


def _tell_of(data: Data, dataset: Stage[Data], stages: Stages, seed: SeedStages) -> None:
    """Notes on the images; where they were just prepared, also what an older version left."""
    older = _older(data, dataset, stages) if _status(stages, dataset) == "computed" else []
    for remark in [*remarks(data.labels, data.images.facts()), *older]:
        seed.telemetry.note(f"dataset: {remark}")
        log.info("dataset: %s", remark)


def _older(data: Data, dataset: Stage[Data], stages: Stages) -> list[str]:
    identity = dataset.meaning["dataset"]
    for version in range(identity["version"] - 1, 0, -1):
        meaning = {"dataset": {**identity, "version": version}}
        if found := stages.stored(dataset.name, meaning):
            is_same = dataset_digest(found) == data.digest
            then = (
                "which gives the same arrays, so what was computed from them is found"
                if is_same
                else "which gives other arrays, so what was computed from them is computed again"
            )
            return [
                f"this store has the images as version {version} of {identity['name']} read them;"
                f" they were read again by version {identity['version']}, {then}"
            ]
    return []


def _prepare_weights(seed: SeedStages, stages: Stages, pretrained: Pretrained, file: str) -> None:
    given = packed(pretrained.read(Path(file))) if file else None
    stage = seed.pretrained(pretrained, given)
    manifest = stages.ensure(stage)
    stored = manifest.files[WEIGHTS]
    if given is not None and hashlib.sha256(given).hexdigest() != stored.sha256:
        raise SpecError(
            f"--weights: this store has other weights of {pretrained.name} already; use another"
            " store for these"
        )
    seed.telemetry.weights(
        name=pretrained.name,
        digest=stored.sha256,
        bytes=stored.size,
        place=artefact_prefix(manifest.stage, manifest.key),
        status=_status(stages, stage),
    )


def _status(stages: Stages, stage: Stage[Any]) -> str:
    return next(record.status for record in stages.records if record.key == stage.key)


def _with_start(seed: SeedStages, stages: Stages) -> SeedStages:
    """The seed's stages, with the pretrained weights where its model starts from such."""
    pretrained = seed.architecture.pretrained
    if pretrained is None:
        return seed
    stage = seed.pretrained(pretrained)
    digest = stages.ensure(stage).files[WEIGHTS].sha256
    return replace(seed, start=Start(digest, stages.later(stage)))


@dataclass(frozen=True)
class Originals:
    """The original of a seed, and those of cells whose data are not those of the dataset."""

    stages: Stages
    seed: SeedStages
    data: Data

    def of(self, cell: Cell) -> tuple[Stage[Trained], Callable[[], Trained]]:
        if cell.split.poison is None:
            return self.shared
        stage = self.seed.original(self.data.of(cell.split), cell)
        return stage, self.stages.later(stage)

    def margins(self) -> NDArray[np.float64]:
        stage, trained = self.shared
        self.stages.ensure(stage)
        return self.stages.value(self.seed.margins(self.data, original=stage, trained=trained))

    @cached_property
    def shared(self) -> tuple[Stage[Trained], Callable[[], Trained]]:
        stage = self.seed.original(self.data)
        return stage, self.stages.later(stage)


def _cells(order: RunOrder, seed: SeedStages, data: Data, originals: Originals) -> list[Cell]:
    """Every split; those that need no model first, to find a wrong one before anything trains."""
    titles = [scenario.title for scenario in order.work.scenarios]
    labels = data.labels
    cells = {
        title: seed.cell(labels, title)
        for title in titles
        if not seed.splits.needs_logit_confidence(title)
    }
    if len(cells) < len(titles):
        labels = replace(labels, logit_confidence=originals.margins())
    return [cells.get(title) or seed.cell(labels, title) for title in titles]


@dataclass(frozen=True)
class Reference:
    """Original or one replica of Retrained, as the runs of a cell refer to it."""

    stage: Stage[Trained]
    trained: Callable[[], Trained]
    predictions_stage: Stage[Predictions]
    predictions: Callable[[], Predictions]
    probed: Probed


@dataclass(frozen=True)
class CellRun:
    """One scenario of the seed."""

    order: RunOrder
    stages: Stages
    seed: SeedStages
    data: Data
    cell: Cell
    original_stage: Stage[Trained]
    original_trained: Callable[[], Trained]

    def compute(self) -> tuple[CellRecord, list[RunRecord]]:
        self.stages.ensure(self.original_stage)
        original = self._reference(
            self.original_stage,
            self.original_trained,
            Step("predictions", self.cell.title, ORIGINAL),
        )
        if self.untrained:
            self.stages.ensure(self.untrained)
        replicas = [self._retrained(r) for r in range(self.order.work.retrained_replicas)]
        runs = [self._measured_reference(ORIGINAL, 0, original, original, replicas[0])]
        for number, replica in enumerate(replicas):
            runs.append(self._measured_reference(RETRAINED, number, replica, original, replicas[0]))
        runs += self._methods(original, replicas[0])
        return self._record(replicas), runs

    def _retrained(self, replica: int) -> Reference:
        stage = self.seed.retrained(self.data, self.cell, replica)
        self.stages.ensure(stage)
        step = Step("predictions", self.cell.title, RETRAINED, replica)
        return self._reference(stage, self.stages.later(stage), step)

    def _reference(
        self, stage: Stage[Trained], trained: Callable[[], Trained], step: Step
    ) -> Reference:
        predictions = self.seed.predictions(
            self.data, self.cell, step, model=stage, trained=trained
        )
        self.stages.ensure(predictions)
        subject = self.probes.subject(
            lambda checkpoints: self.seed.network(self.data, trained().weights)
        )
        later = self.stages.later(predictions)
        return Reference(stage, trained, predictions, later, Probed(stage.key, subject))

    def _methods(self, original: Reference, retrained: Reference) -> Iterator[RunRecord]:
        for title, chosen in self.seed.components.methods.items():
            if self.cell.forgets in chosen.method.entry.facts.forgets:
                for repeat in range(self.order.work.unlearning_repeats):
                    yield self._method(title, repeat, original, retrained)

    def _method(
        self, title: str, repeat: int, original: Reference, retrained: Reference
    ) -> RunRecord:
        """One method's run; whatever goes wrong inside the method stays inside its record.

        Unless it goes wrong on some ranks only, which then wait for different things, or this
        process cannot go on because its device has given out.
        """

        def again(checkpoints: Checkpoints) -> nn.Module:
            kept = self.stages.beside(stage, WEIGHTS)
            if kept:
                return self.seed.network(self.data, load_file(kept))
            return self.seed.unlearned_again(
                self.data,
                self.cell,
                title,
                repeat,
                checkpoints,
                original_weights=original.trained().weights,
                predictions=self.stages.ensure(stage).files[PREDICTIONS].sha256,
            )

        subject = self.probes.subject(again)
        stage = self.seed.unlearned(
            self.data,
            self.cell,
            title,
            repeat,
            original=original.stage,
            retrained=retrained.stage,
            original_weights=lambda: original.trained().weights,
            retrained_weights=lambda: retrained.trained().weights,
            keep=subject.take,
        )
        try:
            self.stages.ensure(stage)
        except (StorageError, RankLost, DeviceFault):
            raise
        except Exception as error:  # a method is foreign code; its failure is a result
            return self._failed(stage.step, error)
        step = Step("metrics", self.cell.title, title, repeat)
        run = self.stages.later(stage)
        probed = Probed(stage.key, subject)
        return self._measured(step, stage.key, run, probed, original, retrained)

    def _measured_reference(
        self,
        name: str,
        replica: int,
        reference: Reference,
        original: Reference,
        retrained: Reference,
    ) -> RunRecord:
        def run() -> Unlearned:
            trained = reference.trained()
            return reference_run(
                name,
                reference.predictions(),
                arrays(trained.weights),
                trained.cost,
                retrained=arrays(retrained.trained().weights),
            )

        step = Step("metrics", self.cell.title, name, replica)
        key = reference.predictions_stage.key
        return self._measured(step, key, run, reference.probed, original, retrained)

    def _measured(
        self,
        step: Step,
        key: str,
        run: Callable[[], Unlearned],
        probed: Probed,
        original: Reference,
        retrained: Reference,
    ) -> RunRecord:
        """key: of the run's own predictions.  probed: the run's own model."""
        keys = {
            "unlearned": key,
            "original": original.predictions_stage.key,
            "retrained": retrained.predictions_stage.key,
        }
        models: dict[Model, Callable[[], Predictions]] = {
            "original": original.predictions,
            "retrained": retrained.predictions,
        }
        if self.untrained:
            keys["untrained"] = self.untrained.key
            models["untrained"] = self.stages.later(self.untrained)
        probes = self.probes.of_run(
            step.method,
            step.repeat,
            {
                "unlearned": probed,
                "original": original.probed,
                "retrained": retrained.probed,
            },
        )
        metrics = self.seed.metrics(
            self.cell,
            step,
            keys=keys,
            run=run,
            models=models,
            retrained_cost=lambda: retrained.trained().cost,
            probe_keys=probes.keys(),
            findings=lambda: probes.findings(self.stages.value),
            repeats=self.order.work.evaluation_repeats,
        )
        compared: dict[str, Any] = {}
        try:
            for probe in probes.all():
                self.stages.ensure(probe)
            compared = {"predictions": keys, "probes": probes.keys()}
            values = self.stages.value(metrics)
        except (StorageError, RankLost, DeviceFault):
            raise
        except Exception as error:  # so is a probe or a metric
            return self._failed(step, error, compared)
        finally:
            probed.subject.let_go()
        return RunRecord(
            scenario=self.cell.title,
            method=step.method,
            repeat=step.repeat,
            status="ok",
            metrics=values,
            **compared,
        )

    def _failed(
        self,
        step: Step,
        error: Exception,
        compared: Mapping[str, Any] = MappingProxyType({}),
    ) -> RunRecord:
        """compared: the record's fields of what its metrics read, where all of it is there."""
        log.error("%s failed: %s", step.title, error, exc_info=error)
        during = "metrics" if step.stage == "metrics" else ""
        why = reason(error, during=during)
        probing = self.seed.components.probes
        self.stages.give_up(scoring_steps(self.cell.title, step.method, step.repeat, probing))
        if not self.seed.ranks.all_failed(repr(step)):
            raise SupremeError(f"{step.title} failed on this rank only: {why}")
        return RunRecord(
            scenario=self.cell.title,
            method=step.method,
            repeat=step.repeat,
            status="failed",
            cause=cause_of(error, during=during),
            reason=why,
            **compared,
        )

    @cached_property
    def probes(self) -> CellProbes:
        return CellProbes(self.seed, self.data, self.cell)

    @cached_property
    def untrained(self) -> Stage[Predictions] | None:
        """Predictions of a random network, where a metric compares with them."""
        if not needs_untrained(self.seed.components.metrics):
            return None
        return self.seed.untrained_predictions(self.data, self.cell)

    def _record(self, replicas: list[Reference]) -> CellRecord:
        split = self.cell.split
        return CellRecord(
            scenario=self.cell.title,
            forgets=self.cell.forgets,
            forget_digest=split.forget_digest,
            forget_samples=len(split.forget),
            retain_samples=len(split.retain),
            forget_test_samples=len(split.poison.held_out if split.poison else split.forget_test),
            named=list(split.named),
            retrained_predictions=[replica.predictions_stage.key for replica in replicas],
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
