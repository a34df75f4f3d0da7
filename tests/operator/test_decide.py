"""Decisions as tables: what runs, what a failure costs, when an experiment ends.

    seeds       parallelism, order, append-only growth, other work
    attempts    exit codes, disruptions, budgets, waits, deadlines, results, lost pods
    whole       suspension, deletion, deadlines, failed seeds, retention, time to live

That the same decisions lead through crashes and lost events to one end is shown by
test_converges.py, and on a real API server by tests/cluster.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from supreme_operator.deciding.events import transitions
from supreme_operator.deciding.facts import EventAnswer, Trouble
from supreme_operator.deciding.standing import Observations

from supreme_core.api.status import ExperimentStatus, ResultsReference
from tests.operator.looks import (
    BACKOFF,
    NOW,
    checks,
    child,
    condition,
    decided,
    failed,
    look,
    pod,
    publication,
    resource,
    told,
    valid,
)

LATER = NOW + timedelta(hours=1)
AWAY = Trouble(reason="ResultsUnavailable", message="away", retry_at=LATER)
PAST = Trouble(reason="QuotaExceeded", message="no", retry_at=NOW - timedelta(hours=1))
MET = Observations(met={"uid-s7-a0"})
TOO_LONG = pod(phase="Failed", reason="DeadlineExceeded", exit_code=137, started_at=NOW)
OUT_OF_MEMORY = pod(phase="Failed", exit_code=137, exit_reason="OOMKilled")
DISRUPTED = pod(phase="Failed", exit_code=143, disrupted="EvictionByEvictionAPI")


def starts(decision):
    return [(each.seed, each.number) for each in decision.create]


def stops(decision):
    return [each.name for each in decision.delete]


def following(decision, seed=7):
    """(number, retries, disruptions, seconds to wait) of a seed's next attempt."""
    standing = next(each for each in decision.standings if each.cost.seed == seed)
    next_one = standing.following
    if next_one is None:
        return None
    wait = (standing.ready_at - NOW).total_seconds() if standing.ready_at else 0
    return next_one.number, next_one.retries, next_one.disruptions, wait


class TestSeeds:
    def test_the_first_seeds_start_as_far_as_parallelism_goes(self):
        assert starts(decided()) == [(7, 0), (8, 0)]

    def test_a_free_place_is_taken_by_the_next_seed(self):
        assert starts(decided(child(7), child(8))) == []
        assert starts(decided(child(7), child(8, "Succeeded"), observations=valid(8))) == [(9, 0)]

    def test_a_result_that_is_not_read_yet_occupies_no_place(self):
        assert starts(decided(child(7), child(8, "Succeeded"))) == [(9, 0)]

    def test_parallelism_0_holds_new_seeds_and_stops_none(self):
        decision = decided(child(7), parallelism=0)
        assert (starts(decision), stops(decision)) == ([], [])

    def test_less_parallelism_lets_running_seeds_finish(self):
        decision = decided(child(7), child(8), parallelism=1)
        assert (starts(decision), stops(decision)) == ([], [])

    def test_a_suspended_child_of_a_queue_occupies_a_place(self):
        assert starts(decided(child(7, "Suspended"), child(8, "Waiting"))) == []

    def test_more_seeds_are_computed_after_the_others(self):
        children = [child(seed, "Succeeded") for seed in (7, 8, 9)]
        decision = decided(
            *children, observations=valid(7, 8, 9), seeds={"list": [7, 8, 9, 4]}, parallelism=4
        )
        assert starts(decision) == [(4, 0)]

    def test_more_methods_make_every_seed_start_anew_under_another_number(self):
        children = [child(seed, "Succeeded", work="other work") for seed in (7, 8, 9)]
        assert starts(decided(*children)) == [(7, 1), (8, 1)]

    def test_a_failure_at_other_work_costs_nothing(self):
        decision = decided(failed(7, retries=2, attempt=2, work="other work"))
        assert following(decision) == (3, 0, 0, 0)

    def test_a_child_that_computes_other_work_may_finish(self):
        decision = decided(child(7, work="other work"))
        assert stops(decision) == []
        assert starts(decision) == [(8, 0)]

    def test_a_number_is_not_used_again_after_its_child_was_removed(self):
        status = told(child(7, "Succeeded", attempt=2), observations=valid(7, attempt=2))
        more = [{"name": "finetune"}, {"name": "ssd"}]
        assert (7, 3) in starts(decided(status=status, methods=more))

    def test_done_seeds_are_known_from_the_status_alone(self):
        status = told(child(7, "Succeeded"), observations=valid(7))
        assert status.completed_indexes == "0"
        assert starts(decided(status=status)) == [(8, 0), (9, 0)]


