"""Tuning as a summary tells it: what was chosen, what it gained and cost, and what mattered."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Any, Final, Self

from supreme_core.analysis.statistics import average
from supreme_core.analysis.trials import (
    best_of,
    best_so_far,
    cost_of_tuning,
    gain,
    is_near_an_end,
    optimism,
    percentile,
    sensitivity,
)
from supreme_core.api import names
from supreme_core.api.orders import TuningOrder, Work
from supreme_core.api.selection import SearchChoice, Selection
from supreme_core.api.summary import (
    ObjectiveGain,
    Optimism,
    Row,
    SearchedSetting,
    SearchSummary,
    TuningSummary,
)
from supreme_core.api.v1alpha1 import Component, MethodEntry, Objective
from supreme_core.errors import few, number_of
from supreme_core.registry.catalog import Catalog
from supreme_core.tuning.objective_rows import ObjectiveRows
from supreme_core.tuning.objectives import metrics_of, objective_value
from supreme_core.tuning.ranges import Range
from supreme_core.tuning.selection import learns, tried
from supreme_core.tuning.space import space_of

DefaultsOf = Mapping[str, Mapping[str, Any]]
"""Settings of each method by default, by its name."""


@dataclass(frozen=True)
class FinalSeeds:
    """Objective on the seeds that chose nothing, whose rows are of test samples.

    rows: of one model in one scenario, by seed.  asked: number of the seeds of the experiment.
    lack: reason why there is no objective.
    """

    objective: Objective
    forgets: Mapping[str, Any]
    rows: Mapping[tuple[str, str], Mapping[int, Mapping[str, float | None]]]
    asked: int
    lack: str = ""

    @classmethod
    def of(cls, objective: Objective, work: Work, rows: Iterable[Row], catalog: Catalog) -> Self:
        """Final seeds of an experiment.  rows: those of its summary."""
        forgets = {
            scenario.title: catalog.get("scenario", scenario.name).facts["forgets"]
            for scenario in work.scenarios
        }
        lacking = [each for each in metrics_of(objective, catalog) if each not in work.metrics]
        if lacking:
            lack = (
                "spec.metrics has no, or another,"
                f" {few([each.title for each in lacking])}, which the objective reads"
            )
            return cls(objective, forgets, {}, 0, lack)
        asked = 0
        found: dict[tuple[str, str], dict[int, dict[str, float | None]]] = {}
        for row in rows:
            by_seed = found.setdefault((row.scenario, row.method), defaultdict(dict))
            for seed, value in row.values.items():
                by_seed[int(seed)][row.metric] = value
            asked = row.seeds.asked
        return cls(objective, forgets, found, asked)

    def values(self, scenario: str, method: str) -> dict[int, float | None]:
        """Objective of a method by seed, of the means over its repeats."""
        unlearned = self.rows.get((scenario, method), {})
        return {seed: self._value(scenario, seed, rows) for seed, rows in unlearned.items()}

    def _value(
        self, scenario: str, seed: int, unlearned: Mapping[str, float | None]
    ) -> float | None:
        original, retrained = (
            self.rows.get((scenario, model), {}).get(seed, {}) for model in names.REFERENCES
        )
        rows = ObjectiveRows(
            forgets=self.forgets[scenario],
            unlearned=unlearned,
            original=original,
            retrained=retrained,
        )
        value = objective_value(self.objective, rows)
        return value if value < inf else None


def tuning_summary(
    tuning: TuningOrder,
    selection: Selection,
    final: FinalSeeds,
    *,
    defaults: DefaultsOf,
    catalog: Catalog,
) -> TuningSummary:
    """Summary of the choices that an order was computed with."""
    plan = tuning.work.tuning
    assert plan is not None
    entries = {(scenario.title, entry.title): entry for scenario, entry in tried(tuning)}
    is_rehearsal = selection.track == "rehearsal"
    return TuningSummary(
        objective=selection.objective,
        track=selection.track,
        seeds=selection.seeds,
        trials=plan.trials,
        sampler=plan.sampler,
        share=plan.share,
        rounds=tuning.rounds,
        retuned=selection.retuned,
        final_lack=final.lack,
        rehearsal=tuning.work.scenarios if is_rehearsal else [],
        same_forget=[
            scenario.title
            for scenario in tuning.work.scenarios
            if not is_rehearsal and forgets_the_same(scenario, catalog)
        ],
        searches=[
            search_summary(
                choice,
                entry,
                selection.seeds,
                final,
                defaults,
                learns=learns(tuning),
            )
            for choice in selection.choices
            if (entry := entries.get((choice.scenario, choice.method)))
        ],
        sanity=selection.sanity,
    )


def told(found: Iterable[TuningSummary], methods: Iterable[str]) -> str:
    """Note that stands with every table; of several experiments that are tuned alike, with one of
    all.  methods: titles of all that the experiments have."""
    first, *rest = found
    searches = [each for one in (first, *rest) for each in one.searches]
    tuned = [*dict.fromkeys(each.method for each in searches)]
    known = {*tuned, *map(names.as_given_title, tuned)}
    others = [each for each in dict.fromkeys(methods) if each not in known]
    objective = first.objective if isinstance(first.objective, str) else "weighted gaps"
    untuned = f", and {_few(others)}, which {'was' if len(others) == 1 else 'were'} not tuned,"
    text = (
        f"Settings of {_few(tuned)} were tuned: {number_of(first.trials, 'trial')} each,"
        f" {number_of(len(first.seeds), 'tuning seed')}{_in_rounds(first)}, objective"
        f" {objective} ({first.track});"
        f" rows that end in {names.as_given_title('')}{untuned * bool(others)} have the settings of"
        " the experiment. Chosen settings and those as given are tested and ranked apart."
    )
    if failed := dict.fromkeys(f"{s.method} in {s.scenario}" for s in searches if s.note):
        text += f" Not tunable, so with the settings as given: {_few([*failed])}."
    if retuned := max(each.retuned for each in (first, *rest)):
        text += f" Settings were chosen anew {number_of(retuned, 'time')}."
    same = dict.fromkeys(scenario for each in (first, *rest) for scenario in each.same_forget)
    if same:
        text += f" Tuning seeds forgot what final seeds forget in {_few([*same])}."
    return text


def _in_rounds(found: TuningSummary) -> str:
    return f" in {found.rounds} rounds of successive halving" if found.rounds > 1 else ""


MOST_NAMED: Final = 6
"""Names in a sentence that stands with every table."""


def _few(texts: Sequence[str]) -> str:
    left = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")


def forgets_the_same(scenario: Component, catalog: Catalog) -> bool:
    """Return whether a scenario forgets the same, whatever the seed."""
    if requests := [*catalog.inner("scenario", scenario)]:
        return all(forgets_the_same(each.component, catalog) for each in requests)
    listed = catalog.get("scenario", scenario.name)
    draw = listed.params.get("properties", {}).get("draw")
    if draw:
        return bool(scenario.params.get("draw", draw["default"]) == "fixed")
    return not listed.facts["needs"]  # what it needs is of the seed's original


def search_summary(
    choice: SearchChoice,
    entry: MethodEntry,
    seeds: Sequence[int],
    final: FinalSeeds,
    defaults: DefaultsOf,
    *,
    learns: bool,
) -> SearchSummary:
    """Summary of one search.  entry: the method with its whole space.  seeds: those that chose.
    learns: whether trials were proposed from those before them."""
    given = choice.candidates[0]
    retrainings, uncounted = _cost(choice)
    before, *trials = values = choice.comparable
    tuning = [dict(zip(seeds, each.values, strict=True)) for each in (given, choice.chosen)]
    titles = names.as_given_title(choice.method), choice.method
    finals = [final.values(choice.scenario, title) for title in titles]
    shift = optimism([*tuning[1].values()], [*finals[1].values()])
    return SearchSummary(
        scenario=choice.scenario,
        method=choice.method,
        trial=choice.trial,
        note=choice.note,
        objective=choice.chosen.mean,
        given=given.mean,
        values=values,
        beaten=percentile(before, trials),
        best_of=best_so_far(trials) if learns else [each.expected for each in best_of(trials)],
        retrainings=retrainings,
        uncounted=uncounted,
        final=average(finals[1].values()),
        tuning_gain=_gain(*tuning, asked=len(seeds)),
        final_gain=_gain(*finals, asked=final.asked),
        optimism=Optimism(mean=shift.mean, low=shift.low, high=shift.high),
        settings=[*_settings(choice, entry, defaults)],
    )


def _gain(
    given: Mapping[int, float | None], chosen: Mapping[int, float | None], *, asked: int
) -> ObjectiveGain:
    found = gain(given, chosen)
    return ObjectiveGain(n=found.n, asked=asked, mean=found.mean, low=found.low, high=found.high)


def _cost(choice: SearchChoice) -> tuple[float | None, int]:
    """Passes of all trials over those of one retraining, which is a mean over tuning seeds; and how
    many trials were not counted."""
    passes = [
        each
        for candidate in choice.candidates
        for each in candidate.passes[: candidate.left_out_after]
    ]
    known = [each for each in choice.retraining if each]
    if not known:
        return None, passes.count(None)
    cost = cost_of_tuning(passes, retraining=fmean(known))
    return cost.retrainings, cost.uncounted


def _settings(
    choice: SearchChoice, entry: MethodEntry, defaults: DefaultsOf
) -> Iterator[SearchedSetting]:
    assert isinstance(entry.search, dict)
    own = {**defaults.get(entry.name, {}), **entry.params}
    trials, objectives = choice.candidates[1:], choice.comparable[1:]
    for name, range_ in space_of(entry.search).items():
        given = own.get(name)
        values = {each.trial: each.params.get(name, given) for each in choice.candidates}
        chosen = values[choice.trial]
        yield SearchedSetting(
            name=name,
            given=given,
            chosen=chosen,
            tried=[*values.values()],
            share=sensitivity([values[each.trial] for each in trials], objectives)
            if trials
            else None,
            at_end=choice.trial > 0 and _is_at_end(range_, chosen),
        )


def _is_at_end(range_: Range, value: Any) -> bool:
    """Return whether a value lies in the outer part of a range of real numbers."""
    if range_.kind not in ("log", "logToOne", "uniform") or not isinstance(value, int | float):
        return False
    low, high = range_.values
    if range_.kind == "logToOne":
        return is_near_an_end(1 - value, 1 - high, 1 - low, by_logarithm=True)
    return is_near_an_end(value, low, high, by_logarithm=range_.kind == "log")
