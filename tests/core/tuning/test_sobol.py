"""Sobol points against scipy's, and that scrambling keeps how evenly they lie."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from supreme_core.tuning.sobol import BITS, DIMENSIONS, scrambled, unscrambled

AXES = range(DIMENSIONS)
titles = st.tuples(st.text(max_size=5), st.text(max_size=5))


def test_points_without_scrambling_are_those_of_scipy() -> None:
    theirs = qmc.Sobol(DIMENSIONS, scramble=False, bits=BITS).random(1024)
    ours = [[unscrambled(index, axis) for axis in AXES] for index in range(1024)]
    assert (theirs == ours).all()


@settings(max_examples=20)
@given(titles, st.integers(0, 6), st.sampled_from(AXES))
def test_each_interval_has_one_of_as_many_scrambled_points(
    address: tuple[str, str], power: int, axis: int
) -> None:
    n = 2**power
    assert sorted(int(scrambled(i, axis, address) * n) for i in range(n)) == list(range(n))


@settings(max_examples=20)
@given(titles, st.integers(0, 6))
def test_each_rectangle_of_the_first_two_axes_has_one_point(
    address: tuple[str, str], power: int
) -> None:
    """A net with t = 0: so it is for every way to cut the square into as many equal rectangles."""
    n = 2**power
    points = [(scrambled(i, 0, address), scrambled(i, 1, address)) for i in range(n)]
    for rows in (2**each for each in range(power + 1)):
        cells = {(int(x * rows), int(y * (n // rows))) for x, y in points}
        assert len(cells) == n


def test_scrambled_points_differ_by_address_and_stay_what_they_are() -> None:
    points = [scrambled(i, 1, ("fullclass", "scrub")) for i in range(4)]
    assert points != [scrambled(i, 1, ("fullclass", "ssd")) for i in range(4)]
    assert points == pytest.approx([0.73745994, 0.39195748, 0.95783701, 0.17837057], abs=1e-8)


def test_scrambled_points_are_as_even_as_those_of_scipy() -> None:
    ours = [[scrambled(i, axis, ("a", "b")) for axis in range(4)] for i in range(64)]
    theirs = qmc.Sobol(4, scramble=True, rng=0).random(64)
    assert qmc.discrepancy(ours) < 1.5 * qmc.discrepancy(theirs)
