"""Why an attempt ended. Pure.

The exit codes are the trainer's contract (supreme_core.api.names). A failure of the program is
told apart from what the cluster did to it, because each has a budget of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.run import Termination
from supreme_core.errors import SpecError
from supreme_operator.observed import Child, Pod

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

STOPPED: Final = (names.EXIT_INTERRUPTED, names.EXIT_TERMINATED)

PERMANENT: Final = (names.EXIT_INVALID, *range(64, 75), *range(76, 79))
"""sysexits but for 75, which asks for another try."""

NEVER_STARTS: Final = ("InvalidImageName",)
"""Reasons of a waiting container that no time can mend."""


@dataclass(frozen=True)
class Ending:
    """What an attempt costs: another try (failed), nothing of the kind (disrupted), or the seed."""

    kind: Literal["failed", "disrupted", "permanent"]
    reason: str
    message: str


def ending(child: Child) -> Ending:
    """Why a failed child failed: the worst that any of its pods tells, or its own condition."""
    disruption = next(_disruptions(child), None)
    if disruption:
        return disruption
    if any(pod.reason == "DeadlineExceeded" for pod in child.pods):
        return Ending("failed", "DeadlineExceeded", "it took longer than seedActiveDeadlineSeconds")
    codes = {pod.exit_code for pod in child.pods if pod.exit_code is not None}
    if not codes and child.exit_code is not None:
        codes = {child.exit_code}
    told = _told(child)
    if codes & set(PERMANENT):
        code = min(codes & set(PERMANENT))
        return Ending(
            "permanent", "InvalidOrder", told or f"the trainer ended with exit code {code}"
        )
    if any(pod.exit_reason == "OOMKilled" for pod in child.pods):
        return Ending("failed", "OOMKilled", "it used more memory than execution.resources.memory")
    real = codes - {*STOPPED, names.EXIT_TEMPORARY, names.EXIT_OK}
    if real:
        code = min(real)
        return Ending("failed", "Error", told or f"the trainer ended with exit code {code}")
    if names.EXIT_TEMPORARY in codes:
        return Ending("disrupted", "TemporaryFailure", told or "something outside was away")
    if codes & set(STOPPED):
        return Ending("disrupted", "Terminated", "its pod was told to stop")
    return Ending("failed", child.reason or "Unknown", child.message or "its pods left no trace")


def never_starts(child: Child) -> bool:
    return any(pod.waiting in NEVER_STARTS for pod in child.pods)


def claimed_digest(child: Child) -> str | None:
    """The sha256 that a pod claims result.json to have."""
    return next((left.result for left in _left(child) if left.result), None)


def _disruptions(child: Child) -> Iterator[Ending]:
    for pod in child.pods:
        if pod.disrupted:
            yield Ending("disrupted", pod.disrupted, pod.message or f"pod {pod.name} was disrupted")
        elif pod.phase == "Failed" and pod.reason in LOST_WITH_ITS_NODE:
            yield Ending("disrupted", pod.reason, pod.message or f"pod {pod.name} was lost")
    if child.disrupted:
        yield Ending("disrupted", "DisruptionTarget", child.disrupted)


def _told(child: Child) -> str:
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
