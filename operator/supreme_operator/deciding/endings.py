"""Classify why an attempt ended. Pure.

The exit codes are the trainer's contract (supreme_core.api.names). A failure of the program is
told apart from what the cluster did to it, because each has a budget of its own.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from supreme_core.api.model import parse_json
from supreme_core.api.records import Termination
from supreme_core.errors import (
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_OK,
    EXIT_SIGNAL,
    EXIT_TEMPORARY,
    EXIT_TERMINATED,
    SpecError,
    number_of,
    one_line,
)
from supreme_operator.deciding.facts import Child, Pod
from supreme_operator.results.protocol import Claim

LOST_WITH_ITS_NODE: Final = (
    "Evicted",
    "NodeLost",
    "NodeShutdown",
    "Preempting",
    "Shutdown",
    "Terminated",
    "UnexpectedAdmissionError",
)
"""Reasons of a failed pod whose container had no part in it."""

TOO_LONG: Final = "DeadlineExceeded"
POD_DELETED: Final = "PodDeleted"
POD_LOST: Final = "PodLost"
"""The disruption of a child that goes on without a pod, which its controller makes again."""

NO_MORE_LOSSES: Final = "BackoffLimitExceeded"
"""Reason of a Job that has lost more pods than it may."""

KILLED: Final = EXIT_SIGNAL + signal.SIGKILL
STOPPED: Final = (EXIT_INTERRUPTED, EXIT_TERMINATED)

NOT_STARTED: Final = ("ContainerCannotRun", "StartError")
"""Reasons of a container that its runtime could not start, as where the driver of a node's GPUs is
broken; where the trainer's last words would stand, the runtime says why."""

NO_EXIT: Final = ("ContainerStatusUnknown", *NOT_STARTED)
"""Reasons of a container that never started, or of whose end the kubelet does not know; the exit
code is made up."""

PERMANENT: Final = (EXIT_INVALID, *range(64, 75), *range(76, 79))
"""sysexits but for 75, which asks for another try."""

NEVER_STARTS: Final = ("InvalidImageName",)
"""Reasons of a waiting container that no time can mend."""


@dataclass(frozen=True)
class Ending:
    """Cost of an attempt's end: another try (failed), nothing of the kind (disrupted), or the seed.

    is_told: something says so; it does not only follow from that nothing says otherwise, which
    other news may still do.
    """

    kind: Literal["failed", "disrupted", "permanent"]
    reason: str
    message: str
    is_told: bool = True


def ending(child: Child) -> Ending:
    """Ending of a failed child: the worst that any of its pods tells, or its own condition."""
    if child.survives and child.failed_pod:
        child = replace(child, pods=list(_with_which_it_failed(child)))
    disruption = next(_disruptions(child), None)
    if disruption:
        return disruption
    if child.survives and child.reason == NO_MORE_LOSSES:
        message = f"it may lose {number_of(child.lost_pods, 'pod')}, and has lost another"
        return Ending("disrupted", POD_LOST, message)
    if any(pod.reason == TOO_LONG for pod in child.pods):
        return Ending("failed", TOO_LONG, "it took longer than seedActiveDeadlineSeconds")
    codes = {pod.exit_code for pod in child.pods if pod.exit_code is not None}
    if not codes and child.exit_code is not None:
        codes = {child.exit_code}
        if not child.pods and codes == {KILLED}:
            message = "its pod was deleted, and its container killed or never started"
            return Ending("disrupted", POD_DELETED, message)
    line = _line_of_trainer(child)
    if codes & set(PERMANENT):
        code = min(codes & set(PERMANENT))
        return Ending(
            "permanent", "InvalidOrder", line or f"the trainer ended with exit code {code}"
        )
    if any(pod.exit_reason == "OOMKilled" for pod in child.pods):
        return Ending("failed", "OOMKilled", "it used more memory than execution.resources.memory")
    real = codes - {*STOPPED, EXIT_TEMPORARY, EXIT_OK}
    if real:
        code = min(real)
        return Ending("failed", "Error", line or f"the trainer ended with exit code {code}")
    if EXIT_TEMPORARY in codes:
        return Ending("disrupted", "TemporaryFailure", line or "something outside was away")
    if codes & set(STOPPED):
        return Ending("disrupted", "Terminated", "its pod was told to stop")
    if codes:  # the trainer was done, and something beside it failed
        return Ending(
            "failed", child.reason or "Unknown", child.message or "one of its pods failed"
        )
    message = child.message or "its pods left no trace"
    return Ending("disrupted", child.reason or "Unknown", message, is_told=False)