class TestAttempts:
    @pytest.mark.parametrize(
        ("end", "wanted"),
        [
            (failed(7, code=1), (1, 1, 0, 10)),
            (failed(7, code=1, attempt=1, retries=1), (2, 2, 0, 20)),
            (failed(7, code=137), (1, 1, 0, 10)),
            (failed(7, code=75), (1, 0, 1, 0)),
            (failed(7, code=143), (1, 0, 1, 0)),
            (failed(7, pods=[DISRUPTED]), (1, 0, 1, 0)),
            (failed(7, pods=[DISRUPTED], attempt=1, disruptions=1), (2, 0, 2, 5)),
            (failed(7, pods=[DISRUPTED], attempt=9, disruptions=9), (10, 0, 10, 600)),
            (failed(7, pods=[pod(phase="Failed", reason="Evicted")]), (1, 0, 1, 0)),
            (failed(7, pods=[TOO_LONG]), (1, 1, 0, 10)),
            (failed(7, pods=[replace(TOO_LONG, exit_code=None)]), (1, 1, 0, 10)),
            (failed(7, pods=[replace(TOO_LONG, exit_code=None, started_at=None)]), (1, 0, 1, 0)),
            (failed(7, pods=[], exit_code=1), (1, 1, 0, 10)),
            (failed(7, pods=[], disrupted="DisruptionTarget"), (1, 0, 1, 0)),
            (failed(7, pods=[pod(phase="Failed", exit_code=1), DISRUPTED]), (1, 0, 1, 0)),
            (failed(7, pods=[]), (1, 0, 1, 5)),
            (failed(7, pods=[], attempt=1, disruptions=1), (2, 0, 2, 10)),
            (failed(7, pods=[], exit_code=137), (1, 0, 1, 0)),
            (failed(7, pods=[pod(phase="Running")], exit_code=137), (1, 1, 0, 10)),
            (failed(7, pods=[pod(phase="Failed", exit_code=137, gone_by=NOW)]), (1, 0, 1, 0)),
            (failed(7, pods=[pod(phase="Failed", exit_code=1, gone_by=NOW)]), (1, 1, 0, 10)),
            (failed(7, pods=[OUT_OF_MEMORY]), (1, 1, 0, 10)),
            (failed(7, pods=[replace(OUT_OF_MEMORY, gone_by=NOW)]), (1, 1, 0, 10)),
        ],
        ids=[
            "an error",
            "a second error",
            "SIGKILL without a disruption",
            "the store is away",
            "SIGTERM",
            "eviction",
            "a second eviction",
            "a tenth eviction",
            "eviction by the kubelet",
            "too long",
            "too long, and its end is not known",
            "too long before it started",
            "an error, pods gone",
            "a disruption, pods gone",
            "one pod evicted, the other fails for it",
            "no trace at all",
            "no trace at all once more",
            "killed, and its pod deleted",
            "killed, and its pod not known yet",
            "killed in a pod that is deleted",
            "an error in a pod that is deleted",
            "out of memory",
            "out of memory in a pod that is deleted",
        ],
    )
    def test_what_the_end_of_an_attempt_costs(self, end, wanted):
        assert following(decided(end)) == wanted

    @pytest.mark.parametrize("kind", ["Job", "IndexedJob", "PyTorchJob"])
    @pytest.mark.parametrize(
        "reason",
        [
            *("OutOfcpu", "OutOfmemory", "OutOfpods", "OutOfnvidia.com/gpu", "NodeAffinity"),
            *("TopologyAffinityError", "UnexpectedAdmissionError", "SomethingOfTomorrow"),
        ],
    )
    def test_what_never_started_costs_no_retry_and_says_why(self, kind, reason):
        refused = pod(phase="Failed", reason=reason, message=f"Pod was rejected: {reason}")
        end = failed(7, pods=[refused], reason="BackoffLimitExceeded")
        end = replace(end, kind=kind)
        assert following(decided(end)) == (1, 0, 1, 0)
        seed = told(end).seed_statuses[0]
        assert (seed.reason, seed.message) == (reason, f"Pod was rejected: {reason}")

    @pytest.mark.parametrize(
        "ended",
        [
            pod(phase="Failed"),
            pod(phase="Failed", gone_by=NOW),
            pod(phase="Failed", exit_code=137, exit_reason="ContainerStatusUnknown"),
            pod(phase="Failed", waiting="PodInitializing"),
        ],
        ids=["no word", "deleted while it waits", "given up by its kubelet", "its init container"],
    )
    def test_a_pod_whose_trainer_never_ended_costs_no_retry(self, ended):
        end = failed(7, pods=[ended])
        assert following(decided(end)) == (1, 0, 1, 0)
        assert told(end).seed_statuses[0].reason == "PodFailed"
        beside = failed(7, pods=[ended, pod(phase="Failed", exit_code=1)])
        assert following(decided(beside)) == (1, 0, 1, 0)

    @pytest.mark.parametrize("reason", ["StartError", "ContainerCannotRun"])
    def test_a_container_that_its_runtime_cannot_start_costs_no_retry_and_says_why(self, reason):
        """Such as on a node whose GPU driver is broken, where all attempts of a minute fail."""
        words = "runc create failed: nvidia-container-cli: initialization error"
        refused = pod(phase="Failed", exit_code=128, exit_reason=reason, termination=words)
        end = failed(7, pods=[refused], attempt=2, retries=2)
        assert following(decided(end)) == (3, 2, 1, 0)
        assert told(end).seed_statuses[0].message == words
        assert told(end).seed_statuses[0].reason == reason

    def test_what_fails_beside_trainers_that_were_done_costs_nothing(self):
        """An injected container that ends with an error fails the pod, but not what is stored."""
        end = failed(7, pods=[pod(phase="Failed", exit_code=0)], attempt=2, retries=2)
        assert [each.name for each in decided(end).verify] == [end.name]
        found = decided(end, observations=valid(7, attempt=2))
        assert found.standings[0].phase == "Succeeded"
        missing = Observations(result_checks=checks(7, state="missing"))
        early = failed(7, pods=[pod(phase="Failed", exit_code=0)])
        assert following(decided(early, observations=missing)) == (1, 1, 0, 10)
        two_nodes = {"backend": "IndexedJob", "nodes": 2, "distribution": "Data"}
        one_of_two = decided(early, execution=two_nodes, training={"microBatches": 2})
        assert following(one_of_two) == (1, 1, 0, 10)

    def test_a_reason_may_be_longer_than_a_status_has_room_for(self):
        refused = pod(phase="Failed", reason=f"OutOf{'x' * 300}")
        assert len(told(failed(7, pods=[refused])).seed_statuses[0].reason) == 63

    def test_three_refusals_of_a_node_fail_no_seed(self):
        refused = pod(phase="Failed", reason="OutOfcpu")
        end = failed(7, pods=[refused], attempt=3, disruptions=3)
        assert following(decided(end)) == (4, 0, 4, 20)

    @pytest.mark.parametrize(
        ("end", "reason"),
        [
            (failed(7, code=2), "InvalidOrder"),
            (failed(7, code=64), "InvalidOrder"),
            (failed(7, code=1, attempt=2, retries=2), "Error"),
            (failed(7, pods=[DISRUPTED], attempt=20, disruptions=20), "TooManyDisruptions"),
        ],
        ids=["an invalid order", "another sysexit", "the last retry", "the last disruption"],
    )
    def test_when_a_seed_is_given_up(self, end, reason):
        status = told(end, failurePolicy={"maxFailedSeeds": 1})
        assert (status.seed_statuses[0].phase, status.seed_statuses[0].reason) == ("Failed", reason)
        assert status.failed_indexes == "0"

    def test_out_of_memory_is_said_by_name(self):
        end = failed(7, pods=[pod(phase="Failed", exit_code=137, exit_reason="OOMKilled")])
        assert told(end).seed_statuses[0].reason == "OOMKilled"

    def test_disruptions_do_not_use_up_retries(self):
        end = failed(7, code=1, attempt=20, disruptions=20)
        assert following(decided(end)) == (21, 1, 20, 10)

    def test_no_retry_where_none_is_allowed(self):
        decision = decided(failed(7), failurePolicy={"maxRetriesPerSeed": 0})
        assert decision.standings[0].phase == "Failed"

    def test_the_wait_is_over_at_its_time_and_wakes_the_operator(self):
        end = failed(7)
        assert starts(decided(end)) == [(8, 0), (9, 0)]
        assert decided(end).requeue_at == NOW + timedelta(seconds=10)
        assert (7, 1) in starts(decided(end, now=NOW + timedelta(seconds=10)))

    def test_a_trainers_own_words_are_in_the_status(self):
        left = '{"schemaVersion":1,"message":"the data has no class 12"}'
        end = failed(7, pods=[pod(phase="Failed", exit_code=2, termination=left)])
        assert told(end).seed_statuses[0].message == "the data has no class 12"

    def test_a_termination_message_that_is_none_of_ours_is_not_repeated(self):
        end = failed(7, pods=[pod(phase="Failed", exit_code=1, termination="<script>")])
        assert told(end).seed_statuses[0].message == "the trainer ended with exit code 1"

    @pytest.mark.parametrize(
        ("state", "phase", "reason"),
        [("missing", "Pending", "ResultMissing"), ("invalid", "Failed", "ResultInvalid")],
    )
    def test_a_result_that_cannot_be_had(self, state, phase, reason):
        observations = Observations(result_checks=checks(7, state=state))
        seed = told(child(7, "Succeeded"), observations=observations).seed_statuses[0]
        assert (seed.phase, seed.reason) == (phase, reason)

    def test_a_verdict_on_an_earlier_attempt_says_nothing(self):
        end = child(7, "Succeeded", attempt=1)
        assert decided(end, observations=valid(7, attempt=0)).verify == [
            each for each in look(end).children
        ]

    def test_results_are_not_asked_for_again_before_their_time(self):
        decision = decided(child(7, "Succeeded"), observations=Observations(store=AWAY))
        assert decision.verify == ()
        assert decision.standings[0].phase == "Running"
        assert decision.requeue_at == LATER

    def test_an_attempt_that_is_not_scheduled_in_time_is_given_up_and_stopped(self):
        late = child(7, "Waiting", pods=[pod(unschedulable="0/3 nodes")])
        assert decided(late, schedulingDeadlineSeconds=61).standings[0].phase == "Queued"
        decision = decided(late, schedulingDeadlineSeconds=60, failurePolicy={"maxFailedSeeds": 1})
        assert decision.standings[0].reason == "SchedulingDeadlineExceeded"
        assert stops(decision) == ["s7-a0"]

    def test_a_scheduled_attempt_may_take_long_to_pull_its_image(self):
        late = child(7, "Waiting", pods=[pod(is_scheduled=True)])
        assert decided(late, schedulingDeadlineSeconds=60).standings[0].phase == "Queued"

    def test_the_scheduling_deadline_wakes_the_operator(self):
        late = child(7, "Waiting", pods=[pod()])
        assert decided(late, schedulingDeadlineSeconds=90).requeue_at == NOW + timedelta(seconds=30)

    @pytest.mark.parametrize("state", ["Suspended", "Waiting"])
    def test_the_scheduling_deadline_counts_anew_when_one_that_ran_waits_again(self, state):
        """The child was made two hours ago, and is now preempted, or has lost its pods."""
        old = NOW - timedelta(hours=2)
        given = {"schedulingDeadlineSeconds": 60}
        running = told(child(7, created_at=old), now=NOW - timedelta(seconds=1), **given)
        since = NOW if state == "Suspended" else old  # only a queue's deed is dated
        waits = child(7, state, created_at=old, waits_since=since)
        queued = told(waits, status=running, **given)
        assert queued.seed_statuses[0].phase == "Queued"
        assert queued.seed_statuses[0].waiting_since == "2026-03-01T12:00:00Z"
        assert decided(waits, status=queued, **given).requeue_at == NOW + timedelta(seconds=60)
        for seconds, reason in ((59, None), (60, "SchedulingDeadlineExceeded")):
            later = told(waits, status=queued, now=NOW + timedelta(seconds=seconds), **given)
            assert (later.seed_statuses[0].phase == "Failed") == bool(reason)
            assert (reason or "") in (later.seed_statuses[0].reason or "")

    def test_a_preemption_that_nobody_saw_counts_from_its_own_time(self):
        """The operator was away while it ran and was preempted; the status is of before."""
        old = NOW - timedelta(hours=2)
        given = {"schedulingDeadlineSeconds": 60}
        queued = told(child(7, "Suspended", created_at=old), now=old, **given)
        waits = child(7, "Suspended", created_at=old, waits_since=NOW - timedelta(seconds=30))
        assert decided(waits, status=queued, **given).standings[0].phase == "Queued"

    def test_a_queue_that_lets_it_go_and_holds_it_back_again_stops_no_clock(self):
        """Kueue does so with pods that are not ready in time."""
        old = NOW - timedelta(hours=2)
        given = {"schedulingDeadlineSeconds": 3600, "failurePolicy": {"maxFailedSeeds": 1}}
        status = told(child(7, "Suspended", created_at=old), now=old, **given)
        for minutes, state in ((10, "Waiting"), (20, "Suspended"), (30, "Waiting")):
            at = old + timedelta(minutes=minutes)
            turned = child(7, state, created_at=old, waits_since=None)
            status = told(turned, status=status, now=at, observations=MET, **given)
            settled = child(7, state, created_at=old, waits_since=at)
            status = told(settled, status=status, now=at, observations=MET, **given)
        assert status.seed_statuses[0].waiting_since == "2026-03-01T10:00:00Z"
        at = old + timedelta(hours=1)
        late = told(settled, status=status, now=at, observations=MET, **given)
        assert late.seed_statuses[0].phase == "Failed"

    def test_a_preemption_of_which_its_controller_says_nothing_yet_begins_now(self):
        old = NOW - timedelta(hours=2)
        given = {"schedulingDeadlineSeconds": 60}
        queued = told(child(7, "Waiting", created_at=old), now=old, **given)
        waits = child(7, "Suspended", created_at=old, waits_since=None)
        assert decided(waits, status=queued, **given).standings[0].phase == "Queued"

    def test_one_that_runs_is_not_late_whatever_is_known_of_its_pods(self):
        old = NOW - timedelta(hours=2)
        running = child(7, "Running", created_at=old)
        assert decided(running, schedulingDeadlineSeconds=60).standings[0].phase == "Running"

    def test_a_deadline_that_has_passed_wakes_nobody(self):
        pulls = child(7, "Waiting", pods=[pod(is_scheduled=True)])
        wake = decided(pulls, schedulingDeadlineSeconds=30).requeue_at
        assert wake is None or wake > NOW

    def test_a_child_that_fails_for_its_deletion_costs_nothing(self):
        """A suspension deletes the child, and its controller counts the pods that stop."""
        end = failed(7, code=143, gone_by=NOW - timedelta(seconds=1), finished_at=NOW)
        standing = decided(end, suspend=True).standings[0]
        assert (standing.reason, standing.following) == ("Stopping", None)
        suspended = told(end, status=told(child(7)), suspend=True)
        assert following(decided(status=suspended)) == (0, 0, 0, 0)
        own = failed(7, code=1, gone_by=NOW, finished_at=NOW - timedelta(seconds=1))
        assert following(decided(own)) == (1, 1, 0, 9)

    def test_an_image_name_that_cannot_be_is_given_up_at_once(self):
        bad = child(7, "Waiting", pods=[pod(waiting="InvalidImageName", waiting_message="bad")])
        decision = decided(bad, failurePolicy={"maxFailedSeeds": 1})
        assert decision.standings[0].reason == "ImagePullFailed"
        assert stops(decision) == ["s7-a0"]


