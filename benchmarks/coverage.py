"""Coverage of a report's intervals and error rates of its verdicts, on seeds whose truth is known.

    python -m benchmarks.coverage                    # many minutes of one core
    python -m benchmarks.coverage verdicts margins   # these tables

Each line simulates whole experiments of n seeds. Prints the tables of docs/statistics.md.
"""

import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.special import ndtr

from supreme_core.analysis import hypotheses, statistics
from supreme_core.analysis.comparison import Block, dominates, ranks
from supreme_core.analysis.statistics import FloatArray

REPETITIONS = 4000
BOOTSTRAPS = 2000
SEEDS = (5, 10, 20)
COLLAPSE_RATE, COLLAPSE = 0.1, 20.0
MARGIN = 1.0
METHODS = {"near": 1.0, "nearer": 0.8, "far": 1.6}


def main(chosen: Sequence[str]) -> None:
    for name in chosen or TABLES:
        TABLES[name]()


def _intervals() -> None:
    _table(
        "seeds",
        "values",
        "t interval has the mean",
        "interval of the report has the mean",
        "bootstrap interval has the interquartile mean",
        lines=(_of_intervals(kind, n) for kind in KINDS for n in SEEDS),
    )


def _shares() -> None:
    _table(
        "seeds",
        "Wilson interval has the collapse rate",
        "Wilson interval has the share of nearer seeds",
        "bootstrap interval has the mean rank",
        "bootstrap interval has the score",
        lines=map(_of_shares, SEEDS),
    )


def _tests() -> None:
    _table(
        "seeds",
        "no gap, yet sign-flip p < 0.05",
        "gap at a margin that is set, yet `equivalent`",
        "no gap, `equivalent`",
        "loss at the margin, yet `noninferior`",
        "no loss, `noninferior`",
        "method equal on 4 axes, yet dominated",
        lines=map(_of_tests, SEEDS),
    )


def _verdicts() -> None:
    _table(
        "seeds",
        "values",
        "interval has the gap",
        "no gap of 1 method, yet `different`",
        "no gap of 6 methods, yet one `different`",
        "no gap of 6 methods in 11 rows, yet one jointly `different`",
        "gap of 1 margin, `different`",
        "of 2",
        "of 5",
        "gap at the margin from noise, yet `equivalent`",
        "no gap, `equivalent` by it",
        lines=(_of_verdicts(kind, n) for kind in GAPS for n in MANY_SEEDS),
    )


def _margins() -> None:
    _table(
        "seeds",
        "spread of the method to that of Retrained",
        *(f"correlation {correlation:g}" for correlation in CORRELATIONS),
        lines=(_of_margins(n, ratio) for n in SEEDS for ratio in RATIOS),
    )


def _separations() -> None:
    _table(
        "seeds",
        "correlation with Retrained",
        *(f"interval has an area of {_area(shift):.2f}" for shift in SHIFTS),
        lines=(_of_separation(n, correlation) for n in SEEDS for correlation in (0.0, 0.9)),
    )


TABLES = {
    "intervals": _intervals,
    "shares": _shares,
    "tests": _tests,
    "verdicts": _verdicts,
    "margins": _margins,
    "separations": _separations,
}


def _table(*columns: str, lines: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(columns)} |")
    print(f"|{' ---: |' * len(columns)}")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)
    print()


def _normal(generator: np.random.Generator, n: int) -> FloatArray:
    return generator.normal(0.0, 1.0, (REPETITIONS, n))


def _collapses(generator: np.random.Generator, n: int) -> FloatArray:
    """One seed in ten has lost the task, which moves it by 20 deviations."""
    lost = generator.random((REPETITIONS, n)) < COLLAPSE_RATE
    return _normal(generator, n) - COLLAPSE * lost


def _accuracies(generator: np.random.Generator, n: int) -> FloatArray:
    return generator.beta(38.0, 2.0, (REPETITIONS, n))


