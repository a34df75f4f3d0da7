"""The numbers of one run: every metric on every set of the cell, in the order of the table."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from supreme_core.api.names import metric_row
from supreme_core.randomness import streams
from supreme_core.registry import Entry, MetricFacts, Params, SetName
from supreme_core.scoring.evaluation import Evaluation

MetricEntry = Entry[Any, MetricFacts]
ChosenMetric = tuple[str, MetricEntry, Params]
"""Title, which is the label or else the name; the registry's entry; its settings."""


def measure(
    metrics: Sequence[ChosenMetric],
    evaluation: Evaluation,
    *,
    repeats: int = 1,
    reference: Literal["original", "retrained"] | None = None,
) -> dict[str, float | None]:
    """The value of each row, in the order of `plan.metric_rows`; never NaN or infinite.

    None says that the row is not defined for this run, and the row is there all the same, so that
    the tables of all runs line up: the cell has no such set (forget_test where single samples are
    forgotten) or an empty one, the metric is not defined for what the scenario forgets or for the
    reference that this run is, the metric says so itself, or its value is not a finite number (a
    model that diverged).

    repeats: how often a metric that draws random numbers is computed, each time with other ones;
    its value is the mean. All others are functions of the models and are computed once.
    """
    return {
        metric_row(title, on): (
            _value(entry, params, replace(evaluation, on=on), repeats=repeats)
            if _is_defined(entry, evaluation, on, reference)
            else None
        )
        for title, entry, params in metrics
        for on in _sets(entry)
    }


def _sets(entry: MetricEntry) -> tuple[SetName | None, ...]:
    return entry.facts.sets or (None,)


def _is_defined(
    entry: MetricEntry, evaluation: Evaluation, on: SetName | None, reference: str | None
) -> bool:
    if reference is not None and reference not in entry.facts.references:
        return False
    if evaluation.forgets not in entry.facts.forgets:
        return False
    return on is None or len(evaluation.predictions["unlearned"].get(on, ())) > 0


def _value(
    entry: MetricEntry, params: Params, evaluation: Evaluation, *, repeats: int
) -> float | None:
    if not entry.facts.random:
        return _finite(entry.function(evaluation, params))
    draws = [
        _finite(entry.function(replace(evaluation, seed=seed), params))
        for seed in (streams.derive(evaluation.seed, "repeat", k) for k in range(repeats))
    ]
    values = [value for value in draws if value is not None]
    return _finite(sum(values) / len(values)) if len(values) == repeats else None


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
