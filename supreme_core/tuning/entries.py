"""The methods that run in a scenario: as given, as trials of settings, or with chosen settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supreme_core.api import names
from supreme_core.api.orders import TrialPlan, Work
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.tuning.samplers import points, settings_of
from supreme_core.tuning.space import space_of


def entries_of(work: Work, scenario: str) -> Mapping[str, MethodEntry]:
    """The methods of a scenario by their titles, in the order of the work; those of a tuning seed
    are trials."""
    if work.tuning:
        return dict(_trials(work.methods, scenario, work.tuning))
    chosen = {each.method: each for each in work.selected if each.scenario == scenario}
    return {
        entry.title: with_settings(entry, chosen[entry.title].params)
        if entry.title in chosen
        else entry
        for entry in work.methods
    }


def entry_of(work: Work, scenario: str, title: str) -> MethodEntry:
    """The method of one run: `entries_of` for a single title."""
    method, _, number = title.partition("#")
    entry = next(each for each in work.methods if each.title == method)
    if work.tuning:
        if number == "0":
            return with_settings(entry, {})
        assert isinstance(entry.search, dict)
        space, sampler = space_of(entry.search), work.tuning.sampler
        return with_settings(entry, settings_of(space, int(number), sampler, (scenario, method)))
    chosen = (each for each in work.selected if (each.scenario, each.method) == (scenario, title))
    selected = next(chosen, None)
    return with_settings(entry, selected.params) if selected else entry


def trials_of(entry: MethodEntry, scenario: str, plan: TrialPlan) -> Iterator[dict[str, Any]]:
    """Settings of the trials of a method in a scenario, by number: the first has none, and is the
    method as it is given.

    entry: with its whole space, as the work of a tuning seed has it.
    """
    assert isinstance(entry.search, dict), "a tuning seed has the spaces of all its methods"
    yield {}
    space = space_of(entry.search)
    for number in range(1, points(space, plan.trials, plan.sampler) + 1):
        yield settings_of(space, number, plan.sampler, (scenario, entry.title))


def with_settings(entry: MethodEntry, settings: Mapping[str, Any]) -> MethodEntry:
    """The method with these settings beside the others that are given."""
    return entry.model_copy(update={"params": {**entry.params, **settings}, "search": "default"})


def _trials(
    entries: Sequence[MethodEntry], scenario: str, plan: TrialPlan
) -> Iterator[tuple[str, MethodEntry]]:
    for entry in entries:
        for number, settings in enumerate(trials_of(entry, scenario, plan)):
            yield names.trial_title(entry.title, number), with_settings(entry, settings)
