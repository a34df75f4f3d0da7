"""Compare what methods make of many seeds with Retrained of many seeds, from stored predictions.

A metric of one run says how far an unlearned model is from the one that was retrained for its seed.
Whether anybody could tell unlearned from retrained models is a question of two distributions:

* Only seeds that forgot the same samples are compared, the largest such group.
* They are cut into halves, in a few ways that depend on their number only. Unlearned models of one
  half meet Retrained models of the other, so no pair shares its initial weights, and then the other
  way round; the value is the mean. The null is the same with Retrained in the place of the
  unlearned models, on the same halves: what perfect unlearning would get from as many models.
* A model that a seed did not give is not replaced: its seed is counted and named beside the value,
  which is then one of the survivors.
* The interval is a jackknife over the seeds. A bootstrap would draw seeds twice, and an attack that
  has a copy of the model that it judges knows the answer.

It costs one read of the predictions of each run, of at most `MOST_SEEDS` seeds, and what is kept in
memory is a logit confidence for each of at most `MOST_SAMPLES` samples of a set. Of many seeds it
takes seconds for each method, so what is said carries the digest of all that it follows from
(`inputs`): where that is the same, nothing is computed again.
"""

import csv
import io
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf, isfinite, sqrt
from statistics import mean
from typing import Any, Final

import numpy as np

from supreme_core.analysis import hypotheses, statistics
from supreme_core.analysis.files import harmless
from supreme_core.analysis.survivors import Word, ending
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import CellRecord, RunRecord, RunResult
from supreme_core.api.summary import (
    OF_RETRAINED,
    Curve,
    Null,
    OverSeeds,
    SeedCounts,
    SeedRow,
    SeedValue,
    lack_of,
)
from supreme_core.errors import CorruptArtefact
from supreme_core.randomness import streams
from supreme_core.registry import Chosen, Forgets, SeedMetricFacts, SetName
from supreme_core.scoring.ensemble import Ensemble, EnsemblePair
from supreme_core.scoring.evaluation import Floats, Integers, Outputs, Predictions
from supreme_core.scoring.membership import held_out_set, matched, rate_at
from supreme_core.scoring.run_scoring import reason

log = logging.getLogger(__name__)

MOST_SEEDS: Final = 64
MOST_SAMPLES: Final = 1000
"""Most samples of a set: beyond it every k-th. Models are few, so more make no number surer."""

SPLITS: Final = 4
"""Ways to cut the seeds into halves; each is used both ways round."""

MOST_GROUPS: Final = 10
"""Groups of seeds that the jackknife leaves out in turn; up to so many seeds, single ones."""

SETS: Final[tuple[SetName, ...]] = ("forget", "retain", "test", "forget_test")

REVISION: Final = 3
"""Raised when the same models of the same metrics give other numbers than before."""

GRID: Final = (
    *(0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07),
    *(step / 40 for step in range(4, 41)),
)
"""Shares of false alarms at which curves are read."""

Load = Callable[[str, str], Predictions]
"""Predictions of the stage of that name and key; CorruptArtefact where they cannot be had."""

Content = Callable[[str, str], str]
"""The sha256 of those predictions; CorruptArtefact where they cannot be had."""

SeedMetric = Chosen[Any, SeedMetricFacts]
Halves = tuple[Sequence[int], Sequence[int]]

Ends = tuple[float | None, float | None]
"""The lower and the upper one, of an interval or of what a number can be."""


