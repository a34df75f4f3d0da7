"""Forecast of an experiment's cost, from that of earlier stages of the same recipe. Pure.

A stage counts as found where a result in the store is of a run with the same data, model, recipe,
scenario, method and seed. The keys themselves are the trainer's, who alone can build the model; so
what a run was killed over, before its seed had a result, counts as still to be computed.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Any, Final, TypeVar

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder, Work, work_digest
from supreme_core.api.records import RunResult
from supreme_core.api.selection import Proposals
from supreme_core.api.v1alpha1 import Component, LabelledComponent
from supreme_core.errors import SpecError
from supreme_core.plan import Step, importances_read, recipe_digest, steps, with_those_they_name
from supreme_core.registry.catalog import Catalog
from supreme_core.store.housekeeping import StageId
from supreme_core.store.inventory import StoredExperiment
from supreme_core.store.results import is_finished
from supreme_core.tuning.entries import entries_of, entry_of
from supreme_core.tuning.rounds import rounds_expected, rounds_known

Labelled = TypeVar("Labelled", bound=LabelledComponent)

STAGE_OF: Final = {"dataset": "datasets", "original": "originals"}
"""The folder of objects/ of those steps that are called otherwise."""

PASSES: Final = ("predictions", "unlearned")
"""Steps with one pass over training and test set for predictions."""


SHARED: Final = ("dataset", "pretrained")
"""Steps that are the same for all seeds."""


@dataclass(frozen=True)
class StepCount:
    """Steps of one kind over all seeds, and how many of them a result has already."""

    total: int
    found: int

    @property
    def missing(self) -> int:
        return self.total - self.found


@dataclass(frozen=True)
class Total:
    """A sum over the steps to be computed.

    value: of those whose kind was computed before, None where there is none such.  unknown: how
    many steps of each other kind there are, by a title.
    """

    value: float | None
    unknown: Mapping[str, int]


@dataclass(frozen=True)
class Forecast:
    """counts: by the stage of a step.  finished: seeds that leave nothing to do.

    seconds: of all stages one after the other.  measured: how many stages it rests on.
    experiments, devices: where they were computed.
    """

    seeds: int
    finished: int
    counts: Mapping[str, StepCount]
    seconds: Total
    bytes: Total
    measured: int
    experiments: Sequence[str]
    devices: Sequence[str]

    @property
    def stages(self) -> StepCount:
        """All steps, as the progress of a run counts them."""
        each = self.counts.values()
        return StepCount(sum(count.total for count in each), sum(count.found for count in each))

    @property
    def passes(self) -> int:
        """Passes over the data that are to be made for predictions."""
        return sum(self.counts[stage].missing for stage in PASSES if stage in self.counts)


@dataclass
class Past:
    """Past of one recipe, as its results tell it.

    done: what steps mean, by their seeds.  seconds, sizes: of each kind of step, a number a stage.
    """

    done: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    experiments: list[str] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)


def forecast(
    order: ExperimentOrder,
    stored: Sequence[StoredExperiment],
    sizes: Mapping[StageId, int],
    catalog: Catalog,
) -> Forecast:
    """Forecast of the seeds of an order.  sizes: bytes of the stages in the store."""
    return _forecast([order], stored, sizes, catalog)


def forecast_of_trials(
    order: ExperimentOrder,
    stored: Sequence[StoredExperiment],
    sizes: Mapping[StageId, int],
    catalog: Catalog,
) -> Forecast:
    """Forecast of the tuning seeds of an order, at most: rounds of which nobody knows yet which
    trials they have count as all."""
    own = next((each for each in stored if each.prefix == order.prefix), None)
    own = own or StoredExperiment(order.prefix, order, {})
    parts = rounds_expected(order, partial(_newest, own), catalog, _proposals(own, order))
    return _forecast(parts, stored, sizes, catalog)


def _forecast(
    parts: Sequence[ExperimentOrder],
    stored: Sequence[StoredExperiment],
    sizes: Mapping[StageId, int],
    catalog: Catalog,
) -> Forecast:
    """Forecast of several orders of one recipe, each with seeds of its own."""
    past = _past(parts[0], stored, sizes, catalog)
    finished = {seed for part in parts for seed in _finished_seeds(part, stored)}
    total, found = Counter[str](), Counter[str]()
    missing: list[tuple[Work, Step]] = []
    shared = {meaning for done in past.done.values() for meaning in done}
    for part in parts:
        each = steps(part.work, part.excluded, catalog)
        meanings = {step: _meaning(part.work, step, catalog) for step in each}
        readers = _readers(part.work, each, catalog)
        for seed in part.seeds:
            own = past.done[seed] if part.reuse != "None" else set[str]()
            for step in each:
                done = shared if step.stage in SHARED else own
                total[step.stage] += 1
                asked = readers.get(step)
                is_unasked = asked is not None and all(meanings[reader] in own for reader in asked)
                if seed in finished or meanings[step] in done or is_unasked:
                    found[step.stage] += 1
                else:
                    missing.append((part.work, step))
                    done.add(meanings[step])  # whoever asks for it next finds it
    return Forecast(
        seeds=sum(len(part.seeds) for part in parts),
        finished=len(finished),
        counts={stage: StepCount(total[stage], found[stage]) for stage in total},
        seconds=_estimate(missing, past.seconds, catalog),
        bytes=_estimate(missing, past.sizes, catalog),
        measured=sum(map(len, past.seconds.values())),
        experiments=past.experiments,
        devices=sorted(past.devices),
    )


def _finished_seeds(order: ExperimentOrder, stored: Sequence[StoredExperiment]) -> set[int]:
    """Seeds of this very experiment whose newest result for this work leaves nothing to do."""
    newest: dict[int, RunResult] = {}
    for each in stored:
        if each.prefix == order.prefix:
            newest |= _newest(each, order)
    return {seed for seed, each in newest.items() if is_finished(each, order)} & set(order.seeds)


def _newest(stored: StoredExperiment, order: ExperimentOrder) -> dict[int, RunResult]:
    """The newest result of an order's work of each seed that has one."""
    return {result.seed: result for result in _answering(stored.results, order)}


