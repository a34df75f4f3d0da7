"""Sources of the numbers of a summary, and facts of its rows: RowFacts and Provenance."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import isfinite
from typing import Any, Final, Literal

from pydantic import Field

from supreme_core.api import names
from supreme_core.api.model import Document, parse
from supreme_core.api.orders import ExperimentOrder, Work
from supreme_core.api.records import DatasetRecord, Named, RunResult
from supreme_core.api.summary import Summary
from supreme_core.api.vocabulary import Digest
from supreme_core.errors import SpecError
from supreme_core.registry import Direction, Listed, SetName


class RowFacts(Document):
    """Facts that a published number needs beside it: MetricFacts for one row of the table."""

    metric: str = Field(description="Title of the metric; a row for each set where it has sets.")
    on: SetName | None
    group: str
    unit: str
    compares: bool
    measured: bool
    random: bool
    low: float | None
    high: float | None
    share: bool = Field(
        False,
        description="True where the number is a share of the samples of its set, or of the forget"
        " set.",
    )
    direction: Direction
    margin: float | None
    references: list[Literal["original", "retrained"]]
    summary: str
    source: str

    @property
    def has_gap(self) -> bool:
        """True if the row is read by its gap to Retrained: not where it is nearness to it
        already."""
        return not (self.compares or self.measured)

    @property
    def widest(self) -> float | None:
        """The largest difference of two of its values; None where its range has no two ends."""
        return None if self.low is None or self.high is None else self.high - self.low


class Span(Document):
    """Smallest and largest over the seeds."""

    low: int
    high: int


class CellSummary(Document):
    """Samples that a scenario forgot, over the seeds."""

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
    """Sources of the numbers; `provenance` in summary.json.

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
        description="Remarks on numbers that were computed elsewhere. Then work says what was"
        " compared and not how it was trained.",
    )


def row_facts(metrics: Iterable[tuple[str, Listed]]) -> dict[str, RowFacts]:
    """The rows of (title, metric) pairs, in their order; sets in the metric's own order."""
    return {
        names.metric_row(title, on): RowFacts(
            metric=title,
            on=on,
            summary=metric.summary,
            **{name: metric.facts[name] for name in OF_A_METRIC},
        )
        for title, metric in metrics
        for on in metric.facts["sets"] or (None,)
    }


OF_A_METRIC: Final = tuple(RowFacts.model_fields.keys() - {"metric", "on", "summary"})
"""Facts of a row that are those of its metric."""


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


def provenance_from(
    answers: Mapping[int, RunResult],
    order: ExperimentOrder,
    *,
    metrics: Mapping[str, RowFacts],
    versions: Mapping[str, str],
) -> Provenance:
    """The provenance of a summary of these results, which are by seed."""
    ordered = {seed: answers[seed] for seed in order.seeds if seed in answers}
    environments = _environments(ordered)
    return Provenance(
        work=order.work,
        datasets=_datasets(ordered.values()),
        cells=list(_cells(ordered, order.work)),
        metrics=dict(metrics),
        versions=dict(sorted(versions.items())),
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
    """Return whether two environments disagree; one where no torch was needed says less than
    others."""
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
