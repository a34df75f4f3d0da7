"""`supreme prepare`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.data import class_lines, tell_elsewhere
from supreme_trainer.command.experiments import in_turn, planned, storage_of
from supreme_trainer.command.terminal import say_found

from supreme_core.errors import number_of


def prepare_experiments(
    file: Path,
    *,
    source: str | None,
    weights: str | None,
    store: str | None,
    settings: Sequence[str],
) -> None:
    """Put data and pretrained weights of the experiments of a file into the store."""
    console = Console()
    found = planned(file, settings)
    for spec, order in in_turn(found, console):
        storage = storage_of(spec, store)
        options = local.Options(
            device="cpu",
            ranks=1,
            workers=1,
            endpoint=spec.storage.endpoint,
            region=spec.storage.region,
        )
        if not source:
            tell_elsewhere(spec, file, console)
        takes_weights = len(found) == 1 or spec.model.params.get("pretrained")
        prepared = local.prepare(
            order,
            storage,
            options,
            console,
            source=source or "",
            weights=weights if weights and takes_weights else "",
        )
        for line in _prepared(prepared, storage.uri):
            say_found(line)


def _prepared(prepared: Mapping[str, Mapping[str, Any]], store: str) -> Iterator[str]:
    """Lines of `supreme prepare` on the data and the weights, as the trainer told it."""
    dataset = prepared["dataset"]
    shape = " x ".join(map(str, dataset["shape"]))
    yield (
        f"dataset: {dataset['name']}, {dataset['trainSamples']} training and"
        f" {number_of(dataset['testSamples'], 'test image')} of"
        f" {number_of(dataset['classes'], 'class', 'classes')}, {shape}"
    )
    yield from class_lines(dataset["perClass"])
    yield from _stored(dataset, store)
    if "weights" in prepared:
        yield f"weights: {prepared['weights']['name']}"
        yield from _stored(prepared["weights"], store)


def _stored(told: Mapping[str, Any], store: str) -> Iterator[str]:
    found = "" if told["status"] == "computed" else ", which was there already"
    yield f"digest:  {told['digest']}"
    yield f"stored:  {store.rstrip('/')}/{told['place']} ({told['bytes'] / 1e6:.1f} MB){found}"
