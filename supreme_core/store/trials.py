"""Rounds of trials, one after the other; what is proposed is in the store before it is computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from supreme_core.api.orders import ExperimentOrder, Selected
from supreme_core.api.records import RunResult
from supreme_core.registry.catalog import Catalog
from supreme_core.store.selections import read_proposals, write_proposals
from supreme_core.store.storage import Storage
from supreme_core.tuning.rounds import (
    number_of_rounds,
    order_of_round,
    proposals_with,
    trials_of_round,
)
from supreme_core.tuning.selection import learns
from supreme_core.tuning.tpe import check_optuna

Compute = Callable[[int, ExperimentOrder], Mapping[int, RunResult] | None]
"""Gives the results of a round, by its number and its order; None where a seed has none."""


@dataclass(frozen=True)
class TrialsMade:
    """round: number of the last round that was asked for.  trials: those of it, none where they are
    all that the plan has.  results: by tuning seed; None where the round lacks one."""

    round: int
    trials: list[Selected]
    results: Mapping[int, RunResult] | None


def make_trials(
    storage: Storage, order: ExperimentOrder, catalog: Catalog, compute: Compute
) -> TrialsMade:
    """Have all trials of an experiment made, until a round lacks a result.

    The same trials are made whoever goes on. SpecError where what was proposed has been changed,
    and where nothing can be proposed.
    """
    tuning = order.tuning
    assert tuning is not None
    if learns(tuning):
        check_optuna()
    proposals = read_proposals(storage, order)
    results = dict[int, RunResult]()
    for number in range(1, number_of_rounds(tuning) + 1):
        trials = trials_of_round(order, number, results, catalog, proposals)
        if learns(tuning):
            proposals = proposals_with(order, trials, proposals)
            write_proposals(storage, proposals, order)
        found = compute(number, order_of_round(order, number, trials))
        if found is None:
            return TrialsMade(number, trials, None)
        results |= found
    return TrialsMade(number, trials, results)
