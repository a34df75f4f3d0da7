"""Runs of MLflow, in an experiment of the same name, by its own client.

A run carries the digest of all that it was told, which is written last. So a run that is there as
it should be stays, and one of older results, or one that was interrupted, is deleted and written
anew: MLflow keeps parameters as they are first logged, and adds numbers to those that it has.
"""

import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Final

from mlflow.entities import Experiment, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

from supreme_core.errors import SpecError, SupremeError, one_line, quoted
from supreme_core.library.tracked import TrackedModel

URI_VARIABLE: Final = "MLFLOW_TRACKING_URI"

RETRIES_VARIABLE, RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"
"""Retries of a request, about 15 seconds of them: by its own default MLflow asks a server that is
away for four minutes, and says nothing."""

IDENTITY: Final = "supreme.run"
CONTENT: Final = "supreme.digest"
"""Tags of a run: digests of which model it is, and of all that is told of it."""

LONGEST_VALUE: Final = 500
"""Letters of a parameter that every server takes."""

MOST_METRICS: Final = 1000
MOST_PARAMS: Final = 100
"""Most metrics and parameters of one request."""

MOST_RUNS: Final = 1000
"""Most runs of one page of a search."""

DATABASE: Final = "sqlite:///"
"""Beginning of the address of a database in a file, before the path."""


def tracking_uri(output: str | None, default: str) -> str:
    """Address of a server, or of a database in a folder; `output` before the environment."""
    found = output or os.environ.get(URI_VARIABLE) or default
    if ":" in found:
        return found
    folder = Path(found).absolute()
    if lost := {*"?%"} & {*str(folder)}:  # MLflow would open another file, or try for minutes
        raise SpecError(
            f"--output is {quoted(str(folder))}; MLflow finds no folder with {min(lost)} in its"
            " path"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return f"{DATABASE}{folder / 'mlflow.db'}"


class MLflowExperiment:
    """Experiment of MLflow that has the runs of one experiment of ours."""

    def __init__(self, uri: str, title: str) -> None:
        self.where = f"experiment {title} at {uri}"
        self.then = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
        # MLflow tells of each table of a new database, and two addresses of each run.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        os.environ.setdefault(RETRIES_VARIABLE, RETRIES)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        try:
            self._client = MlflowClient(uri)
            self._experiment = self._of(title)
            self._known = self._runs()
        except UnsupportedModelRegistryStoreURIException:
            raise SpecError(
                f"{uri!r} is no address of MLflow; allowed: that of a server, such as"
                " https://mlflow.example.org, or a folder"
            ) from None
        except MlflowException as error:
            raise SupremeError(f"{uri}: {one_line(error)}") from None

    def write(self, model: TrackedModel) -> bool:
        """Write the run of a model; False where it is there as it should be."""
        identity = model.identity
        there = self._known.get(identity, {})
        if model.content in there.values():
            return False
        try:
            for run in there:
                self._client.delete_run(run)
            self._log(model)
        except MlflowException as error:
            raise SupremeError(f"{model.name}: {one_line(error)}") from None
        return True

    def _log(self, model: TrackedModel) -> None:
        begun, ended = (
            int(datetime.fromisoformat(at).timestamp() * 1000) for at in (model.begun, model.ended)
        )
        tags = {**model.tags, IDENTITY: model.identity}
        created = self._client.create_run(
            self._experiment, start_time=begun, tags=tags, run_name=model.name
        )
        run = created.info.run_id
        params = [Param(name, str(value)[:LONGEST_VALUE]) for name, value in model.params.items()]
        metrics = [Metric(row, value, ended, 0) for row, value in model.metrics.items()]
        metrics += [Metric(name, number, ended, epoch) for name, epoch, number in model.points()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run, params=params[first : first + MOST_PARAMS])
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(run, metrics=metrics[first : first + MOST_METRICS])
        status = "FAILED" if model.failed else "FINISHED"
        self._client.set_terminated(run, status=status, end_time=ended)
        self._client.log_batch(run, tags=[RunTag(CONTENT, model.content)])

    def _of(self, title: str) -> str:
        found: Experiment | None = self._client.get_experiment_by_name(title)
        if found is None:
            return str(self._client.create_experiment(title))
        if found.lifecycle_stage != "active":
            raise SpecError(
                f"MLflow's experiment {title!r} was deleted; restore it, or remove it for good with"
                " `mlflow gc`"
            )
        return str(found.experiment_id)

    def _runs(self) -> dict[str, dict[str, str]]:
        """Runs that are there, and the digests of what they were told, by identity."""
        known: dict[str, dict[str, str]] = {}
        page = None
        while True:
            found = self._client.search_runs(
                [self._experiment],
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=MOST_RUNS,
                page_token=page,
            )
            for run in found:
                if identity := run.data.tags.get(IDENTITY):
                    of_model = known.setdefault(identity, {})
                    of_model[run.info.run_id] = run.data.tags.get(CONTENT, "")
            page = found.token
            if not page:
                return known
