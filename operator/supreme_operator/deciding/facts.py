"""Facts of one experiment: plain ones, read off Kubernetes objects once and never dicts.

Everything that decides reads these. The objects themselves are not kept: a digest of ten fields
is a hundredth of the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from supreme_core.api.v1alpha1 import ExperimentSpec

BackendName = Literal["Job", "IndexedJob", "PyTorchJob"]


@dataclass(frozen=True)
class Owner:
    """The experiment as its children name it."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at one seed that is to be made.

    index: place of the seed in the experiment, or among its tuning seeds, which is what names are
    made of.  is_tuning: the seed is one of those.  number: from 0.
    retries, disruptions: what earlier attempts of this seed cost; number is at most their sum.
    lost_pods: how many of the disruptions are pods that this attempt has lost and gone on without.
    """

    seed: int
    index: int
    is_tuning: bool = False
    number: int = 0
    retries: int = 0
    disruptions: int = 0
    lost_pods: int = 0

    def next(self, *, retries: int, disruptions: int) -> "Attempt":
        """The attempt after this one, with what the seed has cost by then."""
        return replace(
            self, number=self.number + 1, retries=retries, disruptions=disruptions, lost_pods=0
        )


class ChildState(StrEnum):
    """State of one child, whatever its kind."""

    SUSPENDED = "Suspended"
    """State of a child that a queue (Kueue) holds back and that has no pods."""
    WAITING = "Waiting"
    """State of a child whose pods do not all run yet."""
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_finished(self) -> bool:
        return self in (ChildState.SUCCEEDED, ChildState.FAILED)


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One pod of a child.

    reason: why the whole pod failed, such as Evicted or DeadlineExceeded.
    unschedulable: what the scheduler says where no node fits, else "".
    disrupted: reason of the DisruptionTarget condition, else "".
    waiting, waiting_message: why its container does not start, such as ErrImagePull, else "".
    started_at: when its container started; None where it has not.
    exit_code, exit_reason: how its container ended; exit_reason is such as OOMKilled.
    termination: what the trainer left in its termination message.
    running_beside: other containers that run, which keep the pod from ending with the trainer.
    unmet: the first of its conditions that does not hold, and what is said of it, else "".
    index: its place among the pods of an Indexed Job, each of which may be made several times.
    created_at: when it was made.  changed_at: then, or the newest change of all this.
    gone_by: when it should be gone, where it was deleted; its processes may still run.
    """

    uid: str
    name: str
    child: str
    """uid of the object that controls it."""
    experiment: str
    """uid of the experiment that its label names."""
    seed: int
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] = "Pending"
    reason: str = ""
    message: str = ""
    is_scheduled: bool = False
    unschedulable: str = ""
    disrupted: str = ""
    waiting: str = ""
    waiting_message: str = ""
    started_at: datetime | None = None
    exit_code: int | None = None
    exit_reason: str = ""
    termination: str = ""
    node: str = ""
    running_beside: Sequence[str] = ()
    unmet: str = ""
    index: int | None = None
    created_at: datetime | None = None
    changed_at: datetime | None = None
    gone_by: datetime | None = None

    @property
    def is_finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True)
class Child:
    """One object that computes one attempt of one seed.

    work: digest of what it was told to compute, so of what its result answers.
    order: name of the ConfigMap that tells it, "" where its pods have none.
    reason, message: of the condition that says that it has failed; "" before.
    exit_code: where that condition tells the exit code of a pod, which may be gone by now.
    failed_pod: name of that pod.
    disrupted: where that condition tells of a disruption, its text, else "".
    is_suspended: a queue holds it back; where it has ended, it did so then.
    waits_since: when it was made, or its queue last suspended or admitted it; None where the queue
    has just done so and the child's controller has not said when.
    template: digest of what its pods are made of; "" where an older operator has made it.
    changed_at: when it was made, or began, or the newest change of a condition of it.
    gone_by: when it should be gone, where it was deleted.  finalizers: who has to agree to that.
    survives: it goes on without a pod that it has lost, which its controller makes again.
    is_behind: it runs with some of its pods, and waits for the others.
    lost_pods: how many it has lost.  lost_pod: the last of them that was seen.
    pods: without those that were made again.
    """

    kind: BackendName
    uid: str
    name: str
    owner: str
    """uid of the object that controls it."""
    attempt: Attempt
    work: str
    created_at: datetime
    state: ChildState
    order: str = ""
    finished_at: datetime | None = None
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    failed_pod: str = ""
    disrupted: str = ""
    is_suspended: bool = False
    waits_since: datetime | None = None
    template: str = ""
    changed_at: datetime | None = None
    gone_by: datetime | None = None
    finalizers: Sequence[str] = ()
    survives: bool = False
    is_behind: bool = False
    lost_pods: int = 0
    lost_pod: Pod | None = None
    pods: Sequence[Pod] = ()

    @property
    def is_deleted(self) -> bool:
        return self.gone_by is not None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An UnlearningExperiment whose spec has been read.

    pod_digest: of what it sets on its pods.  violations: what of that, of its store or namespace
    the installation does not allow any more, and did when it was accepted.
    """

    owner: Owner
    spec: ExperimentSpec
    generation: int
    created_at: datetime
    pod_digest: str | None = None
    violations: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class EventAnswer:
    """Answer of events to the question why a child waits.

    reason: "" where they give none.  message: then "", or the last step that went well.
    """

    asked_at: datetime
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something outside that did not work, and when it is tried again."""

    reason: str
    message: str
    retry_at: datetime
