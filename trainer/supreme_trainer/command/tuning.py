"""Tuning on one machine: the trials first, then the choice, then the experiment itself."""

from collections.abc import Callable, Mapping, Sequence

from supreme_core.api.orders import ExperimentOrder, Selected
from supreme_core.api.records import RunResult
from supreme_core.api.selection import Selection
from supreme_core.errors import number_of
from supreme_core.registry import catalog
from supreme_core.store.selections import read_selection, write_selection
from supreme_core.store.storage import Storage
from supreme_core.tuning.order import with_choices
from supreme_core.tuning.rounds import number_of_rounds
from supreme_core.tuning.selection import lost_runs, missing, select, tried

Tell = Callable[[str], None]


def chosen_before(storage: Storage, order: ExperimentOrder, *, retune: bool) -> Selection | None:
    """The choices that stand; SpecError where they were made among other trials.

    retune: none of them does, and what is chosen now says how often that was so.
    """
    selection = read_selection(storage, order.prefix)
    if selection and retune:
        return selection.model_copy(update={"choices": [], "retuned": selection.retuned + 1})
    missing(order, selection)
    return selection


def lost(results: Mapping[int, RunResult]) -> list[str]:
    """A line for each trial that its machine has lost, which says nothing of its settings."""
    return [
        f"seed {seed}: {run.method} in {run.scenario} was lost to its machine, so nothing is chosen"
        f" yet; run the command again: {run.reason}"
        for seed, result in results.items()
        for run in lost_runs(result)
    ]


def choose(
    storage: Storage,
    order: ExperimentOrder,
    results: Mapping[int, RunResult],
    trials: Sequence[Selected],
    earlier: Selection | None,
    tell: Tell,
) -> Selection:
    """Choose the settings of every method by its trials, and seal the choice in the store."""
    selection = select(order, results, catalog.installed(), earlier=earlier, last_round=trials)
    write_selection(storage, order.prefix, selection)
    changed = sum(choice.trial > 0 for choice in selection.choices)
    tell(
        f"settings chosen by {order.prefix}/selection.json: in {changed} of"
        f" {number_of(len(selection.choices), 'search', 'searches')} others than those given"
    )
    for choice in selection.choices:
        if choice.note:
            tell(f"{choice.method} in {choice.scenario}: {choice.note}")
    return selection


def with_settings_of(order: ExperimentOrder, selection: Selection | None) -> ExperimentOrder:
    """The order with the settings that were chosen, as far as they are."""
    return with_choices(order, selection.choices) if selection else order


def trials_planned(order: ExperimentOrder) -> str:
    """Sentence on what is tried."""
    tuning = order.tuning
    assert tuning is not None
    assert tuning.work.tuning is not None
    searches = [*tried(tuning)]
    rounds = number_of_rounds(tuning)
    return (
        f"tuning: {number_of(tuning.work.tuning.trials, 'trial')} and the given settings in"
        f" {number_of(len(searches), 'search', 'searches')}, on"
        f" {number_of(len(tuning.seeds), 'seed')} of their own"
        + (f" in {number_of(rounds, 'round')}" if rounds > 1 else "")
    )
