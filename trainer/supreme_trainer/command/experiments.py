"""The experiments of a file that a command is about."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from supreme_core.api import names
from supreme_core.api.load import Loaded, errors_of, load_experiments, load_setting
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.plan import plan
from supreme_core.registry import catalog
from supreme_core.store.opening import open_storage
from supreme_core.store.storage import Storage


def planned(file: Path, settings: Sequence[str]) -> list[tuple[Loaded, ExperimentOrder]]:
    """The experiments of a file: nothing is computed before all of them can be.

    settings: fields of each of them, as `PATH=VALUE`.
    """
    changes = [load_setting(text) for text in settings]
    return [(loaded, order_of(loaded)) for loaded in load_experiments(file, changes)]


def in_turn(
    found: Sequence[tuple[Loaded, ExperimentOrder]], console: Console
) -> Iterator[tuple[ExperimentSpec, ExperimentOrder]]:
    """One experiment after the other, each below its title where there are several."""
    for place, (loaded, order) in enumerate(found, 1):
        if len(found) > 1:
            title = f"{loaded.experiment.metadata.name} ({place} of {len(found)})"
            console.print(title, style="bold", highlight=False)
        yield loaded.experiment.spec, order


def storage_of(spec: ExperimentSpec, store: str | None) -> Storage:
    """store: what the command line says, over the experiment."""
    location = spec.storage
    uri = store or location.uri or names.DEFAULT_STORE
    return open_storage(uri, endpoint=location.endpoint, region=location.region)


def order_of(loaded: Loaded) -> ExperimentOrder:
    """The plan of an experiment; SpecError where it cannot be computed."""
    with errors_of(loaded.source):
        return plan(
            loaded.experiment,
            catalog.installed(),
            namespace=names.LOCAL_NAMESPACE,
            written=loaded.written,
        )
