"""Methods against each other, from the rows of a summary: pairs, ranks over blocks, Pareto fronts.

Pure. What is compared is the distance |x - retrained| of each training seed: nobody wants a large
or a small accuracy on the forget set, but that of the model retrained for the same seed. Of a
metric that is a distance already this is the metric, and of a likeness what it lacks to 1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from supreme_core import statistics
from supreme_core.api import names
from supreme_core.api.run import (
    Axis,
    Comparison,
    Distance,
    Friedman,
    Front,
    Point,
    Rank,
    RankedPair,
    Ranks,
    Row,
)
from supreme_core.statistics import FloatArray

Distances = Mapping[str, float]
"""By training seed."""


@dataclass(frozen=True)
class Block:
    """What a method is ranked in: one kind of forgetting of one experiment.

    experiment: blocks of one share training seeds.  distances, scores: by method; a score is
    1 - min(1, distance / mean distance of Original), and there is none where Original is not told
    from Retrained.
    """

    title: str
    experiment: str
    distances: Mapping[str, Distances]
    scores: Mapping[str, Distances]


class Rows:
    """Rows of one experiment, and the distances that are in them."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(row.scenario, row.method, row.metric): row for row in rows}

    def of(self, scenario: str, method: str, metric: str) -> Row | None:
        return self._rows.get((scenario, method, metric))

    def scenarios(self) -> list[str]:
        return list(dict.fromkeys(scenario for scenario, _, _ in self._rows))

    def methods(self, scenario: str) -> list[str]:
        """Without the references."""
        there = dict.fromkeys(method for of, method, _ in self._rows if of == scenario)
        return [method for method in there if method not in names.REFERENCES]

    def metrics(self, scenario: str) -> list[str]:
        return list(dict.fromkeys(metric for of, _, metric in self._rows if of == scenario))

    def distances(self, scenario: str, method: str, metric: str) -> Distances:
        """|x - retrained| of the seeds that have both."""
        retrained = self._values(scenario, names.RETRAINED, metric)
        return {
            seed: abs(value - retrained[seed])
            for seed, value in self._values(scenario, method, metric).items()
            if seed in retrained
        }

    def on_axis(self, scenario: str, method: str, axis: Axis) -> Distances:
        """A cost is what it is; Retrained's is not what it should be near to."""
        if axis.role == "cost":
            return self._values(scenario, method, axis.metric)
        return self.distances(scenario, method, axis.metric)

    def _values(self, scenario: str, method: str, metric: str) -> Distances:
        row = self.of(scenario, method, metric)
        values = row.values if row else {}
        return {seed: value for seed, value in values.items() if value is not None}


def comparisons(rows: Rows, metric: str) -> Iterator[Comparison]:
    """Every pair of methods in each scenario, where a seed has both."""
    for scenario in rows.scenarios():
        found = {m: rows.distances(scenario, m, metric) for m in rows.methods(scenario)}
        pairs = {pair: _differences(*(found[m] for m in pair)) for pair in combinations(found, 2)}
        p_values = {pair: statistics.sign_flip_p(d) for pair, d in pairs.items()}
        adjusted = statistics.holm({pair: p for pair, p in p_values.items() if p is not None})
        for pair, differences in pairs.items():
            over_seeds = statistics.estimate(differences)
            nearer = statistics.share_below(differences)
            if over_seeds.mean is None or nearer is None:
                continue
            interval = statistics.wilson(nearer * over_seeds.n, over_seeds.n)
            assert interval is not None
            yield Comparison(
                scenario=scenario,
                metric=metric,
                method=pair[0],
                other=pair[1],
                n=over_seeds.n,
                mean=over_seeds.mean,
                low=over_seeds.low,
                high=over_seeds.high,
                difference_p=p_values[pair],
                adjusted_p=adjusted[pair],
                nearer=nearer,
                nearer_low=interval[0],
                nearer_high=interval[1],
            )


def _differences(one: Distances, other: Distances) -> list[float]:
    return [one[seed] - other[seed] for seed in one if seed in other]


