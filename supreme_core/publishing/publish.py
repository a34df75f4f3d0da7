"""Publish the summary and the report of the results in a store, which are written beside them."""

import hashlib
import logging
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from itertools import count
from typing import Any, Final

from supreme_core import DISTRIBUTION, registry
from supreme_core.analysis.aggregate import Question, aggregate
from supreme_core.analysis.files import read_summary, summary_csv, summary_json
from supreme_core.analysis.noise_floor import noise_floors
from supreme_core.analysis.over_seeds import inputs_of, over_seeds, over_seeds_csv
from supreme_core.analysis.provenance import row_facts
from supreme_core.analysis.training_curves import training_curves
from supreme_core.analysis.tuning import FinalSeeds, tuning_summary
from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import RunResult
from supreme_core.api.summary import Floor, OverSeeds, Summary, TrainingCurves, TuningSummary
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.errors import CorruptArtefact, SpecError, StoreUnavailable
from supreme_core.publishing.stored_run import CurveReader
from supreme_core.registry import Chosen, SeedMetricFacts, catalog
from supreme_core.report.page import render_report
from supreme_core.scoring.evaluation import Predictions
from supreme_core.scoring.predictions import load_predictions
from supreme_core.store.artefacts import Artefacts, Manifest
from supreme_core.store.checksums import EDITED, edited, read_checksums, write_files
from supreme_core.store.results import ResultReader, read_order, result_objects
from supreme_core.store.selections import read_selection
from supreme_core.store.storage import MissingObject, ObjectTooLarge, Storage

log = logging.getLogger(__name__)

OF_STAGES: Final = {
    "rows": "noise floors",
    "over_seeds": "numbers over seeds",
    "training_curves": "training curves",
}
"""Fields of a summary that follow from stages too, and what of them does."""

SUMMARY_BYTES: Final = 256 * 1024 * 1024
"""Largest summary that is read again: 200 rows of 32 methods and 1000 seeds, of which each value
has 36 bytes. To read one takes four times as much memory, and to make it nine times."""


def publish(
    storage: Storage,
    artefacts: Artefacts,
    order: ExperimentOrder,
    *,
    results: ResultReader | None = None,
    believed: bool = True,
    rounds: int | None = None,
) -> Summary:
    """Aggregate what is there and write the files; the summary is also what is returned.

    results: those that were read already.
    believed: numbers over seeds that were published from the same inputs are used again, where
    their digest fits. Whoever answers for them to others, who may write the store, believes none.
    rounds: after so many StoreUnavailable says that what is there does not come to rest.
    Several processes may do so at the same time, each after it has written its results. Whoever
    sees that results came while it read or wrote does it again, so whatever is written last has
    all of them: no lock is needed, which a process that is killed would leave behind.
    """
    results = results or ResultReader(storage)
    if believed:
        tell_edits(storage, order.prefix)
    for _ in count() if rounds is None else range(rounds):
        there = [*result_objects(storage, order)]
        summary = summarise(storage, artefacts, order, results, believed=believed)
        if [*result_objects(storage, order)] != there:
            continue
        paths = {
            seed: order.result_key(seed, result.attempt)
            for seed, result in results.of(order).items()
        }
        write_summary(storage, order.prefix, summary, results=paths)
        if [*result_objects(storage, order)] == there:
            return summary
    raise StoreUnavailable(f"{storage.uri}: results changed in each of {rounds} looks at them")


def publish_newest(
    storage: Storage, artefacts: Artefacts, experiment: str, results: ResultReader
) -> tuple[ExperimentOrder, Summary]:
    """Publish as `publish` does, by the order in the store, to which another process may add
    meanwhile."""
    order = read_order(storage, experiment)
    while True:
        summary = publish(storage, artefacts, order, results=results)
        newest = read_order(storage, experiment)
        if newest == order:
            return order, summary
        order = newest


def tell_edits(storage: Storage, prefix: str) -> None:
    """Warn of each published file that was edited since; nothing of it is used."""
    for key, problem in edited(storage, prefix):
        log.warning("%s: %s; it is made anew from the results", key, problem)


