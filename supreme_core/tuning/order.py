"""The part of an experiment's plan that is tuning: which methods are tried, and how."""

from collections.abc import Iterable, Iterator, Sequence

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder, TrialPlan, TuningOrder, Work
from supreme_core.api.selection import SearchChoice
from supreme_core.api.v1alpha1 import (
    MAX_LABEL,
    ExperimentSpec,
    LabelledComponent,
    MethodEntry,
    Tuning,
)
from supreme_core.errors import SpecError, nearest_or_all
from supreme_core.registry.catalog import Catalog
from supreme_core.tuning.objectives import check_objective, is_oracle, metrics_of
from supreme_core.tuning.ranges import Space
from supreme_core.tuning.samplers import grid_points
from supreme_core.tuning.space import default_space, document_of, read_space


def tuning_order(spec: ExperimentSpec, work: Work, catalog: Catalog) -> TuningOrder | None:
    """Trials of the methods of a work, with the spaces in full; None where nothing is tuned.

    work: that of the experiment, whose methods have the settings that are given. SpecError, a line
    for each mistake, where a space or the objective cannot be.
    """
    tuning = spec.tuning
    if tuning is None:
        return None
    scenarios = [*_rehearsed(work.scenarios, tuning.rehearsal)]
    at = "spec.tuning.rehearsal" if tuning.rehearsal else "spec.scenarios"
    check_objective(tuning.objective, scenarios, catalog, at=at)
    searched = [*_searched(spec, work, tuning, catalog)]
    if not searched:
        raise SpecError(
            "spec.tuning: none of spec.methods has a setting to search; give one a `search`, or"
            " leave tuning out"
        )
    return TuningOrder(
        work=Work(
            dataset=work.dataset,
            model=work.model,
            training=work.training,
            scenarios=scenarios,
            methods=searched,
            metrics=metrics_of(tuning.objective, catalog),
            unlearning_repeats=1,
            evaluation_repeats=1,
            evaluation_precision=work.evaluation_precision,
            retrained_replicas=1 if is_oracle(tuning.objective, catalog) else 0,
            protocol=work.protocol,
            tuning=TrialPlan(
                trials=tuning.trials, sampler=tuning.sampler, share=tuning.budget.share
            ),
        ),
        seeds=tuning.seeds.values(),
        objective=tuning.objective,
        excluded=[],
        rounds=tuning.rounds,
    )


def _rehearsed(
    scenarios: Sequence[LabelledComponent], rehearsal: Sequence[LabelledComponent]
) -> Iterator[LabelledComponent]:
    """Scenarios of the trials, in the order of the experiment's.

    SpecError, a line for each mistake, where a rehearsal is of no scenario, is one itself, or is
    missing: trials that forget other samples and trials that do not are not to be compared.
    """
    at, by_title = "spec.tuning.rehearsal", {each.title: each for each in scenarios}
    problems = list[str]()
    for position, each in enumerate(rehearsal):
        scenario = by_title.get(each.title)
        if scenario is None:
            hint = nearest_or_all(each.title, by_title, what="scenarios")
            problems.append(f"{at}[{position}]: no scenario is called {each.title!r}{hint}")
        elif scenario.name != each.name:
            problems.append(
                f"{at}[{position}].name is {each.name!r}, and {each.title!r} of spec.scenarios is"
                f" {scenario.name!r}; rehearse it by another forget set of the same kind"
            )
        elif scenario == each:
            problems.append(
                f"{at}[{position}] is what the experiment forgets in {each.title!r}; give another"
                " forget set"
            )
    found = {each.title: each for each in rehearsal}
    if rehearsal and not problems:
        problems += [
            f"{at} lacks {title!r} of spec.scenarios; give one for each scenario, or none"
            for title in by_title
            if title not in found
        ]
    if problems:
        raise SpecError("\n".join(problems))
    return (found.get(title, scenario) for title, scenario in by_title.items())


def for_comparison(work: Work, tuning: TuningOrder) -> Work:
    """The work with what tells the gain of the chosen settings: each tuned method a second time,
    with those that are given, and the metrics that the objective reads."""
    measured = {metric.title for metric in work.metrics}
    metrics = [metric for metric in tuning.work.metrics if metric.title not in measured]
    methods = [*_with_those_as_given(work, tuning.work.methods)]
    return work.model_copy(update={"methods": methods, "metrics": [*work.metrics, *metrics]})


def _with_those_as_given(work: Work, tuned: Sequence[MethodEntry]) -> Iterator[MethodEntry]:
    titles = {entry.title for entry in work.methods}
    for entry in work.methods:
        yield entry.model_copy(update={"search": "default"})
        if any(entry.title == each.title for each in tuned):
            label = names.as_given_title(entry.title)
            if label in titles or len(label) > MAX_LABEL:
                raise SpecError(
                    f"spec.methods: {entry.title!r} is tuned, and beside it stands {label!r}, which"
                    " is another method or too long a name; give it a shorter label of its own"
                )
            yield entry.model_copy(update={"label": label, "search": "default"})


def with_choices(order: ExperimentOrder, choices: Iterable[SearchChoice]) -> ExperimentOrder:
    """The order with the settings that were chosen, so that a result of others does not count."""
    selected = [choice.selected for choice in choices]
    return order.model_copy(update={"work": order.work.model_copy(update={"selected": selected})})


def _searched(
    spec: ExperimentSpec, work: Work, tuning: Tuning, catalog: Catalog
) -> Iterator[MethodEntry]:
    """The methods that are tried, each with its space in full.

    Raises SpecError with a line for each space that cannot be.
    """
    problems: list[str] = []
    for position, (asked, entry) in enumerate(zip(spec.methods, work.methods, strict=True)):
        try:
            space = _space(asked, f"spec.methods[{position}]", spec, tuning, catalog)
        except SpecError as error:
            problems.append(str(error))
            continue
        if space and (problem := _no_grid(space, tuning, f"spec.methods[{position}]")):
            problems.append(problem)
        elif space:
            yield entry.model_copy(update={"search": document_of(space)})
    if problems:
        raise SpecError("\n".join(problems))


def _no_grid(space: Space, tuning: Tuning, at: str) -> str | None:
    """Return why a space is no grid of so many trials, where it is to be one."""
    if tuning.sampler != "grid":
        return None
    for setting, each in space.items():
        if each.kind != "choice":
            return (
                f"{at}.search.{setting} is a range, and spec.tuning.sampler is grid, which has"
                " points of choices only; give {choice: [VALUE, ...]}, or use sobol"
            )
    if grid_points(space) > tuning.trials:
        return (
            f"{at}.search has {grid_points(space)} combinations, and spec.tuning.trials is"
            f" {tuning.trials}; leave some out, or raise trials"
        )
    return None


def _space(
    entry: MethodEntry, at: str, spec: ExperimentSpec, tuning: Tuning, catalog: Catalog
) -> Space | None:
    """The space of a method; None where nothing of it is searched."""
    if entry.search == "none":
        return None
    listed = catalog.find("method", entry.name)
    network = catalog.find("model", spec.model.name)
    if isinstance(entry.search, dict):
        return read_space(entry, at=at, catalog=catalog)
    if listed is None:
        raise SpecError(
            f"{at}: {entry.name!r} is not listed here, so its space is not known; give ranges in"
            " `search`, or none"
        )
    return default_space(
        listed,
        is_transformer=bool(network and network.is_transformer(spec.model.name)),
        epochs=max(1, int(tuning.budget.share * spec.training.epochs)),
    )
