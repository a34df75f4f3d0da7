"""splitmix64 as a counter-based generator: number i of a stream, without drawing those before it.

Orders and draws must be the same in every version of numpy and torch and on every device, which
neither library promises for its own generators. Steele, Lea, Flood 2014, "Fast splittable
pseudorandom number generators"; the constants are those of Vigna's splitmix64.c.
"""

import numpy as np
from numpy.typing import NDArray

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB


def splitmix64(key: int, counters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(n,) 64 random bits for each counter of the stream `key`."""
    with np.errstate(over="ignore"):
        z = counters.astype(np.uint64) + np.uint64(1)
        z = np.uint64(key & (2**64 - 1)) + z * np.uint64(GOLDEN_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST_MULTIPLIER)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND_MULTIPLIER)
        return z ^ (z >> np.uint64(31))


def permutation(key: int, n: int) -> NDArray[np.int64]:
    """A random order of 0..n-1: sorted by hash, ties (practically none) by number."""
    return np.argsort(splitmix64(key, np.arange(n)), kind="stable")
