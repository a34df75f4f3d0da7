"""Fate of every seed that was asked for: its value, or why it has none. Pure.

A seed that lost its value is never dropped in silence, since seeds are not lost at random: a method
that fails where it would have done badly must not look better for it. Every row counts its seeds by
these words:

pending         no such result yet, and no failure
infrastructure  the machine, its memory or its device gave out; no fault of the method
failed          the method gave no model
undefined       there is a model, and the metric has no value for it
ok              a value in every repeat
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Literal

from supreme_core.analysis import statistics
from supreme_core.analysis.provenance import RowFacts
from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import CellRecord, RunRecord, RunResult
from supreme_core.api.summary import CollapseRate, Failure, SeedCounts

TEST_ACCURACY = names.metric_row("accuracy", "test")
TELL_COLLAPSE = (TEST_ACCURACY, names.metric_row("reference_accuracy", "test"))
"""Rows that tell a collapsed run; the second one where results of the reference are imported."""

Word = Literal["ok", "undefined", "infrastructure", "failed", "pending"]
FailureKind = Literal["failed", "collapsed", "undefined", "infrastructure", "pending"]
WORST: tuple[Word, ...] = ("failed", "infrastructure", "undefined", "ok")
"""Fates of a seed, worst first: several repeats count by the first word that one of them has."""

SeedValues = dict[int, float | None]
Pair = tuple[str, str]
"""(scenario, method)."""


def collapse_row(metrics: Mapping[str, RowFacts]) -> str | None:
    """None where no such row was asked for."""
    return first(TELL_COLLAPSE, metrics)


def first(rows: Iterable[str], metrics: Mapping[str, RowFacts]) -> str | None:
    """The first of the rows that was asked for."""
    return next((row for row in rows if row in metrics), None)


class Runs:
    """The runs of all seeds, by scenario and method, and what became of each.

    answers: by seed, the results that answer the order.  tuned: titles of the methods that were
    tuned.
    """

    def __init__(
        self,
        order: ExperimentOrder,
        metrics: Mapping[str, RowFacts],
        answers: Mapping[int, RunResult],
    ) -> None:
        self.order, self.metrics, self.answers = order, metrics, answers
        self.tuned = {each.title for each in order.tuning.work.methods} if order.tuning else set()
        self.seeds = [seed for seed in order.seeds if seed in answers]
        self.of: dict[Pair, dict[int, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
        for seed in self.seeds:
            for run in sorted(answers[seed].runs, key=lambda run: run.repeat):
                self.of[run.scenario, run.method][seed].append(run)
        self._cells = {
            (cell.scenario, seed): cell for seed in self.seeds for cell in answers[seed].cells
        }

    def methods(self, scenario: str) -> list[str]:
        """The references, and the methods that the plan did not leave out."""
        excluded = {pair.method for pair in self.order.excluded if pair.scenario == scenario}
        methods = [method.title for method in self.order.work.methods]
        return [*names.REFERENCES, *(method for method in methods if method not in excluded)]

    def rows(self, scenario: str) -> list[str]:
        """Rows that have a value in this scenario, the primary one first and in any case.

        Where single samples are forgotten, for example, nothing is said about forget_test.
        """
        found = self._with_a_value[scenario]
        primary = self.order.primary_metric
        return [primary, *(each for each in self.metrics if each in found and each != primary)]

    @cached_property
    def _with_a_value(self) -> Mapping[str, set[str]]:
        """Rows with a value by scenario: each of very many cells of a table asks for them."""
        found = defaultdict[str, set[str]](set)
        for (scenario, _), seeds in self.of.items():
            for run in chain.from_iterable(seeds.values()):
                found[scenario] |= {row for row, value in run.metrics.items() if value is not None}
        return found

    def has(self, method: str, metric: str) -> bool:
        """Return whether the metric is defined for the method, as not all are for the
        references."""
        return method not in names.REFERENCES or method in self.metrics[metric].references

    def cells(self, scenario: str) -> dict[int, CellRecord]:
        """Cells by seed."""
        return {seed: cell for (of, seed), cell in self._cells.items() if of == scenario}

    def values(self, scenario: str, method: str, metric: str) -> SeedValues:
        """One value for each seed: the mean over the repeats that have one."""
        return {
            seed: statistics.average(
                run.metrics.get(metric)
                for run in self._counted(scenario, method, metric, seed)
                if run.status == "ok"
            )
            for seed in self.order.seeds
        }

    def _counted(self, scenario: str, method: str, metric: str, seed: int) -> list[RunRecord]:
        """Distances are taken to Retrained's first replica. What they are for the others is noise,
        which the floor reports, and no part of Retrained's own value."""
        runs = self.of.get((scenario, method), {}).get(seed, [])
        first_only = method == names.RETRAINED and self.metrics[metric].compares
        return [run for run in runs if not (first_only and run.repeat)]

    def word(self, scenario: str, method: str, metric: str, seed: int) -> Word:
        """Fate of a seed, by the worst of its repeats."""
        words = {_word(run, metric) for run in self._counted(scenario, method, metric, seed)}
        return next((word for word in WORST if word in words), "pending")

    def counts(self, scenario: str, method: str, metric: str) -> SeedCounts:
        words = Counter(self.word(scenario, method, metric, seed) for seed in self.order.seeds)
        return SeedCounts(
            asked=len(self.order.seeds),
            pending=words["pending"],
            infrastructure=words["infrastructure"],
            failed=words["failed"],
            undefined=words["undefined"],
        )

    def collapse_threshold(self, scenario: str) -> float | None:
        """None where the metric that tells a collapse was not asked for."""
        row = collapse_row(self.metrics)
        if row is None:
            return None
        accuracies = self.values(scenario, names.RETRAINED, row)
        return statistics.collapse_threshold(accuracies.values())

    def collapse_rates(self) -> Iterator[CollapseRate]:
        """Collapse rates of every method and reference in each scenario."""
        for scenario in self.order.work.scenarios:
            threshold = self.collapse_threshold(scenario.title)
            for method in self.methods(scenario.title):
                yield self._collapse_rate(scenario.title, method, threshold)

    def _collapse_rate(self, scenario: str, method: str, threshold: float | None) -> CollapseRate:
        by_seed = self.of.get((scenario, method), {})
        words = {seed: ending(by_seed.get(seed, [])) for seed in self.order.seeds}
        failed = {seed for seed, word in words.items() if word == "failed"}
        lost = {seed for seed, word in words.items() if word in ("pending", "infrastructure")}
        collapsed = {
            seed
            for seed, runs in by_seed.items()
            if any(statistics.is_collapsed(self._told_by(run), threshold) for run in runs)
        }
        of = len(words) - len(lost)
        bad = len((failed | collapsed) - lost)
        low, high = statistics.wilson(bad, of) or (None, None)
        return CollapseRate(
            scenario=scenario,
            method=method,
            collapsed=len(collapsed - lost - failed),
            failed=len(failed),
            of=of,
            rate=bad / of if of else None,
            low=low,
            high=high,
        )

    def _told_by(self, run: RunRecord) -> float | None:
        """Value that tells whether a run collapsed; None where the run has none."""
        row = collapse_row(self.metrics)
        return run.metrics.get(row) if row and run.status == "ok" else None

    def failures(self) -> Iterator[Failure]:
        """Runs that are lost, collapsed, or without some value, in the order of the table."""
        for scenario in self.order.work.scenarios:
            threshold = self.collapse_threshold(scenario.title)
            for method in self.methods(scenario.title):
                for seed in self.seeds:
                    yield from self._failures(scenario.title, method, seed, threshold)

    def _failures(
        self, scenario: str, method: str, seed: int, threshold: float | None
    ) -> Iterator[Failure]:
        runs = self.of.get((scenario, method), {}).get(seed, [])
        row = collapse_row(self.metrics)
        if not runs:
            reason = "the result of this seed has no such run"
            yield failure("pending", seed, reason, scenario=scenario, method=method)
        for run in runs:
            where = f"repeat {run.repeat}: " if len(runs) > 1 else ""
            accuracy = self._told_by(run)
            if run.status == "failed":
                reason = where + (run.reason or "no reason given")
                yield failure(KINDS[run.cause], seed, reason, scenario=scenario, method=method)
            elif statistics.is_collapsed(accuracy, threshold):
                reason = (
                    f"{where}{row} {accuracy:.4g} is below {threshold:.4g},"
                    " half the median of Retrained"
                )
                yield failure("collapsed", seed, reason, scenario=scenario, method=method)
        if undefined := self._undefined(scenario, method, seed):
            yield failure(
                "undefined",
                seed,
                "not defined for this model, or no finite number below 1e75:"
                f" {', '.join(undefined)}",
                scenario=scenario,
                method=method,
                metrics=undefined,
            )

    def _undefined(self, scenario: str, method: str, seed: int) -> list[str]:
        """Rows without a value in some run that ended well.

        What is not defined for Retrained either is said of Retrained alone.
        """
        return [
            metric
            for metric in self.rows(scenario)
            if self.has(method, metric)
            and self._lacks(scenario, method, metric, seed)
            and not (
                method != names.RETRAINED
                and self.has(names.RETRAINED, metric)
                and self._lacks(scenario, names.RETRAINED, metric, seed)
            )
        ]

    def _lacks(self, scenario: str, method: str, metric: str, seed: int) -> bool:
        return any(
            run.status == "ok" and _word(run, metric) == "undefined"
            for run in self._counted(scenario, method, metric, seed)
        )


KINDS: Mapping[str, Literal["failed", "undefined", "infrastructure"]] = {
    "method": "failed",
    "metric": "undefined",
    "infrastructure": "infrastructure",
}
"""Fate of a run that failed, by its cause."""


def ending(runs: Iterable[RunRecord]) -> Word:
    """Fate of the model of a seed, whatever its metrics say."""
    words = {"ok" if run.status == "ok" else KINDS[run.cause] for run in runs}
    return next((word for word in WORST if word in words), "pending")


def _word(run: RunRecord, metric: str) -> Word:
    if run.status == "failed":
        return KINDS[run.cause]
    return "ok" if statistics.present([run.metrics.get(metric)]) else "undefined"


def failure(
    kind: FailureKind,
    seed: int,
    reason: str,
    *,
    scenario: str | None = None,
    method: str | None = None,
    metrics: Iterable[str] = (),
) -> Failure:
    return Failure(
        scenario=scenario,
        method=method,
        seed=seed,
        kind=kind,
        metrics=list(metrics),
        reason=reason[:1024],
    )
