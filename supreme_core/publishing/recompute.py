"""The metrics of an experiment again, from what its trainers stored: no model, no GPU, no torch.

For each seed the newest result says which predictions the metrics of each run compare. The numbers
are computed anew whatever is stored, so this also shows whether they can be trusted: stages and
results keep what was the same, and what is different takes its place as a new attempt.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from supreme_core import registry
from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import CellRecord, RunRecord, RunResult, StageRecord
from supreme_core.api.summary import Summary
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.errors import CorruptArtefact, SpecError, SupremeError
from supreme_core.plan import revisions
from supreme_core.publishing.publish import publish
from supreme_core.publishing.stored_run import SeedStore, StoredRun
from supreme_core.randomness.streams import Streams
from supreme_core.registry import Chosen
from supreme_core.scoring.run_scoring import (
    Cause,
    Scoring,
    cause_of,
    needs_untrained,
    probe_title,
    read_metrics,
    reason,
)
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.environment import environment
from supreme_core.store.inventory import Track
from supreme_core.store.results import ResultReader, attempts_by_seed, write_order, write_result
from supreme_core.store.storage import Storage
from supreme_core.system.ending import of_missing_module
from supreme_core.system.faults import fault_of

log = logging.getLogger(__name__)

ChosenMetrics = Mapping[str, Chosen[Any, Any]]


@dataclass(frozen=True)
class Change:
    """A number that is not what the result had."""

    seed: int
    run: RunRecord
    row: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Recomputed:
    """runs: how many were scored.  numbers: how many their results had before."""

    summary: Summary
    runs: int
    numbers: int
    changes: Sequence[Change]


def recompute(
    storage: Storage,
    artefacts: Artefacts,
    order: ExperimentOrder,
    track: Track,
    *,
    more: Sequence[str] = (),
) -> Recomputed:
    """Score every run of the experiment's results, and publish.

    more: names of metrics that the experiment gets in addition. Nothing is written before every
    seed is done.
    """
    results = ResultReader(storage)
    found = results.of(order)
    if not found:
        raise SpecError(f"{order.prefix} has no finished seed yet, so there is nothing to score")
    order = with_metrics(order, more)
    metrics = _chosen(order)
    newest = {seed: max(tried) for seed, tried in attempts_by_seed(storage, order).items() if tried}
    runs = [(seed, run) for seed in sorted(found) for run in found[seed].runs]
    seeds = {seed: SeedScores(artefacts, order, found[seed], metrics) for seed in found}
    for seed, run in track(runs, total=len(runs), what="scoring runs"):
        seeds[seed].add(run)
    scored = [scores.result(attempt=newest[seed] + 1) for seed, scores in seeds.items()]
    for result in scored:
        write_result(storage, result)
    write_order(storage, order)
    return Recomputed(
        publish(storage, artefacts, order, results=results),
        runs=sum(bool(run.predictions) for _, run in runs),
        numbers=sum(len(run.metrics) for _, run in runs),
        changes=[change for result in scored for change in _changes(found[result.seed], result)],
    )


def with_metrics(order: ExperimentOrder, more: Iterable[str]) -> ExperimentOrder:
    """The order with further metrics at their defaults; those that it has already are no more.

    Its metrics are those of the code here, whatever their code was before.
    """
    listed = list(order.work.metrics)
    for name in more:
        registry.metric.resolve(LabelledComponent(name=name), at=f"--metric {name}")
        if name not in {metric.title for metric in listed}:
            listed.append(LabelledComponent(name=name))
    work = order.work.model_copy(update={"metrics": listed})
    older = [each for each in work.revisions if each.kind != "metric"]
    scored = [(kind, each) for kind, each in work.components() if kind == "metric"]
    newer = revisions(scored, lambda kind, name: registry.metric.get(name).listed)
    # In the order of a plan, so that a run asks for this very work afterwards.
    found = sorted([*older, *newer], key=lambda each: (each.kind, each.name))
    return order.model_copy(update={"work": work.model_copy(update={"revisions": found})})


class MetricFailed(Exception):
    """A metric, which is foreign code, could not be computed.  cause: that of the failed run."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass
