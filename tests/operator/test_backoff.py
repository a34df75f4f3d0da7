"""Pauses before something is tried again: doubled each time, up to a longest."""

import pytest
from supreme_operator.deciding.backoff import BackoffPolicy, backoff_seconds

POLICY = BackoffPolicy(retry_seconds=10, disruption_seconds=5, longest_seconds=60)


@pytest.mark.parametrize(
    ("tries", "seconds"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (10**9, 60)]
)
def test_a_pause_doubles_up_to_the_longest(tries, seconds):
    assert backoff_seconds(5, tries, longest=60) == seconds


@pytest.mark.parametrize(("first", "longest"), [(0, 60), (90, 60)])
def test_no_pause_is_longer_than_the_longest(first, longest):
    assert backoff_seconds(first, 0, longest=longest) == min(first, longest)


def test_a_failure_costs_time_at_once_and_a_disruption_from_the_second_on():
    assert [POLICY.after_failures(each) for each in range(4)] == [10, 20, 40, 60]
    assert [POLICY.after_disruptions(each) for each in range(5)] == [0, 5, 10, 20, 40]
