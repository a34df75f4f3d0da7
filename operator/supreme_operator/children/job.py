"""A child of one pod: a Job that is tried once, because attempts are counted by the operator."""

import re
from collections.abc import Mapping
from typing import Any, Final

from supreme_core.api import names
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_operator.children.backend import (
    Backend,
    ChildOrder,
    identity,
    true_condition,
    waits_since,
)
from supreme_operator.children.pod import pod_template
from supreme_operator.cluster.resources import JOBS, Body, KubeObject
from supreme_operator.deciding.facts import Attempt, BackendName, Child, ChildState, Owner
from supreme_operator.deciding.times import time_of

EXIT_CODE: Final = re.compile(r"failed with exit code (\d{1,3})\b")
DISRUPTED: Final = re.compile(r"has condition DisruptionTarget")


def job_spec(template: KubeObject, *, pods: int) -> KubeObject:
    """A Job whose Failed condition tells by itself why it failed, even when its pods are gone."""
    badly = {"containerName": names.CONTAINER, "operator": "NotIn", "values": [0]}
    return {
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {"action": "FailJob", "onExitCodes": badly},
            ]
        },
        "template": template,
    }


def observe_job(body: Body, name: BackendName) -> Child | None:
    spec: Mapping[str, Any] = body.get("spec") or {}
    known = identity(body, name, spec.get("template") or {})
    if known is None:
        return None
    status: Mapping[str, Any] = body.get("status") or {}
    is_suspended = bool(spec.get("suspend"))
    if done := true_condition(body, "Complete"):
        finished = time_of(status.get("completionTime")) or time_of(done.get("lastTransitionTime"))
        return Child(**known, state=ChildState.SUCCEEDED, finished_at=finished)
    if failed := true_condition(body, "Failed"):
        message = failed.get("message") or ""
        code = EXIT_CODE.search(message)
        return Child(
            **known,
            state=ChildState.FAILED,
            finished_at=time_of(failed.get("lastTransitionTime")),
            reason=failed.get("reason") or "",
            message=message,
            exit_code=int(code[1]) if code else None,
            disrupted=message if DISRUPTED.search(message) else "",
            is_suspended=is_suspended,
        )
    since = waits_since(body, is_suspended=is_suspended)
    if is_suspended:
        return Child(**known, state=ChildState.SUSPENDED, is_suspended=True, waits_since=since)
    ready = status.get("ready") or 0
    ended = status.get("succeeded") or 0
    is_running = ready + ended >= (spec.get("completions") or 1)
    state = ChildState.RUNNING if is_running else ChildState.WAITING
    return Child(**known, state=state, waits_since=since)


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
