"""Results of an experiment in a store, as tables of pandas, arrays of numpy and models of torch.

    results = load("supreme-store/experiments/local/digits-763c84f0")
    results.frame.groupby(["scenario", "method", "metric", "set"]).value.mean()

Everything is what `supreme report` reads: nothing is computed that a report does not say.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from supreme_core.analysis.provenance import RowFacts, row_facts
from supreme_core.api.names import PREDICTIONS
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import EpochCurve, RunRecord, RunResult
from supreme_core.api.summary import Gap, JointVerdict, Summary
from supreme_core.errors import SpecError
from supreme_core.library.arguments import one_of, text
from supreme_core.library.method_settings import method_settings
from supreme_core.publishing.publish import summarise
from supreme_core.publishing.stored_run import CurveReader, SeedStore, stage_of
from supreme_core.registry import catalog
from supreme_core.scoring.evaluation import Predictions
from supreme_core.scoring.predictions import load_predictions
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_experiment
from supreme_core.store.results import ResultReader, read_order
from supreme_core.store.storage import Storage
from supreme_core.system.ending import need_extra, need_trainer

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

log = logging.getLogger(__name__)

MODEL: Final = ("experiment", "scenario", "method", "seed", "repeat")
"""Columns that say which model a row is of."""
FRAME: Final = (*MODEL, "metric", "set", "training", "epoch", "value", "settings")
CURVES: Final = (*MODEL, "training", "epoch", "loss", "accuracy", "validation", "rate")
BY_EPOCH: Final = {
    "loss": "training loss",
    "accuracy": "training accuracy",
    "validation": "validation accuracy",
    "rate": "learning rate",
}
"""Metrics of `frame` by the columns of `curves`. Each has a space, which no title has, so that no
metric of an experiment is called so, whose values are those of finished models."""
GAP: Final = tuple(
    name for name in Gap.model_fields if name not in ("told_apart", "noninferiority")
)
"""Numbers of a gap that are columns; the others are documents of their own."""


def load(
    uri: str | os.PathLike[str], *, endpoint: str | None = None, region: str | None = None
) -> "Results":
    """Results of the experiment at `STORE/experiments/NAMESPACE/NAME-UID`.

    STORE is a folder, `file:///absolute/path` or `s3://bucket/prefix`; `supreme run` prints the
    address with the report.  endpoint, region: of a bucket, else those of the environment.

    Only the plan of the experiment is read at once. Raises SpecError where there is no such
    experiment (the message names the nearest), and StorageError where the store does not answer.
    """
    place = text("uri", uri, "STORE/experiments/NAMESPACE/NAME-UID")
    storage, prefix = open_experiment(place, endpoint=endpoint, region=region)
    return Results(storage, read_order(storage, prefix))


class Results:
    """Results of one experiment; `load` makes one.

    Each part is read from the store when it is first asked for, and kept. Call `load` again for
    seeds that were computed since. The tables need the extra `pandas`, models the extra `trainer`.
    """

    def __init__(self, storage: Storage, order: ExperimentOrder) -> None:
        self._storage = storage
        self._order = order
        self._reader = ResultReader(storage)

    def __repr__(self) -> str:
        return f"<Results of {self._storage.uri.rstrip('/')}/{self._order.prefix}>"

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self._order.experiment.name

    @property
    def scenarios(self) -> list[str]:
        """Titles of the scenarios."""
        return [each.title for each in self._order.work.scenarios]

    @property
    def seeds(self) -> list[int]:
        """Training seeds that have a result, in the order of the experiment."""
        return [*self._results]

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """Every number by itself: those of finished models, and those of each epoch of trainings.

        experiment, scenario, method: titles; `original` and `retrained` are methods too.
        seed: training seed.  repeat: of unlearning, or replica of Retrained; from 0.
        metric: title.  set: of samples (forget, retain, test, forget_test, retain_test), missing
        where the metric has none.  value: in the unit of the metric, which `supreme list metric`
        shows (accuracies are fractions, 0 to 1); NaN where the method failed or the metric is not
        defined.  settings: all settings of the method as JSON, those that were tuned included.

        training, epoch: missing where a number is of the finished model. Numbers of an epoch have
        both, no set, and metrics of their own: `training loss`, `training accuracy`, `validation
        accuracy` and `learning rate`, as `curves` explains. So no group by metric has epochs and
        finished models, `frame[frame.epoch.isna()]` has no epochs, and `frame.dropna(subset=
        "epoch")` nothing else.

        Raises SpecError where no seed has a result, or pandas is not installed.
        """
        lines: dict[str, list[Any]] = {name: [] for name in FRAME}
        for seed, run in self._runs():
            settings = self._settings.get((run.scenario, run.method), "{}")
            for row, facts in self._rows.items():
                for name, value in zip(
                    FRAME,
                    (
                        *(self.experiment, run.scenario, run.method, seed, run.repeat),
                        *(facts.metric, facts.on, None, None, run.metrics.get(row), settings),
                    ),
                    strict=True,
                ):
                    lines[name].append(value)
        return _joined(_table(lines), self._by_epoch)

    @property
    def _by_epoch(self) -> "pd.DataFrame":
        """Rows of `frame` that are of an epoch."""
        rows = self.curves.rename(columns=BY_EPOCH).melt(
            id_vars=[*MODEL, "training", "epoch"], var_name="metric"
        )
        of = zip(rows.scenario, rows.method, strict=True)
        return rows.assign(set=None, settings=[self._settings.get(each, "{}") for each in of])

    @cached_property
    def gaps(self) -> "pd.DataFrame":
        """Differences to the model retrained for the same seed, a line for each scenario, method
        and row that is read by its gap.

        experiment, scenario, method, metric, set: as in `frame`.  n: seeds that have both models.
        mean, low, high: mean difference over seeds and its unadjusted 95 % t interval, in the unit
        of the metric.  margin: largest mean difference that is of no account.  verdict: equivalent,
        different or inconclusive; remarks: what it suffers from.  Other columns: as in
        summary.json, which docs/statistics.md explains.

        Raises as `frame` does.
        """
        found = [(row, row.gap) for row in self._summary.rows if row.gap]
        facts = self._rows
        return _table(
            {
                "experiment": [self.experiment] * len(found),
                "scenario": [row.scenario for row, _ in found],
                "method": [row.method for row, _ in found],
                "metric": [facts[row.metric].metric for row, _ in found],
                "set": [facts[row.metric].on for row, _ in found],
                **{name: [_cell(getattr(gap, name)) for _, gap in found] for name in GAP},
            }
        )

    @cached_property
    def verdicts(self) -> "pd.DataFrame":
        """Verdict on each method in each scenario, over all rows that are read by their gap.

        experiment, scenario, method: as in `frame`.  verdict: equivalent where every row is,
        different where some row is after correction over rows and methods, else inconclusive.
        rows, equivalent, different, different_jointly: numbers of such rows.

        Raises as `frame` does.
        """
        found = self._summary.joint_verdicts
        return _table(
            {
                "experiment": [self.experiment] * len(found),
                **{
                    name: [getattr(each, name) for each in found]
                    for name in JointVerdict.model_fields
                },
            }
        )

    @cached_property
    def curves(self) -> "pd.DataFrame":
        """Trainings epoch by epoch, of Original, of Retrained and of methods that train; `frame`
        has the same, a number in each line.

        experiment, scenario, method, seed, repeat: as in `frame`.  training: its name within the
        method; `training` for Original and Retrained.  epoch: from 1; of very long trainings some
        are left out.  loss: mean of what was minimised over the steps of the epoch.  accuracy:
        share of the samples, 0 to 1, that were predicted as they were labelled for the training,
        augmented, each before the step that used it; so it lags behind that of the model.
        validation: accuracy on validation samples after the epoch, where it was measured.  rate:
        learning rate at the beginning of the epoch.  NaN where something is not known.

        Models that were computed before curves were kept have none. Those whose stage is no longer
        in the store, or damaged, are left out, which a warning says.  Raises as `frame` does.
        """
        lines: dict[str, list[Any]] = {name: [] for name in CURVES}
        for seed, run, curve in self._trainings():
            count = len(curve.epoch)
            of_run = (self.experiment, run.scenario, run.method, seed, run.repeat, curve.name)
            for name, each in zip((*MODEL, "training"), of_run, strict=True):
                lines[name] += [each] * count
            for name in ("epoch", *BY_EPOCH):
                lines[name] += getattr(curve, name) or [None] * count
        numbers = dict.fromkeys(BY_EPOCH, float)
        return _table(lines).astype({"seed": int, "repeat": int, "epoch": int, **numbers})

    def predictions(self, scenario: str, method: str, seed: int, *, repeat: int = 0) -> Predictions:
        """Predictions of one model by set: forget, retain, test, retain_test and, where some test
        samples are like the forgotten ones, forget_test.

        method: its title, `original` or `retrained`.  repeat: of unlearning, or replica of
        Retrained.

        Each set has `labels` and `predicted` (n,) class numbers, `loss` (n,) in nats, `entropy`
        (n,) in nats, `logit_confidence` (n,), and `logits` (n, classes), which is None for retain.
        Samples stand in the order of the dataset.

        Raises SpecError where there is no such run or it failed, and CorruptArtefact where the
        store has lost or changed its predictions.
        """
        stage, key = stage_of(self._run(scenario, method, seed, repeat))
        with TemporaryDirectory(prefix="supreme-") as cache:
            artefacts = Artefacts(self._storage, Path(cache))
            manifest = SeedStore(artefacts).manifest(stage, key)
            return load_predictions(artefacts.open(manifest, PREDICTIONS))

    def model(self, scenario: str, method: str, seed: int, *, repeat: int = 0) -> "nn.Module":
        """One model on the CPU, in eval mode: (n, channels, height, width) float32 images, as
        `prepared` makes them, to logits (n, classes).

        Arguments and errors are those of `predictions`. Models of methods are in the store only
        where the experiment has `storage: {keepUnlearnedModels: true}`; a SpecError says so.
        """
        need_trainer()
        from supreme_core.library.stored_models import stored_model  # torch takes seconds

        run = self._run(scenario, method, seed, repeat)
        with TemporaryDirectory(prefix="supreme-") as cache:
            return stored_model(Artefacts(self._storage, Path(cache)), self._order, run)

    def prepared(self, images: NDArray[np.uint8]) -> "Tensor":
        """Images as the models of the experiment see them, on the CPU: resized where the model has
        a size of its own, on the scale 0..1, normalised.

        images: (n, channels, height, width) uint8.  Raises SpecError for anything else.
        """
        need_trainer()
        from supreme_core.library.stored_models import prepared

        with TemporaryDirectory(prefix="supreme-") as cache:
            return prepared(Artefacts(self._storage, Path(cache)), self._order, images)

    @cached_property
    def _results(self) -> Mapping[int, RunResult]:
        found = self._reader.of(self._order)
        if not found:
            raise SpecError(f"{self._order.prefix} in {self._storage.uri} has no finished seed yet")
        return found

    @cached_property
    def _summary(self) -> Summary:
        with TemporaryDirectory(prefix="supreme-") as cache:
            artefacts = Artefacts(self._storage, Path(cache))
            _ = self._results  # which are missed before a summary of nothing is made
            return summarise(self._storage, artefacts, self._order, self._reader)

    @cached_property
    def _rows(self) -> Mapping[str, RowFacts]:
        """Metric and set of each row of the table."""
        known = catalog.installed()
        metrics = self._order.work.metrics
        return row_facts((each.title, known.get("metric", each.name)) for each in metrics)

    @cached_property
    def _settings(self) -> Mapping[tuple[str, str], str]:
        """Settings by scenario and method."""
        return {of: json.dumps(found) for of, found in method_settings(self._order).items()}

    def _runs(self) -> Iterator[tuple[int, RunRecord]]:
        """Seed and record of each run."""
        for seed, result in self._results.items():
            yield from ((seed, run) for run in result.runs)

    def _trainings(self) -> Iterator[tuple[int, RunRecord, EpochCurve]]:
        """Seed, record and curve of each training of a model."""
        with TemporaryDirectory(prefix="supreme-") as cache:
            curves = CurveReader(Artefacts(self._storage, Path(cache)))
            for seed, run in self._runs():
                yield from ((seed, run, curve) for curve in curves.of(run))
        if curves.lost:
            log.warning("%s", curves.lost)

    def _run(self, scenario: str, method: str, seed: int, repeat: int) -> RunRecord:
        """The record of a run that has a model; SpecError where there is none."""
        one_of("seed", seed, self._results)
        one_of("scenario", scenario, self.scenarios)
        runs = [run for run in self._results[seed].runs if run.scenario == scenario]
        one_of("method", method, [*dict.fromkeys(run.method for run in runs)])
        repeats = {run.repeat: run for run in runs if run.method == method}
        one_of("repeat", repeat, repeats)
        run = repeats[repeat]
        if not run.predictions:
            raise SpecError(
                f"{method} in {scenario} has no model of seed {seed}, because it failed:"
                f" {run.reason}"
            )
        return run


def _table(columns: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    need_extra("pandas")
    import pandas as pd  # which nothing else needs

    return pd.DataFrame(columns)


def _joined(finished: "pd.DataFrame", by_epoch: "pd.DataFrame") -> "pd.DataFrame":
    """`frame` of its two parts, whose columns are of the same types whichever is empty."""
    import pandas as pd

    text = dict.fromkeys(("set", "training"), finished.experiment.dtype)
    types = {**text, "seed": int, "repeat": int, "epoch": "Int64", "value": float}
    parts = [part[[*FRAME]].astype(types) for part in (finished, by_epoch) if len(part)]
    return pd.concat(parts, ignore_index=True)


def _cell(value: object) -> object:
    return "; ".join(value) if isinstance(value, list) else value
