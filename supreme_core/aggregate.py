"""Turn the results of all seeds into one Summary: the table, in JSON and CSV. Pure.

The unit of replication is the training seed. Repeats within a seed (unlearning repeats of a method,
replicas of Retrained) are averaged first and never counted as more data: ten seeds with five
repeats are ten values, not fifty (Var ȳ = σ_t²/I + σ_u²/(IJ), and σ_t² is what seeds are for).
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations, pairwise
from math import isfinite, sqrt
from typing import Any, Literal

from pydantic import Field

from supreme_core import comparison, statistics
from supreme_core.api import names
from supreme_core.api.model import Document, parse
from supreme_core.api.run import (
    Axis,
    DatasetRecord,
    Digest,
    ExperimentOrder,
    Failure,
    Floor,
    Front,
    Gap,
    Named,
    NonInferiority,
    Ranks,
    Robust,
    Row,
    RunRecord,
    RunResult,
    Summary,
    SummaryExperiment,
    Variance,
    Work,
)
from supreme_core.catalog import Listed
from supreme_core.errors import SpecError
from supreme_core.registry import Direction, Entry, MetricFacts, SetName, unknown

TEST_ACCURACY = names.metric_row("accuracy", "test")
TELL_COLLAPSE = (TEST_ACCURACY, names.metric_row("reference_accuracy", "test"))
"""Rows that tell a collapsed run; the second one where results of the reference are imported."""
TELL_UTILITY = (names.metric_row("accuracy", "retain_test"), TEST_ACCURACY)
"""Where a class is forgotten, who forgets nothing has more of the second than Retrained."""

Metric = Entry[Any, MetricFacts] | Listed
SeedValues = dict[int, float | None]
Role = Literal["forget", "test", "membership", "cost"]
Pair = tuple[str, str]
"""(scenario, method)."""


class RowFacts(Document):
    """What a published number needs beside it: MetricFacts for one row of the table."""

    metric: str = Field(description="Title of the metric; a row for each set where it has sets.")
    on: SetName | None
    group: str
    unit: str
    compares: bool
    measured: bool
    random: bool
    low: float | None
    high: float | None
    direction: Direction
    margin: float | None
    references: list[Literal["original", "retrained"]]
    summary: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an experiment asks, as far as its summary needs it.

    order: its seeds, scenarios and methods are in the order of the spec, which is the order of the
    table. work_digest: of order.work, as results carry it. metrics: facts of each row by name, see
    `row_facts`. floors: by (scenario, row), see `noise_floor`. versions: of whatever the reader of
    a number wants to know, by name.
    """

    order: ExperimentOrder
    work_digest: str
    metrics: Mapping[str, RowFacts]
    floors: Mapping[tuple[str, str], Floor] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class Span(Document):
    """Smallest and largest over the seeds."""

    low: int
    high: int


class CellSummary(Document):
    """What a scenario forgot, over the seeds."""

    scenario: str
    forgets: Literal["classes", "samples"]
    forget_samples: Span
    retain_samples: Span
    forget_test_samples: Span
    named: list[Named] = Field(
        default_factory=list,
        exclude_if=lambda named: not named,
        description="Classes and the like that the scenario names, as the dataset has them.",
    )
    forget_sets: int = Field(description="Different forget sets; 1 where all seeds share one.")
    forget_digests: dict[str, str] = Field(description="Digest of the forget set of each seed.")


class EnvironmentSummary(Document):
    """One environment that computed something, and the seeds that it computed for."""

    digest: Digest
    seeds: list[int]
    values: dict[str, Any]