def _costs(generator: np.random.Generator, n: int) -> FloatArray:
    return generator.lognormal(0.0, 0.5, (REPETITIONS, n))


KINDS = {
    "normal": (_normal, None, None),
    "collapses": (_collapses, None, None),
    "accuracies near 1": (_accuracies, 0.0, 1.0),
    "skewed costs": (_costs, 0.0, None),
}
"""Kinds of values: how they are drawn, and their range."""


def _of_intervals(kind: str, n: int) -> list[str]:
    draw, lowest, highest = KINDS[kind]
    values = draw(np.random.default_rng([n, list(KINDS).index(kind)]), n)
    many = np.concatenate([draw(np.random.default_rng([0, i]), 500) for i in range(2)]).ravel()
    mean, middle = float(many.mean()), float(statistics.iqm(many))
    reported = [statistics.estimate(x, lowest=lowest, highest=highest) for x in values]
    plain = [statistics.estimate(x) for x in values]
    robust = [statistics.robust(x) for x in values[:BOOTSTRAPS]]
    is_wide_enough = n >= statistics.FEWEST_FOR_A_BOOTSTRAP
    return [
        str(n),
        kind,
        _share([_has(e.low, mean, e.high) for e in plain]),
        _share([_has(e.low, mean, e.high) for e in reported]),
        _share([_has(r.low, middle, r.high) for r in robust if r]) if is_wide_enough else "",
    ]


def _of_shares(n: int) -> list[str]:
    generator = np.random.default_rng([n, 10])
    lost = generator.binomial(n, COLLAPSE_RATE, REPETITIONS)
    nearer = generator.binomial(n, 0.7, REPETITIONS)
    rates = [statistics.wilson(int(k), n) for k in lost]
    shares = [statistics.wilson(int(k), n) for k in nearer]
    ranked = _ranked(generator, n) if n >= statistics.FEWEST_FOR_A_BOOTSTRAP else ("", "")
    return [
        str(n),
        _share([r is not None and _has(r[0], COLLAPSE_RATE, r[1]) for r in rates]),
        _share([r is not None and _has(r[0], 0.7, r[1]) for r in shares]),
        *ranked,
    ]


def _ranked(generator: np.random.Generator, n: int) -> tuple[str, str]:
    """Three methods in two scenarios; Original is at a distance of 4."""
    true_rank = {"nearer": 1.0, "near": 2.0, "far": 3.0}
    true_score = {method: 1 - distance / 4 for method, distance in METHODS.items()}
    rank_hits, score_hits = [], []
    for _ in range(BOOTSTRAPS):
        found = ranks([_block(generator, n, title) for title in "ab"], "forget_accuracy")
        assert found is not None
        for each in found.ranks:
            rank_hits.append(_has(each.low, true_rank[each.method], each.high))
            score_hits.append(_has(each.score_low, true_score[each.method], each.score_high))
    return _share(rank_hits), _share(score_hits)


def _block(generator: np.random.Generator, n: int, title: str) -> Block:
    distances = {
        method: dict(zip(map(str, range(n)), generator.normal(mean, 0.3, n).tolist(), strict=True))
        for method, mean in METHODS.items()
    }
    scores = {
        method: {seed: 1 - distance / 4 for seed, distance in of_method.items()}
        for method, of_method in distances.items()
    }
    return Block(title=title, distances=distances, scores=scores)


def _of_tests(n: int) -> list[str]:
    noise = _normal(np.random.default_rng([n, 20]), n)
    quiet = noise * 0.5
    axes = np.random.default_rng([n, 21]).normal(0.0, 1.0, (REPETITIONS, 2, 4, n))
    return [
        str(n),
        _share([(hypotheses.sign_flip_p(d) or 1.0) < 0.05 for d in noise]),
        _share([_verdict(d) == "equivalent" for d in quiet + MARGIN]),
        _share([_verdict(d) == "equivalent" for d in quiet]),
        _share([_is_noninferior(d) for d in quiet - MARGIN]),
        _share([_is_noninferior(d) for d in quiet]),
        _share([dominates(_by_seed(one), _by_seed(other)) for one, other in axes]),
    ]


