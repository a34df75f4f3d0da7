"""Verify a published experiment: seals, plan, choices, and numbers that follow from its results.

Predictions are not read, so a folder is enough that has an experiment and no stage. What only they
could show, noise floors and metrics over seeds, is taken from the summary. Seals find damage and
edits and prove no author; `supreme recompute` computes the metrics themselves again.
"""

from collections.abc import Callable, Iterator, Mapping
from math import isclose
from typing import Any

from supreme_core.analysis.aggregate import Question, aggregate
from supreme_core.analysis.provenance import provenance_of
from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import RunResult
from supreme_core.api.summary import Summary
from supreme_core.errors import SpecError, few, number_of
from supreme_core.publishing.publish import read_published, tuning_of
from supreme_core.store.checksums import edited
from supreme_core.store.results import (
    RESULT_BYTES,
    check_origin,
    parse_result,
    read_sealed_order,
    result_objects,
)
from supreme_core.store.storage import ObjectTooLarge, Storage

CLOSE = 1e-6
"""Relative difference of two numbers of one meaning that different machines may have."""


OF_A_ROW = {"scenario", "method", "metric", "n", "seeds", "values", "mean", "low", "high"}
OF_A_GAP = {"n", "mean", "low", "high"}
OF_A_SEARCH = {"scenario": True, "method": True, "trial": True, "settings": {"__all__": {"chosen"}}}
OF_TUNING: dict[str, Any] = {
    **dict.fromkeys(("objective", "track", "seeds", "trials", "sampler", "share"), True),
    "searches": {"__all__": OF_A_SEARCH},
}
"""Fields that a leaderboard shows, or ranks by. Tests of significance are left out: a later version
may adjust them otherwise."""


def verified_summary(storage: Storage, experiment: str) -> Summary:
    """The published summary of an experiment; SpecError with the first thing that does not fit."""
    order, has_digest = read_sealed_order(storage, experiment)
    if not has_digest:
        raise SpecError(f"{names.order_key(experiment)} has no digest, so an edit is not noticed")
    for key, problem in edited(storage, experiment):
        raise SpecError(f"{key}: {problem}")
    summary = read_published(storage, experiment)
    _check_plan(summary, order)
    _check_numbers(storage, summary, order, list(_results(storage, order)))
    return summary


def _check_plan(summary: Summary, order: ExperimentOrder) -> None:
    key = names.summary_key(order.prefix)
    plan = work_digest(order.work)
    named = {summary.experiment.digest, work_digest(provenance_of(summary).work)}
    if named != {plan}:
        raise SpecError(
            f"{key} is of another plan than {names.order_key(order.prefix)}, whose digest is"
            f" {plan[:12]}"
        )
    if list(summary.seeds) != list(order.seeds):
        raise SpecError(f"{key} is of other seeds than {names.order_key(order.prefix)}")


def _results(storage: Storage, order: ExperimentOrder) -> Iterator[RunResult]:
    """The newest result of each seed that answers the plan; SpecError where one was edited or a
    seed has none."""
    plan = work_digest(order.work)
    found: dict[int, RunResult] = {}
    for seed, attempt, item in sorted(result_objects(storage, order), key=lambda each: each[:2]):
        try:
            result = parse_result(storage.read(item.key, limit=RESULT_BYTES), item.key)
        except ObjectTooLarge as error:
            raise SpecError(str(error)) from None
        check_origin(result, order, seed, attempt)
        if result.work_digest == plan:
            found[seed] = result
    if missing := [str(seed) for seed in order.seeds if seed not in found]:
        raise SpecError(
            f"{order.prefix} has no result of its plan for"
            f" {number_of(len(missing), 'seed')}: {few(missing)}"
        )
    yield from found.values()


def _check_numbers(
    storage: Storage, summary: Summary, order: ExperimentOrder, results: list[RunResult]
) -> None:
    """Refuse a summary that is not what its results give."""
    question = Question(
        order=order,
        work_digest=work_digest(order.work),
        metrics=provenance_of(summary).metrics,
        floors={(r.scenario, r.metric): r.floor for r in summary.rows if r.floor is not None},
    )
    anew = aggregate(results, question)
    anew = anew.model_copy(update={"tuning": tuning_of(storage, order, anew)})
    for called, shown in SHOWN.items():
        if not _alike(shown(summary), shown(anew)):
            raise SpecError(
                f"{names.summary_key(order.prefix)}: {called} is not what the results of its seeds"
                " give; `supreme report EXPERIMENT-URI` makes it anew"
            )


def _rows(summary: Summary) -> list[Any]:
    return [
        {
            **row.model_dump(mode="json", include=OF_A_ROW),
            "gap": row.gap.model_dump(mode="json", include=OF_A_GAP) if row.gap else None,
        }
        for row in summary.rows
    ]


SHOWN: Mapping[str, Callable[[Summary], Any]] = {
    "a row": _rows,
    "a collapse rate": lambda summary: summary.model_dump(include={"collapse_rates"}),
    "what it says of tuning": lambda summary: summary.model_dump(include={"tuning": OF_TUNING}),
}
"""Parts of a summary that follow from results, by what a message calls them."""


def _alike(one: Any, other: Any) -> bool:
    """Return whether two documents are equal up to the last digits of their numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE**2)
    return bool(one == other)
