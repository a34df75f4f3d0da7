"""Curves of trainings over seeds: quartiles by epoch, and how each training ended. Pure.

However long and many trainings are, little is kept: the first `MOST_SEEDS` seeds, of each method
the first `MOST_TRAININGS` trainings, of each training `MOST_POINTS` epochs, of each number five
digits.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal

import numpy as np

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import EpochCurve, RunRecord, RunResult
from supreme_core.api.summary import OverEpochs, TrainingCurves, TrainingSummary, Untold

MOST_SEEDS: Final = 32
MOST_TRAININGS: Final = 8
MOST_POINTS: Final = 40
DIGITS: Final = 5

FEWEST_EPOCHS: Final = 10
"""Fewest epochs of which an end is told: a fifth of them is then two, whose mean varies less."""

PARTS: Final = 5
"""Parts of a training, of which the last one is compared with the one before it."""

LEVEL: Final = 0.05
"""Share of all that a loss fell by which it may still fall from one part to the last one. A loss
that halves with each part falls by 4.7 %, a straight line by 22 %."""

Read = Callable[[RunRecord], Sequence[EpochCurve]]
"""Curves of the trainings that made the model of a run."""


def training_curves(
    results: Iterable[RunResult], order: ExperimentOrder, read: Read
) -> TrainingCurves:
    """Curves of every method of the order, in the order of the table.

    results: in the order of the seeds.  Of repeats and replicas the first one is looked at. A model
    of several scenarios, as Original mostly is, stands there once.
    """
    seeds = [*islice(results, MOST_SEEDS)]
    runs = defaultdict[tuple[str, str], list[RunRecord]](list)
    for run in (run for seed in seeds for run in seed.runs):
        if run.predictions and not run.repeat:
            runs[run.scenario, run.method].append(run)
    found: list[TrainingSummary] = []
    without: list[Untold] = []
    left_out = 0
    for scenario, method in _models(order):
        by_name = defaultdict[str, list[EpochCurve]](list)
        for curve in (curve for run in runs[scenario, method] for curve in read(run)):
            by_name[curve.name].append(curve)
        if runs[scenario, method] and not by_name:
            without.append(Untold(scenario=scenario, method=method))
        left_out += max(len(by_name) - MOST_TRAININGS, 0)
        for curves in islice(by_name.values(), MOST_TRAININGS):
            _add(found, summary_of(curves, scenario=scenario, method=method))
    looked_at = len(seeds) if found or without else 0
    return TrainingCurves(seeds=looked_at, trainings=found, without=without, left_out=left_out)


def _add(found: list[TrainingSummary], told: TrainingSummary) -> None:
    """Add a training, or its scenario where the same one is there: that of Original is of all."""
    for place, same in enumerate(found if told.method == names.ORIGINAL else ()):
        if same.model_copy(update={"scenarios": told.scenarios}) == told:
            found[place] = same.model_copy(update={"scenarios": [*same.scenarios, *told.scenarios]})
            return
    found.append(told)


def summary_of(curves: Sequence[EpochCurve], *, scenario: str, method: str) -> TrainingSummary:
    """Quartiles over the curves of one training in several seeds.

    In each epoch they are those of the seeds that trained so long.
    """
    every = sorted({epoch for curve in curves for epoch in curve.epoch})
    places = np.linspace(0, len(every) - 1, min(len(every), MOST_POINTS)).round().astype(int)
    epochs = [every[place] for place in places]
    ends = [end for curve in curves if (end := end_of(curve.loss))]
    validated = any(curve.validation for curve in curves)
    return TrainingSummary(
        scenarios=[scenario],
        method=method,
        training=curves[0].name,
        n=len(curves),
        epochs=every[-1],
        epoch=epochs,
        loss=_quartiles(epochs, [(curve.epoch, curve.loss) for curve in curves]),
        accuracy=_quartiles(epochs, [(curve.epoch, curve.accuracy) for curve in curves]),
        validation=_quartiles(
            epochs, [(curve.epoch, curve.validation) for curve in curves if curve.validation]
        )
        if validated
        else None,
        rate=_quartiles(epochs, [(curve.epoch, curve.rate) for curve in curves]).median,
        judged=len(ends),
        falling=ends.count("falling"),
        risen=ends.count("risen"),
    )


def end_of(loss: Sequence[float | None]) -> Literal["falling", "level", "risen"] | None:
    """End of one training; None of fewer than `FEWEST_EPOCHS` epochs, or where some have no number.

    falling: over the last fifth of the epochs the mean loss is below that over the fifth before by
    more than `LEVEL` of all that it fell since the first epoch.  risen: it never fell.
    """
    numbers = [each for each in loss if each is not None]
    if len(numbers) < FEWEST_EPOCHS or len(numbers) < len(loss):
        return None
    part = len(numbers) // PARTS
    before, last = np.mean(numbers[-2 * part : -part]), np.mean(numbers[-part:])
    fell = numbers[0] - last
    if fell <= 0:
        return "risen"
    return "falling" if before - last > LEVEL * fell else "level"


def _models(order: ExperimentOrder) -> Iterator[tuple[str, str]]:
    """Scenario and method of each line of the table."""
    excluded = {(each.scenario, each.method) for each in order.excluded}
    for scenario in order.work.scenarios:
        for method in (*names.REFERENCES, *(each.title for each in order.work.methods)):
            if (scenario.title, method) not in excluded:
                yield scenario.title, method


def _quartiles(
    epochs: Sequence[int], curves: Sequence[tuple[Sequence[int], Sequence[float | None]]]
) -> OverEpochs:
    by_epoch: Mapping[int, list[float]] = {epoch: [] for epoch in epochs}
    for at, numbers in curves:
        for epoch, number in zip(at, numbers, strict=True):
            if number is not None and epoch in by_epoch:
                by_epoch[epoch].append(number)
    found = [
        [None] * 3 if not numbers else [*map(_rounded, np.quantile(numbers, (0.5, 0.25, 0.75)))]
        for numbers in by_epoch.values()
    ]
    median, low, high = ([row[place] for row in found] for place in range(3))
    return OverEpochs(median=median, low=low, high=high)


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