LOST = pod(phase="Failed", exit_code=143, disrupted="EvictionByEvictionAPI")
NO_MORE = {"reason": "BackoffLimitExceeded", "pods": []}
RESULT = '{"schemaVersion":1,"result":"' + "ab" * 32 + '"}'
DONE = pod(phase="Succeeded", exit_code=0, termination=RESULT)
DELETED = pod(phase="Failed", exit_code=137, gone_by=NOW)
FAILING = replace(pod(phase="Failed", exit_code=143), name="b")


def goes_on(seed, state="Running", *, lost=1, **facts):
    """A child that has lost pods and goes on without them."""
    return child(seed, state, survives=True, lost_pods=lost, **facts)


def paid(status, seed=7):
    """(phase, attempt, retries, disruptions, lost pods) of a seed."""
    of = next(each for each in status.seed_statuses if each.seed == seed)
    return of.phase, of.attempt, of.retries, of.disruptions, of.lost_pods


class TestLostPods:
    """A child that goes on without a pod pays for it as for an attempt."""

    def test_each_costs_a_disruption_once_and_no_attempt(self):
        status = told(child(7, survives=True))
        assert paid(status) == ("Running", 0, 0, 0, 0)
        for lost in (1, 1, 2, 2):
            status = told(goes_on(7, lost=lost), status=status)
            assert paid(status) == ("Running", 0, 0, lost, lost)

    def test_they_are_known_from_the_child_where_no_operator_looked_or_the_status_is_lost(self):
        assert paid(told(goes_on(7, lost=3, attempt=2, disruptions=2))) == ("Running", 2, 0, 5, 3)

    def test_a_definition_that_does_not_keep_their_number_has_none_counted_twice(self):
        """An API server with an older one drops what it does not know."""
        status = told(child(7, survives=True))
        behind = [pod(unschedulable="0/3 nodes are available")]
        for lost, pods in ((1, []), (1, behind), (1, []), (2, []), (2, behind)):
            seen = goes_on(7, lost=lost, is_behind=True, pods=pods)
            status = told(seen, status=status)
            assert paid(status) == ("Running", 0, 0, lost, lost)
            kept = [each.model_copy(update={"lost_pods": 0}) for each in status.seed_statuses]
            status = status.model_copy(update={"seed_statuses": kept})

    def test_the_status_says_which_was_lost_also_after_a_restart(self):
        said = "pod pod was lost: EvictionByEvictionAPI; its child goes on"
        status = told(goes_on(7, lost_pod=LOST))
        assert (status.seed_statuses[0].reason, status.seed_statuses[0].message) == (
            "PodLost",
            said,
        )
        assert told(goes_on(7), status=status).seed_statuses[0].message == said
        another = told(goes_on(7, lost=2), status=status).seed_statuses[0].message
        assert another == "a pod of it was lost; its child goes on"

    @pytest.mark.parametrize(
        ("lost", "why"),
        [
            (pod(phase="Failed", exit_code=143), "Terminated"),
            (pod(phase="Failed", exit_code=143, gone_by=NOW), "PodDeleted"),
            (pod(phase="Failed", reason="OutOfcpu"), "OutOfcpu"),
        ],
    )
    def test_the_status_says_why(self, lost, why):
        message = told(goes_on(7, lost_pod=lost)).seed_statuses[0].message
        assert message == f"pod pod was lost: {why}; its child goes on"

    def test_an_event_tells_of_each_once(self):
        before = told(child(7, survives=True))
        after = told(goes_on(7, lost_pod=LOST), status=before)
        message = "seed 7: pod pod was lost: EvictionByEvictionAPI; its child goes on"
        assert list(transitions(before, after)) == [("Warning", "PodLost", message)]
        assert list(transitions(after, told(goes_on(7, lost_pod=LOST), status=after))) == []

    def test_a_pod_that_is_behind_keeps_no_other_from_running_and_is_told(self):
        behind = pod(unschedulable="0/3 nodes are available")
        pods = [pod(phase="Running", started_at=NOW), behind]
        status = told(goes_on(7, is_behind=True, pods=pods))
        assert paid(status) == ("Running", 0, 0, 1, 1)
        assert condition(status, "ChildrenScheduled") == ("False", "Unschedulable")

    def test_one_without_any_pod_waits_for_its_controller_and_says_so(self):
        """The Job controller pauses for up to ten minutes; nothing is wrong until then."""
        old = NOW - timedelta(minutes=9)
        lost = replace(LOST, changed_at=old)
        waits = goes_on(7, "Waiting", created_at=old, pods=[lost], lost_pod=lost)
        asked = Observations(answers={waits.uid: EventAnswer(asked_at=NOW)})
        for each in (waits, replace(waits, pods=[])):
            status = told(each, observations=asked)
            assert paid(status) == ("Queued", 0, 0, 1, 1)
            assert status.seed_statuses[0].reason == "PodLost"
        later = NOW + timedelta(minutes=5)
        asked = Observations(answers={waits.uid: EventAnswer(asked_at=later)})
        late = told(replace(waits, pods=[]), observations=asked, now=later)
        assert condition(late, "ChildrenScheduled") == ("False", "PodsNotCreated")

    def test_a_failure_afterwards_costs_a_retry_and_the_lost_pod_once(self):
        before = told(goes_on(7), status=told(child(7, survives=True)))
        for lost in (0, 1):  # what a Job that has failed tells may be one less
            end = failed(7, code=1, survives=True, lost_pods=lost)
            for known in (before, told(end, status=before)):
                assert following(decided(end, status=known)) == (1, 1, 1, 10)
                assert paid(told(end, status=known)) == ("Pending", 0, 0, 1, 1)
        assert following(decided(failed(7, code=1, survives=True, lost_pods=1))) == (1, 1, 1, 10)

    @pytest.mark.parametrize(
        ("facts", "wanted"),
        [
            ({"pods": [LOST, replace(FAILING, exit_code=1)]}, (1, 1, 1, 10)),
            ({"pods": [LOST, replace(FAILING, exit_code=75)]}, (1, 0, 2, 5)),
            ({"pods": [LOST, FAILING], "exit_code": 143}, (1, 0, 2, 5)),
            ({"pods": [LOST, replace(TOO_LONG, name="b", exit_code=143)]}, (1, 1, 1, 10)),
            ({"pods": [LOST], "exit_code": 1}, (1, 1, 1, 10)),
            ({"pods": [LOST], "exit_code": 137}, (1, 0, 2, 5)),
            ({"pods": [DELETED, replace(FAILING, exit_code=1)]}, (1, 1, 1, 10)),
            ({"pods": [LOST, replace(DELETED, name="b")]}, (1, 0, 2, 5)),
            ({"pods": [LOST, replace(DONE, termination="")], "exit_code": 75}, (1, 0, 2, 5)),
        ],
        ids=[
            "an error",
            "temporary",
            "told to stop",
            "too long",
            "gone",
            "deleted",
            "another is slow to stop with it",
            "it is slow to stop",
            "one is done",
        ],
    )
    def test_a_pod_lost_before_has_no_part_in_how_it_fails(self, facts, wanted):
        """A lost pod is the newest there of its place, once the one made for it is deleted."""
        end = failed(7, survives=True, lost_pods=1, failed_pod="b", **facts)
        assert following(decided(end)) == wanted

    def test_the_next_attempt_has_lost_none_yet(self):
        end = failed(7, code=75, survives=True, lost_pods=1)
        before = told(goes_on(7))
        later = NOW + timedelta(hours=1)
        status = told(end, status=before, now=later)
        assert paid(status) == ("Queued", 1, 0, 2, 0)
        second = goes_on(7, attempt=1, disruptions=2)
        assert paid(told(end, second, status=status)) == ("Running", 1, 0, 3, 1)

    def test_a_child_that_is_made_again_under_its_name_counts_anew(self):
        gone = told(status=told(goes_on(7, lost=2)))
        assert paid(gone) == ("Queued", 0, 0, 2, 0)
        assert paid(told(goes_on(7, disruptions=2), status=gone)) == ("Running", 0, 0, 3, 1)

    @pytest.mark.parametrize(("spent", "phase"), [(18, "Running"), (19, "Failed")])
    def test_the_budget_ends_it(self, spent, phase):
        """19 by earlier attempts, and two lost pods are one more than may be."""
        given = {"failurePolicy": {"maxFailedSeeds": 1}}
        more = goes_on(7, lost=2, attempt=1, disruptions=spent)
        assert paid(told(more, **given))[0] == phase
        assert stops(decided(more, **given)) == (["s7-a1"] if phase == "Failed" else [])

    def test_its_controller_ends_it_when_the_budget_is_spent(self):
        end = failed(7, survives=True, lost_pods=20, **NO_MORE)
        status = told(end, failurePolicy={"maxFailedSeeds": 1})
        assert paid(status) == ("Failed", 0, 0, 20, 20)
        assert status.seed_statuses[0].reason == "TooManyDisruptions"
        assert "PodLost: it may lose 20 pods" in status.seed_statuses[0].message

    def test_a_budget_that_was_raised_meanwhile_has_another_attempt(self):
        end = failed(7, survives=True, lost_pods=20, **NO_MORE)
        more = {"failurePolicy": {"maxDisruptionsPerSeed": 30}}
        assert following(decided(end, **more)) == (1, 0, 21, 600)

    @pytest.mark.parametrize("end", [{"code": 1}, NO_MORE], ids=["an error", "the last pod lost"])
    def test_a_result_that_is_there_counts_however_the_others_end(self, end):
        pods = [DONE, *([pod(phase="Failed", exit_code=1)] if "code" in end else [])]
        ended = failed(7, survives=True, lost_pods=20, **{**end, "pods": pods})
        assert [each.name for each in decided(ended).verify] == [ended.name]
        assert decided(ended, observations=valid(7)).standings[0].phase == "Succeeded"

    def test_a_preemption_after_it_costs_one_more(self):
        before = told(goes_on(7))
        preempted = told(goes_on(7, "Suspended"), status=before)
        assert paid(preempted) == ("Queued", 0, 0, 2, 1)
        again = told(goes_on(7), status=preempted)
        assert paid(again) == ("Running", 0, 0, 2, 1)
        assert paid(told(goes_on(7, lost=2), status=again)) == ("Running", 0, 0, 3, 2)
        whole = child(7, survives=True)
        first = told(child(7, "Suspended", survives=True), status=told(whole))
        later = told(goes_on(7), status=told(whole, status=first))
        assert paid(later) == ("Running", 0, 0, 2, 1)
        # A lost pod is no preemption, after which an end would cost nothing.
        waits = told(goes_on(7, "Waiting"))
        end = failed(7, code=1, survives=True, lost_pods=1)
        assert following(decided(end, status=waits)) == (1, 1, 1, 10)

    def test_pods_that_end_with_a_child_that_is_deleted_cost_nothing(self):
        """`kubectl delete job --cascade=foreground`: its controller counts them as failed."""
        status = told(goes_on(7))
        gone = goes_on(7, lost=3, gone_by=NOW)
        assert paid(told(gone, status=status)) == ("Pending", 0, 0, 1, 1)

    def test_the_pause_before_a_lost_pod_is_made_again_is_no_wait_for_a_node(self):
        """All its pods are lost; its controller makes the next after five minutes."""
        given = {"schedulingDeadlineSeconds": 60, "failurePolicy": {"maxFailedSeeds": 1}}
        lost, old = replace(LOST, changed_at=NOW), NOW - timedelta(hours=2)
        whole = told(goes_on(7, lost=4, created_at=old), now=NOW - timedelta(seconds=1), **given)
        paused = goes_on(7, "Waiting", lost=5, created_at=old, lost_pod=lost)
        status = told(paused, status=whole, **given)
        again = NOW + timedelta(minutes=5)
        assert told(paused, status=status, now=again, **given).seed_statuses[0].phase == "Queued"
        waits = replace(paused, pods=[pod(seed=7, created_at=again, unschedulable="no node")])
        for known in (status, None):  # what is known may be lost
            for seconds, phase in ((59, "Queued"), (60, "Failed")):
                later = again + timedelta(seconds=seconds)
                found = told(waits, status=known, now=later, **given)
                assert found.seed_statuses[0].phase == phase
        never = told(paused, status=status, now=NOW + timedelta(minutes=11), **given)
        assert never.seed_statuses[0].reason == "SchedulingDeadlineExceeded"

    def test_its_first_pod_needs_a_node_in_time_and_no_other_does(self):
        given = {
            "schedulingDeadlineSeconds": 60,
            "execution": {"nodes": 2, "backend": "IndexedJob"},
        }
        pods = [pod(is_scheduled=True), pod(unschedulable="0/3 nodes")]
        waits = child(7, "Waiting", survives=True, pods=pods)
        assert decided(waits, **given).standings[0].phase == "Queued"
        together = decided(replace(waits, survives=False), **given)
        assert together.standings[0].reason == "SchedulingDeadlineExceeded"

    @pytest.mark.parametrize("state", ["Running", "Suspended"])
    def test_one_with_a_result_does_not_wait_for_pods_that_it_lacks(self, state):
        """No node may ever come for a pod that was lost, when another has left the result."""
        done, later = replace(DONE, changed_at=NOW), NOW + BACKOFF.silence
        lacks = pod(unschedulable="0/3 nodes are available", created_at=NOW)
        held = state == "Suspended"
        pods = [done] if held else [done, lacks]
        waits = goes_on(7, state, is_behind=not held, pods=pods, created_at=NOW)
        early = decided(waits, now=later - timedelta(seconds=1))
        assert (early.verify, early.standings[0].is_done) == ([], False)
        assert early.requeue_at == later
        assert [each.name for each in decided(waits, now=later).verify] == ["s7-a0"]
        read = {"observations": valid(7), "now": later}
        assert decided(waits, **read).standings[0].phase == "Succeeded"
        assert stops(decided(waits, **read)) == ["s7-a0"]
        runs = goes_on(7, state, pods=[done, pod(phase="Running", started_at=NOW)])
        assert not decided(runs, **read).standings[0].is_done
        missing = Observations(result_checks=checks(7, state="missing"))
        gone = decided(waits, now=later, observations=missing)
        assert (gone.verify, gone.standings[0].following, stops(gone)) == ([], None, [])

    def test_one_that_ran_is_not_made_anew_while_it_has_no_pod_that_runs(self):
        ran = replace(LOST, started_at=NOW)
        waits = goes_on(7, "Waiting", template="old", lost_pod=ran, pods=[pod()])
        queued = told(waits, status=told(goes_on(7, template="old")))
        assert not decided(waits, status=queued, template="new").standings[0].is_outdated
        refused = replace(waits, lost_pod=pod(phase="Failed", reason="OutOfcpu"))
        assert decided(refused, status=queued, template="new").standings[0].is_outdated


