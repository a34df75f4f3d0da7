"""Methods against each other, from the rows of a summary: pairs, ranks over blocks, Pareto fronts.

Pure. What is compared is the distance |x - retrained| of each training seed: nobody wants a large
or a small accuracy on the forget set, but that of the model retrained for the same seed. Of a
metric that is a distance already this is the metric, and of a likeness what it lacks to 1.

A method that lost a seed is told from the others by its survivors, so it has no rank, no place on a
front, and no test; it is named with the reason, and takes no seed from the others.

Where settings were tuned, all of this is done for each track by itself: see `tracks`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy import stats

from supreme_core.analysis import hypotheses, statistics
from supreme_core.analysis.statistics import FloatArray
from supreme_core.analysis.tracks import by_track, track_of
from supreme_core.api import names
from supreme_core.api.summary import (
    OF_RETRAINED,
    Axis,
    Comparison,
    Distance,
    Friedman,
    Front,
    LeftOut,
    Point,
    Rank,
    RankedPair,
    Ranking,
    Row,
)

NOT_THERE = "not computed in this scenario"
FEWEST = hypotheses.FEWEST_FOR_A_DIFFERENCE
Distances = Mapping[str, float]
"""Distances by training seed."""
T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Unit that methods are ranked in: one kind of forgetting.

    distances, scores: by method, of those that have every seed; a score is 1 - min(1, distance /
    mean distance of Original), and there is none where Original is not told from Retrained.
    lacks: of the other methods, why they do not.  sample: blocks of one sample are measured on the
    same models, one for each seed.
    """

    title: str
    distances: Mapping[str, Distances]
    scores: Mapping[str, Distances]
    lacks: Mapping[str, str] = field(default_factory=dict)
    sample: str = ""


class Rows:
    """Rows of one experiment, and the distances that are in them."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(row.scenario, row.method, row.metric): row for row in rows}

    def of(self, scenario: str, method: str, metric: str) -> Row | None:
        return self._rows.get((scenario, method, metric))

    def scenarios(self) -> list[str]:
        return list(dict.fromkeys(scenario for scenario, _, _ in self._rows))

    def methods(self, scenario: str) -> list[str]:
        """Methods without the references."""
        there = dict.fromkeys(method for of, method, _ in self._rows if of == scenario)
        return [method for method in there if method not in names.REFERENCES]

    def metrics(self, scenario: str) -> list[str]:
        return list(dict.fromkeys(metric for of, _, metric in self._rows if of == scenario))

    def distances(self, scenario: str, method: str, metric: str) -> Distances:
        """|x - retrained| of the seeds that have both."""
        retrained = self.values(scenario, names.RETRAINED, metric)
        return {
            seed: abs(value - retrained[seed])
            for seed, value in self.values(scenario, method, metric).items()
            if seed in retrained
        }

    def lack(self, scenario: str, method: str, metric: str) -> str:
        """Reason why a distance of some seed is missing; empty where all are there."""
        row = self.of(scenario, method, metric)
        retrained = self.of(scenario, names.RETRAINED, metric)
        if row is None or retrained is None:
            return NOT_THERE
        return row.lack or (f"{OF_RETRAINED}{retrained.lack}" if retrained.lack else "")

    def lack_on_axis(self, scenario: str, method: str, axis: Axis) -> str:
        if axis.role != "cost":
            return self.lack(scenario, method, axis.metric)
        row = self.of(scenario, method, axis.metric)
        return row.lack if row else NOT_THERE

    def on_axis(self, scenario: str, method: str, axis: Axis) -> Distances:
        """A cost is what it is; Retrained's is not what it should be near to."""
        if axis.role == "cost":
            return self.values(scenario, method, axis.metric)
        return self.distances(scenario, method, axis.metric)

    def values(self, scenario: str, method: str, metric: str) -> Distances:
        """Values of the seeds that have one."""
        row = self.of(scenario, method, metric)
        values = row.values if row else {}
        return {seed: value for seed, value in values.items() if value is not None}


