"""Rounds of tuning: trials that follow from the results of those before them. Pure.

Successive halving (Karnin, Koren and Somekh 2013; Jamieson and Talwalkar 2016) over tuning seeds:
the first round makes all trials on one seed, each further one the better half on the next. Or
proposals of a sampler that learns, each few from those before them, all on every seed.
"""

from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any, Final

from supreme_core.api.orders import ExperimentOrder, Selected, TuningOrder
from supreme_core.api.records import RunResult
from supreme_core.api.selection import Proposals, Proposed
from supreme_core.api.v1alpha1 import LabelledComponent, MethodEntry
from supreme_core.registry.catalog import Catalog
from supreme_core.tuning import tpe
from supreme_core.tuning.entries import listed_trials, space_in, trials_of
from supreme_core.tuning.selection import Judge, learns, plan_digest, tried

PROPOSED_TOGETHER: Final = 4
"""Trials of a search that are proposed at a time, of which the first are random: few, so that most
are learnt from, and enough to give several workers something to do."""


def number_of_rounds(tuning: TuningOrder) -> int:
    """Number of rounds, of which each needs the results of those before it."""
    plan = tuning.work.tuning
    assert plan is not None
    return ceil(plan.trials / PROPOSED_TOGETHER) if learns(tuning) else tuning.rounds


def seeds_of_round(tuning: TuningOrder, number: int) -> list[int]:
    """Tuning seeds on which the trials of a round are made.  number: from 1."""
    if tuning.rounds == 1:
        return tuning.seeds
    last = number == tuning.rounds
    return tuning.seeds[number - 1 :] if last else tuning.seeds[number - 1 : number]


def order_of_round(order: ExperimentOrder, number: int, trials: list[Selected]) -> ExperimentOrder:
    """Order of the tuning seeds of a round by themselves.

    number: from 1.  trials: those of the round, from `trials_of_round`.
    """
    whole, tuning = order.trials, order.tuning
    assert whole is not None
    assert tuning is not None
    assert tuning.work.tuning is not None
    plan = tuning.work.tuning.model_copy(update={"listed": trials})
    work = tuning.work.model_copy(update={"tuning": plan})
    seeds = seeds_of_round(tuning, number)
    return whole.model_copy(update={"work": work, "seeds": seeds})


def trials_of_first_round(order: ExperimentOrder) -> list[Selected]:
    """Trials of the first round, which follow from nothing; none for all that the plan has."""
    tuning = order.tuning
    assert tuning is not None
    assert tuning.work.tuning is not None
    if not learns(tuning):
        return []
    return [
        Selected(scenario=scenario.title, method=entry.title, trial=trial, params=params)
        for scenario, entry in tried(tuning)
        for trial, params in trials_of(entry, scenario.title, tuning.work.tuning).items()
        if trial <= PROPOSED_TOGETHER
    ]


def trials_of_round(
    order: ExperimentOrder,
    number: int,
    results: Mapping[int, RunResult],
    catalog: Catalog,
    proposals: Proposals,
) -> list[Selected]:
    """Trials of a round, of all methods in all scenarios; none for all that the plan has.

    number: from 1.  results: by tuning seed, of the rounds before it.  proposals: those that were
    made before, which are not made again.
    """
    tuning = order.tuning
    assert tuning is not None
    assert tuning.work.tuning is not None
    if number == 1:
        return trials_of_first_round(order)
    judge = Judge.of(tuning, results, catalog)
    trials = list[Selected]()
    for scenario, entry in tried(tuning):
        if learns(tuning):
            found = _proposed(judge, scenario, entry, number, proposals)
        else:
            every = trials_of(entry, scenario.title, tuning.work.tuning)
            *_, kept = judge.rounds(scenario, entry, every, ended=number - 1)
            found = {trial: every[trial] for trial in kept}
        trials += (
            Selected(scenario=scenario.title, method=entry.title, trial=trial, params=params)
            for trial, params in found.items()
        )
    return trials


ResultsOf = Callable[[ExperimentOrder], Mapping[int, RunResult]]
"""Gives the results of a round that there are, by seed."""