def _by_seed(axes: FloatArray) -> list[dict[str, float]]:
    return [dict(zip(map(str, range(len(axis))), axis.tolist(), strict=True)) for axis in axes]


def _has(low: float | None, truth: float, high: float | None) -> bool:
    assert low is not None
    assert high is not None
    return low <= truth <= high


def _verdict(differences: Iterable[float]) -> str:
    found = list(differences)
    return hypotheses.verdict(
        len(found),
        difference_p=hypotheses.difference_p(found),
        equivalence_p=hypotheses.equivalence_p(found, MARGIN),
    )


def _is_noninferior(differences: Iterable[float]) -> bool:
    found = hypotheses.noninferiority(differences, MARGIN)
    return found is not None and found.p < 1 - statistics.LEVEL


MANY_SEEDS = (3, 5, 8, 10, 20)
JOINTLY = 2000
OTHERS, ROWS = 6, 11
POPULATION_MARGIN = 2**0.5
"""The standard deviation of a difference of two Retrained models, whose own is 1."""

RATIOS = (0.3, 1.0, 3.0)
CORRELATIONS = (0.0, 0.5, 0.9, 0.99)
SHIFTS = (0.0, 1.0, 2.0)

Draw = Callable[[np.random.Generator, tuple[int, ...]], FloatArray]


def _heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    return generator.standard_t(3, shape) / 3**0.5


def _skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    return generator.exponential(1.0, shape) - 1.0