def comparisons(
    rows: Rows,
    metric: str,
    widest: float | None = None,
    *,
    resolutions: Mapping[str, float | None] = {},
    tuned: Collection[str] = (),
) -> Iterator[Comparison]:
    """Every pair of methods of one track in each scenario, where a seed has both.

    widest: the largest distance that there can be, None where there is none.  resolutions: by
    scenario, what the standard deviation of a difference is at least, as of a gap.
    """
    for scenario in rows.scenarios():
        resolution = resolutions.get(scenario) or 0.0
        for methods in by_track(rows.methods(scenario), tuned):
            yield from _pairs(rows, scenario, methods, metric, widest, resolution)


def _pairs(
    rows: Rows,
    scenario: str,
    methods: Iterable[str],
    metric: str,
    widest: float | None,
    resolution: float,
) -> Iterator[Comparison]:
    """Pairs of methods, which are one family of tests."""
    found = {m: rows.distances(scenario, m, metric) for m in methods}
    lacks = {m: rows.lack(scenario, m, metric) for m in found}
    pairs = {
        (one, other): statistics.paired_differences(found[one], found[other])
        for one, other in combinations(found, 2)
    }
    complete = {pair: d for pair, d in pairs.items() if not any(lacks[m] for m in pair)}
    p_values = {
        pair: hypotheses.difference_p(d, resolution=resolution) for pair, d in complete.items()
    }
    flip_p_values = dict(
        zip(complete, hypotheses.sign_flip_p_values(complete.values()), strict=True)
    )
    adjusted = hypotheses.holm({pair: p for pair, p in p_values.items() if p is not None})
    for pair, differences in pairs.items():
        over_seeds = statistics.clipped(
            statistics.estimate(differences, resolution=resolution),
            None if widest is None else -widest,
            widest,
        )
        nearer = statistics.share_below(differences)
        if over_seeds.mean is None or nearer is None:
            continue
        interval = statistics.wilson(nearer * over_seeds.n, over_seeds.n)
        assert interval is not None
        lack = "; ".join(f"{m}: {lacks[m]}" for m in pair if lacks[m])
        yield Comparison(
            scenario=scenario,
            metric=metric,
            method=pair[0],
            other=pair[1],
            n=over_seeds.n,
            lack=lack or None,
            mean=over_seeds.mean,
            low=over_seeds.low,
            high=over_seeds.high,
            difference_p=p_values.get(pair),
            flip_p=flip_p_values.get(pair),
            adjusted_p=adjusted.get(pair) if over_seeds.n >= FEWEST else None,
            nearer=nearer,
            nearer_low=interval[0],
            nearer_high=interval[1],
        )


def blocks(rows: Rows, metric: str, *, kinds: Mapping[str, str]) -> Iterator[Block]:
    """The blocks of an experiment: a scenario, or all that are of one kind.

    kinds: the component that each scenario is.

    Scenarios that differ in their settings alone, such as the share of samples to forget, are
    measured on the same models and say much the same, so they count once: as the mean of a seed's
    distances over them.
    """
    alike: dict[str, list[str]] = {}
    for scenario in rows.scenarios():
        alike.setdefault(kinds[scenario], []).append(scenario)
    for kind, scenarios in alike.items():
        methods = dict.fromkeys(m for scenario in scenarios for m in rows.methods(scenario))
        lacks = {
            method: lack
            for method in methods
            if (lack := "; ".join(_lacks(rows, scenarios, method, metric)))
        }
        distances = [
            {m: rows.distances(scenario, m, metric) for m in methods if m not in lacks}
            for scenario in scenarios
        ]
        scores = [
            {m: _scores(d, unit) for m, d in of_scenario.items()}
            for scenario, of_scenario in zip(scenarios, distances, strict=True)
            if (unit := _distance_of_original(rows, scenario, metric)) is not None
        ]
        yield Block(
            title=scenarios[0] if len(scenarios) == 1 else kind,
            distances=_mean_over(distances),
            scores=_mean_over(scores),
            lacks=lacks,
        )


