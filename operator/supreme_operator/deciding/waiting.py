"""Reasons why a child waits, or cannot be made at all. Pure.

What its pods say of themselves is told at once. Of a child of which nothing changes for a while
the events are asked, less often the longer it waits; and where they say nothing either, what is
known stands there: nobody waits without a reason.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from supreme_core.errors import one_line
from supreme_operator.deciding.facts import Child, ChildState, EventAnswer, Pod
from supreme_operator.deciding.times import time_of, written

PODLESS: Final = timedelta(seconds=5)
"""Time after which a child without pods is inquired; its controller makes them within one."""

RARELY: Final = timedelta(minutes=1)
"""The longest time between two inquiries of one child."""

LONGEST_PAUSE: Final = timedelta(minutes=10)
"""The longest time for which the Job controller waits before it makes a lost pod again."""

SAME_TIME: Final = timedelta(seconds=5)
"""Time by which an event may be dated before the change that it is about."""

Reason = tuple[str, str]
"""The reason of a condition and its message."""

KubernetesEvent = Mapping[str, Any]
"""An event as the API server has it."""

FORBIDDEN: Final = re.compile(
    r'(?:Error creating: )?[^\s"]+(?: "[^"]*")? is forbidden: (?P<why>.*)'
)
"""Words of the API server in status 403, which controllers repeat in events."""

NO_QUOTA: Final = ("exceeded quota: ", "insufficient quota ", "status unknown for quota: ")
NO_RIGHT: Final = re.compile(r'User "[^"]*" cannot |cannot set blockOwnerDeletion ')
ENDING_NAMESPACE: Final = re.compile(
    r'unable to create new content in namespace |namespaces "[^"]*" not found'
)

IMAGE_TROUBLE: Final = (
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
)
ORDINARY: Final = ("", "ContainerCreating", "PodInitializing")
"""Reasons of a waiting container where nothing is wrong yet."""

REASONS: Final[Mapping[str, str]] = {
    "FailedAttachVolume": "VolumeNotMounted",
    "FailedMapVolume": "VolumeNotMounted",
    "FailedMount": "VolumeNotMounted",
    "VolumeResizeFailed": "VolumeNotMounted",
    "FailedScheduling": "Unschedulable",
    "NodeNotReady": "PodNotReady",
    "Unhealthy": "PodNotReady",
}
"""Reasons of conditions by those of a pod's events; any other is ContainerNotCreated."""


def refusal(message: str) -> Literal["QuotaExceeded", "RBACDenied", "NamespaceTerminating", ""]:
    """Reason why the API server makes no object, from its words; "" where it is the object's own
    fault.

    Status and reason are the same (403, Forbidden) for a missing right, a quota, an admission
    policy and a namespace that is being deleted. Names of objects are quoted, and say nothing.
    """
    found = FORBIDDEN.match(message)
    why = found["why"] if found else message
    if ENDING_NAMESPACE.match(why):
        return "NamespaceTerminating"
    if found and why.startswith(NO_QUOTA):
        return "QuotaExceeded"
    if found and NO_RIGHT.match(why):
        return "RBACDenied"
    return ""


def is_webhooks(message: str) -> bool:
    """Return whether, by its message, an admission webhook does not answer, and not the API
    server."""
    return "failed calling webhook" in message


def blocking_reason(
    child: Child,
    answer: EventAnswer | None,
    *,
    now: datetime,
    silence: timedelta,
    queue: str | None = None,
) -> Reason | None:
    """Reason why an unfinished child does not go on; None where nothing stops it, or not for long.

    silence: how long nothing may change before that is worth a word.  queue: the one that the
    experiment names.
    """
    if child.state == ChildState.SUSPENDED:
        return "WaitingForQuota", _held(queue)
    if held := stuck(child, now, silence):
        return held
    if child.state == ChildState.RUNNING and not child.is_behind:
        return unready(child, now, silence)
    if said := next(filter(None, map(_said, child.pods)), None):
        return said
    # Those that are told to stop have their time to do so; until then none is made in their place.
    are_ending = any(pod.gone_by and not pod.is_finished for pod in child.pods)
    if child.is_behind or are_ending:
        started = replace(child, pods=[pod for pod in child.pods if pod.started_at])
        found = unready(started, now, silence)
        if found or are_ending:
            return found
    child = awaited(child)
    if answer is None or answer.asked_at < _quiet_since(child):
        return None
    if answer.reason:
        return answer.reason, answer.message
    are_gone = all(pod.is_finished for pod in child.pods)
    patience = silence + (LONGEST_PAUSE if child.lost_pods and are_gone else timedelta(0))
    return _unexplained(child, answer) if now >= _quiet_since(child) + patience else None