def blocks(
    rows: Rows, metric: str, *, kinds: Mapping[str, str], experiment: str = ""
) -> Iterator[Block]:
    """The blocks of one experiment: a scenario, or all that are of one kind.

    kinds: the component that each scenario is.  experiment: its name, where there are several.

    Scenarios that differ in their settings alone, such as the share of samples to forget, are
    measured on the same models and say much the same, so they count once: as the mean of a seed's
    distances over them.
    """
    alike: dict[str, list[str]] = {}
    for scenario in rows.scenarios():
        alike.setdefault(kinds[scenario], []).append(scenario)
    for kind, scenarios in alike.items():
        distances = [
            {m: rows.distances(scenario, m, metric) for m in rows.methods(scenario)}
            for scenario in scenarios
        ]
        scores = [
            {m: _scores(d, unit) for m, d in of_scenario.items()}
            for scenario, of_scenario in zip(scenarios, distances, strict=True)
            if (unit := _distance_of_original(rows, scenario, metric)) is not None
        ]
        title = scenarios[0] if len(scenarios) == 1 else kind
        yield Block(
            title=f"{experiment}: {title}" if experiment else title,
            experiment=experiment,
            distances=_mean_over(distances),
            scores=_mean_over(scores),
        )


def _mean_over(scenarios: Sequence[Mapping[str, Distances]]) -> Mapping[str, Distances]:
    """Of each method and seed that all scenarios have."""
    if not scenarios:
        return {}
    found = {}
    for method in _in_all(scenarios):
        of_method = [scenario[method] for scenario in scenarios]
        found[method] = {
            seed: sum(each[seed] for each in of_method) / len(of_method)
            for seed in _in_all(of_method)
        }
    return found


def _in_all(several: Sequence[Mapping[str, object]]) -> list[str]:
    """Keys that all have, in the order of the first."""
    return [key for key in several[0] if all(key in each for each in several)]


def _scores(distances: Distances, unit: float) -> dict[str, float]:
    return {seed: 1 - min(1.0, distance / unit) for seed, distance in distances.items()}


def _distance_of_original(rows: Rows, scenario: str, metric: str) -> float | None:
    """Mean over seeds; None where it is not above the margin of its gap or the noise floor."""
    row = rows.of(scenario, names.ORIGINAL, metric)
    found = statistics.average(rows.distances(scenario, names.ORIGINAL, metric).values())
    if row is None or found is None:
        return None
    margin = row.gap.margin if row.gap else None
    noise = max(margin or 0.0, row.floor.mean if row.floor else 0.0)
    return found if found > noise else None


def ranks(found: Sequence[Block], metric: str) -> Ranks | None:
    """Mean ranks of the methods over the blocks, by their mean distance in each; ties share a rank.

    Intervals are those of a bootstrap of training seeds, which are drawn once for all methods and
    all blocks of an experiment. Over methods that every block has, and seeds that all of these
    have; None where that leaves fewer than two methods, or no seed.
    """
    everyone = list(dict.fromkeys(method for block in found for method in block.distances))
    methods = [m for m in everyone if all(block.distances.get(m) for block in found)]
    seeds = _complete_seeds(found, methods)
    if len(methods) < 2 or not all(seeds.values()):
        return None
    drawn = _Draws(seeds)
    tables = [_table(block.distances, methods, seeds[block.experiment]) for block in found]
    means = np.stack([table.mean(axis=0) for table in tables])
    resampled = [
        stats.rankdata(drawn.means(table, block.experiment), axis=1)
        for block, table in zip(found, tables, strict=True)
    ]
    intervals = drawn.intervals(np.mean(resampled, axis=0))
    scores = _scored(found, methods, seeds, drawn)
    mean_ranks = stats.rankdata(means, axis=1).mean(axis=0)
    return Ranks(
        metric=metric,
        blocks=[block.title for block in found],
        left_out=[method for method in everyone if method not in methods],
        seeds=drawn.fewest,
        ranks=[
            Rank(
                method=method,
                mean=float(mean_ranks[place]),
                low=intervals[place][0],
                high=intervals[place][1],
                score=scores[place][0],
                score_low=scores[place][1],
                score_high=scores[place][2],
            )
            for place, method in enumerate(methods)
        ],
        friedman=_friedman(means),
        pairs=list(_ranked_pairs(methods, means)),
    )


def _friedman(means: FloatArray) -> Friedman | None:
    test = statistics.friedman(means)
    return Friedman(**asdict(test)) if test else None


def _complete_seeds(found: Sequence[Block], methods: Sequence[str]) -> dict[str, list[str]]:
    """Of each experiment, the seeds that all methods have in all of its blocks."""
    seeds: dict[str, set[str]] = {}
    for block in found:
        for method in methods:
            there = set(block.distances[method])
            seeds[block.experiment] = seeds.get(block.experiment, there) & there
    return {experiment: sorted(of_it, key=int) for experiment, of_it in seeds.items()}


def _table(
    values: Mapping[str, Distances], methods: Sequence[str], seeds: Sequence[str]
) -> FloatArray:
    """A line for each seed, a column for each method."""
    return np.array([[values[method][seed] for method in methods] for seed in seeds])


