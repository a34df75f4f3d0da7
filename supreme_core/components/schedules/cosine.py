"""Half a cosine from the full rate to near zero."""

from math import cos, pi

from supreme_core.registry import NoParams, schedule


@schedule()
def cosine(epoch: float, epochs: int, params: NoParams) -> float:
    """Half a cosine over all epochs, by step, so that no epoch runs at a rate of 0."""
    return 0.5 * (1 + cos(pi * epoch / epochs))