HERE = replace(pod(phase="Running", started_at=NOW, is_scheduled=True), name="here", index=0)
SILENT = replace(HERE, name="gone", index=1, unmet="Ready: NodeNotReady", changed_at=NOW)
TO_GO = NOW + timedelta(minutes=5)
TAINTED = replace(SILENT, disrupted="DeletionByTaintManager", gone_by=TO_GO, changed_at=TO_GO)
COLLECTED = replace(TAINTED, phase="Failed", reason="NodeLost")
OF_TWO = {"execution": {"nodes": 2, "backend": "IndexedJob"}, "schedulingDeadlineSeconds": 60}
HOURS = {"created_at": NOW - timedelta(hours=2)}


class TestLostNode:
    """A node that is silent: its pod runs for all that is known, is told to go after five minutes,
    and counts as failed when the node, or the pod, is deleted."""

    @pytest.mark.parametrize(
        ("seen", "minutes", "wanted", "reason"),
        [
            ({"pods": [HERE, SILENT]}, 0, 0, None),
            ({"pods": [HERE, SILENT]}, 10, 0, "PodNotReady"),
            ({"pods": [HERE, TAINTED]}, 5, 0, None),
            ({"pods": [HERE, TAINTED]}, 15, 0, "PodStuckTerminating"),
            ({"pods": [HERE], "lost_pods": 1, "lost_pod": COLLECTED}, 16, 1, "PodLost"),
        ],
        ids=["silent", "silent for long", "told to go", "never gone", "its node is deleted"],
    )
    def test_the_other_pod_goes_on_and_the_status_says_what_is_wrong(
        self, seen, minutes, wanted, reason
    ):
        before = told(child(7, survives=True, pods=[HERE, replace(HERE, name="gone")], **HOURS))
        now = NOW + timedelta(minutes=minutes)
        one = child(7, survives=True, is_behind=True, **HOURS, **seen)
        status = told(one, status=before, now=now, **OF_TWO)
        assert paid(status) == ("Running", 0, 0, wanted, wanted)
        assert status.seed_statuses[0].reason == reason

    def test_where_both_nodes_are_silent_no_deadline_for_new_pods_counts(self):
        before = told(child(7, survives=True, pods=[HERE, HERE], **HOURS))
        pods = [replace(SILENT, name="here"), SILENT]
        silent = child(7, "Waiting", survives=True, pods=pods, **HOURS)
        later = NOW + timedelta(hours=1)
        assert paid(told(silent, status=before, now=later, **OF_TWO))[0] == "Queued"

    @pytest.mark.parametrize("lost", [0, 1], ids=["its pod is not gone", "its pod was lost before"])
    def test_a_queue_that_suspends_it_meanwhile_costs_one_disruption(self, lost):
        facts = {"lost_pods": lost, "lost_pod": COLLECTED if lost else None, **HOURS}
        runs = child(7, survives=True, is_behind=True, pods=[HERE, TAINTED], **facts)
        before = told(runs, **OF_TWO)
        held = child(7, "Suspended", survives=True, is_suspended=True, pods=[TAINTED], **facts)
        status = told(held, status=before, **OF_TWO)
        for _ in range(2):
            assert paid(status) == ("Queued", 0, 0, 1 + lost, lost)
            status = told(held, status=status, **OF_TWO)
        again = told(child(7, survives=True, pods=[HERE], **facts), status=status, **OF_TWO)
        assert paid(again) == ("Running", 0, 0, 1 + lost, lost)

    @pytest.mark.parametrize(
        ("pods", "wanted", "reason"),
        [
            ([pod(phase="Failed", exit_code=75), TAINTED], (1, 0, 1, 0), "DeletionByTaintManager"),
            ([pod(phase="Failed", exit_code=75), SILENT], (1, 0, 1, 0), "TemporaryFailure"),
            ([pod(phase="Unknown", reason="NodeLost")], (1, 0, 1, 5), "Unknown"),
            ([pod(phase="Failed", exit_code=1), SILENT], (1, 1, 0, 10), "Error"),
        ],
        ids=["told to go", "silent", "unknown", "an error beside it"],
    )
    def test_of_ranks_that_end_together_it_costs_no_retry(self, pods, wanted, reason):
        assert following(decided(failed(7, pods=pods))) == wanted
        assert told(failed(7, pods=pods)).seed_statuses[0].reason == reason


