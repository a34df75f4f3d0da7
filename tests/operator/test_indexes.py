"""Places among the seeds as text, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supreme_operator.deciding.indexes import compressed, expanded


@pytest.mark.parametrize(
    ("indexes", "text"),
    [([], ""), ([3], "3"), ([0, 1], "0-1"), ([8, 0, 2, 1, 6], "0-2,6,8")],
)
def test_runs_are_written_as_first_and_last(indexes, text):
    assert compressed(indexes) == text


@given(st.sets(st.integers(0, 999)))
def test_nothing_is_lost(indexes):
    assert expanded(compressed(indexes), below=1000) == indexes


def test_the_longest_text_fits_into_the_status():
    assert len(compressed(range(0, 1000, 2))) < 4096


def test_a_place_that_no_seed_has_is_left_out():
    assert expanded("0-999999999,5", below=3) == {0, 1, 2}