def awaited(child: Child) -> Child:
    """A child as those of its pods see it that are still to come; any other as it is."""
    if not child.is_behind:
        return child
    pods = [pod for pod in child.pods if not pod.started_at and not pod.is_finished]
    return replace(child, pods=pods)


def _held(queue: str | None) -> str:
    if queue is None:
        return (
            "it is suspended, and the experiment names no queue: one that Kueue gives to all holds"
            " it, or somebody has suspended it by hand"
        )
    return (
        f"its queue {queue} has not admitted it yet; `kubectl describe workloads` says why, or has"
        " none of it where Kueue does not run"
    )


def stuck(child: Child, now: datetime, silence: timedelta) -> Reason | None:
    """Reason why a child does not end that should have."""
    are_gone = all(pod.is_finished for pod in child.pods)
    if child.gone_by and now >= child.gone_by + silence and are_gone:
        names = ", ".join(child.finalizers) or "its controller"
        return "ChildStuckTerminating", (
            f"{child.name} was to be gone at {written(child.gone_by)}, and {names} has not let it"
            " go"
        )
    found = next(filter(None, (stuck_pod(pod, now, silence) for pod in child.pods)), None)
    is_made_again = child.survives and any(pod.phase == "Failed" for pod in child.pods)
    if found or child.is_deleted or not child.pods or not are_gone or is_made_again:
        return found
    since = _quiet_since(child)
    if now < since + silence:
        return None
    return "EndNotNoticed", (
        f"the pods of {child.name} have ended, and it has not since {written(since)}; see whether"
        f" the controller of {child.kind}s runs"
    )


def unready(child: Child, now: datetime, silence: timedelta) -> Reason | None:
    """Reason why a child whose controller calls it running may not be: a pod on a node that does
    not answer stays Running."""
    for pod in child.pods:
        is_unmet = pod.unmet and not pod.is_finished
        if is_unmet and pod.changed_at and now >= pod.changed_at + silence:
            at = f"pod {pod.name} on node {pod.node or '(none)'}"
            return "PodNotReady", f"{at}: {pod.unmet}, since {written(pod.changed_at)}"
    return None


def stuck_pod(pod: Pod, now: datetime, silence: timedelta) -> Reason | None:
    """Reason why a pod does not end that should have."""
    if pod.is_finished:
        return None
    if pod.gone_by and now >= pod.gone_by + silence:
        return "PodStuckTerminating", (
            f"pod {pod.name} was to be gone at {written(pod.gone_by)}, and its node"
            f" {pod.node or '(none)'} does not say that it is; where the node is lost, delete the"
            f" Node, or the pod by `kubectl delete pod {pod.name} --force`"
        )
    has_ended = pod.exit_code is not None and pod.running_beside and not pod.gone_by
    if has_ended and pod.changed_at and now >= pod.changed_at + silence:
        names = ", ".join(pod.running_beside)
        return "SidecarRunsOn", (
            f"the trainer of pod {pod.name} has ended with exit code {pod.exit_code}, but {names}"
            " beside it runs on, and so the pod; have that injected as an init container with"
            " restartPolicy Always, or not at all"
        )
    return None


def alarms(child: Child, answer: EventAnswer | None, silence: timedelta) -> Iterator[datetime]:
    """Yield the times at which time alone may change what is said of an unfinished child."""
    if child.gone_by:
        yield child.gone_by + silence
    for pod in child.pods:
        yield from pod_alarms(pod, silence)
    if child.pods and all(pod.is_finished for pod in child.pods):
        yield _quiet_since(child) + silence
    if due := inquiry_due(child, answer, silence):
        yield due
        yield _quiet_since(child) + silence


def pod_alarms(pod: Pod, silence: timedelta) -> Iterator[datetime]:
    if pod.gone_by:
        yield pod.gone_by + silence
    if (pod.exit_code is not None or pod.unmet) and pod.changed_at:
        yield pod.changed_at + silence


