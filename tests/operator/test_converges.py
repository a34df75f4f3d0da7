"""Any events in any order end an experiment, and every seed counts once.

A small world of children that start, fail, are disrupted, lose a pod or vanish, and an operator
that may die between any two of its actions, which loses what it knew. Of several operators' views
only the one that has seen the newest status may write it. Drawn by hypothesis.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supreme_operator.deciding.decide import decide
from supreme_operator.deciding.facts import Attempt, Child, ChildState
from supreme_operator.deciding.indexes import expanded
from supreme_operator.deciding.standing import Observations
from supreme_operator.deciding.status import status_of
from supreme_operator.results.protocol import ResultCheck

from supreme_core.api.orders import work_digest
from supreme_core.api.status import ExperimentStatus
from tests.operator.looks import BACKOFF, NOW, UID, look, pod, publication

SEEDS = [7, 8, 9]
MOST = 3
POLICY = {"maxRetriesPerSeed": 2, "maxDisruptionsPerSeed": MOST, "maxFailedSeeds": 3}
SPEC = {"failurePolicy": POLICY, "parallelism": 2}
A_WHILE = timedelta(minutes=11)
"""Longer than any wait, so that time never holds a step back."""
WORK = work_digest(look(**SPEC).order.work)


class World:
    def __init__(self):
        self.now, self.status, self.children = NOW, ExperimentStatus(), {}
        self.results, self.observations, self.most = set(), Observations(), 0
        self.counted = []

    def reconcile(self, budget=1000, *, dies=False):
        """Do at most `budget` actions, then perhaps end the process."""
        seen = look(
            *self.children.values(), status=self.status, observations=self.observations, **SPEC
        )
        decision = decide(seen, now=self.now, backoff=BACKOFF)
        after = status_of(seen, decision, now=self.now)
        actions = [lambda: self.write(after)]
        actions += [lambda child=child: self.children.pop(child.name) for child in decision.delete]
        actions += [lambda each=each: self.create(each) for each in decision.create]
        actions += [lambda: self.verify(decision.verify)] if decision.verify else []
        actions += [lambda: self.publish(decision.publish)] if decision.publish else []
        for action in actions[:budget]:
            action()
        if dies:
            self.observations = Observations()
        return decision

    def write(self, after):
        before = expanded(self.status.completed_indexes, below=3)
        self.counted += sorted(expanded(after.completed_indexes, below=3) - before)
        assert before <= expanded(after.completed_indexes, below=3), "a result was lost"
        self.status = after

    def create(self, attempt: Attempt):
        name = f"s{attempt.index}-a{attempt.number}"
        assert name not in self.children, "a name was used twice"
        self.children[name] = Child(
            kind="Job",
            uid=name,
            name=name,
            owner=UID,
            attempt=attempt,
            work=WORK,
            created_at=self.now,
            state=ChildState.RUNNING,
            survives=True,
        )
        running = [c for c in self.children.values() if not c.state.is_finished]
        self.most = max(self.most, len(running))

    def verify(self, children):
        known = dict(self.observations.result_checks)
        for child in children:
            place = child.attempt.seed, child.attempt.number
            state = "valid" if place in self.results else "missing"
            known[place] = ResultCheck(seed=place[0], attempt=place[1], state=state, message="")
        self.observations = replace(self.observations, result_checks=known)

    def publish(self, seeds):
        self.observations = replace(self.observations, publication=publication(*seeds, **SPEC))

    def happens(self, what, which):
        running = [c for c in self.children.values() if not c.state.is_finished]
        if not running:
            return
        child = running[which % len(running)]
        if what == "vanishes":
            del self.children[child.name]
            return
        if what == "loses a pod" and child.attempt.disruptions + child.lost_pods < MOST:
            self.children[child.name] = replace(child, lost_pods=child.lost_pods + 1)
            return
        state, pods = ChildState.FAILED, ()
        if what == "succeeds":
            state = ChildState.SUCCEEDED
            self.results.add((child.attempt.seed, child.attempt.number))
        elif what == "fails":
            pods = (pod(phase="Failed", exit_code=1),)
        elif what == "is disrupted":
            pods = (pod(phase="Failed", disrupted="PreemptionByScheduler"),)
        reason = "BackoffLimitExceeded" if what == "loses a pod" else ""
        self.children[child.name] = replace(
            child, state=state, pods=pods, reason=reason, finished_at=self.now
        )


STEPS = st.one_of(
    st.tuples(st.just("reconcile"), st.integers(0, 5), st.booleans()),
    st.tuples(
        st.sampled_from(["succeeds", "fails", "is disrupted", "loses a pod", "vanishes"]),
        st.integers(0, 5),
        st.just(False),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_every_history_ends_with_each_seed_counted_once(steps):
    ends_well(steps)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_each_of_many_histories_ends_with_each_seed_counted_once(steps):
    ends_well(steps)


ENDS = ("Failed", "PartiallySucceeded", "Succeeded")


def ends_well(steps):
    """Go on until an end has lasted for ten rounds, or for sixty rounds."""
    world = World()
    for what, number, dies in steps:
        world.now += A_WHILE
        if what == "reconcile":
            world.reconcile(number, dies=dies)
        else:
            world.happens(what, number)
    rounds_at_its_end = 0
    for _ in range(60):
        world.now += A_WHILE
        world.reconcile()
        world.happens("succeeds", 0)
        rounds_at_its_end += world.status.phase in ENDS
        if rounds_at_its_end == 10:
            break
    completed = expanded(world.status.completed_indexes, below=3)
    failed = expanded(world.status.failed_indexes, below=3)
    assert completed | failed == {0, 1, 2}
    assert not completed & failed
    assert sorted(world.counted) == sorted(completed)
    assert world.most <= 2
    wanted = "Failed" if not completed else "PartiallySucceeded" if failed else "Succeeded"
    assert world.status.phase == wanted
    assert not [c for c in world.children.values() if not c.state.is_finished]
    settled = world.status
    assert world.reconcile().create == []
    assert world.status == settled


@pytest.mark.parametrize("disruption", ["is disrupted", "loses a pod"])
def test_attempts_stay_within_their_budgets(disruption):
    world = World()
    for what in ["fails", disruption] * 30:
        world.now += A_WHILE
        world.reconcile()
        world.happens(what, 0)
    numbers = [child.attempt for child in world.children.values()]
    assert max(each.retries for each in numbers) == 2
    assert max(each.disruptions for each in numbers) <= MOST
    assert max(each.disruptions for each in world.status.seed_statuses) == MOST
    assert world.status.phase == "Failed"