def rounds_known(
    order: ExperimentOrder, results_of: ResultsOf, catalog: Catalog, proposals: Proposals
) -> Iterator[ExperimentOrder]:
    """Orders of the rounds whose trials follow from what there is; nothing is proposed."""
    tuning = order.tuning
    assert tuning is not None
    assert tuning.work.tuning is not None
    results = dict[int, RunResult]()
    for number in range(1, number_of_rounds(tuning) + 1):
        asked = min(tuning.work.tuning.trials, number * PROPOSED_TOGETHER)
        if learns(tuning) and number > 1 and _fewest(tuning, proposals) < asked:
            return
        part = order_of_round(
            order, number, trials_of_round(order, number, results, catalog, proposals)
        )
        yield part
        results |= results_of(part)
        if not learns(tuning) and not set(part.seeds) <= set(results):
            return


def rounds_expected(
    order: ExperimentOrder, results_of: ResultsOf, catalog: Catalog, proposals: Proposals
) -> list[ExperimentOrder]:
    """Orders of all tuning seeds. Rounds that are not known yet count as all trials of the plan,
    with settings that stand for those to be proposed."""
    whole, tuning = order.trials, order.tuning
    assert whole is not None
    assert tuning is not None
    plan = tuning.work.tuning
    assert plan is not None
    known = [*rounds_known(order, results_of, catalog, proposals)]
    if not learns(tuning):
        rest = tuning.seeds[sum(len(part.seeds) for part in known) :]
        return [*known, *([whole.model_copy(update={"seeds": rest})] if rest else [])]
    last = known[-1].work.tuning
    assert last is not None
    made = {(each.scenario, each.method, each.trial) for each in last.listed}
    further = [
        Selected(scenario=scenario.title, method=entry.title, trial=trial, params=params)
        for scenario, entry in tried(tuning)
        for trial, params in trials_of(entry, scenario.title, plan).items()
        if (scenario.title, entry.title, trial) not in made
    ]
    return [order_of_round(order, 1, [*last.listed, *further])]


def _fewest(tuning: TuningOrder, proposals: Proposals) -> int:
    """Number of trials that were proposed of every search."""
    return min(
        len(proposals.settings(scenario.title, entry.title, plan_digest(tuning, scenario, entry)))
        for scenario, entry in tried(tuning)
    )


def proposals_with(order: ExperimentOrder, trials: list[Selected], earlier: Proposals) -> Proposals:
    """The proposals with those of a round, which `trials_of_round` has made."""
    tuning = order.tuning
    assert tuning is not None
    searches = []
    for scenario, entry in tried(tuning):
        mine = listed_trials(trials, scenario.title, entry.title)
        plan = plan_digest(tuning, scenario, entry)
        settings = [mine[number] for number in sorted(mine) if number > 0]
        before = earlier.settings(scenario.title, entry.title, plan)
        searches.append(
            Proposed(
                scenario=scenario.title,
                method=entry.title,
                plan=plan,
                settings=max(before, settings, key=len),
            )
        )
    return Proposals(experiment=order.experiment, searches=searches)


def _proposed(
    judge: Judge,
    scenario: LabelledComponent,
    entry: MethodEntry,
    number: int,
    proposals: Proposals,
) -> dict[int, dict[str, Any]]:
    """The settings as given and the trials of this round and those before it."""
    plan = judge.tuning.work.tuning
    assert plan is not None
    asked = min(plan.trials, number * PROPOSED_TOGETHER)
    made = proposals.settings(
        scenario.title, entry.title, plan_digest(judge.tuning, scenario, entry)
    )[:asked]
    if not made:
        every = trials_of(entry, scenario.title, plan)
        made = [every[trial] for trial in range(1, PROPOSED_TOGETHER + 1)]
    trials = {0: {}, **dict(enumerate(made, start=1))}
    if len(made) < asked:
        candidates = judge.candidates(scenario, entry, trials)
        further = tpe.proposed(
            space_in(entry),
            [(trial.params, trial.mean) for trial in candidates[1:]],
            asked - len(made),
            (scenario.title, entry.title),
        )
        trials |= dict(enumerate(further, start=len(trials)))
    return trials