def over_seeds(
    results: Sequence[RunResult],
    order: ExperimentOrder,
    metrics: Mapping[str, SeedMetric],
    load: Load,
    *,
    inputs: str | None = None,
    tell: Callable[[str], None] = log.warning,
) -> OverSeeds:
    """Values and curves of every method that the order has, in the order of the table.

    results: in the order of the seeds.  metrics: by their titles.  inputs: see `inputs_of`; it is
    kept unless predictions could not be read or a metric failed, which may go better another time.
    tell: takes a line for each scenario with predictions that could not be read.
    """
    values: list[SeedValue] = []
    curves: list[Curve] = []
    is_sound = True
    for found, asked in _scenarios(results, order):
        retrained = found.read(names.RETRAINED, load)
        curves += found.curves(names.RETRAINED, retrained)
        nulls: dict[Any, _Numbers] = {}
        for method in asked:
            of_method = found.read(method, load)
            curves += found.curves(method, of_method)
            values += found.values(method, of_method, retrained, metrics, nulls)
        is_sound &= found.is_sound
        for why in list(found.unread.values())[:1]:  # one line: of a store without stages it is all
            listed = ", ".join(found.unread)
            tell(f"nothing is said over seeds in {found.title} of {listed}: {why}")
    return OverSeeds(
        inputs=inputs if is_sound else None,
        metrics=seed_rows(metrics),
        values=values,
        curves=curves,
    )


def inputs_of(
    results: Sequence[RunResult],
    order: ExperimentOrder,
    metrics: Mapping[str, SeedMetric],
    content: Content,
) -> str | None:
    """The digest of all that `over_seeds` makes of these results follows from.

    None where some predictions cannot be had: another time they may be there.
    """
    try:
        scenarios = [
            {
                "title": found.title,
                "methods": asked,
                "lacks": {method: found.lack(method) for method in (names.RETRAINED, *asked)},
                "cells": [
                    [seed, cell.forgets, cell.forget_digest] for seed, cell in found.cells.items()
                ],
                "models": [
                    [method, seed, content(*model)]
                    for method in (names.RETRAINED, *asked)
                    for seed in found.cells
                    if (model := found.model(method, seed))
                ],
            }
            for found, asked in _scenarios(results, order)
        ]
    except CorruptArtefact:
        return None
    rows = {row: facts.to_document() for row, facts in seed_rows(metrics).items()}
    chosen = [[title, metric.identity()] for title, metric in metrics.items()]
    return digest({"revision": REVISION, "metrics": chosen, "rows": rows, "scenarios": scenarios})


def _scenarios(
    results: Sequence[RunResult], order: ExperimentOrder
) -> Iterator[tuple["_Scenario", list[str]]]:
    """Scenarios that some seed has, each with the methods that are compared with Retrained."""
    for scenario in order.work.scenarios:
        excluded = {each.method for each in order.excluded if each.scenario == scenario.title}
        methods = [method.title for method in order.work.methods]
        found = _Scenario.of(scenario.title, results, order.seeds)
        if found.cells:
            yield found, [names.ORIGINAL, *(each for each in methods if each not in excluded)]


def seed_rows(metrics: Mapping[str, SeedMetric]) -> dict[str, SeedRow]:
    """Facts of each row, in the order of the metrics, of their sets, and of their numbers."""
    return {
        row: SeedRow(
            metric=title,
            unit=facts.unit,
            best=facts.best,
            low=facts.low,
            high=facts.high,
            fewest=facts.fewest,
            summary=metric.entry.summary,
            source=facts.source,
        )
        for title, metric in metrics.items()
        for facts in (metric.entry.facts,)
        for on in facts.sets or (None,)
        for row in _rows(title, on, facts).values()
    }


