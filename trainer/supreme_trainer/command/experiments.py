"""The experiments that a command is about: those of a file, or one in a store."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from supreme_core.api import names
from supreme_core.api.load import Loaded, errors_of, load_experiments, load_setting
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.errors import SpecError, SupremeError, listed
from supreme_core.plan import plan
from supreme_core.registry import catalog
from supreme_core.store.opening import open_storage
from supreme_core.store.results import experiments_in
from supreme_core.store.storage import Storage, is_key


def planned(file: Path, settings: Sequence[str]) -> list[tuple[Loaded, ExperimentOrder]]:
    """The experiments of a file: nothing is computed before all of them can be.

    settings: fields of each of them, as `PATH=VALUE`.
    """
    changes = [load_setting(text) for text in settings]
    return [(loaded, _plan(loaded)) for loaded in load_experiments(file, changes)]


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


def open_experiment(uri: str, *, endpoint: str | None, region: str | None) -> tuple[Storage, str]:
    """The store and the folder of an experiment; SpecError for what names more, or less, than one.

    A namespace is no experiment, nor is a seed; the error names the experiments of that store.
    """
    store, separator, rest = uri.rstrip("/").rpartition("/experiments/")
    if separator and rest.count("/") == 1 and is_key(rest):
        return open_storage(store, endpoint=endpoint, region=region), f"experiments/{rest}"
    message = f"{uri!r} is no experiment; it should look like STORE/experiments/NAMESPACE/NAME-UID"
    with suppress(SupremeError):  # what it names may be no store either
        found = open_storage(
            store or uri.rstrip("/").removesuffix("/experiments"), endpoint=endpoint, region=region
        )
        if there := experiments_in(found):
            message += f", such as {found.uri.rstrip('/')}/experiments/{there[0]}"
            message += f"; experiments there: {listed(there)}" * (len(there) > 1)
    raise SpecError(message)


def _plan(loaded: Loaded) -> ExperimentOrder:
    with errors_of(loaded.source):
        return plan(
            loaded.experiment,
            catalog.installed(),
            namespace=names.LOCAL_NAMESPACE,
            written=loaded.written,
        )
