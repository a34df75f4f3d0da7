"""Clock of the API server, as its answers tell it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from supreme_operator.cluster.clock import ServerClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Machine:
    """A clock that stands still."""

    time = NOW

    def __call__(self):
        return self.time


def heard(clock, date, *, took=0.0):
    """Tell a clock of an answer that has just come; the difference to this machine's then."""
    clock.told(date, clock.now() - timedelta(seconds=took))
    return (clock.now() - clock._machine()).total_seconds()


def dated(seconds):
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("seconds", [-3600, -6, 6, 86400])
def test_a_clock_that_differs_is_taken_until_it_differs_no_more(seconds):
    clock = ServerClock(machine := Machine())
    assert heard(clock, dated(seconds)) == seconds
    assert heard(clock, dated(seconds + 1)) == seconds  # answers tell whole seconds
    machine.time = NOW + timedelta(seconds=seconds)  # somebody has put it right
    assert heard(clock, dated(seconds)) == 0


@pytest.mark.parametrize("seconds", [-5, 0, 5])
def test_seconds_are_no_difference(seconds):
    assert heard(ServerClock(Machine()), dated(seconds)) == 0


def test_an_answer_that_was_long_under_way_tells_no_difference():
    assert heard(ServerClock(Machine()), dated(-25), took=28) == 0
    assert heard(ServerClock(Machine()), dated(-40), took=28) == -40


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 01 Mar 2026 09:00:00 -0000"])
def test_what_is_no_date_tells_nothing(date):
    assert heard(ServerClock(Machine()), date) == 0