def _gauss(generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    return generator.normal(0.0, 1.0, shape)


def _losing(generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """One seed in ten loses the task; the mean is 0 all the same."""
    lost = generator.random(shape) < COLLAPSE_RATE
    return _gauss(generator, shape) - COLLAPSE * (lost - COLLAPSE_RATE)


GAPS: dict[str, tuple[Draw, Draw]] = {
    "normal": (_gauss, _gauss),
    "t, 3 degrees of freedom": (_heavy, _heavy),
    "skewed": (_skewed, _skewed),
    "method collapses": (_losing, _gauss),
}
"""Draws of a method and of Retrained: both have mean 0, and Retrained has a deviation of 1."""


def _of_verdicts(kind: str, n: int) -> list[str]:
    """Each repetition is an experiment of six perfect methods."""
    of_method, of_retrained = GAPS[kind]
    generator = np.random.default_rng([n, 30, list(GAPS).index(kind)])
    methods = of_method(generator, (REPETITIONS, OTHERS, n))
    retrained = of_retrained(generator, (REPETITIONS, 1, n))
    gaps = methods - retrained
    intervals = [statistics.estimate(d) for d in gaps[:, 0]]
    p_values = [[_p(d) for d in of_experiment] for of_experiment in gaps]
    return [
        str(n),
        kind,
        _share([_has(e.low, 0.0, e.high) for e in intervals]),
        _share([_is_different(n, of_experiment[:1]) for of_experiment in p_values]),
        _share([_is_different(n, of_experiment) for of_experiment in p_values]),
        _share([_is_jointly_different(kind, n, i) for i in range(JOINTLY)]),
        *(_power(gaps, p_values, margins * POPULATION_MARGIN) for margins in (1, 2, 5)),
        _share(_equivalent_by_noise(methods[:, 0] + POPULATION_MARGIN, retrained[:, 0])),
        _share(_equivalent_by_noise(methods[:, 0], retrained[:, 0])),
    ]


def _p(differences: FloatArray) -> float:
    found = hypotheses.difference_p(differences)
    assert found is not None
    return found


def _is_different(n: int, p_values: Sequence[float], method: int | None = None) -> bool:
    """Return whether any method, or the given one, is called different."""
    adjusted = hypotheses.holm(dict(enumerate(p_values)))
    asked = adjusted.values() if method is None else [adjusted[method]]
    verdicts = (hypotheses.verdict(n, difference_p=p, equivalence_p=None) for p in asked)
    return any(verdict == "different" for verdict in verdicts)


def _power(gaps: FloatArray, p_values: list[list[float]], shift: float) -> str:
    """Return the power for the first of six methods; the others have no gap."""
    n = gaps.shape[2]
    return _share(
        [
            _is_different(n, [_p(d + shift), *others[1:]], 0)
            for d, others in zip(gaps[:, 0], p_values, strict=True)
        ]
    )


def _is_jointly_different(kind: str, n: int, repetition: int) -> bool:
    """Return the error rate for six perfect methods and eleven rows that are independent of each
    other."""
    of_method, of_retrained = GAPS[kind]
    generator = np.random.default_rng([n, 31, list(GAPS).index(kind), repetition])
    gaps = of_method(generator, (ROWS, OTHERS, n)) - of_retrained(generator, (ROWS, 1, n))
    p_values = {(row, m): _p(gaps[row, m]) for row in range(ROWS) for m in range(OTHERS)}
    jointly = hypotheses.holm(p_values)
    by_row: dict[tuple[int, int], float] = {}
    for row in range(ROWS):
        by_row |= hypotheses.holm({key: p for key, p in p_values.items() if key[0] == row})
    return any(
        hypotheses.joint_verdict(
            (
                hypotheses.verdict(n, difference_p=by_row[row, method], equivalence_p=None),
                jointly[row, method],
            )
            for row in range(ROWS)
        ).verdict
        == "different"
        for method in range(OTHERS)
    )


def _equivalent_by_noise(methods: FloatArray, retrained: FloatArray) -> list[bool]:
    """Return which methods are equivalent by the margin that Retrained's own values give."""
    found = []
    for x, r in zip(methods, retrained, strict=True):
        margin = hypotheses.noise_margin([r])
        assert margin is not None
        p = hypotheses.equivalence_p(x - r, margin)
        verdict = hypotheses.verdict(len(r), difference_p=None, equivalence_p=p)
        found.append(verdict == "equivalent")
    return found


def _of_margins(n: int, ratio: float) -> list[str]:
    """Return how often a method at the margin of the population is called equivalent."""
    shares = []
    for correlation in CORRELATIONS:
        generator = np.random.default_rng([n, 40, round(100 * correlation), round(10 * ratio)])
        x, r = _correlated(generator, n, correlation)
        shares.append(_share(_equivalent_by_noise(ratio * x + POPULATION_MARGIN, r)))
    return [str(n), f"{ratio:g}", *shares]


def _correlated(
    generator: np.random.Generator, n: int, correlation: float
) -> tuple[FloatArray, FloatArray]:
    retrained, own = _gauss(generator, (2, REPETITIONS, n))
    return correlation * retrained + (1 - correlation**2) ** 0.5 * own, retrained


def _of_separation(n: int, correlation: float) -> list[str]:
    shares = []
    for shift in SHIFTS:
        generator = np.random.default_rng([n, 50, round(100 * correlation), round(shift)])
        x, r = _correlated(generator, n, correlation)
        hits = []
        for values, reference in zip(x + shift, r, strict=True):
            found = hypotheses.separation(
                dict(enumerate(values.tolist())), dict(enumerate(reference.tolist()))
            )
            assert found is not None
            hits.append(found.low <= _area(shift) <= found.high)
        shares.append(_share(hits))
    return [str(n), f"{correlation:g}", *shares]


def _area(shift: float) -> float:
    """Return the area under the curve of two normal distributions of deviation 1."""
    return float(ndtr(shift / 2**0.5))


def _share(found: Sequence[bool]) -> str:
    return f"{100 * np.mean(found):.1f} %"


if __name__ == "__main__":
    main(sys.argv[1:])
