"""Look at an experiment's data before anything is computed. No torch; nothing is written.

labels, where they are from  ->  the split of every scenario for every seed  ->  their sizes
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from supreme_core import registry
from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder, Work
from supreme_core.api.records import Named
from supreme_core.data import downloads
from supreme_core.data.cells import Splits
from supreme_core.data.from_files import UnreadableImages
from supreme_core.data.image_set import (
    LABELS,
    DatasetParams,
    check,
    dataset_meaning,
    read_labels,
    refuse_changed_source,
    remarks,
)
from supreme_core.data.split import Labels, Split
from supreme_core.errors import SpecError
from supreme_core.registry import Chosen
from supreme_core.registry.catalog import Catalog
from supreme_core.store.artefacts import Artefacts, Manifest
from supreme_core.store.storage import Storage


@dataclass(frozen=True)
class FoundLabels:
    """The labels of a dataset.  prepared: they are those of a store, not of the source.
    notes: what users should know of its images."""

    labels: Labels
    prepared: bool
    notes: Sequence[str]


@dataclass(frozen=True)
class Sizes:
    """The fewest and the most samples of each part of a split, over the seeds.

    named: the classes and the like that the scenario names.
    """

    forget: tuple[int, int]
    retain: tuple[int, int]
    forget_test: tuple[int, int]
    retain_test: tuple[int, int]
    validation: tuple[int, int]
    named: Sequence[Named]


@dataclass(frozen=True)
class CheckedData:
    """Facts of the data, and what each scenario makes of them.

    sizes: None for a scenario whose split the trained original decides.
    """

    name: str
    prepared: bool
    classes: int
    train: int
    test: int
    notes: Sequence[str]
    sizes: Mapping[str, Sizes | None]


def check_data(order: ExperimentOrder, storage: Storage, catalog: Catalog) -> CheckedData:
    """Make every split of every seed; SpecError has a line for each image that cannot be read and
    for each scenario that cannot be.

    The data are those that a run would use: what the store has prepared, else the source. What
    would be downloaded is refused.
    """
    problems = list[str]()
    try:
        found = find_labels(order.work, storage)
    except UnreadableImages as error:
        problems.append(str(error))
        found = FoundLabels(error.labels, prepared=False, notes=())
    sizes = _sizes_of(order, catalog, found.labels, problems)
    if trials := order.trials:
        _sizes_of(trials, catalog, found.labels, problems, is_rehearsal=order.is_rehearsed)
    if problems:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    return CheckedData(
        name=order.work.dataset.name,
        prepared=found.prepared,
        classes=len(found.labels.class_names),
        train=len(found.labels.train),
        test=len(found.labels.test),
        notes=found.notes,
        sizes=sizes,
    )


def find_labels(work: Work, storage: Storage) -> FoundLabels:
    """The labels of the prepared dataset in the store; where there is none, of its source."""
    chosen = registry.dataset.resolve(work.dataset, at="spec.dataset")
    params = chosen.params
    assert isinstance(params, DatasetParams), "a dataset's settings derive from DatasetParams"
    with TemporaryDirectory(prefix="supreme-") as cache:
        artefacts = Artefacts(storage, Path(cache))
        manifest = artefacts.find("datasets", digest(dataset_meaning(chosen)))
        if manifest:
            refuse_changed_source(params, manifest.facts)
            labels = _read(artefacts, manifest)
            return FoundLabels(labels, prepared=True, notes=remarks(labels, manifest.facts))
    try:
        with downloads.refused():
            images = check(chosen(), chosen.entry.name)
    except downloads.NotDownloaded as error:
        raise SpecError(
            f"spec.dataset: {chosen.entry.name} has not been prepared in {storage.uri}, and"
            f" {error}; `supreme prepare FILE` downloads and prepares it, as `supreme run` would"
        ) from None
    return FoundLabels(images.labels, prepared=False, notes=remarks(images.labels, images.facts()))


def _read(artefacts: Artefacts, manifest: Manifest) -> Labels:
    names = [name for name in LABELS if f"{name}.npy" in manifest.files]
    paths = {name: artefacts.open(manifest, f"{name}.npy") for name in names}
    return read_labels(paths, manifest.facts)


def _sizes_of(
    order: ExperimentOrder,
    catalog: Catalog,
    labels: Labels,
    problems: list[str],
    *,
    is_rehearsal: bool = False,
) -> dict[str, Sizes | None]:
    """Sizes of each scenario that can be; of each other one, `problems` gets why not."""
    splits = _splits(order.work, catalog, is_rehearsal=is_rehearsal)
    sizes = dict[str, Sizes | None]()
    for title in splits.scenarios:
        try:
            sizes[title] = _sizes(splits, title, labels, order.seeds)
        except SpecError as error:
            problems.append(str(error))
    return sizes


def _splits(work: Work, catalog: Catalog, *, is_rehearsal: bool) -> Splits:
    at = "spec.tuning.rehearsal" if is_rehearsal else "spec.scenarios"
    scenarios: dict[str, Chosen[Any, Any]] = {
        each.title: registry.scenario.resolve(each, at=f"{at}[{position}]")
        for position, each in enumerate(work.scenarios)
    }
    return Splits(
        scenarios=scenarios,
        validation=work.training.validation,
        needs_validation=next(_needing_validation(work, catalog), ""),
        for_trials=work.tuning is not None,
        is_rehearsal=is_rehearsal,
    )


def _needing_validation(work: Work, catalog: Catalog) -> Iterator[str]:
    """Methods and wrappers that always need it; those whose settings decide, the trainer knows."""
    for method in work.methods:
        for kind, part in (("method", method), *(("wrapper", each) for each in method.wrappers)):
            listed = catalog.find(kind, part.name)
            if listed and "validation" in listed.facts["needs"]:
                yield part.name


def _sizes(splits: Splits, title: str, labels: Labels, seeds: Sequence[int]) -> Sizes | None:
    if splits.needs_logit_confidence(title):
        return None
    counts, named = [], tuple[Named, ...]()
    for seed in seeds:
        split = splits.of(title, labels, seed)
        counts.append(_counts(split))
        named = split.named
    forget, retain, forget_test, retain_test, validation = map(_range, zip(*counts, strict=True))
    return Sizes(forget, retain, forget_test, retain_test, validation, named)


def _counts(split: Split) -> tuple[int, ...]:
    held_out = split.poison.held_out if split.poison else split.forget_test
    parts = (split.forget, split.retain, held_out, split.retain_test, split.validation)
    return tuple(map(len, parts))


def _range(numbers: Sequence[int]) -> tuple[int, int]:
    return min(numbers), max(numbers)