class TestObstacles:
    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"unschedulable": "0/1 nodes: Insufficient nvidia.com/gpu"}, "Unschedulable"),
            ({"waiting": "ImagePullBackOff"}, "ImagePullFailed"),
            ({"waiting": "ErrImagePull"}, "ImagePullFailed"),
            ({"waiting": "CreateContainerConfigError"}, "ContainerNotCreated"),
        ],
    )
    def test_what_keeps_pods_from_running_is_a_condition(self, facts, reason):
        status = told(child(7, "Waiting", pods=[pod(**facts)]))
        assert condition(status, "ChildrenScheduled") == ("False", reason)
        assert status.phase == "Queued"

    def test_a_container_that_is_being_created_is_no_obstacle(self):
        status = told(child(7, "Waiting", pods=[pod(waiting="ContainerCreating")]))
        assert condition(status, "ChildrenScheduled") == ("True", "SeedsScheduled")

    def test_a_child_that_waits_for_its_queue_says_so(self):
        status = told(child(7, "Suspended"))
        assert condition(status, "ChildrenScheduled") == ("False", "WaitingForQuota")

    def test_a_preempted_child_costs_one_disruption_and_stays(self):
        running = told(child(7))
        preempted = told(child(7, "Suspended"), status=running)
        assert preempted.seed_statuses[0].disruptions == 1
        assert told(child(7, "Suspended"), status=preempted).seed_statuses[0].disruptions == 1
        again = told(child(7, "Running"), status=preempted)
        assert again.seed_statuses[0].disruptions == 1

    @pytest.mark.parametrize("code", [1, 75, 143], ids=["a peer is gone", "temporary", "SIGTERM"])
    def test_a_preempted_child_that_its_controller_gives_up_costs_no_more(self, code):
        preempted = told(child(7, "Suspended"), status=told(child(7)))
        status = told(failed(7, code=code), status=preempted)
        assert following(decided(failed(7, code=code), status=preempted)) == (1, 0, 1, 0)
        # Nor where the next attempt cannot be made at once, or the operator starts anew meanwhile.
        assert following(decided(failed(7, code=code), status=status)) == (1, 0, 1, 0)

    def test_a_failure_after_a_preempted_child_ran_again_costs_what_it_costs(self):
        preempted = told(child(7, "Suspended"), status=told(child(7)))
        again = told(child(7), status=preempted)
        assert following(decided(failed(7, code=1), status=again)) == (1, 1, 1, 10)
        pending = told(failed(7, code=1), status=again)
        assert following(decided(failed(7, code=1), status=pending)) == (1, 1, 1, 10)

    def test_a_child_that_was_preempted_and_given_up_unseen_costs_one_disruption(self):
        end = failed(7, code=1, is_suspended=True)
        assert following(decided(end, status=told(child(7)))) == (1, 0, 1, 0)

    def test_an_order_that_is_refused_stays_so_when_its_child_is_preempted(self):
        preempted = told(child(7, "Suspended"), status=told(child(7)))
        standing = decided(failed(7, code=2), status=preempted).standings[0]
        assert (standing.phase, standing.reason) == ("Failed", "InvalidOrder")

    def test_preempted_too_often(self):
        running = told(child(7, disruptions=20))
        decision = decided(child(7, "Suspended", disruptions=20), status=running)
        assert decision.standings[0].reason == "TooManyDisruptions"
        assert stops(decision) == ["s7-a0"]

    def test_a_child_without_pods_is_looked_into(self):
        assert [each.name for each in decided(child(7, "Waiting")).inquire] == ["s7-a0"]
        young = child(7, "Waiting", created_at=NOW)
        assert decided(young).inquire == []
        assert decided(young).requeue_at == NOW + timedelta(seconds=5)

    def test_of_many_that_wait_a_few_are_asked_at_one_time_each_in_its_turn(self):
        ages = timedelta(minutes=1), timedelta(minutes=2)
        seeds = [(seed, NOW - ages[seed % 2]) for seed in range(40)]
        waiting = [child(s, "Waiting", index=s, created_at=at) for s, at in seeds]
        many = {"seeds": {"start": 0, "count": 40}, "parallelism": 40}
        asked = [each.attempt.seed for each in decided(*waiting, **many).inquire]
        assert len(asked) == 10
        assert all(seed % 2 for seed in asked)

    def test_a_quota_on_pods_is_said(self):
        answer = EventAnswer(asked_at=NOW, reason="QuotaExceeded", message="exceeded quota: gpus")
        observations = Observations(answers={"uid-s7-a0": answer})
        status = told(child(7, "Waiting"), observations=observations)
        assert condition(status, "ChildrenScheduled") == ("False", "QuotaExceeded")

    def test_a_child_that_cannot_be_created_is_tried_again_later(self):
        trouble = Trouble(reason="RBACDenied", message="no", retry_at=LATER)
        observations = Observations(creation=trouble)
        assert starts(decided(observations=observations)) == []
        assert decided(observations=observations).requeue_at == LATER
        assert starts(decided(observations=observations, now=LATER)) == [(7, 0), (8, 0)]
        assert condition(told(observations=observations), "ChildrenScheduled") == (
            "False",
            "RBACDenied",
        )

    @pytest.mark.parametrize(
        ("children", "given"),
        [
            # A quota refused a child, and since then no further one is wanted.
            ([child(7)], {"observations": Observations(creation=PAST), "parallelism": 1}),
            ([], {"observations": Observations(creation=PAST), "parallelism": 0}),
            # The deadline of an experiment that only waits for its store has passed.
            (
                [child(seed, "Succeeded") for seed in (7, 8, 9)],
                {
                    "observations": Observations(store=AWAY, result_checks=checks(7, 8, 9)),
                    "status": ExperimentStatus(start_time="2026-03-01T11:00:00Z"),
                    "activeDeadlineSeconds": 60,
                },
            ),
            # A store was away, and there is nothing to read in it any more.
            ([child(7)], {"observations": Observations(store=PAST)}),
            # A store is read right now after it was away.
            ([child(7, "Succeeded")], {"observations": Observations(store=PAST)}),
        ],
        ids=["scaled down", "scaled to nothing", "deadline", "nothing to read", "read now"],
    )
    def test_what_is_past_calls_for_no_further_look(self, children, given):
        due = decided(*children, **given).requeue_at
        assert due is None or due > NOW

    def test_a_child_that_cannot_be_deleted_is_said_while_it_should_be(self):
        trouble = Trouble(reason="ChildNotDeleted", message="no", retry_at=NOW)
        status = told(child(7), observations=Observations(deletion=trouble), suspend=True)
        assert condition(status, "ChildrenScheduled") == ("False", "ChildNotDeleted")
        gone = told(observations=Observations(deletion=trouble), suspend=True)
        assert condition(gone, "ChildrenScheduled") is None


