"""Claims: who computes a stage, where processes of one attempt and of others meet in a store.

Covered, under clocks of the tests: what is refused and what is not, stages that are too quick for
a lease, the wait for another attempt and its end.

Left out: leases themselves (tests/core/store/test_leases.py), and real trainers (test_crew.py).
"""

from dataclasses import replace

import pytest
import torch
from supreme_trainer.seed.claims import (
    LAST_POLL_SECONDS,
    PATIENCE_SECONDS,
    QUICK_SECONDS,
    Claims,
)

from supreme_core.engine.ranks.interruption import Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import HeldElsewhere
from supreme_core.plan import Step
from supreme_core.store.leases import STALE_SECONDS_IN_FOLDERS, Holder, Leases
from supreme_core.store.opening import open_storage

METRICS = Step("metrics", "full_class", "finetune"), "metrics", "aa" * 32
UNLEARNED = Step("unlearned", "full_class", "finetune"), "unlearned", "bb" * 32
ONE, OTHER = "experiments/one", "experiments/other"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def claims(tmp_path, clock):
    """Claims of one more process of an attempt."""

    def of(attempt):
        leases = Leases(open_storage(str(tmp_path)), attempt)
        leases._thread = object()  # nobody waits so long that a lease has to be renewed
        ranks = Ranks.alone(torch.device("cpu"))
        return Claims(ranks, attempt, are_shared=True, leases=leases, clock=clock)

    return of


def is_refused(claims, stage, **how):
    try:
        with claims.of(*stage, **how):
            return False
    except HeldElsewhere:
        return True


def test_what_one_claims_is_refused_to_others_until_it_is_done(claims):
    first, second, foreign = claims(ONE), claims(ONE), claims(OTHER)
    with first.of(*UNLEARNED) as is_new:
        assert is_new
        assert is_refused(second, UNLEARNED)
        assert is_refused(foreign, UNLEARNED)
        with first.of(*UNLEARNED) as is_new_again:
            assert not is_new_again

    assert not is_refused(second, UNLEARNED)


@pytest.mark.parametrize(
    ("hands_over", "is_known", "is_taken"),
    [(True, True, True), (False, True, False), (True, False, False)],
    ids=["for a team", "for good", "where no process knows another"],
)
def test_what_a_process_hands_over_is_kept_for_those_of_its_machine(
    claims, monkeypatch, hands_over, is_known, is_taken
):
    """Else an idle process of another pod takes the training while the team starts."""
    first, elsewhere, here = claims(ONE), claims(ONE), claims(ONE)
    if not is_known:
        first.leases._holder = replace(first.leases._holder, process="")
    with pytest.raises(Terminated), first.of(*UNLEARNED):
        first.interruption.request(hands_over=hands_over)

    assert is_refused(elsewhere, UNLEARNED) == is_taken
    monkeypatch.setattr(Holder, "has_ended", True)  # as is seen on its machine
    assert not is_refused(here, UNLEARNED)


def test_a_quick_stage_has_no_lease_but_a_whole_run_has(claims):
    first, second = claims(ONE), claims(ONE)
    for each in (first, second):
        each.durations.add(UNLEARNED[0], QUICK_SECONDS / 2)
    with first.of(*UNLEARNED):
        assert not is_refused(second, UNLEARNED)
    with first.of(*UNLEARNED, is_whole=True):
        assert is_refused(second, UNLEARNED, is_whole=True)


def test_a_process_of_the_same_attempt_is_waited_for_as_long_as_it_is_there(claims, clock):
    first, second = claims(ONE), claims(ONE)
    with first.of(*UNLEARNED):
        assert is_refused(second, UNLEARNED)
        clock.now += 100 * PATIENCE_SECONDS
        assert is_refused(second, UNLEARNED)


@pytest.mark.parametrize("stopped", [0.0, 10 * STALE_SECONDS_IN_FOLDERS])
def test_who_was_stopped_while_it_waited_gives_the_holder_time_again(claims, clock, stopped):
    """Both were, as where a scheduler suspends a job, and the holder has not beaten yet."""
    first, second = claims(ONE), claims(ONE)
    first.leases._holder = replace(first.leases._holder, process="on another machine")
    second.leases.clock = clock

    def sleep(seconds):
        clock.now += seconds + stopped

    second.sleep = sleep
    with first.of(*UNLEARNED):
        assert is_refused(second, UNLEARNED)
        clock.now += STALE_SECONDS_IN_FOLDERS - LAST_POLL_SECONDS
        assert is_refused(second, UNLEARNED)
        while clock.now < 2 * STALE_SECONDS_IN_FOLDERS + 100.0:
            second.wait()
        assert is_refused(second, UNLEARNED) == bool(stopped)


@pytest.mark.parametrize("expected", [0.0, PATIENCE_SECONDS])
def test_one_process_computes_too_what_another_attempt_is_slow_with(claims, clock, expected):
    """And not each that has waited: of eight GPUs all would compute the same."""
    slow, first, second = claims(OTHER), claims(ONE), claims(ONE)
    limit = max(PATIENCE_SECONDS, 2 * expected)
    for each in (first, second):
        each.durations.add(UNLEARNED[0], expected or QUICK_SECONDS)
    with slow.of(*UNLEARNED):
        assert is_refused(first, UNLEARNED)
        assert is_refused(second, UNLEARNED)
        clock.now += limit - 1
        assert is_refused(first, UNLEARNED)
        clock.now += 1
        with first.of(*UNLEARNED) as is_new:
            assert is_new
            assert first.is_mine(UNLEARNED[2])
            assert is_refused(second, UNLEARNED)
        assert not is_refused(second, UNLEARNED)


def test_what_leads_to_a_run_is_not_waited_for_once_more(claims, clock):
    """The holder is the same, and so would be the wait."""
    slow, first = claims(OTHER), claims(ONE)
    with slow.of(*METRICS), slow.of(*UNLEARNED):
        assert is_refused(first, METRICS)
        clock.now += PATIENCE_SECONDS
        with first.of(*METRICS):
            assert not is_refused(first, UNLEARNED)
        assert is_refused(first, UNLEARNED)
