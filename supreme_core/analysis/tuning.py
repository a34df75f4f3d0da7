"""Tuning as a summary tells it: what was chosen, what it cost, and what mattered."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from supreme_core.analysis.trials import (
    best_of,
    cost_of_tuning,
    is_near_an_end,
    percentile,
    sensitivity,
)
from supreme_core.api.orders import TuningOrder
from supreme_core.api.selection import SearchChoice, Selection
from supreme_core.api.summary import SearchedSetting, SearchSummary, TuningSummary
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.tuning.ranges import Range
from supreme_core.tuning.selection import tried
from supreme_core.tuning.space import space_of


def tuning_summary(
    tuning: TuningOrder, selection: Selection, defaults: Mapping[str, Mapping[str, Any]]
) -> TuningSummary:
    """Summary of the choices that an order was computed with.

    defaults: of the settings of each method, by its name.
    """
    plan = tuning.work.tuning
    assert plan is not None
    entries = {(scenario.title, entry.title): entry for scenario, entry in tried(tuning)}
    return TuningSummary(
        objective=selection.objective,
        track=selection.track,
        seeds=selection.seeds,
        trials=plan.trials,
        sampler=plan.sampler,
        share=plan.share,
        retuned=selection.retuned,
        searches=[
            search_summary(choice, entry, defaults)
            for choice in selection.choices
            if (entry := entries.get((choice.scenario, choice.method)))
        ],
        sanity=selection.sanity,
    )


def search_summary(
    choice: SearchChoice, entry: MethodEntry, defaults: Mapping[str, Mapping[str, Any]]
) -> SearchSummary:
    """Summary of one search.  entry: the method with its whole space."""
    given, *trials = choice.candidates
    retrainings, uncounted = _cost(choice)
    means = [each.mean for each in choice.candidates]
    return SearchSummary(
        scenario=choice.scenario,
        method=choice.method,
        trial=choice.trial,
        note=choice.note,
        objective=choice.chosen.mean,
        given=given.mean,
        values=means,
        beaten=percentile(given.mean, [each.mean for each in trials]),
        best_of=[each.expected for each in best_of([each.mean for each in trials])],
        retrainings=retrainings,
        uncounted=uncounted,
        settings=[*_settings(choice, entry, defaults)],
    )


def _cost(choice: SearchChoice) -> tuple[float | None, int]:
    """Passes of all trials over those of one retraining, which is a mean over tuning seeds; and how
    many trials were not counted."""
    passes = [each for candidate in choice.candidates for each in candidate.passes]
    known = [each for each in choice.retraining if each]
    if not known:
        return None, passes.count(None)
    cost = cost_of_tuning(passes, retraining=fmean(known))
    return cost.retrainings, cost.uncounted


def _settings(
    choice: SearchChoice, entry: MethodEntry, defaults: Mapping[str, Mapping[str, Any]]
) -> Iterator[SearchedSetting]:
    assert isinstance(entry.search, dict)
    own = {**defaults.get(entry.name, {}), **entry.params}
    trials = choice.candidates[1:]
    for name, range_ in space_of(entry.search).items():
        given = own.get(name)
        values = {each.trial: each.params.get(name, given) for each in choice.candidates}
        chosen = values[choice.trial]
        yield SearchedSetting(
            name=name,
            given=given,
            chosen=chosen,
            tried=[*values.values()],
            share=sensitivity([each.params[name] for each in trials], [t.mean for t in trials])
            if trials
            else None,
            at_end=choice.trial > 0 and _is_at_end(range_, chosen),
        )


def _is_at_end(range_: Range, value: Any) -> bool:
    """Return whether a value lies in the outer part of a range of real numbers."""
    if range_.kind not in ("log", "logToOne", "uniform"):
        return False
    low, high = range_.values
    if range_.kind == "logToOne":
        return is_near_an_end(1 - value, 1 - high, 1 - low, by_logarithm=True)
    return is_near_an_end(value, low, high, by_logarithm=range_.kind == "log")