class TestShare:
    def seeing(self, progress, *children, **given):
        return told(*children, observations=Observations(progress=progress), **given)

    def test_it_counts_the_stages_of_seeds_that_are_not_done(self):
        assert self.seeing({}, child(7)).done == "0%"
        assert self.seeing({7: "5/9"}, child(7)).done == "18%"
        assert self.seeing({7: "5/9", 8: "8/9"}, child(7), child(8)).done == "48%"
        assert told(child(7, "Succeeded"), observations=valid(7)).done == "33%"

    def test_it_is_whole_only_when_every_seed_is(self):
        seen = {"result_checks": checks(7, 8), "progress": {9: "999/1000"}}
        most = [child(7, "Succeeded"), child(8, "Succeeded"), child(9)]
        assert told(*most, observations=Observations(**seen)).done == "99%"
        done = [child(seed, "Succeeded") for seed in (7, 8, 9)]
        assert told(*done, observations=valid(7, 8, 9)).done == "100%"

    def test_it_outlives_a_restart_and_an_attempt(self):
        before = self.seeing({7: "5/9"}, child(7))
        assert told(child(7), status=before).done == "18%"
        waiting = told(failed(7), status=before)
        assert (waiting.done, waiting.seed_statuses[0].progress) == ("18%", "5/9")
        again = self.seeing({7: "6/9"}, child(7, attempt=1), status=waiting)
        assert again.done == "22%"

    def test_other_work_begins_at_nothing(self):
        before = self.seeing({7: "5/9"}, child(7))
        both = [{"name": "finetune"}, {"name": "ssd"}]
        assert told(status=before, methods=both).done == "0%"

    @pytest.mark.parametrize("text", ["x", "", "1", "9/0", "-1/2", "9/3"])
    def test_nonsense_in_a_status_is_no_trouble(self, text):
        before = self.seeing({7: "5/9"}, child(7))
        (seed, *others) = before.seed_statuses
        seeds = [seed.model_copy(update={"progress": text}), *others]
        edited = before.model_copy(update={"seed_statuses": seeds})
        assert told(child(7), status=edited).done in ("0%", "33%")