def _proposals(stored: StoredExperiment, order: ExperimentOrder) -> Proposals:
    return stored.proposals or Proposals(experiment=order.experiment)


def _answering(results: Mapping[str, RunResult], order: ExperimentOrder) -> list[RunResult]:
    """The results of an order's work, the newest last."""
    wanted = work_digest(order.work)
    answering = (result for result in results.values() if result.work_digest == wanted)
    return sorted(answering, key=lambda result: result.attempt)


def _past(
    order: ExperimentOrder,
    stored: Sequence[StoredExperiment],
    sizes: Mapping[StageId, int],
    catalog: Catalog,
) -> Past:
    past, recipe = Past(), _recipe(order.work)
    for each in stored:
        if each.order is None or _recipe(each.order.work) != recipe:
            continue
        for part in _parts(each, each.order, catalog):
            try:
                planned = steps(part.work, part.excluded, catalog)
            except SpecError:  # it has a component of a plug-in that is not here
                continue
            answering = _answering(each.results, part)
            if answering:
                _take_done(past, part.work, answering, planned, catalog)
                past.experiments.append(each.prefix)
                keeps = order.keep_unlearned_models
                _take_costs(past, part.work, each, answering, sizes, catalog, keeps=keeps)
    past.experiments = list(dict.fromkeys(past.experiments))
    return past


def _parts(
    stored: StoredExperiment, order: ExperimentOrder, catalog: Catalog
) -> list[ExperimentOrder]:
    """Orders that seeds of an experiment were computed by, as far as its results tell."""
    if order.tuning is None:
        return [order]
    try:
        rounds = rounds_known(order, partial(_newest, stored), catalog, _proposals(stored, order))
        return [*rounds, order]
    except SpecError:  # it has a component of a plug-in that is not here
        return order.parts


def _recipe(work: Work) -> str:
    """Digest of the recipe that all stages of an experiment share, with its components'
    versions."""
    kinds = ("dataset", "model", "optimizer", "schedule", "augmentation")
    versions = [each.to_document() for each in work.revisions if each.kind in kinds]
    return digest({"recipe": recipe_digest(work), "versions": versions})


def _take_done(
    past: Past,
    work: Work,
    answering: Sequence[RunResult],
    planned: Sequence[Step],
    catalog: Catalog,
) -> None:
    readers = _readers(work, planned, catalog)
    meanings = {step: _meaning(work, step, catalog) for step in planned}
    for result in answering:
        ran = {(run.scenario, run.method, run.repeat) for run in result.runs if run.status == "ok"}
        for step, meaning in meanings.items():
            runs = {(each.scenario, each.method, each.repeat) for each in readers.get(step, [step])}
            if step.method in ("", *names.SANITY) or runs & ran:
                past.done[result.seed].add(meaning)


