"""The choice among trials. Pure: from the results of all tuning seeds, whatever their order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from statistics import median
from typing import Any, Self

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder, Selected, TuningOrder
from supreme_core.api.records import RunRecord, RunResult
from supreme_core.api.selection import Candidate, Sanity, SearchChoice, Selection, TuningTrack
from supreme_core.api.v1alpha1 import LabelledComponent, MethodEntry
from supreme_core.errors import SpecError
from supreme_core.registry.catalog import Catalog
from supreme_core.tuning.budget import retraining_passes
from supreme_core.tuning.entries import trials_of
from supreme_core.tuning.objective_rows import KEPT, ObjectiveRows
from supreme_core.tuning.objectives import is_oracle, objective_value

NOT_TUNABLE = "not tunable: every trial has failed, so the settings are those that were given"
NONE_WENT_ON = (
    "not tunable: every trial that rounds have not left out has failed, so the settings are those"
    " that were given"
)

LONGEST_REASON = 1000

Trials = Mapping[int, Mapping[str, Any]]
"""Settings of trials by their numbers."""


def select(
    order: ExperimentOrder,
    results: Mapping[int, RunResult],
    catalog: Catalog,
    *,
    earlier: Selection | None = None,
    last_round: Sequence[Selected] = (),
) -> Selection:
    """The choice for each method in each scenario: the trial of the least mean objective.

    results: of every tuning seed.  earlier: choices that were made before, which stay.
    last_round: its trials, of which those that a sampler has proposed follow from others.
    A trial that failed or collapsed in one seed is worse than all others, and one that a round has
    left out is not chosen. Of equals the one with fewer passes is chosen, then the earlier one.
    """
    tuning = order.tuning
    assert tuning is not None
    made = {(each.scenario, each.method): each for each in earlier.choices} if earlier else {}
    judge = Judge.of(tuning, results, catalog)
    assert tuning.work.tuning is not None
    plan = tuning.work.tuning
    if learns(tuning):
        plan = plan.model_copy(update={"listed": [*last_round]})
    choices = [
        made.get((scenario.title, entry.title))
        or judge.choice(scenario, entry, trials_of(entry, scenario.title, plan))
        for scenario, entry in tried(tuning)
    ]
    return Selection(
        experiment=order.experiment,
        objective=tuning.objective,
        track=_track(order, catalog),
        seeds=tuning.seeds,
        choices=choices,
        sanity=[*judge.sanity()],
        retuned=earlier.retuned if earlier else 0,
    )


def _track(order: ExperimentOrder, catalog: Catalog) -> TuningTrack:
    tuning = order.tuning
    assert tuning is not None
    if order.is_rehearsed:
        return "rehearsal"
    return "oracle" if is_oracle(tuning.objective, catalog) else "blind"


def tried(tuning: TuningOrder) -> Iterator[tuple[LabelledComponent, MethodEntry]]:
    """Each scenario with each method that is tried in it."""
    excluded = {(each.scenario, each.method) for each in tuning.excluded}
    for scenario in tuning.work.scenarios:
        for entry in tuning.work.methods:
            if (scenario.title, entry.title) not in excluded:
                yield scenario, entry


def missing(order: ExperimentOrder, selection: Selection | None) -> bool:
    """Return whether some choice is still to be made.

    SpecError where one was made among other trials than the order has.
    """
    tuning = order.tuning
    assert tuning is not None
    made = {(each.scenario, each.method): each for each in selection.choices} if selection else {}
    changed, is_missing = [], False
    for scenario, entry in tried(tuning):
        choice = made.get((scenario.title, entry.title))
        if choice is None:
            is_missing = True
        elif choice.plan != plan_digest(tuning, scenario, entry):
            changed.append(f"{entry.title} in {scenario.title}")
    if changed:
        raise SpecError(
            f"spec.tuning: settings of {', '.join(changed)} were chosen among other trials than"
            " there are now, before the first seed of the experiment began; give the experiment"
            " another metadata.name, which reuses all trials, or choose anew by --retune, which"
            " every table will say"
        )
    return is_missing


def is_chosen(order: ExperimentOrder) -> bool:
    """Return whether an order has the settings of all that is tried, so that no trial is left."""
    if order.tuning is None:
        return False
    chosen = {(each.scenario, each.method) for each in order.work.selected}
    return all((scenario.title, entry.title) in chosen for scenario, entry in tried(order.tuning))


def learns(tuning: TuningOrder) -> bool:
    """Return whether trials are proposed from the results of others."""
    return tuning.work.tuning is not None and tuning.work.tuning.sampler == "tpe"


def lost_runs(result: RunResult) -> Iterator[RunRecord]:
    """The trials of a tuning seed that a machine has lost, which says nothing of their settings."""
    return (run for run in result.runs if run.status == "failed" and run.cause == "infrastructure")


def plan_digest(tuning: TuningOrder, scenario: LabelledComponent, entry: MethodEntry) -> str:
    """Names which trials there are of a method in a scenario, and how they are compared."""
    work = tuning.work
    assert work.tuning is not None
    return digest(
        {
            "scenario": scenario.to_document(),
            "method": entry.to_document(),
            "trials": work.tuning.to_document(),
            "seeds": tuning.seeds,
            "objective": tuning.objective,
            **({"rounds": tuning.rounds} if tuning.rounds > 1 else {}),
        }
    )


@dataclass(frozen=True)
class Judge:
    """Judge of the trials of an experiment.  runs: by seed, scenario and title.  retained:
    number of samples, by seed and scenario.
    """

    tuning: TuningOrder
    runs: Mapping[tuple[int, str, str], RunRecord]
    retained: Mapping[tuple[int, str], int]
    catalog: Catalog

    @classmethod
    def of(cls, tuning: TuningOrder, results: Mapping[int, RunResult], catalog: Catalog) -> Self:
        runs = {
            (seed, run.scenario, run.method): run
            for seed, result in results.items()
            for run in result.runs
        }
        retained = {
            (seed, cell.scenario): cell.retain_samples
            for seed, result in results.items()
            for cell in result.cells
        }
        return cls(tuning, runs, retained, catalog)

    def choice(
        self, scenario: LabelledComponent, entry: MethodEntry, trials: Trials
    ) -> SearchChoice:
        candidates = self.candidates(scenario, entry, trials)
        able = _ranked(candidates)
        best = able[0] if able else candidates[0]
        is_halved = any(each.left_out_after for each in candidates)
        return SearchChoice(
            scenario=scenario.title,
            method=entry.title,
            plan=plan_digest(self.tuning, scenario, entry),
            trial=best.trial,
            retraining=[self._retraining(seed, scenario) for seed in self.tuning.seeds],
            note="" if able else NONE_WENT_ON if is_halved else NOT_TUNABLE,
            candidates=candidates,
        )

    def candidates(
        self, scenario: LabelledComponent, entry: MethodEntry, trials: Trials
    ) -> list[Candidate]:
        """The trials of a method in a scenario, in the order of their numbers."""
        limit = self._collapse_limit(scenario)
        last = self.tuning.rounds - 1
        made = self.rounds(scenario, entry, trials, ended=last)
        places = range(len(self.tuning.seeds))
        return [
            self._candidate(
                scenario,
                entry.title,
                number,
                params,
                limit,
                seeds=sum(number in made[min(place, last)] for place in places),
            )
            for number, params in sorted(trials.items())
        ]

    def rounds(
        self, scenario: LabelledComponent, entry: MethodEntry, trials: Trials, *, ended: int
    ) -> list[list[int]]:
        """Numbers of the trials of each round of successive halving, as given among them.

        trials: those of the first round.  ended: number of rounds whose results are there; one more
        is told. Each is judged by the seeds up to its own alone, as it was when it ended.
        """
        found = [[*trials]]
        for number in range(1, ended + 1):
            early = self.tuning.model_copy(
                update={"seeds": self.tuning.seeds[:number], "rounds": 1}
            )
            judge = replace(self, tuning=early)
            others = {each: params for each, params in trials.items() if each > 0}
            ranked = _ranked(judge.candidates(scenario, entry, others))
            better = {each.trial for each in ranked[: ceil(len(others) / 2)]}
            trials = {each: params for each, params in trials.items() if each in {0, *better}}
            found.append([*trials])
        return found

    def sanity(self) -> Iterator[Sanity]:
        """Objective of Original, which has forgotten nothing, of Retrained itself, and of models
        that are no use; results of earlier versions have none of those."""
        for scenario in self.tuning.work.scenarios:
            for model in (*names.REFERENCES, *names.SANITY):
                runs = [self._run(seed, scenario, model) for seed in self.tuning.seeds]
                values = [
                    self._objective(seed, scenario, run) if run else None
                    for seed, run in zip(self.tuning.seeds, runs, strict=True)
                ]
                if any(runs):
                    yield Sanity(scenario=scenario.title, model=model, values=values)

    def _candidate(
        self,
        scenario: LabelledComponent,
        method: str,
        number: int,
        params: Mapping[str, object],
        limit: float | None,
        *,
        seeds: int,
    ) -> Candidate:
        """One trial.  seeds: number of those on which it was to be made, from the first on."""
        title = names.trial_title(method, number)
        made, others = self.tuning.seeds[:seeds], self.tuning.seeds[seeds:]
        runs = [self._run(seed, scenario, title) for seed in made]
        judged = [
            self._judged(seed, scenario, run, limit) for seed, run in zip(made, runs, strict=True)
        ]
        failures = [
            f"seed {seed}: {why}"[:LONGEST_REASON]
            for seed, (_, why) in zip(made, judged, strict=True)
            if why
        ]
        nothing = [None] * len(others)
        return Candidate(
            trial=number,
            params=dict(params),
            values=[*(value for value, _ in judged), *nothing],
            passes=[*(run.passes if run else None for run in runs), *nothing],
            reason=next(iter(failures), ""),
            left_out_after=seeds if others and not failures else None,
        )

    def _judged(
        self, seed: int, scenario: LabelledComponent, run: RunRecord | None, limit: float | None
    ) -> tuple[float | None, str]:
        """Objective of a trial in one seed, None where it failed, and why."""
        if run is None:
            return None, "it was not run"
        if run.status == "failed":
            return None, run.reason or "it failed"
        kept = run.metrics.get(KEPT)
        if limit is not None and (kept is None or kept < limit):
            return None, f"it collapsed: {KEPT} is below {limit:.3g}, half of Original's"
        value = self._objective(seed, scenario, run)
        return value, "" if value is not None else "the objective has no value"

    def _objective(self, seed: int, scenario: LabelledComponent, run: RunRecord) -> float | None:
        original, retrained = (self._run(seed, scenario, model) for model in names.REFERENCES)
        value = objective_value(
            self.tuning.objective,
            ObjectiveRows(
                forgets=self.catalog.get("scenario", scenario.name).facts["forgets"],
                unlearned=run.metrics,
                original=original.metrics if original else {},
                retrained=retrained.metrics if retrained else {},
            ),
        )
        return value if value < inf else None

    def _collapse_limit(self, scenario: LabelledComponent) -> float | None:
        """Half the median over tuning seeds of Original's accuracy on samples that are to be
        kept."""
        originals = (self._run(seed, scenario, names.ORIGINAL) for seed in self.tuning.seeds)
        kept = [run.metrics.get(KEPT) for run in originals if run]
        found = [value for value in kept if value is not None]
        return median(found) / 2 if found else None

    def _retraining(self, seed: int, scenario: LabelledComponent) -> int | None:
        samples = self.retained.get((seed, scenario.title))
        epochs = self.tuning.work.training.epochs
        return None if samples is None else retraining_passes(epochs, samples)

    def _run(self, seed: int, scenario: LabelledComponent, title: str) -> RunRecord | None:
        return self.runs.get((seed, scenario.title, title))


def _ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Trials that have not failed, the best first; of equals the one with fewer passes, then the
    earlier one."""
    able = [
        (each.mean, each.work, each.trial, each) for each in candidates if each.mean is not None
    ]
    return [each for *_, each in sorted(able, key=lambda found: found[:3])]
