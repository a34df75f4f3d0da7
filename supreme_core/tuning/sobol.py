"""Sobol points in plain Python, scrambled: the same bits wherever a plan is made.

Direction numbers are those of Joe and Kuo 2008, new-joe-kuo-6.21201 (as in scipy.stats.qmc); the
scrambling is a random linear one of each dimension's matrix with a random digital shift (Matoušek
1998), which keeps the net: every 2^m points lie evenly in all halves, quarters and so on.
"""

from functools import cache

from supreme_core.randomness.streams import derive

BITS = 30
POINTS = 1 << BITS
DIMENSIONS = 8

_POLYNOMIALS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
)
"""Degree, inner coefficients as bits, and first direction numbers, from the second dimension on."""


def point(number: int, *address: str | int, dimensions: int) -> list[float]:
    """The point of that number, from 0, in [0, 1) for each dimension.

    address: of the scrambling; other addresses give other points that are spread as evenly.
    """
    return [_coordinate(number, dimension, address) for dimension in range(dimensions)]


def plain(number: int, dimension: int) -> float:
    """A coordinate without scrambling."""
    return _combined(number, _directions(dimension)) / POINTS


def _coordinate(number: int, dimension: int, address: tuple[str | int, ...]) -> float:
    directions, shift = _scrambled(dimension, address)
    return (_combined(number, directions) ^ shift) / POINTS


def _combined(number: int, directions: tuple[int, ...]) -> int:
    """Exclusive or of the direction numbers where the Gray code of the number has a bit."""
    gray, found = number ^ (number >> 1), 0
    for place, direction in enumerate(directions):
        if gray >> place & 1:
            found ^= direction
    return found


@cache
def _directions(dimension: int) -> tuple[int, ...]:
    """Direction numbers of a dimension as fractions of POINTS."""
    if dimension == 0:
        return tuple(1 << (BITS - 1 - place) for place in range(BITS))
    degree, inner, first = _POLYNOMIALS[dimension - 1]
    numbers = list(first)
    for place in range(degree, BITS):
        new = numbers[place - degree] ^ (numbers[place - degree] << degree)
        for back in range(1, degree):
            if inner >> (degree - 1 - back) & 1:
                new ^= numbers[place - back] << back
        numbers.append(new)
    return tuple(number << (BITS - 1 - place) for place, number in enumerate(numbers))


@cache
def _scrambled(dimension: int, address: tuple[str | int, ...]) -> tuple[tuple[int, ...], int]:
    """Direction numbers times a random lower triangular matrix of bits, and a random shift."""
    mask = POINTS - 1
    rows = []
    for row in range(BITS):
        # Bit `row` from the top is itself, with some of those above it.
        above = mask ^ (mask >> row)
        random = derive(0, "scramble", *address, dimension, row) & above
        rows.append(random | 1 << (BITS - 1 - row))
    directions = tuple(
        sum(
            ((row & direction).bit_count() & 1) << (BITS - 1 - place)
            for place, row in enumerate(rows)
        )
        for direction in _directions(dimension)
    )
    return directions, derive(0, "shift", *address, dimension) & mask