def _lacks(rows: Rows, scenarios: Iterable[str], method: str, metric: str) -> Iterator[str]:
    for scenario in scenarios:
        if lack := rows.lack(scenario, method, metric):
            yield f"{scenario}: {lack}"


def _mean_over(scenarios: Sequence[Mapping[str, Distances]]) -> Mapping[str, Distances]:
    """Mean over scenarios of each method and seed, all of which every scenario has."""
    if not scenarios:
        return {}
    return {
        method: {
            seed: sum(scenario[method][seed] for scenario in scenarios) / len(scenarios)
            for seed in of_method
        }
        for method, of_method in scenarios[0].items()
    }


def _scores(distances: Distances, unit: float) -> dict[str, float]:
    return {seed: 1 - min(1.0, distance / unit) for seed, distance in distances.items()}


def _distance_of_original(rows: Rows, scenario: str, metric: str) -> float | None:
    """Mean over seeds; None where some is lost, or where it is not above the margin of its gap or
    the noise floor."""
    row = rows.of(scenario, names.ORIGINAL, metric)
    if rows.lack(scenario, names.ORIGINAL, metric):
        return None
    found = statistics.average(rows.distances(scenario, names.ORIGINAL, metric).values())
    if row is None or found is None:
        return None
    margin = row.gap.margin if row.gap else None
    noise = max(margin or 0.0, _distance_of_floor(rows, row))
    return found if found > noise else None


def _distance_of_floor(rows: Rows, row: Row) -> float:
    """Distance that the noise floor is: of a likeness what it lacks to Retrained's own, which is 1;
    a row with a gap is neither."""
    if row.floor is None:
        return 0.0
    retrained = rows.of(row.scenario, names.RETRAINED, row.metric)
    own = retrained.mean if retrained and row.gap is None else None
    return abs(row.floor.mean - (own or 0.0))


def rankings(
    found: Sequence[Block], metric: str, *, tuned: Collection[str] = ()
) -> tuple[Ranking | None, Ranking | None]:
    """Ranks of the tuned methods and of those with settings as given, each among themselves; where
    nothing was tuned, of all methods, and None."""
    if not tuned:
        return ranks(found, metric), None
    chosen, given = (
        ranks([_of_track(block, track, tuned) for block in found], metric)
        for track in ("chosen", "given")
    )
    return chosen, given


def _of_track(block: Block, track: str, tuned: Collection[str]) -> Block:
    def only(by_method: Mapping[str, T]) -> dict[str, T]:
        return {m: each for m, each in by_method.items() if track_of(m, tuned) == track}

    return replace(
        block,
        distances=only(block.distances),
        scores=only(block.scores),
        lacks=only(block.lacks),
    )


def ranks(found: Sequence[Block], metric: str) -> Ranking | None:
    """Mean ranks of the methods over the blocks, by their mean distance in each; ties share a rank.

    Intervals are those of a bootstrap of training seeds, which are drawn once for all methods and
    all blocks of a sample. Over methods that have every seed in every block: the others are left
    out, by name and with the reason. None where fewer than two methods were asked for.
    """
    everyone = list(
        dict.fromkeys(method for block in found for method in (*block.distances, *block.lacks))
    )
    if len(everyone) < 2:
        return None
    left_out = {method: reason for method in everyone if (reason := _why_left_out(found, method))}
    methods = [method for method in everyone if method not in left_out]
    ranked: list[Rank] = []
    friedman, pairs, seeds = None, list[RankedPair](), 0
    if len(methods) > 1:
        drawn = _draws(found, methods[0])
        tables = [
            _table(block.distances, methods, draws.seeds)
            for block, draws in zip(found, drawn, strict=True)
        ]
        means = np.stack([table.mean(axis=0) for table in tables])
        ranked = list(_ranked(found, methods, tables, means, drawn))
        friedman, pairs, seeds = (
            _friedman(means),
            list(_ranked_pairs(methods, means)),
            _fewest(drawn),
        )
    return Ranking(
        metric=metric,
        blocks=[block.title for block in found],
        left_out=[LeftOut(method=m, reason=reason[:1024]) for m, reason in left_out.items()],
        seeds=seeds,
        ranks=ranked,
        friedman=friedman,
        pairs=pairs,
    )