def inquiry_due(child: Child, answer: EventAnswer | None, silence: timedelta) -> datetime | None:
    """Time at which events are to be asked of the child; None while it needs no asking."""
    is_waiting = child.state == ChildState.WAITING or child.is_behind
    if not is_waiting or child.is_deleted or any(map(_said, child.pods)):
        return None
    child = awaited(child)
    since = _quiet_since(child)
    if answer is None or answer.asked_at < since:
        return since + (silence if child.pods else PODLESS)
    pause = max(PODLESS, min(RARELY, (answer.asked_at - since) / 2))
    return answer.asked_at + pause


def asked(child: Child) -> str:
    """uid of the object whose events are asked: of a pod that waits, else the child."""
    waiting = (pod.uid for pod in child.pods if not pod.is_finished and not pod.started_at)
    others = (pod.uid for pod in child.pods if not pod.is_finished)
    return next(waiting, None) or next(others, child.uid)


def telling(child: Child, events: Sequence[KubernetesEvent]) -> list[KubernetesEvent]:
    """The one of many events that tells why a child waits, if any does: the newest since anything
    changed, of Warnings if there are any."""
    since = _quiet_since(child) - SAME_TIME
    dated = [(_time_of(each), each) for each in events]
    news = [(time, each) for time, each in dated if time >= since]
    if not child.pods:
        news = [pair for pair in news if str(pair[1].get("reason")).startswith("Failed")]
    warnings = [pair for pair in news if pair[1].get("type") == "Warning"]
    newest = max(warnings or news, key=lambda pair: pair[0], default=None)
    return [newest[1]] if newest else []


def answered(child: Child, events: Sequence[KubernetesEvent], now: datetime) -> EventAnswer:
    """Answer of the event that tells.

    One of a pod that is no Warning is a step that went well, such as Pulled on a node that is slow:
    it tells how far the pod is, and gives no reason.
    """
    newest = next(iter(telling(child, events)), None)
    if newest is None:
        return EventAnswer(asked_at=now)
    reason, message = str(newest.get("reason")), one_line(newest.get("message"))
    if child.pods:
        is_trouble = newest.get("type") == "Warning"
        return EventAnswer(
            asked_at=now,
            reason=REASONS.get(reason, "ContainerNotCreated") if is_trouble else "",
            message=f"{reason}: {message}",
        )
    known = refusal(message)
    # A right that its controller lacks is none of the operator's.
    reason = known if known in ("QuotaExceeded", "NamespaceTerminating") else "PodsNotCreated"
    return EventAnswer(asked_at=now, reason=reason, message=message)


def _said(pod: Pod) -> Reason | None:
    """Reason why a pod waits, as the pod says itself; None where it says nothing."""
    if pod.is_finished or pod.gone_by:
        return None
    if pod.unschedulable:
        return "Unschedulable", pod.unschedulable
    if pod.waiting in IMAGE_TROUBLE:
        return "ImagePullFailed", pod.waiting_message or pod.waiting
    if pod.waiting not in ORDINARY:
        return "ContainerNotCreated", pod.waiting_message or pod.waiting
    return None


def _unexplained(child: Child, answer: EventAnswer) -> Reason:
    since = written(_quiet_since(child))
    last = f"; its last event is {answer.message}" if answer.message else ""
    if not child.pods:
        lacks = "lacked a pod" if child.is_behind else "had no pods"
        return "PodsNotCreated", (
            f"it has {lacks} since {since}, and no event says why; see whether the controller"
            f" of {child.kind}s runs"
        )
    pod = next((pod for pod in child.pods if not pod.is_finished and not pod.started_at), None)
    if pod is None:
        unmet = next((pod.unmet for pod in child.pods if pod.unmet), "its pods are not ready")
        return "PodNotReady", f"{unmet}, since {since}{last}"
    if not pod.is_scheduled:
        why = pod.unmet or "no scheduler has said anything; see whether its schedulerName runs"
        return "Unschedulable", f"pod {pod.name} has had no node since {since}: {why}{last}"
    why = pod.unmet or pod.waiting or "nothing says why"
    return "ContainerNotCreated", f"pod {pod.name} has not started since {since}: {why}{last}"


def _quiet_since(child: Child) -> datetime:
    """Time at which something of the child last changed."""
    lost = [child.lost_pod] if child.lost_pod else []
    pods = (pod.changed_at for pod in (*child.pods, *lost) if pod.changed_at)
    return max(child.changed_at or child.created_at, *pods, child.created_at)


def _time_of(event: Mapping[str, Any]) -> datetime:
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("metadata") or {}).get("creationTimestamp"),
    )
    found = next(filter(None, map(time_of, times)), None)
    return found or datetime.fromtimestamp(0, UTC)
