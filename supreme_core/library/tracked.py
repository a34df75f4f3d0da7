"""Models of an experiment as trackers know runs: parameters, metrics, curves and tags."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import EpochCurve, RunRecord, RunResult
from supreme_core.library.method_settings import method_settings
from supreme_core.publishing.stored_run import CurveReader, stage_of
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.results import ResultReader

log = logging.getLogger(__name__)

REVISION: Final = 1
"""Raised when the same results are tracked in another way."""

UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class TrackedModel:
    """One model of one seed: Original, Retrained, or what a method made.

    params: settings by dotted names.  metrics: values by row, without those that are not defined.
    curves: of its trainings.  tags: what it is, and of which work.  begun, ended: of its seed, ISO
    8601.
    """

    scenario: str
    method: str
    seed: int
    repeat: int
    failed: bool
    params: Mapping[str, str | int | float | bool]
    metrics: Mapping[str, float]
    curves: Sequence[EpochCurve]
    tags: Mapping[str, str]
    begun: str
    ended: str

    @property
    def path(self) -> tuple[str, ...]:
        """Names from the scenario to the repeat, fit for folders."""
        repeat = [f"repeat-{self.repeat}"] if self.repeat else []
        parts = (self.scenario, self.method, f"seed-{self.seed}", *repeat)
        return tuple(safe(part) for part in parts)

    @property
    def name(self) -> str:
        return "/".join(self.path)

    @cached_property
    def identity(self) -> str:
        """Digest of which model it is: the same whenever it is tracked."""
        of_experiment = {EXPERIMENT: self.tags[EXPERIMENT], UID: self.tags[UID]}
        of_model = [self.scenario, self.method, self.seed, self.repeat]
        return digest({**of_experiment, "model": of_model})

    @cached_property
    def content(self) -> str:
        """Digest of all that a tracker is told of it."""
        return digest(
            {
                "revision": REVISION,
                "params": dict(self.params),
                "metrics": dict(self.metrics),
                "curves": [curve.to_document() for curve in self.curves],
                "tags": dict(self.tags),
                "times": [self.begun, self.ended],
            }
        )

    def points(self) -> Iterator[tuple[str, int, float]]:
        """Name, epoch and number of each point of the curves."""
        for curve in self.curves:
            for field, title in CURVE_TITLES.items():
                for epoch, number in zip(curve.epoch, getattr(curve, field) or (), strict=False):
                    if number is not None:
                        yield f"{safe(curve.name)}/{title}", epoch, float(number)


EXPERIMENT: Final = "supreme.experiment"
UID: Final = "supreme.uid"
"""Tags of the experiment's namespace and name, and of its uid."""

CURVE_TITLES: Final = {
    "loss": "loss",
    "accuracy": "accuracy",
    "validation": "validation_accuracy",
    "rate": "learning_rate",
}
"""Names of curves, by the field of `EpochCurve`."""


def safe(name: str) -> str:
    """Name that every tracker and file system takes; results may come from anybody."""
    return UNSAFE.sub("_", name).lstrip(".") or "_"


def experiment_title(order: ExperimentOrder) -> str:
    """Name of the whole experiment in a tracker: NAMESPACE/NAME-UID."""
    found = order.experiment
    return f"{safe(found.namespace)}/{safe(f'{found.name}-{found.uid}')}"


def tracked_models(
    artefacts: Artefacts, order: ExperimentOrder, results: ResultReader
) -> Iterator[TrackedModel]:
    """Every run of every seed that has a result, one after the other.

    A model whose stage is no longer in the store has no curves, which a warning says in the end;
    everything else stands in results.
    """
    trained = CurveReader(artefacts)
    settings = method_settings(order)
    shared = {scenario.title: _shared(order, scenario.title) for scenario in order.work.scenarios}
    for result in results.of(order).values():
        for run in result.runs:
            own = settings.get((run.scenario, run.method), {})
            yield TrackedModel(
                scenario=run.scenario,
                method=run.method,
                seed=result.seed,
                repeat=run.repeat,
                failed=run.status == "failed",
                params={**shared.get(run.scenario, {}), **dict(_flat("method", own))},
                metrics={
                    safe(row): float(value)
                    for row, value in run.metrics.items()
                    if value is not None
                },
                curves=trained.of(run),
                tags=_tags(order, result, run),
                begun=result.started_at,
                ended=result.finished_at,
            )
    if trained.lost:
        log.warning("%s", trained.lost)


def _tags(order: ExperimentOrder, result: RunResult, run: RunRecord) -> dict[str, str]:
    found = order.experiment
    return {
        EXPERIMENT: f"{found.namespace}/{found.name}",
        UID: found.uid,
        "supreme.work_digest": result.work_digest,
        "supreme.scenario": run.scenario,
        "supreme.method": run.method,
        "supreme.seed": str(result.seed),
        "supreme.repeat": str(run.repeat),
        "supreme.attempt": str(result.attempt),
        "supreme.status": run.status,
        **({"supreme.reason": run.reason} if run.reason else {}),
        **({"supreme.predictions": stage_of(run)[1]} if run.predictions else {}),
    }


def _shared(order: ExperimentOrder, scenario: str) -> dict[str, Any]:
    """Settings of all models of a scenario."""
    work = order.work
    chosen = next(each for each in work.scenarios if each.title == scenario)
    return {
        **dict(_flat("dataset", work.dataset.to_document())),
        **dict(_flat("model", work.model.to_document())),
        **dict(_flat("training", work.training.to_document())),
        **dict(_flat("scenario", chosen.to_document())),
    }


def _flat(name: str, value: object) -> Iterator[tuple[str, str | int | float | bool]]:
    """Values of a document by dotted names; those of lists by their places."""
    match value:
        case dict():
            for key, each in value.items():
                yield from _flat(f"{name}.{safe(str(key))}", each)
        case list():
            for place, each in enumerate(value):
                yield from _flat(f"{name}.{place}", each)
        case "":
            return  # a label that says nothing, which not every tracker takes
        case str() | bool() | int() | float():
            yield name, value
        case _:
            yield name, "null"
