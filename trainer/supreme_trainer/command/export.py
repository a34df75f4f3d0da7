"""`supreme export`."""

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from rich.console import Console
from supreme_trainer.command.sentences import say
from supreme_trainer.command.terminal import tracked

from supreme_core.errors import SpecError, number_of, one_line
from supreme_core.library.tracked import TrackedModel, experiment_title, tracked_models
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_experiment
from supreme_core.store.results import ResultReader, read_order
from supreme_core.system.ending import need_extra

DEFAULT_FOLDER = "supreme-export"
"""Folder in which each tracker has one of its own, where no other is named."""


class Tracker(Protocol):
    """Place that runs are exported to.  where: told to the user.  then: what shows the runs."""

    where: str
    then: str

    def write(self, model: TrackedModel) -> bool:
        """Write one run, in place of an older one of the same model; False where it is there."""


def export_experiment(
    uri: str, *, to: str, output: str | None, endpoint: str | None, region: str | None
) -> None:
    """Write each model of an experiment as a run of a tracker of experiments."""
    need_extra(to.removesuffix("-offline"))
    storage, prefix = open_experiment(uri, endpoint=endpoint, region=region)
    order = read_order(storage, prefix)
    results = ResultReader(storage)
    runs = sum(len(result.runs) for result in results.of(order).values())
    if not runs:
        raise SpecError(f"{uri} has no finished seed yet, so there is nothing to export")
    try:
        tracker = _tracker(to, output, experiment_title(order))
        with TemporaryDirectory(prefix="supreme-") as cache:
            models = tracked_models(Artefacts(storage, Path(cache)), order, results)
            written = tracked(models, total=runs, what="exporting")
            done = Counter(tracker.write(each) for each in written)
    except OSError as error:
        at = f" ({error.filename})" if error.filename else ""
        place = output or f"{DEFAULT_FOLDER}/{to}"
        raise SpecError(one_line(f"--output {place}: {error.strerror or error}{at}")) from None
    told = f"{number_of(done[True], 'run')} written"
    told += f", {number_of(done[False], 'run')} there already" if done[False] else ""
    console = Console()
    say(console, f"{told}: {tracker.where}")
    say(console, f"to see them: {tracker.then}")


def _tracker(to: str, output: str | None, title: str) -> Tracker:
    """Tracker of that name; only its own library is imported."""
    if to == "mlflow":
        from supreme_trainer.command.export_mlflow import MLflowExperiment, tracking_uri

        return MLflowExperiment(tracking_uri(output, f"{DEFAULT_FOLDER}/{to}"), title)
    folder = Path(output or f"{DEFAULT_FOLDER}/{to}")
    if "://" in str(output):
        raise SpecError(f"--output is {output!r}; for {to} it is a folder of this machine")
    if to == "tensorboard":
        from supreme_trainer.command.export_tensorboard import TensorBoardFolder

        return TensorBoardFolder(folder, title)
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # who stays offline sends no errors
    from supreme_trainer.command.export_wandb import OfflineRuns

    return OfflineRuns(folder, title)