class TestSuspension:
    def test_running_children_are_stopped_and_none_is_started(self):
        decision = decided(child(7), failed(8), suspend=True)
        assert (stops(decision), starts(decision)) == (["s7-a0"], [])

    def test_it_costs_no_attempt(self):
        suspended = told(child(7, attempt=1, retries=1), suspend=True)
        assert (suspended.phase, condition(suspended, "Suspended")) == (
            "Suspended",
            ("True", "Suspended"),
        )
        assert starts(decided(status=suspended, generation=2))[0] == (7, 1)
        assert decided(status=suspended).create[0].retries == 1

    def test_a_seed_whose_pods_still_stop_waits_for_them(self):
        suspended = told(child(7), suspend=True)
        decision = decided(status=suspended, orphaned=[pod(seed=7, phase="Running")])
        assert starts(decision) == [(8, 0)]

    def test_resuming_is_a_condition(self):
        suspended = told(child(7), suspend=True)
        assert condition(told(status=suspended), "Suspended") == ("False", "Resumed")

    def test_a_finished_experiment_stays_finished(self):
        done = [child(seed, "Succeeded") for seed in (7, 8, 9)]
        observations = Observations(
            result_checks=checks(7, 8, 9), publication=publication(7, 8, 9, suspend=True)
        )
        assert told(*done, observations=observations, suspend=True).phase == "Succeeded"

    def test_an_experiment_without_children_says_that_it_is_suspended(self):
        assert told(suspend=True).phase == "Suspended"


class TestTheEnd:
    DONE = tuple(child(seed, "Succeeded") for seed in (7, 8, 9))

    def test_all_results_are_published_before_it_is_complete(self):
        decision = decided(*self.DONE, observations=valid(7, 8, 9))
        assert decision.publish == {7, 8, 9}
        status = told(*self.DONE, observations=valid(7, 8, 9))
        assert (status.phase, condition(status, "Complete")) == ("Aggregating", None)

    def test_published_it_is_complete(self):
        observations = Observations(result_checks=checks(7, 8, 9), publication=publication(7, 8, 9))
        status = told(*self.DONE, observations=observations)
        assert condition(status, "Complete") == ("True", "SeedsSucceeded")
        assert condition(status, "ResultsAggregated") == ("True", "AggregationSucceeded")
        assert (status.phase, status.progress) == ("Succeeded", "3/3")
        assert status.completion_time == "2026-03-01T12:00:00Z"

    def test_it_is_complete_for_the_next_process_too(self):
        observations = Observations(result_checks=checks(7, 8, 9), publication=publication(7, 8, 9))
        status = told(*self.DONE, observations=observations)
        assert told(*self.DONE, status=status, now=LATER) == status
        decision = decided(status=status, now=LATER)
        assert (starts(decision), decision.publish, decision.verify) == ([], None, [])

    def test_more_seeds_open_it_again(self):
        observations = Observations(result_checks=checks(7, 8, 9), publication=publication(7, 8, 9))
        done = told(*self.DONE, observations=observations)
        more = told(status=done, seeds={"list": [7, 8, 9, 10]}, generation=2, now=LATER)
        assert condition(more, "Complete") == ("False", "Reopened")
        assert (more.phase, more.progress, more.completion_time) == ("Queued", "3/4", None)
        assert more.start_time == "2026-03-01T13:00:00Z"
        assert more.results is not None

    def test_more_methods_open_it_again(self):
        observations = Observations(result_checks=checks(7, 8, 9), publication=publication(7, 8, 9))
        done = told(*self.DONE, observations=observations)
        both = [{"name": "finetune"}, {"name": "ssd"}]
        more = told(status=done, methods=both, generation=2)
        assert (more.progress, more.completed_indexes) == ("0/3", "")
        assert starts(decided(status=done, methods=both)) == [(7, 1), (8, 1)]

    def test_a_store_that_is_away_fails_no_seed(self):
        observations = Observations(result_checks=checks(7, 8, 9), store=AWAY)
        status = told(*self.DONE, observations=observations)
        assert condition(status, "ResultsAggregated") == ("False", "ResultsUnavailable")
        assert (status.phase, status.failed, status.succeeded) == ("Aggregating", 0, 3)
        assert decided(*self.DONE, observations=observations).publish is None
        assert decided(*self.DONE, observations=observations, now=LATER).publish == {7, 8, 9}

    def test_failed_seeds_within_the_budget_leave_a_partial_success(self):
        children = [child(7, "Succeeded"), failed(8, code=2), child(9, "Succeeded")]
        policy = {"maxFailedSeeds": 1}
        observations = Observations(
            result_checks=checks(7, 9), publication=publication(7, 9, failurePolicy=policy)
        )
        status = told(*children, observations=observations, failurePolicy=policy)
        assert condition(status, "Complete") == ("True", "PartiallySucceeded")
        assert (status.phase, status.progress, status.failed) == ("PartiallySucceeded", "2/3", 1)

    def test_too_many_failed_seeds_end_it_and_stop_what_runs(self):
        children = [failed(7, code=2), child(8)]
        decision = decided(*children)
        assert (stops(decision), starts(decision)) == (["s8-a0"], [])
        status = told(*children)
        assert condition(status, "Failed") == ("True", "FailureBudgetExceeded")
        assert "seed 7: InvalidOrder" in status.message

    def test_what_there_is_of_a_failed_experiment_is_published(self):
        children = [child(7, "Succeeded"), failed(8, code=2)]
        assert decided(*children, child(9), observations=valid(7)).publish is None
        assert decided(*children, observations=valid(7)).publish == {7}

    def test_a_greater_budget_lets_it_go_on(self):
        status = told(failed(7, code=2))
        policy = {"maxFailedSeeds": 1}
        assert starts(decided(status=status, failurePolicy=policy)) == [(8, 0), (9, 0)]
        assert condition(told(status=status, failurePolicy=policy), "Failed") == (
            "False",
            "Reopened",
        )

    def test_no_result_at_all_is_a_failure_whatever_the_budget(self):
        children = [failed(seed, code=2) for seed in (7, 8, 9)]
        status = told(*children, failurePolicy={"maxFailedSeeds": 3})
        assert condition(status, "Failed") == ("True", "AllSeedsFailed")