def _with_which_it_failed(child: Child) -> Iterator[Pod]:
    """Pods of a child that would have gone on without those that it lost. Such a one may be there
    still, and be the newest of its place, where its controller has deleted the next one."""
    for pod in child.pods:
        is_lost = pod.disrupted or not _has_ended(pod) or pod.exit_code in (*STOPPED, EXIT_OK)
        # It took too long to stop when the child had failed.
        is_slow = pod.gone_by is not None and _was_killed(pod)
        if pod.name == child.failed_pod or not (is_lost or is_slow):
            yield pod


def is_computed(child: Child, nodes: int) -> bool:
    """Return whether its result is there, or all its trainers were done, whatever failed beside
    them."""
    done = [pod for pod in child.pods if pod.exit_code == EXIT_OK]
    return has_result(child) or len(child.pods) == len(done) >= nodes


def has_result(child: Child) -> bool:
    """Return whether a pod of a child that needs none of the others has left its result."""
    done = (pod for pod in child.pods if pod.exit_code == EXIT_OK)
    return child.survives and any(left.result for left in map(_termination, done) if left)


def words_of_loss(child: Child) -> str:
    """Words on the last pod that a child has lost and goes on without."""
    pod = child.lost_pod
    if pod is None:
        return "a pod of it was lost; its child goes on"
    why = pod.disrupted or pod.reason or (POD_DELETED if pod.gone_by else "Terminated")
    return f"pod {pod.name} was lost: {why}; its child goes on"


def never_starts(child: Child) -> bool:
    return any(pod.waiting in NEVER_STARTS for pod in child.pods)


def claim(child: Child) -> Claim:
    """Claim of a child that it left a result, with the sha256 that a pod of it says."""
    return Claim(
        seed=child.attempt.seed,
        attempt=child.attempt.number,
        sha256=next((left.result for left in _left(child) if left.result), None),
    )


def _disruptions(child: Child) -> Iterator[Ending]:
    for pod in child.pods:
        if pod.disrupted:
            yield Ending("disrupted", pod.disrupted, pod.message or f"pod {pod.name} was disrupted")
        elif pod.phase == "Failed" and pod.reason in LOST_WITH_ITS_NODE:
            yield Ending("disrupted", pod.reason, pod.message or f"pod {pod.name} was lost")
        elif pod.phase == "Failed" and pod.gone_by and _was_killed(pod):
            yield Ending("disrupted", POD_DELETED, f"pod {pod.name} was deleted")
        elif pod.phase == "Failed" and not _has_ended(pod):
            reason, said = "PodFailed", f"pod {pod.name} failed before its trainer started"
            if pod.exit_reason in NOT_STARTED:
                reason, said = pod.exit_reason, one_line(pod.termination) or said
            yield Ending("disrupted", pod.reason or reason, pod.message or said)
    if child.disrupted:
        yield Ending("disrupted", "DisruptionTarget", child.disrupted)


def _has_ended(pod: Pod) -> bool:
    """Return whether its trainer has ended, so that the failure may be its own. Without it a
    kubelet refuses pods (OutOfcpu, NodeAffinity), and fails those that are deleted."""
    if pod.reason == TOO_LONG and pod.started_at:
        return True
    return pod.exit_code is not None and pod.exit_reason not in NO_EXIT


def _was_killed(pod: Pod) -> bool:
    return pod.exit_code == KILLED and pod.exit_reason != "OOMKilled"


def _line_of_trainer(child: Child) -> str:
    """The trainer's own line. One that was only told to stop has less to say than another."""
    pods = sorted(child.pods, key=lambda pod: pod.exit_code in STOPPED)
    said = (_termination(pod) for pod in pods if pod.exit_code)
    return next((left.message for left in said if left and left.message), "")


def _left(child: Child) -> Iterator[Termination]:
    for pod in child.pods:
        if left := _termination(pod):
            yield left


def _termination(pod: Pod) -> Termination | None:
    try:
        return parse_json(Termination, pod.termination.encode(), source="the termination message")
    except SpecError:
        return None
