"""Plan of an experiment: what is to be computed. Pure: no clock, no store, no torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.load import NOTHING_WRITTEN
from supreme_core.api.orders import Exclusion, ExperimentName, ExperimentOrder, Revision, Work
from supreme_core.api.settings import Written
from supreme_core.api.v1alpha1 import (
    Component,
    ExperimentSpec,
    LabelledComponent,
    MethodEntry,
    UnlearningExperiment,
)
from supreme_core.errors import SpecError, nearest, nearest_or_all
from supreme_core.registry import Listed, MetricGroup, TrainingPart
from supreme_core.registry.catalog import Catalog, check_components
from supreme_core.tuning.entries import entries_of
from supreme_core.tuning.order import for_comparison, tuning_order


@dataclass(frozen=True)
class Step:
    """One stage of a seed, as the store has it and progress counts it. A field is empty where the
    stage has no such thing.

    metric: the title of the one that a probe is for.
    Of importances, `metric` is their kind and `method` the part of the training set.
    """

    stage: str
    scenario: str = ""
    method: str = ""
    repeat: int = 0
    metric: str = ""

    @property
    def title(self) -> str:
        words = self.method or self.stage
        if self.stage in ("predictions", "metrics"):
            words = f"{self.stage} of {self.method}"
        if self.metric:
            words = f"{self.metric} of {self.method}"
        if self.stage == "importances":
            words = f"importances ({self.metric}) of {self.method}"
        if self.repeat:
            words += f" ({self.repeat + 1})"
        return f"{words} · {self.scenario}" if self.scenario else words


def step_of(event: Mapping[str, Any]) -> Step:
    """The step that an event of a trainer is about."""
    return Step(*(event[part.name] for part in fields(Step)))


def plan(
    experiment: UnlearningExperiment,
    catalog: Catalog,
    *,
    namespace: str,
    uid: str | None = None,
    written: Written = NOTHING_WRITTEN,
) -> ExperimentOrder:
    """The plan of an experiment; SpecError where a component or a combination cannot be done.

    uid: that of the Kubernetes object. Without one, what may never change in an experiment (data,
    model, recipe) gives it, so that a new recipe under an old name never mixes with old results.
    Then this machine computes it, by the very code that the catalogue lists, and which code that is
    becomes part of the work; on a cluster an image decides, which nobody here has seen.
    written: the texts of the file's values, where the experiment is from a file.
    """
    spec = experiment.spec
    check_components(spec, catalog, written)
    _check_methods(spec, catalog)
    work = _work(spec, catalog)
    tuning = tuning_order(spec, work, catalog)
    if tuning:
        work = for_comparison(work, tuning)
    if uid is None:
        work = _with_revisions(work, catalog)
        if tuning:
            tuning = tuning.model_copy(update={"work": _with_revisions(tuning.work, catalog)})
    excluded = exclusions(work, catalog)
    if tuning:
        tuning = tuning.model_copy(update={"excluded": exclusions(tuning.work, catalog)})
    if len(excluded) == len(work.scenarios) * len(work.methods):
        raise SpecError(f"spec.methods: no method fits a scenario: {excluded[0].reason}")
    _check_primary_metric(spec.primary_metric, work, catalog)
    _check_margins(spec.margins, work, catalog)
    uid = uid or recipe_digest(work)[:8]
    name = ExperimentName(namespace=namespace, name=experiment.metadata.name, uid=uid)
    return ExperimentOrder(
        experiment=name,
        work=work,
        seeds=spec.seeds.values(),
        excluded=excluded,
        primary_metric=spec.primary_metric,
        seed_metrics=spec.seed_metrics,
        margins=spec.margins,
        reuse=spec.execution.reuse,
        data_placement=spec.execution.data_placement,
        keep_unlearned_models=spec.storage.keep_unlearned_models,
        tuning=tuning,
    )


def _with_revisions(work: Work, catalog: Catalog) -> Work:
    named = with_those_they_name(work.components(), catalog)
    return work.model_copy(update={"revisions": revisions(named, catalog.find)})


def recipe_digest(work: Work) -> str:
    """Names what never changes in an experiment: data, model and training."""
    fixed = {"dataset": work.dataset, "model": work.model, "training": work.training}
    return digest({name: part.to_document() for name, part in fixed.items()})


def revisions(
    components: Iterable[tuple[str, Component]],
    find: Callable[[str, str], Listed | None],
) -> list[Revision]:
    """Revisions of those components, given with their kinds, whose names do not say all that they
    mean."""
    found = {}
    for kind, component in components:
        code = find(kind, component.name)
        if code and (code.version > 1 or code.plugin):
            found[kind, code.name] = Revision(
                kind=kind, name=code.name, version=code.version, plugin=code.plugin or None
            )
    return [found[each] for each in sorted(found)]


def exclusions(work: Work, catalog: Catalog) -> list[Exclusion]:
    """The pairs that are left out because the method is not defined for the scenario.

    Of a method that is not listed nobody here knows what it is defined for: where a trainer finds
    that it does not fit, the run is missing from the table.
    """
    return [
        Exclusion(scenario=scenario.title, method=method.title, reason=reason)
        for scenario in work.scenarios
        for method in work.methods
        if (reason := _why_not(method, scenario, catalog))
    ]


def _why_not(method: MethodEntry, scenario: Component, catalog: Catalog) -> str | None:
    asked = catalog.get("scenario", scenario.name).facts["forgets"]
    for name, listed in _methods(method, catalog):
        if listed and asked not in (able := listed.facts["forgets"]):
            return f"{name} forgets {' or '.join(able)}, but {scenario.name} asks to forget {asked}"
    return None


def steps(work: Work, excluded: Sequence[Exclusion], catalog: Catalog) -> list[Step]:
    """The stages of one seed in the order in which a trainer computes them.

    What `supreme validate` counts, what progress counts, and what a run counts in the end.
    """
    of_metrics = [catalog.get("metric", metric.name).facts for metric in work.metrics]
    probing = [
        metric.title
        for metric, facts in zip(work.metrics, of_metrics, strict=True)
        if facts["probe"]
    ]
    compares_with_untrained = any("untrained" in facts["needs"] for facts in of_metrics)
    left_out = {(pair.scenario, pair.method) for pair in excluded}
    begun = ["pretrained"] if work.model.params.get("pretrained") else []
    found = [Step(stage) for stage in (*begun, "dataset")]
    facts = [catalog.get("scenario", scenario.name).facts for scenario in work.scenarios]
    if any("margins" in each["needs"] for each in facts):
        found += [Step("original"), Step("margins")]
    for scenario, each in zip(work.scenarios, facts, strict=True):
        title = scenario.title
        original = Step("original", title if each["poisons"] else "")
        if original not in found:
            found.append(original)
        found.append(Step("predictions", title, names.ORIGINAL))
        if compares_with_untrained or work.tuning:
            found.append(Step("predictions", title, names.UNTRAINED))
        if work.tuning:
            found.append(Step("predictions", title, names.NOISED))
        for replica in range(work.retrained_replicas):
            found.append(Step("retrained", title, names.RETRAINED, replica))
            found.append(Step("predictions", title, names.RETRAINED, replica))
        found += scoring_steps(title, names.ORIGINAL, 0, probing)
        for replica in range(work.retrained_replicas):
            found += scoring_steps(title, names.RETRAINED, replica, probing)
        if work.tuning:
            found += [Step("metrics", title, model) for model in names.SANITY]
        for run, method in entries_of(work, title).items():
            if (title, method.title) not in left_out:
                reads = importances_read(method, catalog)
                found += [step for step in importance_steps(title, reads) if step not in found]
                for repeat in range(work.unlearning_repeats):
                    found.append(Step("unlearned", title, run, repeat))
                    found += scoring_steps(title, run, repeat, probing)
    return found


def scoring_steps(scenario: str, method: str, repeat: int, probing: Iterable[str]) -> list[Step]:
    """Steps that measure one run: its probes, then its metrics."""
    return [
        *probe_steps(scenario, method, repeat, probing),
        Step("metrics", scenario, method, repeat),
    ]


def probe_steps(scenario: str, method: str, repeat: int, metrics: Iterable[str]) -> list[Step]:
    """One for each metric that looks at the model itself, whose titles are given."""
    return [Step("probes", scenario, method, repeat, metric) for metric in metrics]


def importance_steps(scenario: str, kind: str | None) -> list[Step]:
    """One for each part of the training set."""
    return [
        Step("importances", scenario, part, metric=kind) for part in get_args(TrainingPart) if kind
    ]


def importances_read(method: MethodEntry, catalog: Catalog) -> str | None:
    """Kind of importance that a method reads of the original.

    A wrapper may change the model or the sets before, so what it wraps computes its own.
    """
    listed = catalog.find("method", method.name)
    return listed.importances_with(method.params) if listed and not method.wrappers else None


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


def _check_methods(spec: ExperimentSpec, catalog: Catalog) -> None:
    """Refuse methods and wrappers without what they need; SpecError has a line for each."""
    problems = [
        problem
        for position, method in enumerate(spec.methods)
        for problem in _problems(method, f"spec.methods[{position}]", spec, catalog)
    ]
    if problems:
        raise SpecError("\n".join(problems))


def _problems(
    method: MethodEntry, at: str, spec: ExperimentSpec, catalog: Catalog
) -> Iterator[str]:
    parts = list(_methods(method, catalog))
    # Of what is not listed the trainer knows.
    without_epochs = [name for name, each in parts if each and not each.facts["iterative"]]
    if method.augmentation == "Training":
        yield from _augmentation_problems(parts, f"{at}.augmentation", spec)
    asked = [("method", method.name, at)]
    for place, wrapper in enumerate(method.wrappers):
        asked.append(("wrapper", wrapper.name, f"{at}.wrappers[{place}]"))
    for kind, name, where in asked:
        component = catalog.find(kind, name)
        if component is None:
            continue
        facts = component.facts
        if kind == "wrapper" and facts["iterative"] and without_epochs:
            yield (
                f"{where}.name is {name!r}, which watches the epochs of a training, and"
                f" {without_epochs[0]} has none that it could; leave it out"
            )
        if "validation" in facts["needs"] and spec.training.validation is None:
            yield (
                f"{where}.name is {name!r}, which needs validation samples, and none are set"
                " aside; give spec.training.validation a fraction"
            )


def _augmentation_problems(
    parts: Sequence[tuple[str, Listed | None]], at: str, spec: ExperimentSpec
) -> Iterator[str]:
    """Yield problems where there would be no augmentation, so that the wish would do nothing."""
    if not spec.training.augmentation:
        yield (
            f"{at} is Training, but spec.training.augmentation is empty; give some there, or use"
            " None"
        )
    if all(each and not each.facts["trains"] for _, each in parts):
        yield f"{at} is Training, but {parts[0][0]} trains on no samples; use None"


def _work(spec: ExperimentSpec, catalog: Catalog) -> Work:
    return Work(
        dataset=spec.dataset,
        model=spec.model,
        training=spec.training,
        scenarios=spec.scenarios,
        methods=[_with_defaults(method, spec.model, catalog) for method in spec.methods],
        metrics=spec.metrics or default_metrics(catalog),
        unlearning_repeats=spec.seeds.unlearning_repeats,
        evaluation_repeats=spec.seeds.evaluation_repeats,
        evaluation_precision=spec.evaluation_precision,
        retrained_replicas=spec.seeds.retrained_replicas,
        protocol=spec.seeds.protocol,
    )


def _methods(method: MethodEntry, catalog: Catalog) -> Iterator[tuple[str, Listed | None]]:
    """Name of the method and those that its wrappers name, with what is known of each."""
    inner = [each for wrapper in method.wrappers for each in catalog.inner("wrapper", wrapper)]
    for name in (method.name, *(each.component.name for each in inner if each.kind == "method")):
        yield name, catalog.find("method", name)


def with_those_they_name(
    components: Iterable[tuple[str, Component]], catalog: Catalog
) -> Iterator[tuple[str, Component]]:
    """The components, the methods that wrappers hold, and the probes whose findings metrics
    read."""
    for kind, component in components:
        yield kind, component
        yield from ((each.kind, each.component) for each in catalog.inner(kind, component))
        if kind == "metric" and (probe := catalog.get(kind, component.name).facts["probe"]):
            yield "probe", Component(name=probe)


def _with_defaults(method: MethodEntry, model: Component, catalog: Catalog) -> MethodEntry:
    """The method with those settings that are others for this kind of network, where not given."""
    network = catalog.find("model", model.name)
    if not (network and network.is_transformer(model.name)):
        return method
    return method.model_copy(
        update={
            "params": _for_transformers(method, catalog),
            "wrappers": [_wrapper_for_transformers(each, catalog) for each in method.wrappers],
        }
    )


def _for_transformers(method: Component, catalog: Catalog) -> dict[str, Any]:
    listed = catalog.find("method", method.name)
    return {**(listed.facts["for_transformers"] if listed else {}), **method.params}


def _wrapper_for_transformers(wrapper: Component, catalog: Catalog) -> Component:
    """Choose settings for transformers in the methods that a wrapper names."""
    params = dict(wrapper.params)
    for each in catalog.inner("wrapper", wrapper):
        if each.kind == "method":
            settings = _for_transformers(each.component, catalog)
            method = each.component.model_copy(update={"params": settings})
            params[each.setting] = list(params[each.setting])
            params[each.setting][each.position] = method.to_document()
    return wrapper.model_copy(update={"params": params})


def _check_primary_metric(name: str, work: Work, catalog: Catalog) -> None:
    rows = metric_rows(work.metrics, catalog)
    if name not in rows:
        hint = nearest(name, rows) or f"; rows: {', '.join(rows)}"
        raise SpecError(f"spec.primaryMetric is {name!r}, which no metric gives{hint}")


def _check_margins(margins: Iterable[str], work: Work, catalog: Catalog) -> None:
    """Refuse a margin of what is no row of the table, or of one that has no gap to Retrained."""
    for row in margins:
        rows = metric_rows(work.metrics, catalog)
        if row not in rows:
            hint = nearest_or_all(row, rows, what="rows")
            raise SpecError(f"spec.margins: no metric gives a row {row!r}{hint}")
        facts = _facts_of_row(row, work, catalog)
        if facts["compares"] or facts["measured"]:
            what = "measured" if facts["measured"] else "nearness to Retrained itself"
            raise SpecError(
                f"spec.margins: row {row!r} is {what}, so it has no gap to Retrained and no margin;"
                " leave it out"
            )


def _facts_of_row(row: str, work: Work, catalog: Catalog) -> Mapping[str, Any]:
    """Facts of the metric that gives the row."""
    metric = next(each for each in work.metrics if row in metric_rows([each], catalog))
    return catalog.get("metric", metric.name).facts