class Provenance(Document):
    """Where the numbers come from; stands in summary.json as `provenance`.

    Times of day, attempts and whether a stage was reused are left out on purpose: the same work
    gives the same bytes again, except for environments and the values of measured rows.
    """

    work: Work
    datasets: list[DatasetRecord]
    cells: list[CellSummary]
    metrics: dict[str, RowFacts]
    versions: dict[str, str]
    environments: list[EnvironmentSummary]
    mixed_environments: bool
    imported: list[str] = Field(
        default_factory=list,
        exclude_if=lambda value: not value,
        description="Of numbers that were computed elsewhere, what is to be known of them. Then"
        " work says what was compared and not how it was trained.",
    )


def row_facts(
    metrics: Iterable[tuple[str, Entry[Any, MetricFacts] | Listed]],
) -> dict[str, RowFacts]:
    """The rows of (title, metric) pairs, in their order; sets in the metric's own order.

    A metric comes from the registry or, where plug-ins cannot be imported, from the catalogue.
    """
    rows: dict[str, RowFacts] = {}
    for title, entry in metrics:
        facts = entry.facts if isinstance(entry, Entry) else _facts_of(entry)
        sets: tuple[SetName | None, ...] = facts.sets or (None,)
        for on in sets:
            rows[names.metric_row(title, on)] = RowFacts(
                metric=title,
                on=on,
                group=facts.group,
                unit=facts.unit,
                compares=facts.compares,
                measured=facts.measured,
                random=facts.random,
                low=facts.low,
                high=facts.high,
                direction=facts.direction,
                margin=facts.margin,
                references=list(facts.references),
                summary=entry.summary,
                source=facts.source,
            )
    return rows


def _facts_of(listed: Listed) -> MetricFacts:
    """The catalogue is JSON, which has lists for tuples."""
    facts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in listed.facts.items()
    }
    return MetricFacts(**facts)


def aggregate(results: Iterable[RunResult], question: Question) -> Summary:
    """The summary of whatever results there are; seeds without one are listed as missing.

    The order of `results` does not matter. Of several results of a seed the last attempt counts.
    A result of other work (another digest) is not mixed in: its seed is missing, with the reason.
    """
    order = question.order
    if order.primary_metric not in question.metrics:
        message = unknown("metric row", order.primary_metric, question.metrics)
        raise SpecError(f"primaryMetric: {message}")
    latest = _latest(results, order.seeds)
    answers = {
        seed: result
        for seed, result in latest.items()
        if result.work_digest == question.work_digest
    }
    table = _Table(question, answers)
    failures = [*_missing_seeds(latest, question), *table.failures()]
    rows = list(table.rows())
    between = comparison.Rows(rows)
    primary = order.primary_metric
    is_compared = not question.metrics[primary].measured
    kinds = {scenario.title: scenario.name for scenario in order.work.scenarios}
    return Summary(
        experiment=SummaryExperiment(name=order.experiment.name, digest=question.work_digest),
        primary_metric=order.primary_metric,
        seeds=list(order.seeds),
        partial=any(failure.kind != "collapsed" for failure in failures),
        rows=rows,
        comparisons=list(comparison.comparisons(between, primary)) if is_compared else [],
        ranks=comparison.ranks(list(comparison.blocks(between, primary, kinds=kinds)), primary)
        if is_compared
        else None,
        pareto=list(_fronts(between, question)),
        failures=failures,
        excluded=list(order.excluded),
        provenance=_dump(_provenance(answers, question)),
    )


def _fronts(rows: comparison.Rows, question: Question) -> Iterator[Front]:
    """Of scenarios with at least two axes; who is good at one thing only needs no front."""
    for scenario in rows.scenarios():
        metrics = rows.metrics(scenario)
        primary = question.order.primary_metric
        ordered = sorted(metrics, key=lambda metric: metric != primary)
        axes = _axes({metric: question.metrics[metric] for metric in ordered})
        if len(axes) > 1:
            yield comparison.front(rows, scenario, axes)


