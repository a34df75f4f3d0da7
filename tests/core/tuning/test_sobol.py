"""Sobol points: those of scipy without scrambling, and a net with it.

A (0, m, 1) net in each dimension: of the first 2^m points each of 2^m equal parts of [0, 1) has
one. The first two dimensions together are a (0, m, 2) net: each box of area 2^-m has one.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from supreme_core.tuning import sobol

ADDRESSES = st.tuples(st.text(max_size=5), st.text(max_size=5))


def scrambled(count, *address, dimensions=sobol.DIMENSIONS):
    points = [sobol.point(n, *address, dimensions=dimensions) for n in range(count)]
    return np.array(points)


def test_without_scrambling_they_are_those_of_scipy():
    theirs = qmc.Sobol(sobol.DIMENSIONS, scramble=False, bits=sobol.BITS).random(512)
    ours = [[sobol.plain(n, d) for d in range(sobol.DIMENSIONS)] for n in range(512)]
    assert np.array_equal(ours, theirs)


@settings(max_examples=20, deadline=None)
@given(ADDRESSES, st.integers(0, 6))
def test_each_part_of_each_dimension_has_one_point(address, power):
    points = scrambled(2**power, *address)
    for dimension in range(sobol.DIMENSIONS):
        parts = np.floor(points[:, dimension] * 2**power).astype(int)
        assert sorted(parts) == list(range(2**power))


@settings(max_examples=20, deadline=None)
@given(ADDRESSES, st.integers(1, 6), st.data())
def test_each_box_of_the_first_two_dimensions_has_one_point(address, power, data):
    wide = data.draw(st.integers(0, power))
    points = scrambled(2**power, *address, dimensions=2)
    boxes = {(int(x * 2**wide), int(y * 2 ** (power - wide))) for x, y in points}
    assert len(boxes) == 2**power


def test_another_address_has_other_points():
    assert not np.array_equal(scrambled(8, "full_class", "ssd"), scrambled(8, "full_class", "ct"))


def test_a_point_depends_neither_on_the_others_nor_on_the_number_of_dimensions():
    assert sobol.point(5, "a", "b", dimensions=3) == sobol.point(5, "a", "b", dimensions=8)[:3]


def test_points_are_what_they_were():
    """Stores have trials at these points."""
    recorded = [0.012081003747880459, 0.07270590495318174, 0.32900072168558836]
    assert sobol.point(3, "full_class", "scrub", dimensions=3) == recorded
