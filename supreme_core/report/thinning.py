"""Seeds that are drawn where a page has no room for all of them. Pure."""

from collections.abc import Mapping

LEAST = 20
"""Seeds of a choice, however many such choices a page has."""


def evenly(count: int, most: int) -> list[int]:
    """Places of so many at even steps, the first and the last among them; all where there are no
    more, and at least `LEAST`."""
    most = max(most, LEAST)
    if count <= most:
        return list(range(count))
    return [step * (count - 1) // (most - 1) for step in range(most)]


def spread_alike(values: Mapping[str, float | None], most: int) -> dict[str, float | None]:
    """Values at even steps of their rank, which are spread as all are; None for the others."""
    ranked = sorted((value, seed) for seed, value in values.items() if value is not None)
    kept = {ranked[place][1] for place in evenly(len(ranked), most)}
    return {seed: value if seed in kept else None for seed, value in values.items()}