def over_seeds_csv(found: OverSeeds) -> bytes:
    """over_seeds.csv: a line for each value; an empty field is no number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for each in found.values:
        null = (each.null.mean, each.null.low, each.null.high) if each.null else (None,) * 3
        writer.writerow(
            [
                *(harmless(text) for text in (each.scenario, each.method, each.metric)),
                *(each.n, each.asked, each.value, each.low, each.high, *null),
                *(each.excess, each.excess_low, each.excess_high),
                *(harmless(text or "") for text in (each.reason, each.lack)),
            ]
        )
    return buffer.getvalue().encode()


CSV_COLUMNS = (
    *("scenario", "method", "metric", "n", "asked", "value", "low", "high"),
    *("null", "null_low", "null_high", "excess", "excess_low", "excess_high", "reason", "lack"),
)


@dataclass
class _MethodModels:
    """Models of one method: those of `seeds`, which forgot the same, and every seed's curve.

    problem: why nothing can be said of them; empty where there is none.
    """

    seeds: list[int] = field(default_factory=list)
    logit_confidence: dict[SetName, list[Floats]] = field(default_factory=lambda: defaultdict(list))
    accuracy: dict[SetName, list[float]] = field(default_factory=lambda: defaultdict(list))
    rates: list[Floats] = field(default_factory=list)
    problem: str = ""

    def ensemble(self, of: Sequence[int]) -> Ensemble:
        found = Ensemble(
            logit_confidence={name: np.stack(phi) for name, phi in self.logit_confidence.items()},
            accuracy={name: np.array(shares) for name, shares in self.accuracy.items()},
        )
        return found.take([self.seeds.index(seed) for seed in of])


@dataclass
class _Numbers:
    """One metric on one set: each number of every meeting of halves, and its means without groups.

    without: by group, the means without its seeds; empty where there are too few seeds for that.
    problem: why there are no numbers.
    """

    every: dict[str, list[float | None]] = field(default_factory=dict)
    without: list[dict[str, float | None]] = field(default_factory=list)
    problem: str = ""


@dataclass
class _Scenario:
    """One scenario: what its seeds forgot, and how their predictions are read.

    alike: the seeds that forgot the same samples.  pending: seeds that are not known to have
    forgotten others, and have no result.  labels: of the samples that are kept of a set,
    and `whole` of all, by which predictions are known to be of the same samples.  is_sound: so far
    all predictions could be read, and no metric failed.  unread: methods some of whose predictions
    could not be, and why.
    """

    title: str
    cells: Mapping[int, CellRecord]
    runs: Mapping[tuple[str, int], RunRecord]
    alike: Sequence[int]
    pending: int
    is_sound: bool = True
    unread: dict[str, str] = field(default_factory=dict)
    labels: dict[SetName, Integers] = field(default_factory=dict)
    whole: dict[SetName, Integers] = field(default_factory=dict)

    @classmethod
    def of(cls, title: str, results: Sequence[RunResult], seeds: Sequence[int]) -> "_Scenario":
        cells = {
            result.seed: cell
            for result in results
            for cell in result.cells
            if cell.scenario == title
        }
        cells = dict(list(cells.items())[:MOST_SEEDS])
        groups: dict[str, list[int]] = defaultdict(list)
        for seed, cell in cells.items():
            groups[cell.forget_digest].append(seed)
        runs = {
            (run.method, result.seed): run
            for result in results
            for run in result.runs
            # Repeats within a seed are no more models of the distribution over seeds.
            if run.scenario == title and run.repeat == 0
        }
        alike = max(groups.values(), key=len, default=[])
        pending = len(set(seeds) - {result.seed for result in results})
        return cls(title, cells, runs, alike, min(pending, MOST_SEEDS - len(alike)))

    @property
    def forgets(self) -> Forgets:
        return next(iter(self.cells.values())).forgets

    @property
    def asked(self) -> int:
        return len(self.alike) + self.pending

    def lack(self, method: str) -> str:
        """Seeds that count and gave no model, by what became of them; empty for none."""
        words = Counter(self._word(method, seed) for seed in self.alike)
        counts = SeedCounts(
            asked=self.asked,
            pending=self.pending + words["pending"],
            infrastructure=words["infrastructure"],
            failed=words["failed"],
            undefined=words["undefined"],
        )
        return lack_of(words["ok"], counts)

    def _word(self, method: str, seed: int) -> Word:
        """A model counts, whatever became of its metrics, where its predictions are there."""
        if self.model(method, seed) is not None:
            return "ok"
        run = self.runs.get((method, seed))
        return ending([run] if run else [])

    def model(self, method: str, seed: int) -> tuple[str, str] | None:
        """The stage that has its predictions, and the key; None where there is no such model."""
        run = self.runs.get((method, seed))
        if run is None or run.status != "ok" or "unlearned" not in run.predictions:
            return None
        stage = "predictions" if method in names.REFERENCES else "unlearned"
        return stage, run.predictions["unlearned"]

    def read(self, method: str, load: Load) -> _MethodModels:
        """All models of a method, one after the other."""
        of_method = _MethodModels()
        broken = []
        for seed in self.cells:
            model = self.model(method, seed)
            if model is None:
                continue
            try:
                predictions = load(*model)
                curve = self._rates(predictions)
                finite = seed not in self.alike or self._add(of_method, seed, predictions)
            except CorruptArtefact as error:
                self.unread[method] = str(error)
                self.is_sound = False
                return _MethodModels(problem=str(error))
            if curve is not None:
                of_method.rates.append(curve)
            if not finite:
                broken.append(str(seed))
        if broken:
            of_method.problem = (
                f"the model of seed {', '.join(broken)} gives numbers that are not finite"
            )
        return of_method

    def curves(self, method: str, of_method: _MethodModels) -> Iterator[Curve]:
        """The mean curve over seeds, if there is any."""
        if not of_method.rates:
            return
        points = [
            statistics.clipped(statistics.estimate(map(float, column)), 0.0, 1.0)
            for column in np.stack(of_method.rates).T
        ]
        yield Curve(
            scenario=self.title,
            method=method,
            n=len(of_method.rates),
            fpr=list(GRID),
            tpr=[point.mean for point in points if point.mean is not None],
            low=[point.low for point in points],
            high=[point.high for point in points],
        )

    def values(
        self,
        method: str,
        of_method: _MethodModels,
        retrained: _MethodModels,
        metrics: Mapping[str, SeedMetric],
        nulls: dict[Any, _Numbers],
    ) -> Iterator[SeedValue]:
        """Every row of one method.  nulls: those that are known, as many methods share them."""
        lacks = [self.lack(method)]
        if any(self._word(names.RETRAINED, seed) != "ok" for seed in self.alike):
            lacks.append(f"{OF_RETRAINED}{self.lack(names.RETRAINED)}")
        lack = "; ".join(filter(None, lacks))
        for value in self._values(method, of_method, retrained, metrics, nulls):
            yield value.model_copy(update={"lack": lack or None})

    def _values(
        self,
        method: str,
        of_method: _MethodModels,
        retrained: _MethodModels,
        metrics: Mapping[str, SeedMetric],
        nulls: dict[Any, _Numbers],
    ) -> Iterator[SeedValue]:
        both = [seed for seed in of_method.seeds if seed in retrained.seeds]
        problem = of_method.problem or retrained.problem
        models = None
        if both and not problem:
            models = of_method.ensemble(both), retrained.ensemble(both)
        for title, metric in metrics.items():
            facts = metric.entry.facts
            few = problem or self._too_few(len(both), 2 * facts.fewest)
            for on in facts.sets or (None,):
                if on is not None and self.whole and on not in self.whole:
                    continue
                rows = _rows(title, on, facts)
                if few or models is None:
                    yield from self._none(method, rows, len(both), few)
                    continue
                unlearned, reference = models
                against = (title, on, tuple(both))
                if against not in nulls:
                    nulls[against] = self._numbers(metric, on, reference, reference)
                own = self._numbers(metric, on, unlearned, reference)
                if failed := own.problem or nulls[against].problem:
                    yield from self._none(method, rows, len(both), failed)
                    continue
                for number, row in rows.items():
                    yield self._value(
                        method, row, number, len(both), own, nulls[against], (facts.low, facts.high)
                    )

    def _rates(self, predictions: Predictions) -> Floats | None:
        held_out = predictions.get(held_out_set(self.forgets, predictions))
        if held_out is None:
            return None
        forget = predictions["forget"]
        found = matched(
            forget.logit_confidence, forget.labels, held_out.logit_confidence, held_out.labels
        )
        return None if found is None else rate_at(found, np.array(GRID))

    def _add(self, of_method: _MethodModels, seed: int, predictions: Predictions) -> bool:
        """Keep what metrics need of one model; False where it is not finite."""
        outputs = {name: predictions[name] for name in SETS if name in predictions}
        self._check_samples(seed, outputs)
        kept = {name: each.logit_confidence[_kept(len(each))] for name, each in outputs.items()}
        of_method.seeds.append(seed)
        for name, phi in kept.items():
            of_method.logit_confidence[name].append(phi)
            of_method.accuracy[name].append(outputs[name].accuracy)
        return all(bool(np.isfinite(phi).all()) for phi in kept.values())

    def _check_samples(self, seed: int, outputs: Mapping[SetName, Outputs]) -> None:
        if not self.whole:
            self.whole = {name: each.labels for name, each in outputs.items() if len(each)}
            self.labels = {name: labels[_kept(len(labels))] for name, labels in self.whole.items()}
        same = self.whole.keys() == {name for name, each in outputs.items() if len(each)}
        if not same or not all(
            np.array_equal(labels, outputs[name].labels) for name, labels in self.whole.items()
        ):
            raise CorruptArtefact(
                f"predictions of seed {seed} are of other samples than those of other seeds that"
                " forgot the same"
            )

    def _too_few(self, there: int, wanted: int) -> str:
        if there >= wanted:
            return ""
        if len(self.alike) == 1 < len(self.cells):
            return f"needs {wanted} seeds that forgot the same samples; each forgot others"
        if len(self.alike) < min(wanted, len(self.cells)):
            return f"needs {wanted} seeds that forgot the same samples; {len(self.alike)} did"
        return f"needs {wanted} seeds; there are {there}"

    def _numbers(
        self,
        metric: SeedMetric,
        on: SetName | None,
        unlearned: Ensemble,
        retrained: Ensemble,
    ) -> _Numbers:
        n = len(next(iter(retrained.accuracy.values())))
        pair = EnsemblePair(unlearned, retrained, self.labels, self.forgets, on)
        halves = splits(n)
        try:
            every = [_measure(metric, pair, a, b) for a, b in halves]
            without = [
                _means([_measure(metric, pair, *_left(split, group)) for split in halves])
                for group in groups(n, metric.entry.facts.fewest)
            ]
        except Exception as error:  # a metric may be foreign code
            log.warning("%s over seeds failed", metric.entry.name, exc_info=error)
            self.is_sound = False
            return _Numbers(problem=reason(error))
        return _Numbers({key: [each[key] for each in every] for key in every[0]}, without)

    def _value(
        self,
        method: str,
        row: str,
        number: str,
        n: int,
        own: _Numbers,
        null: _Numbers,
        ends: Ends,
    ) -> SeedValue:
        value, chance = _mean(own.every[number]), _mean(null.every[number])
        if value is None or chance is None:
            why = "it has no value for these models"
            return SeedValue(
                scenario=self.title,
                method=method,
                metric=row,
                n=n,
                asked=self.asked,
                value=None,
                reason=why,
            )
        nulls = [float(each) for each in null.every[number] if each is not None]
        changed = [each[number] for each in own.without]
        beyond = [
            None if a is None or b is None else a - b
            for a, b in zip(changed, (each[number] for each in null.without), strict=True)
        ]
        low, high = jackknife_interval(value, changed, ends)
        excess_low, excess_high = jackknife_interval(value - chance, beyond, _of_excess(ends))
        return SeedValue(
            scenario=self.title,
            method=method,
            metric=row,
            n=n,
            asked=self.asked,
            value=value,
            low=low,
            high=high,
            null=Null(n=len(nulls), mean=chance, low=min(nulls), high=max(nulls)),
            excess=value - chance,
            excess_low=excess_low,
            excess_high=excess_high,
        )

    def _none(self, method: str, rows: Mapping[str, str], n: int, why: str) -> Iterator[SeedValue]:
        for row in rows.values():
            yield SeedValue(
                scenario=self.title,
                method=method,
                metric=row,
                n=n,
                asked=self.asked,
                value=None,
                reason=why[:1024],
            )


def splits(n: int) -> list[Halves]:
    """Halves of n seeds by their places, each both ways round; the same for every n seeds."""
    generator = np.random.default_rng(streams.derive(0, "over_seeds", n))
    found: list[Halves] = []
    for _ in range(SPLITS):
        order = [int(place) for place in generator.permutation(n)]
        one, other = sorted(order[: n // 2]), sorted(order[n // 2 :])
        found += [(one, other), (other, one)]
    return found


def groups(n: int, fewest: int) -> list[set[int]]:
    """Seeds that the jackknife leaves out in turn, by their places.

    None where n is below `hypotheses.FEWEST_FOR_A_VERDICT`, or where a half could become smaller
    than what the metric needs.
    """
    parts = min(n, MOST_GROUPS)
    if n < hypotheses.FEWEST_FOR_A_VERDICT or n // 2 - ceil(n / parts) < fewest:
        return []
    return [set(range(start, n, parts)) for start in range(parts)]


def jackknife_interval(
    value: float, without: Sequence[float | None], ends: Ends = (None, None)
) -> Ends:
    """95 % interval of a value from what it is without each of m groups in turn.

    value ± t_{m-1} √((m - 1) / m · Σ (θ_g - θ̄)²); Tukey 1958, Ann. Math. Stat. 29, 614, and for
    groups Kott 2001, J. Off. Stat. 17, 521-526. It ends where the number's range does, of which a
    jackknife knows nothing. (None, None) where there are no groups, or one of them has no value.
    """
    known = statistics.present(without)
    if len(known) < 2 or len(known) < len(without):
        return None, None
    m, centre = len(known), mean(known)
    error = sqrt((m - 1) / m * sum((each - centre) ** 2 for each in known))
    half = statistics.t_quantile(m - 1, statistics.LEVEL) * error
    low = -inf if ends[0] is None else ends[0]
    high = inf if ends[1] is None else ends[1]
    return max(value - half, low), min(value + half, high)


def _of_excess(ends: Ends) -> Ends:
    """Range of the difference of two numbers with these ends."""
    low, high = ends
    return (None, None) if low is None or high is None else (low - high, high - low)


def _measure(
    metric: SeedMetric, pair: EnsemblePair, one: Sequence[int], other: Sequence[int]
) -> dict[str, float | None]:
    """The metric of unlearned models of the one half against Retrained models of the other."""
    found = metric(
        replace(
            pair,
            unlearned=pair.unlearned.take(one),
            retrained=pair.retrained.take(other),
        )
    )
    return {
        number: float(value) if (value := found[number]) is not None and isfinite(value) else None
        for number in metric.entry.facts.numbers
    }


def _left(split: Halves, without: set[int]) -> Halves:
    one, other = split
    return [i for i in one if i not in without], [i for i in other if i not in without]


def _means(several: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    listed = list(several)
    return {number: _mean([each[number] for each in listed]) for number in listed[0]}


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of all values; None where one is missing."""
    known = statistics.present(values)
    return mean(known) if known and len(known) == len(values) else None


def _rows(title: str, on: SetName | None, facts: SeedMetricFacts) -> dict[str, str]:
    """The name of the row of each number on a set."""
    return {
        number: names.metric_row(f"{title}_{number}" if number else title, on)
        for number in facts.numbers
    }


def _kept(samples: int) -> Integers:
    """Places of the samples that are kept of a set of so many."""
    if samples <= MOST_SAMPLES:
        return np.arange(samples)
    return np.linspace(0, samples - 1, MOST_SAMPLES).astype(np.int64)
