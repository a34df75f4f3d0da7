"""Turn the results of all seeds into one Summary: the table, in JSON and CSV. Pure.

The unit of replication is the training seed. Repeats within a seed (unlearning repeats of a method,
replicas of Retrained) are averaged first and never counted as more data: ten seeds with five
repeats are ten values, not fifty (Var ȳ = σ_t²/I + σ_u²/(IJ), and σ_t² is what seeds are for).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Literal

from supreme_core.analysis import comparison, statistics
from supreme_core.analysis.files import dump
from supreme_core.analysis.gaps import MethodRow, gaps_of, joint_verdicts, resolution_of
from supreme_core.analysis.provenance import RowFacts, provenance_from
from supreme_core.analysis.spreads import Spreads
from supreme_core.analysis.survivors import Runs, SeedValues, failure
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import RunRecord, RunResult
from supreme_core.api.summary import (
    Axis,
    Comparison,
    Failure,
    Floor,
    Front,
    Gap,
    Ranking,
    Robust,
    Row,
    Summary,
    SummaryExperiment,
)
from supreme_core.errors import SpecError
from supreme_core.registry import unknown

AxisRole = Literal["forget", "test", "membership", "cost"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Question that an experiment asks, as far as its summary needs it.

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


def aggregate(results: Iterable[RunResult], question: Question) -> Summary:
    """The summary of whatever results there are; seeds without one are listed as pending.

    The order of `results` does not matter. Of several results of a seed the last attempt counts.
    A result of other work (another digest) is not mixed in: its seed is pending, with the reason.
    """
    order = question.order
    if order.primary_metric not in question.metrics:
        message = unknown("metric row", order.primary_metric, question.metrics)
        raise SpecError(f"primaryMetric: {message}")
    latest = _latest(results, order.seeds)
    answers = {
        seed: _within_ranges(result, question.metrics)
        for seed, result in latest.items()
        if result.work_digest == question.work_digest
    }
    runs = Runs(order, question.metrics, answers)
    scenarios = [scenario.title for scenario in order.work.scenarios]
    gaps = {scenario: gaps_of(runs, scenario) for scenario in scenarios}
    rows = [row for scenario in scenarios for row in _rows(runs, scenario, gaps, question)]
    failures = [*_pending_seeds(latest, question), *runs.failures()]
    between = comparison.Rows(rows)
    ranks, ranks_as_given = _rankings(between, runs, question)
    provenance = provenance_from(
        answers, order, metrics=question.metrics, versions=question.versions
    )
    return Summary(
        experiment=SummaryExperiment(name=order.experiment.name, digest=question.work_digest),
        primary_metric=order.primary_metric,
        seeds=list(order.seeds),
        partial=any(failure.kind in WITHOUT_A_MODEL for failure in failures),
        rows=rows,
        joint_verdicts=[
            verdict
            for scenario in scenarios
            for verdict in joint_verdicts(runs, scenario, gaps[scenario])
        ],
        collapse_rates=list(runs.collapse_rates()),
        comparisons=list(_comparisons(between, runs, question)),
        ranks=ranks,
        ranks_as_given=ranks_as_given,
        pareto=list(_fronts(between, runs, question)),
        failures=failures,
        excluded=list(order.excluded),
        provenance=dump(provenance),
    )


ROUNDING = 1e-6
"""Amount by which the end of a range may be missed, as where a sum of shares is 1.0000001."""

WITHOUT_A_MODEL = ("pending", "infrastructure", "failed")
"""Kinds of failures that leave less than was asked for."""


def _rankings(
    rows: comparison.Rows, runs: Runs, question: Question
) -> tuple[Ranking | None, Ranking | None]:
    """Rankings by the primary metric, of methods with chosen settings and with settings as given;
    None of what a machine measures."""
    primary, scenarios = question.order.primary_metric, question.order.work.scenarios
    if question.metrics[primary].measured:
        return None, None
    kinds = {scenario.title: scenario.name for scenario in scenarios}
    blocks = list(comparison.blocks(rows, primary, kinds=kinds))
    return comparison.rankings(blocks, primary, tuned=runs.tuned)


def _comparisons(rows: comparison.Rows, runs: Runs, question: Question) -> Iterator[Comparison]:
    """Every pair of methods by the primary metric; none by what a machine measures."""
    primary, scenarios = question.order.primary_metric, question.order.work.scenarios
    facts = question.metrics[primary]
    if not facts.measured:
        yield from comparison.comparisons(
            rows,
            primary,
            facts.widest,
            resolutions={
                each.title: resolution_of(runs, each.title, primary) for each in scenarios
            },
            tuned=runs.tuned,
        )


def _fronts(rows: comparison.Rows, runs: Runs, question: Question) -> Iterator[Front]:
    """Pareto fronts of scenarios with two or more axes; one axis alone needs no front."""
    widest = {
        metric: facts.widest
        for metric, facts in question.metrics.items()
        if facts.widest is not None
    }
    for scenario in rows.scenarios():
        metrics = rows.metrics(scenario)
        primary = question.order.primary_metric
        ordered = sorted(metrics, key=lambda metric: metric != primary)
        axes = axes_of({metric: question.metrics[metric] for metric in ordered})
        if len(axes) > 1:
            resolutions = {axis.metric: resolution_of(runs, scenario, axis.metric) for axis in axes}
            yield comparison.front(
                rows, scenario, axes, widest, resolutions=resolutions, tuned=runs.tuned
            )


def axes_of(facts: Mapping[str, RowFacts]) -> list[Axis]:
    """First row that can play each role, by role.

    To forget, to be of use, to hide who was a member, and to be quick.
    """
    roles: dict[AxisRole, Callable[[RowFacts], bool]] = {
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


def _rows(
    runs: Runs, scenario: str, gaps: Mapping[str, Mapping[MethodRow, Gap]], question: Question
) -> Iterator[Row]:
    spreads = Spreads(runs)
    for method in runs.methods(scenario):
        for metric in runs.rows(scenario):
            if not runs.has(method, metric):
                continue
            facts = question.metrics[metric]
            values = runs.values(scenario, method, metric)
            over_seeds = statistics.estimate(values.values(), lowest=facts.low, highest=facts.high)
            yield Row(
                scenario=scenario,
                method=method,
                metric=metric,
                n=over_seeds.n,
                seeds=runs.counts(scenario, method, metric),
                mean=over_seeds.mean,
                sd=over_seeds.sd,
                low=over_seeds.low,
                high=over_seeds.high,
                interval=None if over_seeds.low is None else over_seeds.kind,
                robust=_robust(values),
                variance=spreads.of(scenario, method, metric),
                gap=gaps[scenario].get((metric, method)),
                floor=question.floors.get((scenario, metric)),
                values={str(seed): value for seed, value in values.items()},
            )


def _robust(values: SeedValues) -> Robust | None:
    found = statistics.robust(values.values())
    return Robust(**asdict(found)) if found else None


def _latest(results: Iterable[RunResult], seeds: Sequence[int]) -> dict[int, RunResult]:
    """The last attempt of each seed that was asked for."""
    asked = set(seeds)
    by_age = sorted(results, key=lambda result: (result.attempt, result.finished_at))
    return {result.seed: result for result in by_age if result.seed in asked}


def _within_ranges(result: RunResult, facts: Mapping[str, RowFacts]) -> RunResult:
    """The result, in which a number that its metric cannot have is none: a pod may write any.

    One that rounding has put beyond an end of the range is that end, as intervals are made for
    numbers within the range.
    """
    changed = [_changed(run, facts) for run in result.runs]
    if not any(changed):
        return result
    runs = [
        run.model_copy(update={"metrics": {**run.metrics, **others}})
        for run, others in zip(result.runs, changed, strict=True)
    ]
    return result.model_copy(update={"runs": runs})


def _changed(run: RunRecord, facts: Mapping[str, RowFacts]) -> dict[str, float | None]:
    """Rows with a number beyond the range of their metric, each with what stands in its place."""
    found = {
        row: (value, _possible(value, facts[row]))
        for row, value in run.metrics.items()
        if value is not None and row in facts
    }
    return {row: possible for row, (value, possible) in found.items() if possible != value}


def _possible(value: float, facts: RowFacts) -> float | None:
    """The value that a metric can have, up to rounding; None where it is none."""
    low = -inf if facts.low is None else facts.low
    high = inf if facts.high is None else facts.high
    possible = min(max(value, low), high)
    return possible if abs(possible - value) <= ROUNDING else None


def _pending_seeds(latest: Mapping[int, RunResult], question: Question) -> Iterator[Failure]:
    for seed in question.order.seeds:
        if seed not in latest:
            yield failure("pending", seed, "no result")
        elif latest[seed].work_digest != question.work_digest:
            digest = latest[seed].work_digest
            yield failure("pending", seed, f"its result answers other work ({digest[:12]})")
