"""Every method's gap to Retrained in a scenario: margins, tests, corrections, verdicts. Pure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from supreme_core.analysis import hypotheses, statistics
from supreme_core.analysis.provenance import RowFacts
from supreme_core.analysis.survivors import TEST_ACCURACY, Runs, SeedValues, first
from supreme_core.analysis.tracks import SettingsTrack, track_of
from supreme_core.api import names
from supreme_core.api.records import CellRecord
from supreme_core.api.summary import (
    OF_RETRAINED,
    Gap,
    JointVerdict,
    NonInferiority,
    ToldApart,
    lack_of,
)
from supreme_core.registry import SetName

TELL_UTILITY = (names.metric_row("accuracy", "retain_test"), TEST_ACCURACY)
"""Rows that tell utility: where a class is forgotten, who forgets nothing has more of the second
than Retrained."""

RESOLUTION = sqrt(12)
"""A number that is rounded to steps of 1 deviates from itself by 1 / √12."""

FEW_SEEDS = "few seeds"
MethodRow = tuple[str, str]
"""(metric, method)."""


@dataclass(frozen=True)
class Margin:
    value: float
    source: Literal["set", "metric", "noise"]


@dataclass(frozen=True)
class Tested:
    """The differences of one method in one metric, by seeds that have both, and what they show
    before any correction.

    lack: why not all seeds that were asked for are there; empty where they are.
    """

    values: SeedValues
    reference: SeedValues
    differences: Sequence[float]
    resolution: float | None
    margin: Margin | None
    lack: str

    @property
    def difference_p(self) -> float | None:
        return hypotheses.difference_p(
            self.differences,
            resolution=self.resolution or 0.0,
            margin=self.margin.value if self.margin else None,
        )

    @property
    def equivalence_p(self) -> float | None:
        if self.margin is None:
            return None
        return hypotheses.equivalence_p(
            self.differences, self.margin.value, resolution=self.resolution or 0.0
        )


@dataclass(frozen=True, kw_only=True)
class PValues:
    """p values of one method in one metric, and after Holm's correction; None where there is none.

    adjusted, flip_adjusted: over the methods of the metric and track.  joint: over all rows of the
    track.
    methods, flip_methods: number of methods that adjusted and flip_adjusted are over; one without
    any value has no p and makes nobody pay.
    """

    difference: float | None
    adjusted: float | None
    joint: float | None
    flip: float | None
    flip_adjusted: float | None
    methods: int
    flip_methods: int


def gaps_of(runs: Runs, scenario: str) -> dict[MethodRow, Gap]:
    """Gaps of every method, and of Original, in each row of the scenario that is read by its gap.

    The p values of the methods of a track are adjusted together; Original is no method, so it
    neither pays for the others nor makes them pay.
    """
    tested = _tested(runs, scenario)
    p_values = _p_values(tested, runs.tuned)
    utility = first(TELL_UTILITY, runs.metrics)
    gaps = {}
    for (metric, method), each in tested.items():
        facts = runs.metrics[metric]
        gaps[metric, method] = _gap(
            each,
            p_values[metric, method],
            facts,
            noninferiority=_noninferiority(each, facts) if metric == utility else None,
        )
    return gaps


def joint_verdicts(runs: Runs, scenario: str, gaps: Mapping[MethodRow, Gap]) -> list[JointVerdict]:
    """Joint verdicts on every method and on Original, over all rows that are read by their gap.

    A row in which the method has no gap counts as one that shows nothing.
    """
    metrics = [metric for metric in runs.rows(scenario) if runs.metrics[metric].has_gap]
    found = []
    for method in runs.methods(scenario):
        rows = [gaps.get((metric, method)) for metric in metrics if runs.has(method, metric)]
        if method == names.RETRAINED or not rows:
            continue
        joint = hypotheses.joint_verdict(
            (gap.verdict, gap.joint_p) if gap else ("inconclusive", None) for gap in rows
        )
        found.append(
            JointVerdict(
                scenario=scenario,
                method=method,
                verdict=joint.verdict,
                rows=joint.rows,
                equivalent=joint.equivalent,
                different=joint.different,
                different_jointly=joint.different_jointly,
            )
        )
    return found


def _tested(runs: Runs, scenario: str) -> dict[MethodRow, Tested]:
    """Tests of the methods that share a seed with Retrained."""
    tested = {}
    for metric in runs.rows(scenario):
        facts = runs.metrics[metric]
        if not facts.has_gap:
            continue
        reference = runs.values(scenario, names.RETRAINED, metric)
        lack = _lack(runs, scenario, names.RETRAINED, metric)
        margin = margin_of(runs, scenario, metric)
        resolution = resolution_of(runs, scenario, metric)
        for method in runs.methods(scenario):
            if method == names.RETRAINED or not runs.has(method, metric):
                continue
            values = runs.values(scenario, method, metric)
            differences = statistics.paired_differences(values, reference)
            if differences:
                own = _lack(runs, scenario, method, metric)
                of_reference = f"{OF_RETRAINED}{lack}" if lack else ""
                tested[metric, method] = Tested(
                    values, reference, differences, resolution, margin, own or of_reference
                )
    return tested


def _p_values(
    tested: Mapping[MethodRow, Tested], tuned: Collection[str]
) -> dict[MethodRow, PValues]:
    def track(key: MethodRow) -> SettingsTrack:
        return track_of(key[1], tuned)

    def family(key: MethodRow) -> tuple[str, SettingsTrack]:
        """Family of tests: the methods of one metric and track, and Original by itself."""
        return key[0], track(key)

    differences = {key: p for key, each in tested.items() if (p := each.difference_p) is not None}
    flip_p_values = hypotheses.sign_flip_p_values(each.differences for each in tested.values())
    flips = {key: p for key, p in zip(tested, flip_p_values, strict=True) if p is not None}
    adjusted, flips_adjusted = _adjusted(differences, family), _adjusted(flips, family)
    families, flip_families = (Counter(map(family, p)) for p in (differences, flips))
    jointly = _adjusted(differences, track)
    return {
        key: PValues(
            difference=differences.get(key),
            adjusted=adjusted.get(key),
            joint=jointly.get(key),
            flip=flips.get(key),
            flip_adjusted=flips_adjusted.get(key),
            methods=families[family(key)],
            flip_methods=flip_families[family(key)],
        )
        for key in tested
    }


def _gap(
    tested: Tested,
    p: PValues,
    facts: RowFacts,
    *,
    noninferiority: NonInferiority | None,
) -> Gap:
    """The gap of one method in one metric."""
    found = statistics.clipped(
        statistics.estimate(tested.differences, resolution=tested.resolution or 0.0),
        None if facts.widest is None else -facts.widest,
        facts.widest,
    )
    mean_absolute = statistics.average(map(abs, tested.differences))
    assert found.mean is not None
    assert mean_absolute is not None
    verdict = hypotheses.verdict(
        found.n,
        difference_p=p.adjusted,
        equivalence_p=tested.equivalence_p,
        is_complete=not tested.lack,
    )
    remarks = _remarks(tested, verdict, p)
    apart = hypotheses.separation(tested.values, tested.reference)
    return Gap(
        n=found.n,
        mean=found.mean,
        low=found.low,
        high=found.high,
        sd=found.sd,
        resolution=tested.resolution,
        standardised=found.mean / found.sd if found.sd else None,
        mean_absolute=mean_absolute,
        told_apart=ToldApart(auc=apart.auc, low=apart.low, high=apart.high) if apart else None,
        difference_p=p.difference,
        adjusted_p=p.adjusted,
        joint_p=p.joint,
        flip_p=p.flip,
        flip_adjusted_p=p.flip_adjusted,
        signed_rank_p=hypotheses.signed_rank_p(tested.differences),
        margin=tested.margin.value if tested.margin else None,
        margin_source=tested.margin.source if tested.margin else None,
        equivalence_p=tested.equivalence_p,
        verdict=verdict,
        remarks=list(remarks),
        noninferiority=noninferiority,
    )


def _lack(runs: Runs, scenario: str, method: str, metric: str) -> str:
    values = runs.values(scenario, method, metric).values()
    counts = runs.counts(scenario, method, metric)
    return lack_of(len(statistics.present(values)), counts)


def _adjusted(
    p_values: Mapping[MethodRow, float], family: Callable[[MethodRow], Hashable]
) -> dict[MethodRow, float]:
    """Adjust p values by Holm within each family."""
    families: dict[Hashable, dict[MethodRow, float]] = defaultdict(dict)
    for key, p in p_values.items():
        families[family(key)][key] = p
    return {key: p for family in families.values() for key, p in hypotheses.holm(family).items()}


def _remarks(tested: Tested, verdict: hypotheses.Verdict, p: PValues) -> Sequence[str]:
    n, alpha = len(tested.differences), 1 - statistics.LEVEL
    found = [tested.lack] if tested.lack else []
    if n < hypotheses.FEWEST_FOR_A_VERDICT:
        found.append(FEW_SEEDS)
    tells = verdict == "inconclusive" and p.difference is not None and p.difference < alpha
    if tells and n >= hypotheses.FEWEST_FOR_A_DIFFERENCE:
        found.append(f"not after correction for {p.methods} methods")
    disagrees = p.flip_adjusted is not None and p.flip_adjusted >= alpha
    if verdict == "different" and disagrees and hypotheses.flips_can_reject(n, p.flip_methods):
        told = f"p = {p.flip_adjusted:.2g} after correction"
        found.append(f"the exact test does not find it ({told})")
    return found


def _noninferiority(tested: Tested, facts: RowFacts) -> NonInferiority | None:
    if tested.margin is None:
        return None
    found = hypotheses.noninferiority(
        tested.differences, tested.margin.value, resolution=tested.resolution or 0.0
    )
    if found is None:
        return None
    enough = not tested.lack and len(tested.differences) >= hypotheses.FEWEST_FOR_A_VERDICT
    return NonInferiority(
        low=found.low if facts.widest is None else max(found.low, -facts.widest),
        p=found.p,
        holds=enough and found.p < 1 - statistics.LEVEL,
    )


def margin_of(runs: Runs, scenario: str, metric: str) -> Margin | None:
    """Equivalence margin: spec.margins; else the larger of the metric's own and the noise.

    The noise is the lower 95 % bound of the standard deviation of a difference between Retrained
    models that forgot the same samples: one of each seed, or replicas where every seed forgot
    others. Below it chance alone moves the number.
    """
    if (value := runs.order.margins.get(metric)) is not None:
        return Margin(value, "set")
    own, noise = runs.metrics[metric].margin, _noise(runs, scenario, metric)
    if noise and noise > (own or 0.0):
        return Margin(noise, "noise")
    return Margin(own, "metric") if own else None


def _noise(runs: Runs, scenario: str, metric: str) -> float | None:
    alike: dict[str, list[float | None]] = defaultdict(list)
    replicas: list[list[float | None]] = []
    cells = runs.cells(scenario)
    for seed in runs.seeds:
        of_seed = runs.of.get((scenario, names.RETRAINED), {}).get(seed, [])
        values = [run.metrics.get(metric) for run in of_seed if run.status == "ok"]
        if values and seed in cells:
            alike[cells[seed].forget_digest].append(values[0])
        replicas.append(values)
    shared = any(len(statistics.present(values)) > 1 for values in alike.values())
    return hypotheses.noise_margin(alike.values() if shared else replicas)


def resolution_of(runs: Runs, scenario: str, metric: str) -> float | None:
    """1 / (N √12) of a share of N samples, of the seed with the fewest; None of other metrics."""
    facts = runs.metrics[metric]
    if not facts.share:
        return None
    counts = [
        count
        for seed, cell in runs.cells(scenario).items()
        if (count := _samples(cell, runs.answers[seed].dataset.test_samples, facts.on or "forget"))
    ]
    return 1 / (min(counts) * RESOLUTION) if counts else None


def _samples(cell: CellRecord, test_samples: int, on: SetName) -> int:
    """Number of samples of a set.

    Where the forget set is poisoned, forget_test is made of spoilt copies, and retain_test is all
    of the test set.
    """
    spoilt = any(named.role != "forgotten" for named in cell.named)
    return {
        "forget": cell.forget_samples,
        "retain": cell.retain_samples,
        "test": test_samples,
        "forget_test": cell.forget_test_samples,
        "retain_test": test_samples - (0 if spoilt else cell.forget_test_samples),
    }[on]