def _why_left_out(found: Sequence[Block], method: str) -> str:
    """Reason that names the blocks without every seed of the method; empty where all have them."""
    return "; ".join(
        block.lacks.get(method, f"{block.title}: not computed there")
        for block in found
        if method not in block.distances
    )


def _ranked(
    found: Sequence[Block],
    methods: Sequence[str],
    tables: Sequence[FloatArray],
    means: FloatArray,
    drawn: Sequence["_Draws"],
) -> Iterator[Rank]:
    """tables: distances of each block, seeds by methods.  means, drawn: of each block."""
    resampled = [
        stats.rankdata(draws.means(table), axis=1)
        for draws, table in zip(drawn, tables, strict=True)
    ]
    intervals = _intervals(np.mean(resampled, axis=0), _fewest(drawn))
    scores = _scored(found, methods, drawn)
    mean_ranks = stats.rankdata(means, axis=1).mean(axis=0)
    for place, method in enumerate(methods):
        yield Rank(
            method=method,
            mean=float(mean_ranks[place]),
            low=intervals[place][0],
            high=intervals[place][1],
            score=scores[place][0],
            score_low=scores[place][1],
            score_high=scores[place][2],
        )


def _friedman(means: FloatArray) -> Friedman | None:
    test = statistics.friedman(means)
    return Friedman(**asdict(test)) if test else None


def _table(
    values: Mapping[str, Distances], methods: Sequence[str], seeds: Sequence[str]
) -> FloatArray:
    """A line for each seed, a column for each method."""
    return np.array([[values[method][seed] for method in methods] for seed in seeds])


class _Draws:
    """Bootstrap samples of the seeds that every ranked method has, from fixed random numbers."""

    def __init__(self, seeds: Sequence[str], stream: int) -> None:
        self.seeds = seeds
        size = (statistics.RESAMPLES, len(seeds))
        self._drawn = np.random.default_rng(stream).integers(len(seeds), size=size)

    def values(self, column: FloatArray) -> FloatArray:
        """(samples, seeds)."""
        return column[self._drawn]

    def means(self, table: FloatArray) -> FloatArray:
        """(samples, methods); one method at a time, to spare memory."""
        return np.stack([self.values(column).mean(axis=1) for column in table.T], axis=1)


def _draws(found: Sequence[Block], method: str) -> list[_Draws]:
    """Draws of each block, the same ones for blocks of one sample.  method: any ranked one."""
    drawn: dict[str, _Draws] = {}
    for block in found:
        if block.sample not in drawn:
            seeds = sorted(block.distances[method], key=int)
            drawn[block.sample] = _Draws(seeds, stream=len(drawn))
    return [drawn[block.sample] for block in found]


def _fewest(drawn: Iterable[_Draws]) -> int:
    """Seeds of the sample that has the fewest."""
    return min(len(draws.seeds) for draws in drawn)


def _intervals(samples: FloatArray, seeds: int) -> list[tuple[float | None, float | None]]:
    """Percentile interval of each column, at the level that so few seeds need."""
    if seeds < statistics.FEWEST_FOR_A_BOOTSTRAP:
        return [(None, None)] * samples.shape[1]
    tail = (1 - statistics.bootstrap_level(seeds)) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _scored(
    found: Sequence[Block], methods: Sequence[str], drawn: Sequence[_Draws]
) -> list[tuple[float | None, float | None, float | None]]:
    """Interquartile mean of each method's scores over blocks and seeds, and its ends."""
    scored = [(b, draws) for b, draws in zip(found, drawn, strict=True) if b.scores]
    if not scored:
        return [(None, None, None)] * len(methods)
    tables = [(_table(block.scores, methods, draws.seeds), draws) for block, draws in scored]
    samples = np.stack(
        [
            statistics.iqm(
                np.concatenate([draws.values(t[:, place]) for t, draws in tables], axis=1)
            )
            for place in range(len(methods))
        ],
        axis=1,
    )
    means = statistics.iqm(np.concatenate([table for table, _ in tables]), axis=0)
    intervals = _intervals(samples, _fewest(draws for _, draws in tables))
    return [(float(score), *ends) for score, ends in zip(means, intervals, strict=True)]


