"""Sobol points: they fill a cube more evenly than random ones, at every power of two.

Direction numbers of Joe and Kuo 2008 (new-joe-kuo-6), in the order of Gray codes, as in scipy. They
are scrambled by a random linear matrix and a digital shift (Matoušek 1998), as there, but drawn
from an address. That keeps how evenly they lie, moves the first one away from the corner, and gives
every method of a scenario points of its own. All of it is plain Python: the operator plans without
numpy.
"""

from functools import cache
from typing import Final

from supreme_core.randomness.streams import derive

BITS: Final = 32
RESOLUTION: Final = 1 << BITS

JOE_KUO: Final = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
)
"""Of each dimension after the first: the degree of its polynomial, the polynomial's inner
coefficients as bits, and the first direction numbers."""

DIMENSIONS: Final = len(JOE_KUO) + 1


def scrambled(index: int, axis: int, address: tuple[str | int, ...]) -> float:
    """Coordinate `axis` of point number `index`, both from 0, in [0, 1)."""
    directions, shift = _scrambling(axis, address)
    return (_combined(index, directions) ^ shift) / RESOLUTION


def unscrambled(index: int, axis: int) -> float:
    """The same coordinate of the sequence as Joe and Kuo give it."""
    return _combined(index, directions_of(axis)) / RESOLUTION


@cache
def directions_of(axis: int) -> tuple[int, ...]:
    """Direction numbers of an axis; number k moves a point by an odd multiple of 2^-(k+1)."""
    if axis == 0:
        return tuple(1 << BITS - 1 - k for k in range(BITS))
    degree, coefficients, first = JOE_KUO[axis - 1]
    numbers = [number << BITS - 1 - k for k, number in enumerate(first)]
    for k in range(degree, BITS):
        number = numbers[k - degree] ^ numbers[k - degree] >> degree
        for j in range(1, degree):
            if coefficients >> degree - 1 - j & 1:
                number ^= numbers[k - j]
        numbers.append(number)
    return tuple(numbers)


@cache
def _scrambling(axis: int, address: tuple[str | int, ...]) -> tuple[tuple[int, ...], int]:
    """The direction numbers times a random matrix, and the shift.

    The matrix has ones on its diagonal and nothing above it, so that each digit stays apart from
    those below it and intervals go to intervals.
    """
    rows = [
        1 << BITS - 1 - digit | derive(0, *address, axis, "row", digit) % 2**digit << BITS - digit
        for digit in range(BITS)
    ]
    directions = tuple(_times(rows, number) for number in directions_of(axis))
    return directions, derive(0, *address, axis, "shift") % RESOLUTION


def _times(rows: list[int], number: int) -> int:
    """A matrix of bits times a vector of them."""
    return sum(
        ((row & number).bit_count() & 1) << BITS - 1 - digit for digit, row in enumerate(rows)
    )


def _combined(index: int, directions: tuple[int, ...]) -> int:
    """Sum without carry of the direction numbers that the Gray code of the index has."""
    code, number = index ^ index >> 1, 0
    for k, direction in enumerate(directions):
        if code >> k & 1:
            number ^= direction
    return number
