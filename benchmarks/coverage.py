"""How often the intervals and verdicts of a report are right, on seeds whose truth is known.

    python -m benchmarks.coverage

Each line simulates whole experiments of n seeds. Prints the tables of docs/statistics.md.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from supreme_core import statistics
from supreme_core.comparison import Block, dominates, ranks
from supreme_core.statistics import FloatArray

REPETITIONS = 4000
BOOTSTRAPS = 2000
SEEDS = (5, 10, 20)
COLLAPSE_RATE, COLLAPSE = 0.1, 20.0
MARGIN = 1.0
METHODS = {"near": 1.0, "nearer": 0.8, "far": 1.6}


def main() -> None:
    _table(
        "seeds",
        "values",
        "t interval has the mean",
        "interval of the report has the mean",
        "bootstrap interval has the interquartile mean",
        lines=(_of_intervals(kind, n) for kind in KINDS for n in SEEDS),
    )
    _table(
        "seeds",
        "Wilson interval has the collapse rate",
        "Wilson interval has the share of nearer seeds",
        "bootstrap interval has the mean rank",
        "bootstrap interval has the score",
        lines=map(_of_shares, SEEDS),
    )
    _table(
        "seeds",
        "no gap, yet sign-flip p < 0.05",
        "gap at the margin, yet `equivalent`",
        "no gap, `equivalent`",
        "loss at the margin, yet `noninferior`",
        "no loss, `noninferior`",
        "gap of the margin, `different`",
        "method equal on 4 axes, yet dominated",
        lines=map(_of_tests, SEEDS),
    )


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
"""How they are drawn, and their range."""


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
    return Block(title=title, experiment="", distances=distances, scores=scores)


def _of_tests(n: int) -> list[str]:
    noise = _normal(np.random.default_rng([n, 20]), n)
    quiet = noise * 0.5
    axes = np.random.default_rng([n, 21]).normal(0.0, 1.0, (REPETITIONS, 2, 4, n))
    return [
        str(n),
        _share([(statistics.sign_flip_p(d) or 1.0) < 0.05 for d in noise]),
        _share([_verdict(d) == "equivalent" for d in quiet + MARGIN]),
        _share([_verdict(d) == "equivalent" for d in quiet]),
        _share([_is_noninferior(d) for d in quiet - MARGIN]),
        _share([_is_noninferior(d) for d in quiet]),
        _share([_verdict(d) == "different" for d in quiet + MARGIN]),
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
    return statistics.verdict(
        len(found),
        difference_p=statistics.sign_flip_p(found),
        equivalence_p=statistics.equivalence_p(found, MARGIN),
    )


def _is_noninferior(differences: Iterable[float]) -> bool:
    found = statistics.noninferiority(differences, MARGIN)
    return found is not None and found.p < 1 - statistics.LEVEL


def _share(found: Sequence[bool]) -> str:
    return f"{100 * np.mean(found):.1f} %"


if __name__ == "__main__":
    main()
