"""How often the intervals and verdicts of a report are right, on seeds whose truth is known.

    python -m benchmarks.coverage

Each line simulates whole experiments: n seeds, each with a paired gap to Retrained. In `normal` the
gaps are normal with deviation 1. In `collapses` one seed in ten has lost the task, which moves its
gap by 20 deviations; the true mean has that in it. Prints the table of docs/statistics.md.
"""

from collections.abc import Sequence

import numpy as np

from supreme_core import statistics

REPETITIONS = 4000
COLLAPSE_RATE, COLLAPSE = 0.1, 20.0
MARGIN = 1.0
COLUMNS = (
    "seeds",
    "gaps",
    "t interval has the mean",
    "Wilson interval has the collapse rate",
    "no gap, yet sign-flip p < 0.05",
    "gap at the margin, yet `equivalent`",
    "no gap, `equivalent`",
)


def main() -> None:
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' ---: |' * len(COLUMNS)}")
    for kind in ("normal", "collapses"):
        for n in (5, 10, 20):
            print(f"| {n} | {kind} | {' | '.join(_line(kind, n))} |", flush=True)


def _line(kind: str, n: int) -> list[str]:
    generator = np.random.default_rng([n, kind == "collapses"])
    noise = generator.normal(0.0, 1.0, (REPETITIONS, n))
    lost = generator.random((REPETITIONS, n)) < COLLAPSE_RATE
    is_normal = kind == "normal"
    gaps = noise if is_normal else noise - COLLAPSE * lost
    mean = 0.0 if is_normal else -COLLAPSE * COLLAPSE_RATE
    covers = [_covers(statistics.estimate(d), mean) for d in gaps]
    rates = [statistics.wilson(int(each.sum()), n) for each in lost]
    cells = [
        _share(covers),
        _share([r is not None and r[0] <= COLLAPSE_RATE <= r[1] for r in rates]),
    ]
    if not is_normal:  # a method that loses the task in one seed of ten has a gap
        return [*cells, "", "", ""]
    quiet, loud = noise * 0.5, noise * 0.5 + MARGIN
    return [
        *cells,
        _share([(statistics.sign_flip_p(d) or 1.0) < 0.05 for d in noise]),
        _share([_verdict(d) == "equivalent" for d in loud]),
        _share([_verdict(d) == "equivalent" for d in quiet]),
    ]


def _covers(found: statistics.Estimate, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


def _verdict(differences: Sequence[float]) -> str:
    return statistics.verdict(
        len(differences),
        difference_p=statistics.sign_flip_p(differences),
        equivalence_p=statistics.equivalence_p(differences, MARGIN),
    )


def _share(found: Sequence[bool]) -> str:
    return f"{100 * np.mean(found):.1f} %"


if __name__ == "__main__":
    main()
