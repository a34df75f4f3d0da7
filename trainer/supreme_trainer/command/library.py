"""`run` for programs of others: what `supreme run` does, with results in the end."""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.experiments import order_of, planned, storage_of

from supreme_core import Results, load
from supreme_core.api import names
from supreme_core.api.load import Loaded, loaded
from supreme_core.api.orders import ExperimentOrder
from supreme_core.errors import SpecError, SupremeError, nearest_or_all, number_of
from supreme_core.library import arguments
from supreme_core.system.ending import need_trainer


def run(
    experiment: str | os.PathLike[str] | Mapping[str, Any],
    *,
    store: str | os.PathLike[str] | None = None,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    device: str = "auto",
    replace: bool = False,
    quiet: bool = False,
) -> Results:
    """Compute what is missing of an experiment on this machine, in processes of their own.

    experiment: path of a YAML file with one experiment, or the same document as a mapping.
    store: folder or `s3://bucket/prefix`; by default that of the experiment, else `supreme-store`.
    seeds: those of the experiment that are computed; None for all.
    workers: trainers at a time, 1 or more; None for what the machine has room for.
    device: auto (a GPU of NVIDIA where there is one, else the CPU), cpu, cuda or mps.
    replace: whether results may go that a change of the experiment would lose.
    quiet: whether progress is left unsaid.

    Returns the results, as `supreme_core.load` does. Call it in the main thread, whose signals stop
    the trainers; what was finished before is found again. Components of one's own must be installed
    or in the files of the variable SUPREME_PLUGINS, as trainers are other processes.

    Raises SpecError where the experiment or an argument cannot be, and SupremeError with a line for
    each seed that could not be computed. A method that fails is a result.
    """
    need_trainer()
    if store is not None:
        store = arguments.text("store", store, "a folder or s3://bucket/prefix, or None")
    found, order = _planned(experiment)
    chosen = _seeds(seeds, order)
    workers = _workers(workers)
    _check(device)
    spec = found.experiment.spec
    storage = storage_of(spec, store)
    location = spec.storage
    options = local.Options(
        device=device,
        ranks=1,
        workers=workers,
        endpoint=location.endpoint,
        region=location.region,
        seeds=chosen,
        replace=replace,
        forms_teams=spec.execution.forms_teams(spec.training),
    )
    try:
        outcome = local.run(order, storage, options, Console(quiet=quiet))
    except local.Stopped:
        raise KeyboardInterrupt from None  # which ends a cell of a notebook, and no kernel
    if outcome.exit_code:
        raise SupremeError("\n".join(outcome.failures))
    address = f"{storage.uri.rstrip('/')}/{order.prefix}"
    return load(address, endpoint=location.endpoint, region=location.region)


def _planned(
    experiment: str | os.PathLike[str] | Mapping[str, Any],
) -> tuple[Loaded, ExperimentOrder]:
    """The experiment and its plan; SpecError where it cannot be computed."""
    if isinstance(experiment, Mapping):
        found = loaded(arguments.plain(experiment), source="experiment")
        return found, order_of(found)
    allowed = "the path of a YAML file, or its document as a mapping"
    path = Path(arguments.text("experiment", experiment, allowed))
    several = planned(path, ())
    if len(several) > 1:
        raise SpecError(
            f"experiment: {path} has {number_of(len(several), 'experiment')}; allowed: one, such as"
            " one document of it as a mapping"
        )
    return several[0]


def _seeds(given: object, order: ExperimentOrder) -> list[int] | None:
    """Seeds that are asked for; SpecError for what is none of the experiment's."""
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise SpecError(f"seeds is {given!r}; allowed: a list of seeds, or None")
    found = [(each, arguments.whole(each)) for each in given]
    if not found:
        raise SpecError("seeds is empty; allowed: a list of seeds, or None for all")
    for seed, number in found:
        if number not in order.seeds:
            known = nearest_or_all(str(seed), map(str, order.seeds), what="allowed")
            raise SpecError(f"seeds has {seed!r}{known}")
    return [number for _, number in found if number is not None]


def _workers(given: object) -> int | None:
    number = arguments.whole(given)
    if given is not None and (number is None or number < 1):
        raise SpecError(f"workers is {given!r}; allowed: a whole number from 1 on, or None")
    return number


def _check(device: object) -> None:
    """Refuse what cannot be, as the options of the command are refused."""
    if threading.current_thread() is not threading.main_thread():
        raise SpecError("run was called in another thread; call it in the main thread")
    if device not in names.DEVICES:
        known = nearest_or_all(str(device), names.DEVICES, what="allowed")
        raise SpecError(f"device is {device!r}{known}")