class _Draws:
    """Bootstrap samples of the seeds of each experiment, from fixed random numbers."""

    def __init__(self, seeds: Mapping[str, Sequence[str]]) -> None:
        self.fewest = min(map(len, seeds.values()))
        generator = np.random.default_rng(0)
        self._drawn = {
            experiment: generator.integers(len(of_it), size=(statistics.RESAMPLES, len(of_it)))
            for experiment, of_it in seeds.items()
        }

    def values(self, column: FloatArray, experiment: str) -> FloatArray:
        """(samples, seeds)."""
        return column[self._drawn[experiment]]

    def means(self, table: FloatArray, experiment: str) -> FloatArray:
        """(samples, methods); one method at a time, to spare memory."""
        return np.stack([self.values(c, experiment).mean(axis=1) for c in table.T], axis=1)

    def intervals(self, samples: FloatArray) -> list[tuple[float | None, float | None]]:
        """Percentile interval of each column, at the level that so few seeds need."""
        if self.fewest < statistics.FEWEST_FOR_A_BOOTSTRAP:
            return [(None, None)] * samples.shape[1]
        tail = (1 - statistics.bootstrap_level(self.fewest)) / 2
        low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
        return list(zip(low.tolist(), high.tolist(), strict=True))


def _scored(
    found: Sequence[Block],
    methods: Sequence[str],
    seeds: Mapping[str, Sequence[str]],
    drawn: _Draws,
) -> list[tuple[float | None, float | None, float | None]]:
    """Of each method, the interquartile mean of its scores over blocks and seeds, and its ends."""
    scored = [block for block in found if block.scores]
    if not scored:
        return [(None, None, None)] * len(methods)
    tables = [_table(block.scores, methods, seeds[block.experiment]) for block in scored]
    samples = np.stack(
        [
            statistics.iqm(
                np.concatenate(
                    [
                        drawn.values(table[:, place], block.experiment)
                        for block, table in zip(scored, tables, strict=True)
                    ],
                    axis=1,
                )
            )
            for place in range(len(methods))
        ],
        axis=1,
    )
    means = statistics.iqm(np.concatenate(tables), axis=0)
    return [
        (float(score), *ends) for score, ends in zip(means, drawn.intervals(samples), strict=True)
    ]


def _ranked_pairs(methods: Sequence[str], means: FloatArray) -> Iterator[RankedPair]:
    """Pairs over blocks by signed ranks, which unlike mean ranks do not depend on who else is there
    (Benavoli, Corani and Mangili 2016, JMLR 17(5))."""
    if len(means) < statistics.FEWEST_BLOCKS:
        return
    p_values = {
        (methods[one], methods[other]): p
        for one, other in combinations(range(len(methods)), 2)
        if (p := statistics.signed_rank_p(means[:, one] - means[:, other])) is not None
    }
    adjusted = statistics.holm(p_values)
    for (method, other), p in p_values.items():
        yield RankedPair(
            method=method, other=other, signed_rank_p=p, adjusted_p=adjusted[method, other]
        )


def front(rows: Rows, scenario: str, axes: Sequence[Axis]) -> Front:
    """Which methods of a scenario no other is better than."""
    found = {
        method: [rows.on_axis(scenario, method, axis) for axis in axes]
        for method in rows.methods(scenario)
    }
    found = {method: distances for method, distances in found.items() if all(distances)}
    return Front(
        scenario=scenario,
        axes=list(axes),
        points=[
            Point(
                method=method,
                distances=list(map(_distance, distances)),
                dominated_by=[
                    other
                    for other, distances_of_other in found.items()
                    if other != method and _dominates(distances_of_other, distances)
                ],
            )
            for method, distances in found.items()
        ],
    )


def _distance(distances: Distances) -> Distance:
    over_seeds = statistics.estimate(distances.values(), lowest=0.0)
    assert over_seeds.mean is not None
    return Distance(n=over_seeds.n, mean=over_seeds.mean, low=over_seeds.low, high=over_seeds.high)


def _dominates(one: Sequence[Distances], other: Sequence[Distances]) -> bool:
    """By the seeds that both have: no mean is worse, and one is better beyond its interval."""
    gaps = [statistics.estimate(_differences(*pair)) for pair in zip(one, other, strict=True)]
    if any(gap.mean is None or gap.mean > 0 for gap in gaps):
        return False
    return any(
        gap.n >= statistics.FEWEST_FOR_A_VERDICT and gap.high is not None and gap.high < 0
        for gap in gaps
    )
