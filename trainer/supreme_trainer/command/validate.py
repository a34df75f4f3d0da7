"""`supreme validate`: what an experiment would compute, on which data, and what that takes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from supreme_trainer.command.errors import tell
from supreme_trainer.command.experiments import planned, storage_of
from supreme_trainer.command.store import in_bytes
from supreme_trainer.command.terminal import say_beside, say_found, tracked
from supreme_trainer.command.tuning import trials_planned

from supreme_core import registry
from supreme_core.api import names
from supreme_core.api.load import Loaded, errors_of
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.v1alpha1 import Component, ExperimentSpec
from supreme_core.checking.cluster_spec import check_cluster_spec, is_bucket
from supreme_core.checking.data_check import CheckedData, Sizes, check_data
from supreme_core.checking.forecast import Forecast, Total, forecast, forecast_of_trials
from supreme_core.checking.pod_policy import PodPolicy
from supreme_core.errors import SpecError, SupremeError, number_of
from supreme_core.plan import plan, steps
from supreme_core.registry import catalog
from supreme_core.report.words import forgotten
from supreme_core.store.inventory import read_experiments, sizes_of_stages
from supreme_core.store.storage import Storage
from supreme_core.system.ending import missing_for_trainer

SCHEMA_VERSION: Final = 1
"""Version of the document of --json; docs/guide.md lists its fields."""

UNKNOWN_UID: Final = "0" * 8
"""UID of an object that no API server has made."""

FIELD = re.compile(r"(?:(?:spec|metadata|dataset\.params)\b|apiVersion|kind)(?:\.\w+|\[\d+\])*")


@dataclass(frozen=True)
class Checked:
    """One experiment of the file.  data, plan: None where nobody asked for them.  trials: the plan
    of the tuning seeds; None where nothing is tuned.
    """

    loaded: Loaded
    order: ExperimentOrder
    storage: Storage
    stages: int
    data: CheckedData | None
    plan: Forecast | None
    trials: Forecast | None


def validate_experiments(
    file: Path,
    *,
    settings: Sequence[str],
    store: str | None,
    for_cluster: bool,
    with_data: bool,
    with_plan: bool,
    as_json: bool,
) -> None:
    """Check the experiments of a file, and say what they would compute.

    for_cluster: also those that name no image, without which no cluster computes them.
    """
    checked: list[Checked] = []
    errors: list[SupremeError] = []
    with _kept(errors):
        for loaded, order in planned(file, settings):
            with _kept(errors):  # the other experiments are still worth a look
                if found := _checked(
                    loaded,
                    order,
                    store,
                    errors,
                    cluster=for_cluster,
                    data=with_data,
                    plan=with_plan,
                ):
                    checked.append(found)
    if as_json:
        click.echo(json.dumps(_document(file, checked, errors), indent=1))
    else:
        for each in checked:
            _show(each)
        for error in errors:
            tell(error)
    if errors:
        raise SystemExit(errors[0].exit_code)


@contextmanager
def _kept(errors: list[SupremeError]) -> Iterator[None]:
    """Keep the error that ends this block, so that what comes after it is looked at too. One that
    another experiment had too, as of --store, is told once."""
    try:
        yield
    except SupremeError as error:
        if str(error) not in map(str, errors):
            errors.append(error)


def _check_for_cluster(loaded: Loaded, store: str | None) -> None:
    """SpecError where the operator, which has no plug-in, would not take the experiment on.

    store: stands for what the operator's settings say where the experiment names none.
    """
    with errors_of(loaded.source):
        experiment = loaded.experiment
        spec, location = experiment.spec, experiment.spec.storage
        if store and not location.uri:
            location = location.model_copy(update={"uri": store})
        check_cluster_spec(spec.model_copy(update={"storage": location}))
        plan(experiment, catalog.bundled(), namespace=names.LOCAL_NAMESPACE, uid=UNKNOWN_UID)
    for violation in PodPolicy().violations(spec):  # an installation may allow more
        say_beside(f"an operator with default settings refuses {loaded.source}: {violation}")


def _checked(
    loaded: Loaded,
    order: ExperimentOrder,
    store: str | None,
    errors: list[SupremeError],
    *,
    cluster: bool,
    data: bool,
    plan: bool,
) -> Checked | None:
    """All that was asked for; None where something is wrong, all of which joins `errors`."""
    spec, known, before = loaded.experiment.spec, catalog.installed(), len(errors)
    found = expected = trials = storage = None
    is_for_cluster = cluster or bool(spec.execution.image)
    if is_for_cluster:
        with _kept(errors):
            _check_for_cluster(loaded, store)
    with _kept(errors):
        storage = _storage(spec, store, is_for_cluster=is_for_cluster)
    with _kept(errors), errors_of(loaded.source):
        _check_variant(order.work.model)
    if data and storage:
        say_beside(f"looking at the data of {order.work.dataset.name}")
        with _kept(errors), errors_of(loaded.source):
            found = check_data(order, storage, known)
    if len(errors) > before or storage is None:
        return None
    if plan:
        stored = read_experiments(storage, tracked)
        sizes = sizes_of_stages(storage)
        expected = forecast(order, stored, sizes, known)
        trials = forecast_of_trials(order, stored, sizes, known) if order.tuning else None
    stages = len(steps(order.work, order.excluded, known))
    return Checked(loaded, order, storage, stages, found, expected, trials)


def _storage(spec: ExperimentSpec, store: str | None, *, is_for_cluster: bool) -> Storage | None:
    """The store; None where the check for a cluster has told, with its field, what is wrong."""
    try:
        return storage_of(spec, store)
    except SpecError:
        uri, of_pods = store or spec.storage.uri, spec.storage.uri or store
        if is_for_cluster and uri == of_pods and not is_bucket(uri or ""):
            return None
        raise


def _check_variant(model: Component) -> None:
    """SpecError where a library's model, such as timm/NAME, does not take its settings.

    The library alone knows, and loading torch takes seconds, so no other model is looked at.
    """
    if "/" not in model.name:
        return
    if missing := missing_for_trainer():
        lacking = ", ".join(missing)
        note = f"note: what {model.name} takes is not checked here, for want of {lacking}"
        say_beside(note)
        return
    from supreme_core.engine.networks.architecture import Architecture

    Architecture.of(registry.model.resolve(model, at="spec.model"))


def _at_most(order: ExperimentOrder) -> str:
    """Words before a number of stages, some of which successive halving will leave out."""
    return "at most " if order.tuning and order.tuning.rounds > 1 else ""


def _show(checked: Checked) -> None:
    order, work = checked.order, checked.order.work
    say_found(
        f"{checked.loaded.source} is valid: {number_of(len(order.seeds), 'seed')} x"
        f" {number_of(len(work.scenarios), 'scenario')} x"
        f" {number_of(len(work.methods), 'method')}, {number_of(checked.stages, 'stage')}"
        f" for each seed, {checked.stages * len(order.seeds)} in all"
    )
    if trials := order.trials:
        each = len(steps(trials.work, trials.excluded, catalog.installed()))
        at_most = _at_most(order)
        say_found(
            f"{trials_planned(order)}, {at_most}{number_of(each, 'stage')} for each,"
            f" {at_most}{each * len(trials.seeds)} in all"
        )
    for pair in order.excluded:
        say_found(f"left out: {pair.method} in {pair.scenario}, because {pair.reason}")
    if checked.data:
        _show_data(checked.data, checked.storage)
    if checked.trials:
        at_most = " (at most)" if _at_most(checked.order) else ""
        say_found(f"before the seeds of the experiment, for tuning{at_most}:")
        _show_plan(checked.trials, checked.storage)
    if checked.plan:
        _show_plan(checked.plan, checked.storage)


def _show_data(data: CheckedData, storage: Storage) -> None:
    where = f"as prepared in {storage.uri}" if data.prepared else "from its source"
    say_found(
        f"data: {data.name}, {data.train} training and {number_of(data.test, 'test sample')} of"
        f" {number_of(data.classes, 'class', 'classes')}, {where}"
    )
    for note in data.notes:
        say_found(f"  note: {note}")
    for title, sizes in data.sizes.items():
        say_found(f"  {title}: {_in_words(sizes)}")


def _in_words(sizes: Sizes | None) -> str:
    if sizes is None:
        return "the original decides which samples once it is trained; not looked at"
    parts = [
        f"training samples: {_span(sizes.forget)} to forget, {_span(sizes.retain)} to retain",
        f"test samples: {_span(sizes.forget_test)} like the forgotten,"
        f" {_span(sizes.retain_test)} other",
    ]
    if sizes.validation[1]:
        parts.append(f"{_span(sizes.validation)} set aside")
    return "; ".join(filter(None, [forgotten(sizes.named), *parts]))


def _span(numbers: tuple[int, int]) -> str:
    fewest, most = numbers
    return str(most) if fewest == most else f"{fewest} to {most}"


def _show_plan(plan: Forecast, storage: Storage) -> None:
    stages, seeds = plan.stages, number_of(plan.seeds, "seed")
    say_found(
        f"plan: {number_of(stages.total, 'stage')} of {seeds} ({plan.finished} finished);"
        f" {stages.missing} to be computed, {stages.found} to be found in {storage.uri}"
    )
    say_found(
        f"  {_missing(plan, 'original')} original and"
        f" {number_of(_missing(plan, 'retrained'), 'retrained model')} to train,"
        f" {number_of(_missing(plan, 'unlearned'), 'unlearning run')},"
        f" {number_of(plan.passes, 'pass', 'passes')} over the data for predictions,"
        f" {number_of(_missing(plan, 'importances'), 'sum')} of importances,"
        f" {number_of(_missing(plan, 'probes'), 'probe')}"
    )
    seconds, size = plan.seconds, plan.bytes
    say_found(f"  time: {_estimated(seconds, _duration(seconds.value), storage)}")
    say_found(f"  store: {_estimated(size, in_bytes(size.value or 0), storage)}")
    if plan.measured:
        experiments = number_of(len(plan.experiments), "experiment")
        say_found(
            f"  as {number_of(plan.measured, 'stage')} of {experiments} of this recipe took there,"
            f" on {', '.join(plan.devices)}; seeds side by side divide the time"
        )


def _missing(plan: Forecast, stage: str) -> int:
    return plan.counts[stage].missing if stage in plan.counts else 0


def _estimated(estimate: Total, value: str, storage: Storage) -> str:
    if estimate.value is None:
        return f"unknown: no seed of this recipe has been finished in {storage.uri} yet"
    if not estimate.unknown:
        return f"about {value} more"
    kinds = ", ".join(f"{count} of {kind}" for kind, count in estimate.unknown.items())
    return f"about {value} more, without stages whose cost is unknown: {kinds}"


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds < 90:
        return f"{seconds or 0:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _document(file: Path, checked: list[Checked], errors: list[SupremeError]) -> dict[str, Any]:
    return {
        "schemaVersion": SCHEMA_VERSION,
        "file": str(file),
        "valid": not errors,
        "errors": [each for error in errors for each in _errors(file, error)],
        "experiments": list(map(_experiment, checked)),
    }


def _errors(file: Path, error: SupremeError) -> list[dict[str, Any]]:
    """A line of the error each, with the field that it begins with, None where it names none."""
    source = re.compile(rf"({re.escape(str(file))}(?:, document \d+)?(?: with --set)?): ")
    found = []
    for line in str(error).splitlines():
        about = source.match(line)
        message = line[about.end() :] if about else line
        match = FIELD.match(message)
        field = match[0] if match else None
        if field and field.startswith("dataset."):
            field = f"spec.{field}"
        found.append(
            {
                "source": about[1] if about else str(file),
                "field": field,
                "message": message,
            }
        )
    return found


def _experiment(checked: Checked) -> dict[str, Any]:
    order, work = checked.order, checked.order.work
    document: dict[str, Any] = {
        "source": checked.loaded.source,
        "name": order.experiment.name,
        "uri": f"{checked.storage.uri.rstrip('/')}/{order.prefix}",
        "seeds": list(order.seeds),
        "scenarios": [scenario.title for scenario in work.scenarios],
        "methods": [method.title for method in work.methods],
        "stagesPerSeed": checked.stages,
        "excluded": [pair.to_document() for pair in order.excluded],
    }
    if checked.data:
        document["data"] = _data_document(checked.data)
    if checked.plan:
        document["plan"] = _plan_document(checked.plan)
    if checked.trials:
        document["tuningPlan"] = _plan_document(checked.trials)
    return document


def _data_document(data: CheckedData) -> dict[str, Any]:
    return {
        "dataset": data.name,
        "prepared": data.prepared,
        "classes": data.classes,
        "trainSamples": data.train,
        "testSamples": data.test,
        "notes": list(data.notes),
        "scenarios": {
            title: None if sizes is None else _sizes_document(sizes)
            for title, sizes in data.sizes.items()
        },
    }


def _sizes_document(sizes: Sizes) -> Mapping[str, list[Any]]:
    """The fewest and the most samples over the seeds, and what the scenario names."""
    return {
        "named": [each.to_document() for each in sizes.named],
        "forget": list(sizes.forget),
        "retain": list(sizes.retain),
        "forgetTest": list(sizes.forget_test),
        "retainTest": list(sizes.retain_test),
        "validation": list(sizes.validation),
    }


def _plan_document(plan: Forecast) -> dict[str, Any]:
    return {
        "seeds": plan.seeds,
        "finishedSeeds": plan.finished,
        "stages": {
            stage: {"total": count.total, "found": count.found}
            for stage, count in plan.counts.items()
        },
        "passes": plan.passes,
        "seconds": _estimate_document(plan.seconds),
        "bytes": _estimate_document(plan.bytes),
        "measuredStages": plan.measured,
        "experiments": list(plan.experiments),
        "devices": list(plan.devices),
    }


def _estimate_document(estimate: Total) -> dict[str, Any]:
    return {"value": estimate.value, "unknownStages": dict(estimate.unknown)}
