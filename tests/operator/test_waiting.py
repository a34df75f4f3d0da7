"""Reasons for which a child waits: words of the API server, facts of pods, events, or none of
these.

refused      who forbids an object, by messages as API servers and controllers write them
waiting      what is said of a child, at once and after a while; by a table of pods
asking       whose events are asked, and how often
events       which of them tells, and what of it becomes the reason
made anew    a child that has not started, when the experiment says something else
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from supreme_operator.cluster.client import Page
from supreme_operator.cluster.inquiries import MOST_PAGES, inquire
from supreme_operator.deciding.facts import EventAnswer
from supreme_operator.deciding.standing import Observations
from supreme_operator.deciding.waiting import (
    RARELY,
    answered,
    asked,
    awaited,
    blocking_reason,
    inquiry_due,
    refusal,
)

from tests.operator.looks import BACKOFF, NOW, child, condition, decided, pod, told

SILENCE = BACKOFF.silence
LONG_AGO = NOW - SILENCE
JUST_NOW = NOW - timedelta(seconds=1)
BEGAN = "is forbidden: unable to create new content in namespace x because it is being terminated"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('jobs.batch "a" is forbidden: exceeded quota: q, requested: pods=1', "QuotaExceeded"),
        ('Error creating: pods "a-x" is forbidden: exceeded quota: q', "QuotaExceeded"),
        ('pods "a" is forbidden: insufficient quota to consume: cpu', "QuotaExceeded"),
        ('jobs.batch "a" is forbidden: status unknown for quota: q', "QuotaExceeded"),
        ('pods "a" is forbidden: failed quota: q: must specify cpu', ""),
        ('pods "quota-1" is forbidden: violates PodSecurity "restricted:latest"', ""),
        ('jobs.batch "exceeded-quota" is forbidden: maximum cpu usage is 1', ""),
        (f'jobs.batch "a" {BEGAN}', "NamespaceTerminating"),
        ('namespaces "x" not found', "NamespaceTerminating"),
        (
            'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource'
            ' "jobs" in API group "batch" in the namespace "x"',
            "RBACDenied",
        ),
        (
            'jobs.batch "a" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers'
            " to a resource you can't set finalizers on: , <nil>",
            "RBACDenied",
        ),
        (
            "jobs.batch \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied"
            ' request: User "x" cannot exceed quota',
            "",
        ),
        ('admission webhook "w" denied the request: exceeded quota: mine', ""),
        ("the server could not find the requested resource", ""),
        ("", ""),
    ],
)
def test_who_forbids_an_object_is_read_where_the_server_says_it(message, reason):
    assert refusal(message) == reason


def waits(*pods, state="Waiting", since=LONG_AGO, **facts):
    made = [replace(each, changed_at=each.changed_at or since) for each in pods]
    return child(7, state, pods=made, created_at=since, **facts)


def said(waiting, answer=None):
    return blocking_reason(waiting, answer, now=NOW, silence=SILENCE)


GONE = {"is_scheduled": True, "node": "n1"}
TABLE = {
    "no node fits": (pod(unschedulable="0/3 nodes"), "Unschedulable", "0/3 nodes"),
    "no image": (pod(waiting="ErrImagePull"), "ImagePullFailed", "ErrImagePull"),
    "an image that no runtime reads": (
        pod(waiting="ImageInspectError", waiting_message="bad"),
        "ImagePullFailed",
        "bad",
    ),
    "no Secret": (
        pod(waiting="CreateContainerConfigError", waiting_message="no secret"),
        "ContainerNotCreated",
        "no secret",
    ),
}
LATER = {
    "no scheduler": (pod(), "Unschedulable", "no scheduler has said anything"),
    "a gate": (
        pod(unmet="PodScheduled is False: SchedulingGated"),
        "Unschedulable",
        "SchedulingGated",
    ),
    "a volume that is not there": (
        pod(waiting="ContainerCreating", **GONE),
        "ContainerNotCreated",
        "pod pod has not started since 2026-03-01T11:58:00Z: ContainerCreating",
    ),
    "no sandbox": (
        pod(waiting="ContainerCreating", unmet="PodReadyToStartContainers is False", **GONE),
        "ContainerNotCreated",
        "PodReadyToStartContainers is False",
    ),
    "a node that does not answer": (
        pod(phase="Running", started_at=LONG_AGO, unmet="Ready is False: NodeNotReady", **GONE),
        "PodNotReady",
        "Ready is False: NodeNotReady, since 2026-03-01T11:58:00Z",
    ),
    "a container that runs on": (
        pod(phase="Running", exit_code=0, running_beside=["istio-proxy"], **GONE),
        "SidecarRunsOn",
        "ended with exit code 0, but istio-proxy beside it runs on",
    ),
    "a container that runs on after a failure": (
        pod(phase="Running", exit_code=1, running_beside=["a", "b"], **GONE),
        "SidecarRunsOn",
        "ended with exit code 1, but a, b beside it runs on",
    ),
    "a lost node": (
        pod(phase="Running", started_at=LONG_AGO, gone_by=LONG_AGO, **GONE),
        "PodStuckTerminating",
        "its node n1 does not say that it is",
    ),
}


class TestWaiting:
    @pytest.mark.parametrize(("facts", "reason", "message"), TABLE.values(), ids=TABLE)
    def test_what_a_pod_says_itself_is_said_at_once(self, facts, reason, message):
        assert said(waits(facts, since=JUST_NOW)) == (reason, message)

    @pytest.mark.parametrize(("facts", "reason", "message"), LATER.values(), ids=LATER)
    def test_what_takes_too_long_is_said_after_a_while(self, facts, reason, message):
        found = said(waits(facts), EventAnswer(asked_at=NOW))
        assert found[0] == reason
        assert message in found[1]
        young = replace(facts, changed_at=JUST_NOW, gone_by=facts.gone_by and JUST_NOW)
        assert said(waits(young, since=JUST_NOW), EventAnswer(asked_at=NOW)) is None

    @pytest.mark.parametrize("facts", [each[0] for each in LATER.values()], ids=LATER)
    def test_time_alone_brings_it_up(self, facts):
        young = replace(facts, changed_at=NOW, gone_by=facts.gone_by and NOW)
        assert decided(waits(young, since=NOW)).requeue_at == NOW + SILENCE

    def test_no_pods_and_no_word(self):
        reason, message = said(waits(), EventAnswer(asked_at=NOW))
        assert (reason, "see whether the controller of Jobs runs" in message) == (
            "PodsNotCreated",
            True,
        )

    def test_one_that_runs_is_not_late(self):
        assert said(waits(pod(phase="Running", started_at=LONG_AGO), state="Running")) is None

    def test_one_that_its_queue_holds_says_so_at_once(self):
        held = waits(state="Suspended", since=NOW)
        status = told(held, execution={"scheduling": {"queueName": "gpus"}})
        assert condition(status, "ChildrenScheduled") == ("False", "WaitingForQuota")
        assert "its queue gpus has not admitted it yet" in status.message

    def test_one_that_is_held_without_a_queue_says_so(self):
        """`kubectl patch job` suspends too, and then no queue will ever admit it."""
        status = told(waits(state="Suspended", since=NOW))
        assert status.reason == "WaitingForQuota"
        assert "the experiment names no queue" in status.message

    def test_a_pytorchjob_calls_itself_running_while_a_container_runs_on(self):
        ended = LATER["a container that runs on"][0]
        assert said(waits(ended, state="Running"))[0] == "SidecarRunsOn"

    @pytest.mark.parametrize("state", ["Waiting", "Running"])
    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    def test_one_whose_controller_does_not_notice_the_end_of_its_pods(self, state, phase):
        ended = waits(pod(phase=phase), state=state)
        reason, message = said(ended)
        assert reason == "EndNotNoticed"
        assert "see whether the controller of Jobs runs" in message
        young = waits(pod(phase=phase, changed_at=JUST_NOW), state=state, since=JUST_NOW)
        assert said(young) is None
        assert decided(young).requeue_at == JUST_NOW + SILENCE

    def test_a_pytorchjob_calls_itself_running_on_a_node_that_does_not_answer(self):
        """A pod that tolerates all taints stays there for ever."""
        lost = LATER["a node that does not answer"][0]
        found = said(waits(lost, state="Running"))
        assert found == (
            "PodNotReady",
            "pod pod on node n1: Ready is False: NodeNotReady, since 2026-03-01T11:58:00Z",
        )
        young = waits(replace(lost, changed_at=JUST_NOW), state="Running", since=JUST_NOW)
        assert said(young) is None
        assert decided(young).requeue_at == JUST_NOW + SILENCE

    def test_one_that_a_finalizer_keeps_is_named_with_it(self):
        status = told(waits(gone_by=LONG_AGO, finalizers=["example.org/keep"]))
        assert condition(status, "ChildrenScheduled") == ("False", "ChildStuckTerminating")
        assert "example.org/keep has not let it go" in status.seed_statuses[0].message

    def test_pods_that_outlive_their_child_are_named(self):
        lost = LATER["a lost node"][0]
        status = told(orphaned=[replace(lost, seed=7)])
        assert condition(status, "ChildrenScheduled") == ("False", "PodStuckTerminating")
        assert status.seed_statuses[0].reason == "PodStuckTerminating"

    def test_who_may_start_nothing_says_so(self):
        (progressing,) = [
            each for each in told(parallelism=0).conditions if each.type == "Progressing"
        ]
        assert progressing.message.endswith("; spec.parallelism is 0")


class TestAsking:
    def test_a_pod_that_has_not_started_is_asked_else_one_that_runs_else_the_child(self):
        runs = replace(pod(phase="Running", started_at=NOW), uid="runs")
        fresh, ended = replace(pod(), uid="fresh"), replace(pod(phase="Succeeded"), uid="ended")
        assert asked(child(7, "Waiting", pods=[ended, runs, fresh])) == "fresh"
        assert asked(child(7, "Waiting", pods=[ended, runs])) == "runs"
        assert asked(child(7, "Waiting")) == "uid-s7-a0"

    def test_of_one_that_runs_with_some_of_its_pods_the_others_are_asked(self):
        """Events of its controller tell where such pods are not there."""
        runs = pod(phase="Running", started_at=NOW - SILENCE)
        behind = waits(runs, replace(pod(), uid="fresh"), state="Running", is_behind=True)
        assert asked(awaited(behind)) == "fresh"
        lacks = waits(runs, state="Running", is_behind=True)
        assert asked(awaited(lacks)) == "uid-s7-a0"
        assert inquiry_due(lacks, None, SILENCE) == LONG_AGO + timedelta(seconds=5)
        assert inquiry_due(waits(runs, state="Running"), None, SILENCE) is None
        told = EventAnswer(asked_at=NOW, reason="QuotaExceeded", message="no")
        assert said(lacks, told) == ("QuotaExceeded", "no")

    def test_one_whose_pod_is_told_to_stop_lacks_none_before_that_should_be_gone(self):
        """However long it has run before; none is made again until then."""
        runs = pod(phase="Running", started_at=LONG_AGO)
        told = EventAnswer(asked_at=NOW)
        ending = replace(runs, gone_by=NOW + timedelta(seconds=30))
        assert said(waits(runs, ending, state="Running", is_behind=True), told) is None
        assert said(waits(ending), told) is None
        late = replace(ending, gone_by=LONG_AGO)
        reason, _ = said(waits(runs, late, state="Running", is_behind=True), told)
        assert reason == "PodStuckTerminating"

    @pytest.mark.parametrize("gone_by", [None, NOW], ids=["as yet", "evicted"])
    def test_one_that_runs_with_some_names_the_pod_whose_node_does_not_answer(self, gone_by):
        lost = replace(LATER["a node that does not answer"][0], gone_by=gone_by)
        behind = waits(pod(phase="Running", started_at=NOW), lost, state="Running", is_behind=True)
        reason, message = said(behind, EventAnswer(asked_at=NOW))
        assert (reason, "on node n1" in message) == ("PodNotReady", True)

    def test_it_is_asked_less_often_the_longer_it_waits(self):
        waiting, answer, gaps = waits(pod(), since=NOW), None, []
        for _ in range(9):
            due = inquiry_due(waiting, answer, SILENCE)
            gaps.append((due - (answer.asked_at if answer else NOW)).total_seconds())
            answer = EventAnswer(asked_at=due)
        assert gaps == [120, 60, *[60] * 7]
        podless, answer, gaps = waits(since=NOW), None, []
        for _ in range(7):
            due = inquiry_due(podless, answer, SILENCE)
            gaps.append((due - (answer.asked_at if answer else NOW)).total_seconds())
            answer = EventAnswer(asked_at=due)
        assert gaps == [5, 5, 5, 7.5, 11.25, 16.875, 25.3125]
        assert max(gaps) < RARELY.total_seconds()

    @pytest.mark.parametrize(
        "waiting",
        [
            waits(pod(phase="Running"), state="Running"),
            waits(state="Suspended"),
            waits(gone_by=NOW),
            waits(pod(unschedulable="0/3 nodes")),
        ],
        ids=["it runs", "its queue holds it", "it is being deleted", "its pod says why"],
    )
    def test_nobody_is_asked_where_it_is_known(self, waiting):
        assert decided(waiting).inquire == []

    def test_what_changes_makes_an_answer_old(self):
        answer = EventAnswer(asked_at=LONG_AGO, reason="VolumeNotMounted", message="no claim")
        mounted = waits(pod(is_scheduled=True, changed_at=JUST_NOW))
        assert said(mounted, answer) is None
        assert inquiry_due(mounted, answer, SILENCE) == JUST_NOW + SILENCE

    def test_after_a_restart_the_reason_stays_until_it_is_asked_again(self):
        waiting = waits(pod(waiting="ContainerCreating", is_scheduled=True))
        answer = EventAnswer(asked_at=NOW, reason="VolumeNotMounted", message="no claim")
        before = told(waiting, observations=Observations(answers={waiting.uid: answer}))
        after = told(waiting, status=before)
        assert condition(after, "ChildrenScheduled") == ("False", "VolumeNotMounted")
        assert decided(waiting, status=before).inquire == [
            each.child for each in decided(waiting).standings if each.child
        ]


def event(reason, message="m", *, seconds=0, kind="Warning", **times):
    when = (NOW + timedelta(seconds=seconds)).isoformat()
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        **(times or {"lastTimestamp": when}),
    }


class TestEvents:
    POD = waits(pod(is_scheduled=True))

    @pytest.mark.parametrize(
        ("events", "reason", "message"),
        [
            ([event("FailedMount", "no claim")], "VolumeNotMounted", "FailedMount: no claim"),
            ([event("FailedAttachVolume")], "VolumeNotMounted", "FailedAttachVolume: m"),
            ([event("FailedCreatePodSandBox")], "ContainerNotCreated", "FailedCreatePodSandBox: m"),
            ([event("NodeNotReady")], "PodNotReady", "NodeNotReady: m"),
            ([event("Pulling", kind="Normal")], "", "Pulling: m"),
            (
                [event("FailedMount"), event("Pulling", kind="Normal", seconds=9)],
                "VolumeNotMounted",
                "FailedMount: m",
            ),
            (
                [event("FailedMount", seconds=1), event("BackOff", seconds=2)],
                "ContainerNotCreated",
                "BackOff: m",
            ),
            (
                [
                    event("FailedMount", series={"lastObservedTime": "2026-03-01T12:00:09Z"}),
                    event("BackOff", eventTime="2026-03-01T12:00:08.000001Z"),
                ],
                "VolumeNotMounted",
                "FailedMount: m",
            ),
            ([event("FailedScheduling", seconds=-3600)], "", ""),
            ([], "", ""),
            ([{}], "", ""),
        ],
    )
    def test_the_newest_warning_since_anything_changed_tells(self, events, reason, message):
        found = answered(self.POD, events, NOW)
        assert (found.reason, found.message) == (reason, message)

    def test_a_step_that_went_well_is_told_as_the_last_and_blamed_for_nothing(self):
        """A node that is slow has pulled the image, and not started the container yet."""
        slow = waits(pod(waiting="ContainerCreating", is_scheduled=True))
        answer = answered(slow, [event("Pulled", "it was there", kind="Normal")], NOW)
        assert said(slow, answer) == (
            "ContainerNotCreated",
            "pod pod has not started since 2026-03-01T11:58:00Z: ContainerCreating; its last event"
            " is Pulled: it was there",
        )
        young = waits(pod(waiting="ContainerCreating", is_scheduled=True), since=JUST_NOW)
        assert said(young, answer) is None

    def test_of_many_events_one_is_kept_and_not_all_are_read(self):
        """Anybody who may write events could fill the operator's memory otherwise."""
        read = []

        class Endless:
            async def list(self, *_, **__):
                while True:
                    read.append(len(read))
                    yield Page([event("FailedMount", f"page {len(read)}", seconds=len(read))], 1)

        found = asyncio.run(inquire(Endless(), self.POD, "research", NOW))
        assert (found.reason, found.message) == (
            "VolumeNotMounted",
            f"FailedMount: page {MOST_PAGES}",
        )
        assert len(read) == MOST_PAGES

    @pytest.mark.parametrize(
        ("events", "reason"),
        [
            ([event("FailedCreate", 'pods "a" is forbidden: exceeded quota: q')], "QuotaExceeded"),
            ([event("FailedCreate", f'pods "a" {BEGAN}')], "NamespaceTerminating"),
            (
                [event("FailedCreate", 'pods "quota-x" is forbidden: violates PodSecurity')],
                "PodsNotCreated",
            ),
            (
                [
                    event(
                        "FailedCreate", 'pods is forbidden: User "a" cannot create resource "pods"'
                    )
                ],
                "PodsNotCreated",
            ),
            ([event("SettedPodTemplateRestartPolicy")], ""),
        ],
    )
    def test_of_a_child_without_pods_its_controllers_failure_tells(self, events, reason):
        assert answered(waits(), events, NOW).reason == reason