class TestTime:
    def test_the_deadline_counts_from_the_first_child(self):
        assert told(activeDeadlineSeconds=60).start_time == "2026-03-01T12:00:00Z"
        assert told(activeDeadlineSeconds=60, parallelism=0).start_time is None

    def test_past_the_deadline_it_fails_and_stops_what_runs(self):
        status = told(activeDeadlineSeconds=60)
        given = {"status": status, "activeDeadlineSeconds": 60}
        assert decided(child(7), **given).requeue_at == NOW + timedelta(seconds=60)
        late = decided(child(7), now=NOW + timedelta(seconds=60), **given)
        assert (stops(late), starts(late)) == (["s7-a0"], [])
        after = told(child(7), now=NOW + timedelta(seconds=60), **given)
        assert condition(after, "Failed") == ("True", "DeadlineExceeded")

    def test_the_clock_stands_while_every_child_waits_for_its_queue(self):
        given = {"activeDeadlineSeconds": 60, "parallelism": 1}
        after = lambda seconds: NOW + timedelta(seconds=seconds)  # noqa: E731
        running = told(child(7), **given)
        held = child(7, "Suspended", waits_since=after(50))
        waits = told(held, status=running, now=after(50), **given)
        assert (waits.held_since, waits.held_seconds) == ("2026-03-01T12:00:50Z", 0)
        assert decided(held, status=waits, now=after(3000), **given).outcome.kind == "going"
        again = told(child(7), status=waits, now=after(3050), **given)
        assert (again.held_since, again.held_seconds) == (None, 3000)
        assert again.start_time == running.start_time
        assert decided(child(7), status=again, now=after(3059), **given).outcome.kind == "going"
        late = decided(child(7), status=again, now=after(3060), **given).outcome
        assert late.reason == "DeadlineExceeded"

    def test_a_queue_that_held_it_while_the_operator_was_away_is_not_counted(self):
        given = {"activeDeadlineSeconds": 60, "parallelism": 1}
        running = told(child(7), **given)
        held = child(7, "Suspended", waits_since=NOW + timedelta(seconds=59))
        assert decided(held, status=running, now=LATER, **given).outcome.kind == "going"
        held = child(7, "Suspended", waits_since=NOW + timedelta(seconds=60))
        assert decided(held, status=running, now=LATER, **given).outcome.kind == "failed"

    def test_the_clock_goes_on_while_one_child_runs(self):
        given = {"activeDeadlineSeconds": 60}
        running = told(child(7), child(8), **given)
        children = child(7), child(8, "Suspended", waits_since=NOW)
        assert told(*children, status=running, **given).held_since is None
        assert decided(*children, status=running, now=LATER, **given).outcome.kind == "failed"

    def test_a_suspension_stops_the_clock(self):
        running = told(child(7), activeDeadlineSeconds=60)
        suspended = told(child(7), status=running, suspend=True, activeDeadlineSeconds=60)
        assert suspended.start_time is None
        resumed = told(status=suspended, activeDeadlineSeconds=60, now=LATER)
        assert resumed.start_time == "2026-03-01T13:00:00Z"

    def test_a_finished_experiment_is_deleted_after_its_time_to_live(self):
        done = TestTheEnd.DONE
        observations = Observations(result_checks=checks(7, 8, 9), publication=publication(7, 8, 9))
        status = told(*done, observations=observations)
        given = {"status": status, "ttlSecondsAfterFinished": 60}
        assert not decided(**given).delete_experiment
        assert decided(**given).requeue_at == NOW + timedelta(seconds=60)
        assert decided(now=NOW + timedelta(seconds=60), **given).delete_experiment

    def test_without_a_time_to_live_it_stays(self):
        status = ExperimentStatus(completion_time="2020-01-01T00:00:00Z")
        assert not decided(status=status).delete_experiment

    def test_finished_children_go_after_their_time_but_not_the_one_that_knows_the_cost(self):
        old = NOW - timedelta(hours=1)
        children = [
            child(7, "Succeeded", finished_at=old),
            failed(8, finished_at=old),
            failed(8, finished_at=old, attempt=1, retries=1),
            failed(9, code=2, finished_at=old),
        ]
        given = {"childTtlSecondsAfterFinished": 60, "failurePolicy": {"maxFailedSeeds": 1}}
        decision = decided(*children, observations=valid(7), **given)
        assert sorted(stops(decision)) == ["s7-a0", "s8-a0", "s9-a0"]

    def test_finished_children_stay_where_no_time_is_given(self):
        old = NOW - timedelta(days=100)
        assert stops(decided(child(7, "Succeeded", finished_at=old), observations=valid(7))) == []


class TestDeletion:
    def test_a_child_that_is_being_deleted_is_waited_for(self):
        decision = decided(child(7, gone_by=NOW))
        assert (starts(decision), stops(decision)) == ([(8, 0)], [])

    def test_a_child_that_somebody_deleted_is_made_again(self):
        status = told(child(7, attempt=1, retries=1))
        assert decided(status=status).create[0].number == 1

    def test_an_earlier_attempt_that_still_runs_is_stopped(self):
        decision = decided(child(7), child(7, attempt=1, retries=1))
        assert stops(decision) == ["s7-a0"]

    def test_a_child_of_a_seed_that_is_done_is_stopped(self):
        status = told(child(7, "Succeeded"), observations=valid(7))
        assert stops(decided(child(7, attempt=1), status=status)) == ["s7-a1"]


def test_an_intention_that_was_not_carried_out_costs_nothing():
    """The status is written before a child is created, and the operator may die between."""
    meant = told(failed(7), now=NOW + timedelta(seconds=10))
    assert meant.seed_statuses[0].attempt == 1
    again = decided(failed(7), status=meant, now=NOW + timedelta(seconds=11))
    assert (7, 1) in starts(again)


def test_a_thousand_seeds_fit_into_the_status():
    seeds = list(range(10**6, 10**6 + 1000))
    text = "x" * 5000
    children = [
        child(
            seed,
            "Failed",
            index=index,
            attempt=3,
            pods=[pod(phase="Failed", exit_code=1, message=text, termination=text)],
        )
        for index, seed in enumerate(seeds)
    ]
    policy = {"maxFailedSeeds": 1000}
    status = told(*children, seeds={"list": seeds}, failurePolicy=policy, parallelism=1000)
    assert len(status.model_dump_json(by_alias=True)) < 256_000
    assert len(status.seed_statuses) == 200


def test_results_of_an_earlier_version_of_the_status_are_not_believed():
    reference = ResultsReference(uri="s3://bucket/summary.json", sha256="0" * 64, seeds=3)
    status = ExperimentStatus(results=reference)
    assert resource()["spec"]["seeds"] == {"list": [7, 8, 9]}
    assert starts(decided(status=status)) == [(7, 0), (8, 0)]