def _take_costs(
    past: Past,
    work: Work,
    stored: StoredExperiment,
    answering: Sequence[RunResult],
    sizes: Mapping[StageId, int],
    catalog: Catalog,
    *,
    keeps: bool,
) -> None:
    """Seconds are in the result of the attempt that computed a stage; later ones have found it."""
    computed = {
        (record.stage, record.key): (record.wall_seconds, result.environments[record.environment])
        for result in stored.results.values()
        for record in result.stages
        if record.status == "computed"
    }
    kinds: dict[StageId, str] = {}
    kept: dict[StageId, bool] = {}
    for result in answering:
        runs = {each.predictions.get("unlearned"): each for each in result.runs}
        for record in result.stages:
            stage = record.stage, record.key
            run = runs.get(record.key)
            scenario, method = (run.scenario, run.method) if run else ("", "")
            kinds[stage] = _kind(work, record.stage, scenario, method, catalog)
            kept[stage] = result.kept_unlearned_models
    for stage, kind in kinds.items():
        if stage in computed:
            seconds, environment = computed[stage]
            past.seconds[kind].append(seconds)
            past.devices.add(str(environment.get("device", "an unknown device")))
    weights = [sizes[stage] for stage in kinds if stage[0] == "originals" and stage in sizes]
    for stage, kind in kinds.items():
        if stage in sizes:
            more = keeps - kept[stage] if stage[0] == "unlearned" and weights else 0
            past.sizes[kind].append(sizes[stage] + more * fmean(weights or [0]))


def _estimate(
    missing: Sequence[tuple[Work, Step]], past: Mapping[str, list[float]], catalog: Catalog
) -> Total:
    value, unknown, known = 0.0, Counter[str](), not missing
    for work, step in missing:
        stage = STAGE_OF.get(step.stage, step.stage)
        kind = _kind(work, stage, step.scenario, step.method, catalog)
        if seen := past.get(kind):
            value, known = value + fmean(seen), True
        else:
            unknown[step.method if step.stage == "unlearned" else step.stage] += 1
    return Total(value if known else None, dict(unknown))


def _kind(work: Work, stage: str, scenario: str, method: str, catalog: Catalog) -> str:
    """Steps of one kind cost about the same; of unlearning, those by one method and settings."""
    if stage in ("unlearned", "trials") and method:
        return f"unlearned {digest(_method(work, scenario, method, catalog))}"
    return stage


def _readers(work: Work, planned: Sequence[Step], catalog: Catalog) -> dict[Step, Sequence[Step]]:
    """Steps that read importances, by the step that makes these; nobody makes them for a run that
    is found."""
    kinds = {
        (scenario.title, title): importances_read(entry, catalog)
        for scenario in work.scenarios
        for title, entry in entries_of(work, scenario.title).items()
    }
    return {
        step: [
            each
            for each in planned
            if each.stage == "unlearned"
            and each.scenario == step.scenario
            and kinds[each.scenario, each.method] == step.metric
        ]
        for step in planned
        if step.stage == "importances"
    }


def _meaning(work: Work, step: Step, catalog: Catalog) -> str:
    """Digest of what a step computes, whatever its scenario, method and metric are called."""
    meaning: dict[str, Any] = {"stage": step.stage, "repeat": step.repeat}
    if work.tuning and step.stage not in ("dataset", "pretrained", "original", "retrained"):
        meaning["trials"] = True  # of another test set than the experiment's own seeds have
    meaning["protocol"] = work.protocol
    if step.scenario:
        scenario = _titled(work.scenarios, step.scenario)
        meaning["scenario"] = _component(work, "scenario", scenario, catalog)
    if step.stage == "importances":
        return digest({**meaning, "part": step.method, "kind": step.metric})
    if step.method:
        meaning["method"] = _method(work, step.scenario, step.method, catalog)
    if step.metric:
        metric = _titled(work.metrics, step.metric)
        meaning["metric"] = _component(work, "metric", metric, catalog)
    if step.stage == "metrics":  # one stage for all of them
        meaning["metrics"] = [_component(work, "metric", each, catalog) for each in work.metrics]
    return digest(meaning)


def _method(work: Work, scenario: str, title: str, catalog: Catalog) -> dict[str, Any]:
    if title in (*names.REFERENCES, *names.SANITY):
        return {"reference": title}
    method = entry_of(work, scenario, title)
    wrappers = [_component(work, "wrapper", each, catalog) for each in method.wrappers]
    found = {**_component(work, "method", method, catalog), "wrappers": wrappers}
    return found if method.augmentation == "None" else {**found, "augmented": True}


def _component(work: Work, kind: str, component: Component, catalog: Catalog) -> dict[str, Any]:
    """Name and settings of a component, and the versions of it and of those that it names where
    they are not the first."""
    named = {
        (each_kind, each.name.partition("/")[0])
        for each_kind, each in with_those_they_name([(kind, component)], catalog)
    }
    versions = [each.to_document() for each in work.revisions if (each.kind, each.name) in named]
    return {"name": component.name, "params": component.params, "versions": versions}


def _titled(entries: Sequence[Labelled], title: str) -> Labelled:
    return next(each for each in entries if each.title == title)