def _axes(facts: Mapping[str, RowFacts]) -> list[Axis]:
    """Of each role the first row that can play it.

    To forget, to be of use, to hide who was a member, and to be quick.
    """
    roles: dict[Role, Callable[[RowFacts], bool]] = {
        "forget": lambda row: row.on == "forget" and not row.measured,
        "test": lambda row: row.on in ("test", "retain_test") and not row.measured,
        "membership": lambda row: row.group == "membership",
        "cost": lambda row: row.measured and row.unit == "seconds",
    }
    return [
        Axis(role=role, metric=metric)
        for role, plays in roles.items()
        for metric in [metric for metric, row in facts.items() if plays(row)][:1]
    ]


def rank_experiments(summaries: Sequence[Summary], metric: str) -> Ranks | None:
    """Ranks over several experiments: their data sets, models and kinds of forgetting are blocks.

    Only of experiments whose seeds were drawn apart, and only by a metric that is not measured.
    """
    found: list[comparison.Block] = []
    for summary in summaries:
        provenance = provenance_of(summary)
        if metric not in provenance.metrics:
            raise SpecError(
                f"{summary.experiment.name}: {unknown('metric row', metric, provenance.metrics)}"
            )
        name = f"{summary.experiment.name} ({summary.experiment.digest[:8]})"
        kinds = {scenario.title: scenario.name for scenario in provenance.work.scenarios}
        rows = comparison.Rows(summary.rows)
        found += comparison.blocks(rows, metric, kinds=kinds, experiment=name)
    return comparison.ranks(found, metric)


def collapse_row(metrics: Mapping[str, RowFacts]) -> str | None:
    """None where no such row was asked for."""
    return _first(TELL_COLLAPSE, metrics)


def _first(rows: Iterable[str], metrics: Mapping[str, RowFacts]) -> str | None:
    return next((row for row in rows if row in metrics), None)


def provenance_of(summary: Summary) -> Provenance:
    """The provenance of a summary as a model.

    SpecError where it is not one of ours, or does not explain what the rows name.
    """
    provenance = parse(Provenance, summary.provenance, at="provenance")
    metrics = {summary.primary_metric, *(row.metric for row in summary.rows)}
    unexplained = sorted(metrics - provenance.metrics.keys())
    known = {scenario.title for scenario in provenance.work.scenarios}
    unexplained += sorted({row.scenario for row in summary.rows} - known)
    if unexplained:
        raise SpecError(f"provenance says nothing about {unexplained[0]!r}, which a row names")
    return provenance


def without_measurements(summary: Summary) -> Summary:
    """The part that must be the same bits whenever the same work is computed again.

    Left out: rows that are times or sizes of a machine, what is computed from them, and the
    machines.
    """
    provenance = provenance_of(summary)
    kept = provenance.model_copy(update={"environments": [], "mixed_environments": False})
    rows = [
        row.model_copy(
            update={
                "variance": row.variance and row.variance.model_copy(update={"best_repeats": None})
            }
        )
        for row in summary.rows
        if not provenance.metrics[row.metric].measured
    ]
    pareto = [front for front in summary.pareto if all(axis.role != "cost" for axis in front.axes)]
    return summary.model_copy(update={"rows": rows, "pareto": pareto, "provenance": _dump(kept)})