class TestMadeAnew:
    def stopped(self, *children, template="new", **given):
        return [each.name for each in decided(*children, template=template, **given).delete]

    @pytest.mark.parametrize("state", ["Waiting", "Suspended"])
    def test_one_that_has_not_started_and_would_be_made_otherwise_now(self, state):
        assert self.stopped(waits(state=state, template="old")) == ["s7-a0"]
        assert self.stopped(waits(state=state, template="new")) == []

    def test_an_image_name_that_can_be_none_ends_no_seed_once_it_is_mended(self):
        bad = waits(pod(waiting="InvalidImageName"), template="old")
        assert self.stopped(bad) == ["s7-a0"]
        assert decided(bad, template="new").standings[0].phase == "Queued"

    def test_it_comes_back_as_the_same_attempt_and_costs_nothing(self):
        going = told(waits(template="old", attempt=3, retries=1), template="new")
        (following, *_) = decided(status=going, template="new").create
        assert (following.number, following.retries, following.disruptions) == (3, 1, 0)

    @pytest.mark.parametrize(
        "begun",
        [
            waits(pod(phase="Running", started_at=NOW), template="old"),
            waits(pod(phase="Running", started_at=NOW), pod(), template="old"),
            waits(state="Running", template="old"),
        ],
        ids=["it has begun", "one of its pods has", "it runs"],
    )
    def test_what_has_begun_goes_on(self, begun):
        assert self.stopped(begun) == []

    def test_what_a_queue_has_preempted_goes_on(self):
        running = told(child(7, template="old"))
        suspended = child(7, "Suspended", template="old")
        assert self.stopped(suspended, status=running) == []
        preempted = told(suspended, status=running, template="new")
        assert self.stopped(suspended, status=preempted) == []

    def test_an_older_operators_child_is_made_anew_only_where_its_image_is_not_there(self):
        assert self.stopped(waits(pod(waiting="ImagePullBackOff"))) == ["s7-a0"]
        assert self.stopped(waits(pod(unschedulable="0/3 nodes"))) == []
        assert self.stopped(waits(pod())) == []
        assert self.stopped(waits(state="Suspended")) == []
