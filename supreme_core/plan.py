"""From an experiment to what is to be computed. Pure: no clock, no store, no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from supreme_core.api import names
from supreme_core.api.reserved import refuse_reserved
from supreme_core.api.run import Exclusion, ExperimentName, ExperimentOrder, Work
from supreme_core.api.v1alpha1 import (
    ExperimentSpec,
    LabelledComponent,
    UnlearningExperiment,
)
from supreme_core.artefacts import digest
from supreme_core.catalog import Catalog, check_components
from supreme_core.errors import SpecError, nearest
from supreme_core.registry import MetricGroup


@dataclass(frozen=True)
class Step:
    """One stage of a seed, as progress shows it. Empty where the stage has no such thing."""

    stage: str
    scenario: str = ""
    method: str = ""
    repeat: int = 0

    @property
    def title(self) -> str:
        words = self.method or self.stage
        if self.stage == "predictions":
            words = f"predictions of {self.method}"
        if self.repeat:
            words += f" ({self.repeat + 1})"
        return f"{words} · {self.scenario}" if self.scenario else words


def plan(
    experiment: UnlearningExperiment, catalog: Catalog, *, namespace: str, uid: str | None = None
) -> ExperimentOrder:
    """The plan of an experiment; SpecError where a component or a combination cannot be done.

    uid: that of the Kubernetes object. Without one, what may never change in an experiment (data,
    model, recipe) gives it, so that a new recipe under an old name never mixes with old results.
    """
    spec = experiment.spec
    refuse_reserved(spec)
    check_components(spec, catalog)
    work = _work(spec, catalog)
    excluded = exclusions(work, catalog)
    if len(excluded) == len(work.scenarios) * len(work.methods):
        raise SpecError(f"spec.methods: no method fits a scenario: {excluded[0].reason}")
    _check_primary_metric(spec.primary_metric, work, catalog)
    fixed = {"dataset": work.dataset, "model": work.model, "training": work.training}
    recipe = digest({name: part.to_document() for name, part in fixed.items()})
    name = ExperimentName(namespace=namespace, name=experiment.metadata.name, uid=uid or recipe[:8])
    return ExperimentOrder(
        experiment=name,
        work=work,
        seeds=spec.seeds.values(),
        excluded=excluded,
        primary_metric=spec.primary_metric,
        seed_metrics=spec.seed_metrics,
        reuse=spec.execution.reuse,
        data_placement=spec.execution.data_placement,
        keep_unlearned_models=spec.storage.keep_unlearned_models,
    )


def work_digest(work: Work) -> str:
    """Names what every seed computes; a result counts only for the work that it answers."""
    return digest(work.to_document())


def exclusions(work: Work, catalog: Catalog) -> list[Exclusion]:
    """The pairs that are left out because the method is not defined for the scenario."""
    return [
        Exclusion(
            scenario=scenario.title,
            method=method.title,
            reason=f"{method.name} forgets {' or '.join(able)}, but {scenario.name} asks to forget"
            f" {asked}",
        )
        for scenario in work.scenarios
        for method in work.methods
        if (asked := catalog.get("scenario", scenario.name).facts["forgets"])
        not in (able := catalog.get("method", method.name).facts["forgets"])
    ]


def steps(work: Work, excluded: Sequence[Exclusion]) -> list[Step]:
    """The stages of one seed in the order in which a trainer computes them."""
    left_out = {(pair.scenario, pair.method) for pair in excluded}
    begun = ["pretrained"] if work.model.params.get("pretrained") else []
    found = [Step(stage) for stage in (*begun, "dataset", "original")]
    for scenario in work.scenarios:
        title = scenario.title
        found.append(Step("predictions", title, names.ORIGINAL))
        for replica in range(work.retrained_replicas):
            found.append(Step("retrained", title, names.RETRAINED, replica))
            found.append(Step("predictions", title, names.RETRAINED, replica))
        for method in work.methods:
            if (title, method.title) not in left_out:
                for repeat in range(work.unlearning_repeats):
                    found.append(Step("unlearned", title, method.title, repeat))
    return found


def metric_rows(metrics: Sequence[LabelledComponent], catalog: Catalog) -> list[str]:
    """Rows of the table, in the order of the metrics and of each metric's sets."""
    found = []
    for metric in metrics:
        facts: Mapping[str, Any] = catalog.get("metric", metric.name).facts
        found += [names.metric_row(metric.title, on) for on in facts["sets"] or (None,)]
    return found


def default_metrics(catalog: Catalog) -> list[LabelledComponent]:
    """Every metric that belongs to the default set, by group, then by name."""
    groups = get_args(MetricGroup)
    listed = catalog.components["metric"].values()
    chosen = [metric for metric in listed if metric.facts["default"]]
    chosen.sort(key=lambda metric: (groups.index(metric.facts["group"]), metric.name))
    return [LabelledComponent(name=metric.name) for metric in chosen]


def _work(spec: ExperimentSpec, catalog: Catalog) -> Work:
    return Work(
        dataset=spec.dataset,
        model=spec.model,
        training=spec.training,
        scenarios=spec.scenarios,
        methods=spec.methods,
        metrics=spec.metrics or default_metrics(catalog),
        unlearning_repeats=spec.seeds.unlearning_repeats,
        evaluation_repeats=spec.seeds.evaluation_repeats,
        retrained_replicas=spec.seeds.retrained_replicas,
    )


def _check_primary_metric(name: str, work: Work, catalog: Catalog) -> None:
    rows = metric_rows(work.metrics, catalog)
    if name not in rows:
        hint = nearest(name, rows) or f"; rows: {', '.join(rows)}"
        raise SpecError(f"spec.primaryMetric is {name!r}, which no metric gives{hint}")
