"""A child of one pod: a Job that is tried once, because attempts are counted by the operator.

One of several pods whose processes share out stages may go on without a pod that the cluster took
from it, as often as the operator says. The Job counts these in its status, where they are known
however long no operator looks.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from supreme_core.api import names
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from supreme_operator.children.backend import (
    Backend,
    ChildOrder,
    identity,
    true_condition,
    waits_since,
)
from supreme_operator.children.pod import pod_template
from supreme_operator.cluster.resources import JOBS, Body, KubeObject
from supreme_operator.deciding.endings import NO_MORE_LOSSES
from supreme_operator.deciding.facts import Attempt, BackendName, Child, ChildState, Owner
from supreme_operator.deciding.times import time_of

EXIT_CODE: Final = re.compile(
    rf"Container {names.CONTAINER} for pod .* failed with exit code (\d{{1,3}})\b"
)
FAILED_POD: Final = re.compile(r" for pod [^/ ]+/(\S+) ")
DISRUPTED: Final = re.compile(r"has condition DisruptionTarget")


def job_spec(template: KubeObject, *, pods: int, losses: int = 0) -> KubeObject:
    """A Job whose Failed condition tells by itself why it failed, even when its pods are gone.

    losses: pods that the cluster may take from it, each of which it makes again.
    """
    return {
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": losses,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [*(_rules_of_losses(template) if losses else _RULES)]},
        "template": template,
    }


_DISRUPTED: Final = [{"type": "DisruptionTarget"}]
_RULES: Final = (
    {"action": "FailJob", "onPodConditions": _DISRUPTED},
    {
        "action": "FailJob",
        "onExitCodes": {"containerName": names.CONTAINER, "operator": "NotIn", "values": [0]},
    },
)


def _rules_of_losses(template: KubeObject) -> Iterator[KubeObject]:
    """Rules by which a pod that was lost is made again, and any other failure ends the Job.

    A trainer that was told to stop has no part in it, unless its pod may have taken too long: the
    kubelet tells it in the same way.
    """
    yield {"action": "Count", "onPodConditions": _DISRUPTED}
    if "activeDeadlineSeconds" not in template["spec"]:
        stopped = {
            "containerName": names.CONTAINER,
            "operator": "In",
            "values": [EXIT_INTERRUPTED, EXIT_TERMINATED],
        }
        yield {"action": "Count", "onExitCodes": stopped}
    # Of any container: one that fails beside a trainer that is done would do so again.
    yield {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}


def observe_job(body: Body, name: BackendName) -> Child | None:
    spec: Mapping[str, Any] = body.get("spec") or {}
    known = identity(body, name, spec.get("template") or {})
    if known is None:
        return None
    status: Mapping[str, Any] = body.get("status") or {}
    is_suspended = bool(spec.get("suspend"))
    completions = spec.get("completions") or 1
    if name == "IndexedJob" and spec.get("backoffLimit"):
        known |= {"survives": True, "lost_pods": _lost_pods(body, completions)}
    if done := true_condition(body, "Complete"):
        finished = time_of(status.get("completionTime")) or time_of(done.get("lastTransitionTime"))
        return Child(**known, state=ChildState.SUCCEEDED, finished_at=finished)
    if failed := true_condition(body, "Failed"):
        message = failed.get("message") or ""
        code, pod = EXIT_CODE.search(message), FAILED_POD.search(message)
        return Child(
            **known,
            state=ChildState.FAILED,
            finished_at=time_of(failed.get("lastTransitionTime")),
            reason=failed.get("reason") or "",
            message=message,
            exit_code=int(code[1]) if code else None,
            failed_pod=pod[1] if pod else "",
            disrupted=message if DISRUPTED.search(message) else "",
            is_suspended=is_suspended,
        )
    since = waits_since(body, is_suspended=is_suspended)
    if is_suspended:
        return Child(**known, state=ChildState.SUSPENDED, is_suspended=True, waits_since=since)
    ready = status.get("ready") or 0
    ended = status.get("succeeded") or 0
    is_whole = ready + ended >= completions
    is_behind = not is_whole and known.get("survives", False) and ready + ended > 0
    state = ChildState.RUNNING if is_whole or is_behind else ChildState.WAITING
    return Child(**known, state=state, waits_since=since, is_behind=is_behind)


def _lost_pods(body: Body, completions: int) -> int:
    """Number of pods that an Indexed Job has lost and gone on without.

    Of one that ends badly its controller counts as failed the pods with which it does: those that
    were there then, of which the status does not tell the number.
    """
    status: Mapping[str, Any] = body.get("status") or {}
    failed: int = status.get("failed") or 0
    if end := true_condition(body, "FailureTarget") or true_condition(body, "Failed"):
        if end.get("reason") == NO_MORE_LOSSES:
            most: int = body["spec"]["backoffLimit"]
            return most
        return max(0, failed - completions + (status.get("succeeded") or 0))
    return failed


def _spec(owner: Owner, spec: ExperimentSpec, attempt: Attempt, order: ChildOrder) -> KubeObject:
    processes = spec.execution.processes
    alone = {"PET_NPROC_PER_NODE": str(processes), "PET_STANDALONE": "1"}
    environment = alone if processes > 1 else {}
    return job_spec(pod_template(owner, spec, attempt, order, environment=environment), pods=1)


JOB: Final = Backend(
    name="Job",
    resource=JOBS,
    api_version="batch/v1",
    kind="Job",
    spec=_spec,
    observe=lambda body: observe_job(body, "Job"),
)