def write_summary(
    storage: Storage, prefix: str, summary: Summary, *, results: Mapping[int, str] | None = None
) -> None:
    """The four files in a folder, summary.json last, and their digests.

    results: key of each seed's result in the folder, to which the page links.
    """
    paths = {seed: key.removeprefix(f"{prefix}/") for seed, key in (results or {}).items()}
    summarised = summary_json(summary)
    if len(summarised) > SUMMARY_BYTES:
        log.warning(
            "%s is written whole and has %d bytes, but none of more than %d is read again: neither"
            " `supreme compare` nor `supreme leaderboard` takes it",
            *(names.summary_key(prefix), len(summarised), SUMMARY_BYTES),
        )
    files = {
        names.report_key(prefix): render_report(summary, folder=prefix, results=paths),
        names.table_key(prefix): summary_csv(summary),
        names.over_seeds_key(prefix): over_seeds_csv(summary.over_seeds),
        names.summary_key(prefix): summarised,
    }
    named = {key.removeprefix(f"{prefix}/"): data for key, data in files.items()}
    write_files(storage, prefix, named)


def summarise(
    storage: Storage,
    artefacts: Artefacts,
    order: ExperimentOrder,
    results: ResultReader,
    *,
    believed: bool = True,
) -> Summary:
    """The summary of what is there.  believed: as in `publish`."""
    metrics: list[tuple[str, Chosen[Any, Any]]] = [
        (metric.title, registry.metric.resolve(metric, at=f"spec.metrics[{position}]"))
        for position, metric in enumerate(order.work.metrics)
    ]
    found = [*results.of(order).values()]
    lost: dict[str, list[str]] = {part: [] for part in OF_STAGES}
    question = Question(
        order=order,
        work_digest=work_digest(order.work),
        metrics=row_facts((title, chosen.entry.listed) for title, chosen in metrics),
        floors=_floors(found, artefacts, metrics, lost["rows"]),
        versions={"supreme": metadata.version(DISTRIBUTION)},
    )
    summary = aggregate(found, question)
    published = _published(storage, order.prefix) if believed else None
    over = _over_seeds(found, artefacts, order, published, lost["over_seeds"])
    trained = CurveReader(artefacts)
    curves = training_curves(found, order, trained.of)
    if trained.lost:  # one line: of a store without stages it is every model
        lost["training_curves"].append(trained.lost)
    summary = summary.model_copy(
        update={
            "over_seeds": over,
            "training_curves": curves,
            "tuning": tuning_of(storage, order, summary),
        }
    )
    return _with_published(summary, published, lost)


def _with_published(
    summary: Summary, published: Summary | None, lost: Mapping[str, list[str]]
) -> Summary:
    """The summary with published parts in place of those of which the store has lost stages.

    lost: for each of `OF_STAGES`, why it is not whole.  Only parts that were published with the
    same results are taken; whatever is lost for good is said.
    """
    kept = {}
    if published and any(lost.values()) and _same_results(summary, published):
        kept = {part: getattr(published, part) for part, why in lost.items() if why}
    if kept:
        first = next(why[0] for why in lost.values() if why)
        parts = ", ".join(OF_STAGES[part] for part in kept)
        log.warning("%s; as they were published before stay: %s", first, parts)
        return summary.model_copy(update=kept)
    for why in lost.values():
        for line in why:
            log.warning("%s", line)
    return summary


def _same_results(one: Summary, other: Summary) -> bool:
    """Compare what two summaries say of results, whatever the store had beside these."""
    return _of_results(one) == _of_results(other)


def _of_results(summary: Summary) -> bytes:
    """All that follows from the results alone, without the stages that they name."""
    rows = [row.model_copy(update={"floor": None}) for row in summary.rows]
    bare = {"rows": rows, "over_seeds": OverSeeds(), "training_curves": TrainingCurves()}
    return summary_json(summary.model_copy(update=bare))


