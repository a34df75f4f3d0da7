"""The methods that run in a scenario: as given, as trials of settings, or with chosen settings."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from supreme_core.api import names
from supreme_core.api.orders import Selected, TrialPlan, Work
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.tuning.ranges import Space
from supreme_core.tuning.samplers import points, settings_of
from supreme_core.tuning.space import space_of


def entries_of(work: Work, scenario: str) -> Mapping[str, MethodEntry]:
    """The methods of a scenario by their titles, in the order of the work; those of a tuning seed
    are trials."""
    return dict(_entries(work, scenario))


def entry_of(work: Work, scenario: str, title: str) -> MethodEntry:
    """The method of one run: `entries_of` for a single title."""
    method, number = names.trial_of(title)
    entry = next(each for each in work.methods if each.title == method)
    if work.tuning:
        return with_settings(entry, _trial(entry, scenario, work.tuning, number))
    chosen = (each for each in work.selected if (each.scenario, each.method) == (scenario, method))
    selected = next(chosen, None)
    return with_settings(entry, selected.params) if selected else entry


def trials_of(entry: MethodEntry, scenario: str, plan: TrialPlan) -> dict[int, dict[str, Any]]:
    """Settings of the trials of a method in a scenario, by number: the first has none, and is the
    method as it is given.

    entry: with its whole space, as the work of a tuning seed has it.
    """
    if listed := listed_trials(plan.listed, scenario, entry.title):
        return listed
    numbers = range(points(space_in(entry), plan.trials, plan.sampler) + 1)
    return {number: _settings(entry, scenario, plan, number) for number in numbers}


def listed_trials(
    trials: Iterable[Selected], scenario: str, method: str
) -> dict[int, dict[str, Any]]:
    """Settings of those trials that are of a method in a scenario, by number."""
    return {
        each.trial: each.params
        for each in trials
        if (each.scenario, each.method) == (scenario, method)
    }


def with_settings(entry: MethodEntry, settings: Mapping[str, Any]) -> MethodEntry:
    """The method with these settings beside the others that are given."""
    return entry.model_copy(update={"params": {**entry.params, **settings}, "search": "default"})


def space_in(entry: MethodEntry) -> Space:
    """The whole space of a method, as the work of a tuning seed has it."""
    assert isinstance(entry.search, dict), "a tuning seed has the spaces of all its methods"
    return space_of(entry.search)


def _entries(work: Work, scenario: str) -> Iterator[tuple[str, MethodEntry]]:
    for entry in work.methods:
        if work.tuning:
            for number, settings in trials_of(entry, scenario, work.tuning).items():
                yield names.trial_title(entry.title, number), with_settings(entry, settings)
        else:
            yield entry.title, entry_of(work, scenario, entry.title)


def _trial(entry: MethodEntry, scenario: str, plan: TrialPlan, number: int) -> Mapping[str, Any]:
    """`trials_of` for a single number."""
    listed = listed_trials(plan.listed, scenario, entry.title)
    return listed[number] if listed else _settings(entry, scenario, plan, number)


def _settings(entry: MethodEntry, scenario: str, plan: TrialPlan, number: int) -> dict[str, Any]:
    if number == 0:
        return {}
    return settings_of(space_in(entry), number, plan.sampler, (scenario, entry.title))