def summary_json(summary: Summary) -> bytes:
    """summary.json: equal summaries give equal bytes; absent numbers are null, never NaN."""
    text = json.dumps(_dump(summary), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def summary_csv(summary: Summary) -> bytes:
    """summary.csv: a line for each row, then one column for each seed; an empty field is no value.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*CSV_COLUMNS, *(f"seed_{seed}" for seed in summary.seeds)])
    for row in summary.rows:
        gap = (row.gap.mean, row.gap.low, row.gap.high) if row.gap else (None, None, None)
        writer.writerow(
            [
                *(harmless(text) for text in (row.scenario, row.method, row.metric)),
                *(row.n, row.mean, row.sd, row.low, row.high),
                *gap,
                row.floor.mean if row.floor else None,
                *(row.values.get(str(seed)) for seed in summary.seeds),
            ]
        )
    return buffer.getvalue().encode()


CSV_COLUMNS = (
    *("scenario", "method", "metric"),
    *("n", "mean", "sd", "low", "high"),
    *("gap_mean", "gap_low", "gap_high", "floor_mean"),
)


class _Table:
    """The runs of all seeds, by scenario and method, and what is said of them."""

    def __init__(self, question: Question, answers: Mapping[int, RunResult]) -> None:
        self.question = question
        self.seeds = [seed for seed in question.order.seeds if seed in answers]
        self.runs: dict[Pair, dict[int, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
        for seed in self.seeds:
            for run in sorted(answers[seed].runs, key=lambda run: run.repeat):
                self.runs[run.scenario, run.method][seed].append(run)
        self._forgotten = {
            (cell.scenario, seed): cell.forget_digest
            for seed in self.seeds
            for cell in answers[seed].cells
        }

    def rows(self) -> Iterator[Row]:
        for scenario in self.question.order.work.scenarios:
            title, defined = scenario.title, self._defined(scenario.title)
            gaps = {each: self._gaps(title, each) for each in self._metrics() if each in defined}
            for method in self._methods(title):
                for metric, of_metric in gaps.items():
                    if self._has(method, metric):
                        yield self._row(title, method, metric, of_metric.get(method))

    def failures(self) -> Iterator[Failure]:
        """In the order of the table: runs that failed, collapsed, or are not in their result."""
        for scenario in self.question.order.work.scenarios:
            threshold = self._collapse_threshold(scenario.title)
            for method in self._methods(scenario.title):
                for seed in self.seeds:
                    yield from self._failures(scenario.title, method, seed, threshold)

    def _collapse_threshold(self, scenario: str) -> float | None:
        """None where the metric that tells a collapse was not asked for."""
        row = collapse_row(self.question.metrics)
        if row is None:
            return None
        accuracies = self._values(scenario, names.RETRAINED, row)
        return statistics.collapse_threshold(accuracies.values())

    def _methods(self, scenario: str) -> list[str]:
        excluded = {
            pair.method for pair in self.question.order.excluded if pair.scenario == scenario
        }
        methods = [method.title for method in self.question.order.work.methods]
        return [*names.REFERENCES, *(method for method in methods if method not in excluded)]

    def _metrics(self) -> list[str]:
        primary = self.question.order.primary_metric
        return [primary, *(metric for metric in self.question.metrics if metric != primary)]

    def _defined(self, scenario: str) -> set[str]:
        """Rows that have a value in this scenario, and the primary one in any case.

        Where single samples are forgotten, for example, nothing is said about forget_test.
        """
        found = {
            metric
            for (of, _), seeds in self.runs.items()
            if of == scenario
            for runs in seeds.values()
            for run in runs
            for metric, value in run.metrics.items()
            if value is not None
        }
        return found | {self.question.order.primary_metric}

    def _has(self, method: str, metric: str) -> bool:
        return method not in names.REFERENCES or (
            method in self.question.metrics[metric].references
        )

    def _row(self, scenario: str, method: str, metric: str, gap: Gap | None) -> Row:
        facts = self.question.metrics[metric]
        values = self._values(scenario, method, metric)
        over_seeds = statistics.estimate(values.values(), lowest=facts.low, highest=facts.high)
        return Row(
            scenario=scenario,
            method=method,
            metric=metric,
            n=over_seeds.n,
            mean=over_seeds.mean,
            sd=over_seeds.sd,
            low=over_seeds.low,
            high=over_seeds.high,
            interval=None if over_seeds.low is None else over_seeds.kind,
            robust=_robust(values),
            variance=self._variance(scenario, method, metric),
            gap=gap,
            floor=self.question.floors.get((scenario, metric)),
            values={str(seed): values.get(seed) for seed in self.question.order.seeds},
        )

    def _values(self, scenario: str, method: str, metric: str) -> SeedValues:
        """One value for each seed: the mean over the repeats that are ok and have one.

        Distances are taken to Retrained's first replica. What they are for the others is noise,
        which the floor reports, and no part of Retrained's own value.
        """
        runs = self.runs.get((scenario, method), {})
        first_only = method == names.RETRAINED and self.question.metrics[metric].compares
        return {
            seed: statistics.average(
                run.metrics.get(metric)
                for run in runs.get(seed, [])
                if run.status == "ok" and not (first_only and run.repeat)
            )
            for seed in self.question.order.seeds
        }

    def _gaps(self, scenario: str, metric: str) -> dict[str, Gap]:
        """Of each method to Retrained, where the metric is read by its gap.

        The p values of the methods are adjusted together; Original is no method, so it neither
        pays for the others nor makes them pay.
        """
        facts = self.question.metrics[metric]
        if facts.compares or facts.measured:
            return {}
        retrained = self._values(scenario, names.RETRAINED, metric)
        found: dict[str, list[float]] = {}
        for method in self._methods(scenario):
            if method != names.RETRAINED and self._has(method, metric):
                values = self._values(scenario, method, metric)
                found[method] = statistics.paired_differences(values, retrained)
        p_values = {method: statistics.sign_flip_p(d) for method, d in found.items()}
        tested = {m: p for m, p in p_values.items() if p is not None and m != names.ORIGINAL}
        adjusted = {**p_values, **statistics.holm(tested)}
        margin = self._margin(scenario, metric, facts)
        gaps = {}
        for method, differences in found.items():
            gap = statistics.estimate(differences)
            mean_absolute = statistics.average(map(abs, differences))
            if gap.mean is None or mean_absolute is None:
                continue
            equivalence = statistics.equivalence_p(differences, margin) if margin else None
            gaps[method] = Gap(
                n=gap.n,
                mean=gap.mean,
                low=gap.low,
                high=gap.high,
                sd=gap.sd,
                standardised=gap.mean / gap.sd if gap.sd else None,
                mean_absolute=mean_absolute,
                difference_p=p_values[method],
                signed_rank_p=statistics.signed_rank_p(differences),
                adjusted_p=adjusted[method],
                margin=margin,
                equivalence_p=equivalence,
                verdict=statistics.verdict(
                    gap.n, difference_p=adjusted[method], equivalence_p=equivalence
                ),
                noninferiority=_noninferiority(differences, margin)
                if metric == _first(TELL_UTILITY, self.question.metrics)
                else None,
            )
        return gaps

    def _variance(self, scenario: str, method: str, metric: str) -> Variance | None:
        """Of methods that were repeated within some seed.

        Evaluation repeats are in the values as their mean, so what they vary by is part of what
        the model's other random numbers do.
        """
        runs = self.runs.get((scenario, method), {})
        repeated = any(len(of_seed) > 1 for of_seed in runs.values())
        if method in names.REFERENCES or not repeated:
            return None
        values = [
            [[run.metrics.get(metric)] for run in runs[seed] if run.status == "ok"] for seed in runs
        ]
        found = statistics.variance_components(values)
        if found is None:
            return None
        total = sum(each for each in (found.training, found.unlearning, found.evaluation) if each)
        return Variance(
            training=_root(found.training),
            unlearning=_root(found.unlearning),
            evaluation=_root(found.evaluation),
            training_share=_share(found.training, total),
            unlearning_share=_share(found.unlearning, total),
            evaluation_share=_share(found.evaluation, total),
            deterministic=self._is_deterministic(scenario, method),
            best_repeats=self._best_repeats(scenario, method, found),
        )

    def _is_deterministic(self, scenario: str, method: str) -> bool:
        """Whether all repeats of each seed gave the same, in metrics that are functions of it."""
        varying = {
            metric
            for metric, facts in self.question.metrics.items()
            if facts.measured or facts.random
        }
        for runs in self.runs[scenario, method].values():
            given = [_without(run.metrics, varying) for run in runs if run.status == "ok"]
            if any(each != given[0] for each in given):
                return False
        return True

    def _best_repeats(self, scenario: str, method: str, found: statistics.Components) -> int | None:
        """A seed costs Original and Retrained, which take about the same; a repeat costs the method
        itself. Evaluation is not measured, and left out."""
        times = [
            metric
            for metric, facts in self.question.metrics.items()
            if facts.unit == "seconds" and "retrained" in facts.references
        ]
        if not times or found.training is None or found.unlearning is None:
            return None
        training, unlearning = (
            statistics.average(self._values(scenario, each, times[0]).values())
            for each in (names.RETRAINED, method)
        )
        return statistics.best_repeats(
            within=found.unlearning,
            between=found.training,
            seed_cost=2 * (training or 0.0),
            repeat_cost=unlearning or 0.0,
        )

    def _margin(self, scenario: str, metric: str, facts: RowFacts) -> float | None:
        """The metric's own, or twice the root mean square of differences between Retrained models
        that forgot the same samples, if that is larger: below it chance alone moves the number.

        The pairs are those of the noise floor: each seed with the next, else replicas.
        """
        alike: dict[str, list[float | None]] = defaultdict(list)
        replicas: list[float | None] = []
        for seed in self.seeds:
            runs = self.runs.get((scenario, names.RETRAINED), {}).get(seed, [])
            values = [run.metrics.get(metric) for run in runs if run.status == "ok"]
            forgotten = self._forgotten.get((scenario, seed))
            if values and forgotten:
                alike[forgotten].append(values[0])
            replicas += [_difference(*pair) for pair in pairwise(values)]
        between = [_difference(*pair) for chain in alike.values() for pair in pairwise(chain)]
        noise = statistics.root_mean_square(between or replicas)
        known = [each for each in (facts.margin, noise and 2 * noise) if each]
        return max(known, default=None)

    def _failures(
        self, scenario: str, method: str, seed: int, threshold: float | None
    ) -> Iterator[Failure]:
        runs = self.runs.get((scenario, method), {}).get(seed, [])
        row = collapse_row(self.question.metrics)
        if not runs:
            reason = "the result of this seed has no such run"
            yield _failure("missing", seed, reason, scenario=scenario, method=method)
        for run in runs:
            where = f"repeat {run.repeat}: " if len(runs) > 1 else ""
            accuracy = run.metrics.get(row) if row else None
            if run.status == "failed":
                reason = where + (run.reason or "no reason given")
                yield _failure("failed", seed, reason, scenario=scenario, method=method)
            elif statistics.is_collapsed(accuracy, threshold):
                reason = (
                    f"{where}{row} {accuracy:.4g} is below {threshold:.4g},"
                    " half the median of Retrained"
                )
                yield _failure("collapsed", seed, reason, scenario=scenario, method=method)


def _robust(values: SeedValues) -> Robust | None:
    found = statistics.robust(values.values())
    return Robust(**asdict(found)) if found else None


def _noninferiority(differences: Sequence[float], margin: float | None) -> NonInferiority | None:
    found = statistics.noninferiority(differences, margin) if margin else None
    if found is None:
        return None
    enough = len(differences) >= statistics.FEWEST_FOR_A_VERDICT
    holds = enough and found.p < 1 - statistics.LEVEL
    return NonInferiority(low=found.low, p=found.p, holds=holds)


def _root(variance: float | None) -> float | None:
    return None if variance is None else sqrt(variance)


def _share(variance: float | None, total: float) -> float | None:
    return None if variance is None or total == 0 else variance / total


def _without(metrics: Mapping[str, float | None], names: set[str]) -> dict[str, float | None]:
    return {name: value for name, value in metrics.items() if name not in names}


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _latest(results: Iterable[RunResult], seeds: Sequence[int]) -> dict[int, RunResult]:
    """The last attempt of each seed that was asked for."""
    asked = set(seeds)
    by_age = sorted(results, key=lambda result: (result.attempt, result.finished_at))
    return {result.seed: result for result in by_age if result.seed in asked}


def _missing_seeds(latest: Mapping[int, RunResult], question: Question) -> Iterator[Failure]:
    for seed in question.order.seeds:
        if seed not in latest:
            yield _failure("missing", seed, "no result")
        elif latest[seed].work_digest != question.work_digest:
            digest = latest[seed].work_digest
            yield _failure("missing", seed, f"its result answers other work ({digest[:12]})")


def _failure(
    kind: Literal["failed", "collapsed", "missing"],
    seed: int,
    reason: str,
    *,
    scenario: str | None = None,
    method: str | None = None,
) -> Failure:
    return Failure(scenario=scenario, method=method, seed=seed, kind=kind, reason=reason[:1024])


def _provenance(answers: Mapping[int, RunResult], question: Question) -> Provenance:
    ordered = {seed: answers[seed] for seed in question.order.seeds if seed in answers}
    environments = _environments(ordered)
    return Provenance(
        work=question.order.work,
        datasets=_datasets(ordered.values()),
        cells=list(_cells(ordered, question.order.work)),
        metrics=dict(question.metrics),
        versions=dict(sorted(question.versions.items())),
        environments=environments,
        mixed_environments=_differ(environments),
    )


def _datasets(results: Iterable[RunResult]) -> list[DatasetRecord]:
    different: list[DatasetRecord] = []
    for result in results:
        if result.dataset not in different:
            different.append(result.dataset)
    return different


def _cells(answers: Mapping[int, RunResult], work: Work) -> Iterator[CellSummary]:
    for scenario in work.scenarios:
        cells = {
            seed: cell
            for seed, result in answers.items()
            for cell in result.cells
            if cell.scenario == scenario.title
        }
        if not cells:
            continue
        digests = {str(seed): cell.forget_digest for seed, cell in cells.items()}
        yield CellSummary(
            scenario=scenario.title,
            forgets=next(iter(cells.values())).forgets,
            forget_samples=_span(cell.forget_samples for cell in cells.values()),
            retain_samples=_span(cell.retain_samples for cell in cells.values()),
            forget_test_samples=_span(cell.forget_test_samples for cell in cells.values()),
            named=next((cell.named for cell in cells.values() if cell.named), []),
            forget_sets=len(set(digests.values())),
            forget_digests=digests,
        )


def _span(values: Iterable[int]) -> Span:
    found = list(values)
    return Span(low=min(found), high=max(found))


def _environments(answers: Mapping[int, RunResult]) -> list[EnvironmentSummary]:
    """Each environment once, by digest, with the seeds in whose results it appears."""
    values: dict[str, dict[str, Any]] = {}
    seeds: dict[str, list[int]] = defaultdict(list)
    for seed, result in answers.items():
        for digest, environment in result.environments.items():
            values.setdefault(digest, environment)
            seeds[digest].append(seed)
    return [
        EnvironmentSummary(digest=digest, seeds=seeds[digest], values=_plain(values[digest]))
        for digest in sorted(values)
    ]


def _differ(environments: Sequence[EnvironmentSummary]) -> bool:
    """Whether two of them disagree; one where no torch was needed says less than others."""
    return any(
        one.values[name] != other.values[name]
        for one, other in combinations(environments, 2)
        for name in one.values.keys() & other.values.keys()
    )


def _plain(value: Any) -> Any:
    """Foreign JSON in one spelling: sorted keys, and null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _dump(document: Document) -> dict[str, Any]:
    """All fields, also those that are None: a failed seed is a null in the table, not a gap."""
    return document.model_dump(mode="json", by_alias=True)


def harmless(text: str) -> str:
    """Text as a field of a CSV file; one that a spreadsheet would run as a formula is quoted."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