class SeedScores:
    """The runs of one seed as they are scored."""

    artefacts: Artefacts
    order: ExperimentOrder
    before: RunResult
    metrics: ChosenMetrics
    runs: list[RunRecord] = field(default_factory=list)
    stages: dict[str, StageRecord] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    started_at: str = field(default_factory=lambda: _now())
    store: SeedStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = SeedStore(self.artefacts)

    def add(self, run: RunRecord) -> None:
        """Score one run; a metric that fails is a result."""
        if not run.predictions:
            if run.status == "ok":
                raise self._impossible("it does not say what its metrics compare")
            self.runs.append(run)  # the method failed, so there is nothing to score
            return
        if needs_untrained(self.metrics) and "untrained" not in run.predictions:
            raise SpecError(
                "a metric compares with an untrained model, whose predictions this experiment has"
                " not stored; add the metric to spec.metrics and run the experiment again"
            )
        lacking = [
            title
            for title, metric in self.metrics.items()
            if metric.entry.facts.probe
            and probe_title(metric) not in run.probes.get("unlearned", {})
        ]
        if lacking:
            raise SpecError(
                f"metric {lacking[0]!r} looks at the model itself, and this experiment has not"
                " stored what a trainer finds there; add the metric to spec.metrics and run the"
                " experiment again"
            )
        try:
            update = {
                "status": "ok",
                "cause": "method",
                "reason": None,
                "metrics": self._score(run),
            }
        except CorruptArtefact as error:
            raise self._impossible(str(error)) from None
        except MetricFailed as error:
            log.error("%s of %s failed", run.method, run.scenario, exc_info=error.__cause__)
            update = {
                "status": "failed",
                "cause": error.cause,
                "reason": str(error),
                "metrics": {},
            }
        self.runs.append(run.model_copy(update=update))

    def result(self, *, attempt: int) -> RunResult:
        kept = [record for record in self.before.stages if record.stage != "metrics"]
        known = {record.environment for record in kept}
        environments = {
            name: facts for name, facts in self.before.environments.items() if name in known
        }
        return self.before.model_copy(
            update={
                "attempt": attempt,
                "work_digest": work_digest(self.order.work),
                "runs": self.runs,
                "stages": [*kept, *self.stages.values()],
                "environments": environments | self.environments,
                "started_at": self.started_at,
                "finished_at": _now(),
            }
        )

    def _score(self, run: RunRecord) -> dict[str, float | None]:
        started = time.monotonic()
        titles = sorted(
            probe_title(each) for each in self.metrics.values() if each.entry.facts.probe
        )
        stored = StoredRun(self.store, run, titles)
        scoring = Scoring(
            metrics=self.metrics,
            inputs=stored.inputs,
            forgets=self._cell(run.scenario).forgets,
            streams=Streams(self.before.seed, self.order.work.protocol),
            repeats=self.order.work.evaluation_repeats,
        )
        stored.check_fit()
        read = scoring.inputs.read()
        try:
            values = scoring.values(read)
        except SupremeError:
            raise
        except Exception as error:
            if missing := of_missing_module(error):
                raise missing from None  # a plug-in's metric may want torch, and it has not failed
            if fault_of(error):  # of this machine, and no reason to put it in the place of a number
                told = reason(error, during="metrics")
                raise SupremeError(f"{run.method} of {run.scenario}: {told}") from error
            raise MetricFailed(
                reason(error, during="metrics"), cause_of(error, during="metrics")
            ) from error
        return self._commit(scoring, values, stored.digests(), started)

    def _commit(
        self,
        scoring: Scoring,
        values: Mapping[str, float | None],
        inputs: Mapping[str, Mapping[str, str]],
        started: float,
    ) -> dict[str, float | None]:
        """The numbers as the store has them, which is what a trainer puts into its result."""
        meaning = scoring.meaning()
        key = digest(meaning)
        manifest = self.artefacts.find("metrics", key)
        # The key says what was asked, not of which bits: predictions may have been made anew under
        # their keys, so stored numbers stand only where they and their inputs are those of now.
        reused = (
            manifest is not None
            and manifest.facts.get("metrics") == values
            and manifest.is_computed_from(inputs)
        )
        if manifest is None or not reused:
            manifest = self.artefacts.commit(
                "metrics",
                key,
                meaning=meaning,
                files={},
                facts={"metrics": values},
                environment=environment(),
                inputs=inputs,
                replace=manifest is not None,
            )
        name = digest(manifest.environment)  # of reused numbers that of the run which computed them
        self.environments[name] = dict(manifest.environment)
        self.stages[key] = StageRecord(
            stage="metrics",
            key=key,
            status="reused" if reused else "computed",
            wall_seconds=round(time.monotonic() - started, 3),
            environment=name,
        )
        stored = read_metrics(manifest.facts)
        return {row: _as_float(stored[row]) for row in values}

    def _cell(self, scenario: str) -> CellRecord:
        return next(cell for cell in self.before.cells if cell.scenario == scenario)

    def _impossible(self, why: str) -> SupremeError:
        seed = self.before.seed
        return SupremeError(
            f"seed {seed} cannot be scored: {why}; remove {self.order.prefix}/seed={seed} from the"
            " store and run the experiment again, which computes what is missing"
        )


def _chosen(order: ExperimentOrder) -> ChosenMetrics:
    return {
        metric.title: registry.metric.resolve(metric, at=f"spec.metrics[{position}]")
        for position, metric in enumerate(order.work.metrics)
    }


def _changes(before: RunResult, after: RunResult) -> Iterable[Change]:
    for old, new in zip(before.runs, after.runs, strict=True):
        for row, value in old.metrics.items():
            if new.metrics.get(row) != value:
                yield Change(before.seed, old, row, value, new.metrics.get(row))


def _as_float(value: float | None) -> float | None:
    """JSON of manifests has 0 for 0.0."""
    return None if value is None else float(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