def _ranked_pairs(methods: Sequence[str], means: FloatArray) -> Iterator[RankedPair]:
    """Pairs over blocks by signed ranks, which unlike mean ranks do not depend on who else is there
    (Benavoli, Corani and Mangili 2016, JMLR 17(5))."""
    if len(means) < statistics.FEWEST_BLOCKS:
        return
    p_values = {
        (methods[one], methods[other]): p
        for one, other in combinations(range(len(methods)), 2)
        if (p := hypotheses.signed_rank_p(means[:, one] - means[:, other])) is not None
    }
    adjusted = hypotheses.holm(p_values)
    for (method, other), p in p_values.items():
        yield RankedPair(
            method=method, other=other, signed_rank_p=p, adjusted_p=adjusted[method, other]
        )


def front(
    rows: Rows,
    scenario: str,
    axes: Sequence[Axis],
    widest: Mapping[str, float],
    *,
    resolutions: Mapping[str, float | None] = {},
    tuned: Collection[str] = (),
) -> Front:
    """Pareto front of a scenario: methods that no other of their track is better than, of those
    with every seed.

    widest: the largest distance that there can be, by metric, where there is one.  resolutions: by
    metric, what the standard deviation of a difference is at least.
    """
    at_least = [resolutions.get(axis.metric) or 0.0 for axis in axes]
    lacks = {method: _lack_on(rows, scenario, method, axes) for method in rows.methods(scenario)}
    found = {
        method: [rows.on_axis(scenario, method, axis) for axis in axes]
        for method, lack in lacks.items()
        if not lack
    }
    limits = [None if axis.role == "cost" else widest.get(axis.metric) for axis in axes]
    return Front(
        scenario=scenario,
        axes=list(axes),
        points=[
            Point(
                method=method,
                distances=list(map(_distance, distances, limits)),
                dominated_by=[
                    other
                    for other, distances_of_other in found.items()
                    if other != method
                    and track_of(other, tuned) == track_of(method, tuned)
                    and dominates(distances_of_other, distances, at_least)
                ],
            )
            for method, distances in found.items()
        ],
        left_out=[
            LeftOut(method=method, reason=lack[:1024]) for method, lack in lacks.items() if lack
        ],
    )


def _lack_on(rows: Rows, scenario: str, method: str, axes: Sequence[Axis]) -> str:
    lacks = ((axis.metric, rows.lack_on_axis(scenario, method, axis)) for axis in axes)
    return "; ".join(f"{metric}: {lack}" for metric, lack in lacks if lack)


def _distance(distances: Distances, widest: float | None) -> Distance:
    over_seeds = statistics.estimate(distances.values(), lowest=0.0, highest=widest)
    assert over_seeds.mean is not None
    return Distance(n=over_seeds.n, mean=over_seeds.mean, low=over_seeds.low, high=over_seeds.high)


def dominates(
    one: Sequence[Distances], other: Sequence[Distances], resolutions: Sequence[float] = ()
) -> bool:
    """Return whether one is better by the seeds that both have: no mean is worse, and one is better
    beyond its interval.

    resolutions: of each axis, what the standard deviation of a difference is at least; none where
    nothing is said.
    """
    gaps = [
        statistics.estimate(statistics.paired_differences(a, b), resolution=resolution)
        for a, b, resolution in zip(one, other, resolutions or [0.0] * len(one), strict=True)
    ]
    if any(gap.mean is None or gap.mean > 0 for gap in gaps):
        return False
    return any(
        gap.n >= hypotheses.FEWEST_FOR_A_VERDICT and gap.high is not None and gap.high < 0
        for gap in gaps
    )