def tuning_of(storage: Storage, order: ExperimentOrder, summary: Summary) -> TuningSummary | None:
    """Summary of the choices in the store; None where nothing is tuned or chosen yet."""
    if order.tuning is None or (selection := read_selection(storage, order.prefix)) is None:
        return None
    chosen = [choice.selected for choice in selection.choices]
    if any(each not in chosen for each in order.work.selected):
        raise SpecError(
            f"{names.selection_key(order.prefix)} has other choices than the seeds were computed by"
        )
    # The catalogue's, since methods cannot be imported where there is no torch.
    known = catalog.installed()
    found = {each.name: known.find("method", each.name) for each in order.work.methods}
    defaults = {name: listed.defaults for name, listed in found.items() if listed}
    final = FinalSeeds.of(selection.objective, order.work, summary.rows, known)
    return tuning_summary(order.tuning, selection, final, defaults=defaults, catalog=known)


def _over_seeds(
    results: list[RunResult],
    artefacts: Artefacts,
    order: ExperimentOrder,
    published: Summary | None,
    lost: list[str],
) -> OverSeeds:
    metrics = _seed_metrics(order)
    inputs = inputs_of(results, order, metrics, partial(_content, artefacts))
    if inputs and published and inputs == published.over_seeds.inputs:
        return published.over_seeds
    load = partial(_load, artefacts)
    return over_seeds(results, order, metrics, load, inputs=inputs, tell=lost.append)


def _published(storage: Storage, prefix: str) -> Summary | None:
    """The last summary; None where it cannot be read or was edited."""
    try:
        return read_published(storage, prefix)
    except SpecError:
        return None


def read_published(storage: Storage, prefix: str) -> Summary:
    """The summary of an experiment as it was published; SpecError where it is not, or was edited
    since."""
    key = names.summary_key(prefix)
    try:
        data = storage.read(key, limit=SUMMARY_BYTES)
    except MissingObject:
        raise SpecError(f"{key} is not there: no finished seed was published") from None
    except ObjectTooLarge as error:
        raise SpecError(str(error)) from None
    listed = (read_checksums(storage, prefix) or {}).get(key.removeprefix(f"{prefix}/"))
    again = "`supreme report EXPERIMENT-URI` makes it anew from the results"
    if listed is None:
        raise SpecError(f"{key} has no digest in SHA256SUMS, so an edit is not noticed; {again}")
    if listed != hashlib.sha256(data).hexdigest():
        raise SpecError(f"{key}: {EDITED}; {again}")
    return read_summary(data, source=key)


def _seed_metrics(order: ExperimentOrder) -> dict[str, Chosen[Any, SeedMetricFacts]]:
    """Metrics over seeds by title; the default set where the order names none."""
    default = [
        LabelledComponent(name=entry.name)
        for entry in registry.seed_metric.entries()
        if entry.facts.default
    ]
    return {
        metric.title: registry.seed_metric.resolve(metric, at=f"spec.seedMetrics[{position}]")
        for position, metric in enumerate(order.seed_metrics or default)
    }


def _floors(
    results: list[RunResult],
    artefacts: Artefacts,
    metrics: list[tuple[str, Chosen[Any, Any]]],
    lost: list[str],
) -> dict[tuple[str, str], Floor]:
    """Compute noise floors; none where predictions of Retrained are damaged, which is added to
    `lost`."""
    try:
        return noise_floors(
            [result.cells for result in results],
            load=partial(_load, artefacts, "predictions"),
            metrics=[(title, chosen.entry, chosen.params) for title, chosen in metrics],
        )
    except CorruptArtefact as error:
        lost.append(f"no noise floor is claimed: {error}")
        return {}


def _load(artefacts: Artefacts, stage: str, key: str) -> Predictions:
    """The predictions that a stage left; CorruptArtefact where they cannot be had."""
    path = artefacts.open(_manifest(artefacts, stage, key), names.PREDICTIONS)
    predictions = load_predictions(path)
    artefacts.drop_copy(path)  # of many seeds they would fill the disk
    return predictions


def _content(artefacts: Artefacts, stage: str, key: str) -> str:
    """The sha256 of those predictions, by their manifest alone."""
    return _manifest(artefacts, stage, key).files[names.PREDICTIONS].sha256


def _manifest(artefacts: Artefacts, stage: str, key: str) -> Manifest:
    manifest = artefacts.find(stage, key)
    if manifest is None or names.PREDICTIONS not in manifest.files:
        raise CorruptArtefact(f"predictions {key} are named by a result but not in the store")
    return manifest
