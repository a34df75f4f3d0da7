"""Sets of places among the seeds as short text, as in the status of a Kubernetes Job: 0-6,8."""

from collections.abc import Iterable


def compressed(indexes: Iterable[int]) -> str:
    """The places in order, runs of them as first-last; at most 1,950 characters for 1,000 seeds."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def expanded(text: str, *, below: int) -> frozenset[int]:
    """The places that the text names; those that no seed has are left out."""
    found: set[int] = set()
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        found.update(range(int(first), min(int(last or first), below - 1) + 1))
    return frozenset(found)
