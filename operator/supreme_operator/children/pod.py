"""The pod that computes (its part of) one attempt, the same for every kind of child.

It runs under the restricted Pod Security standard. What a user's template may say has been checked
by `supreme_core.checking.cluster_spec`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from supreme_core.api import names
from supreme_core.api.v1alpha1 import ExperimentSpec, Resources
from supreme_core.checking.cluster_spec import CREDENTIALS, OUR_MOUNTS, SESSION_TOKEN
from supreme_core.errors import one_line
from supreme_operator.children.backend import ChildOrder, controller_of, labels_of, number_in
from supreme_operator.cluster.resources import Body, KubeObject
from supreme_operator.deciding.facts import Attempt, Owner, Pod
from supreme_operator.deciding.times import newest, time_of
from supreme_operator.deciding.waiting import ORDINARY

USER: Final = 65532
"""No user of any image, which restricted Pod Security wants to be told."""

COMPLETION_INDEX: Final = "batch.kubernetes.io/job-completion-index"
"""Annotation by which the Job controller tells pods of an Indexed Job apart."""

ENVIRONMENT: Final = {
    "HOME": "/tmp",
    "USER": "supreme",  # else libraries look for the name of a user that has none
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",
    "PYTHONUNBUFFERED": "1",
}
"""Variables that a user's template may set otherwise."""


def pod_template(
    owner: Owner,
    spec: ExperimentSpec,
    attempt: Attempt,
    order: ChildOrder,
    *,
    environment: Mapping[str, str],
) -> KubeObject:
    """environment: what torchrun is told, where the child's controller does not tell it."""
    execution = spec.execution
    template, scheduling = execution.template, execution.scheduling
    pod: KubeObject = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            **({"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER} if order.has_user else {}),
            # A volume with millions of files would be walked through at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, attempt, environment)],
        "volumes": [
            {"name": names.ORDER_VOLUME, "configMap": {"name": order.config_map}},
            {"name": "tmp", "emptyDir": {}},
            {
                "name": "dshm",
                "emptyDir": {"medium": "Memory", "sizeLimit": execution.resources.shared_memory},
            },
            *template.volumes,
        ],
    }
    pod |= _given(
        activeDeadlineSeconds=spec.seed_active_deadline_seconds,
        serviceAccountName=template.service_account_name,
        imagePullSecrets=[{"name": name} for name in template.image_pull_secrets],
        nodeSelector=template.node_selector,
        tolerations=template.tolerations,
        affinity=template.affinity,
        topologySpreadConstraints=template.topology_spread_constraints,
        priorityClassName=scheduling.priority_class_name,
        schedulerName=scheduling.scheduler_name,
        runtimeClassName=scheduling.runtime_class_name,
    )
    labels = {"app.kubernetes.io/name": "supreme-trainer", **labels_of(owner, attempt)}
    metadata = {"labels": {**template.labels, **labels}}
    return {"metadata": metadata | _given(annotations=template.annotations), "spec": pod}


def observe_pod(body: Body) -> Pod | None:
    """A pod as it stands in the cluster; None where it is not that of a trainer."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    seed = number_in(labels, names.SEED_LABEL)
    if names.UID_LABEL not in labels or seed is None:
        return None
    conditions = {each.get("type"): each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    # Others may have put a container of theirs beside ours.
    states = {each.get("name"): each.get("state") or {} for each in _containers(status)}
    state = states.pop(names.CONTAINER, {})
    waiting, ended = _waiting([state, *states.values()]), state.get("terminated") or {}
    begun = state.get("running") or ended
    is_unschedulable = (
        scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    )
    return Pod(
        uid=metadata["uid"],
        name=metadata["name"],
        child=controller_of(body),
        experiment=labels[names.UID_LABEL],
        seed=seed,
        phase=status.get("phase") or "Pending",
        reason=status.get("reason") or "",
        message=one_line(status.get("message") or ""),
        is_scheduled=scheduled.get("status") == "True",
        unschedulable=one_line(scheduled.get("message") or "") if is_unschedulable else "",
        disrupted=disruption.get("reason") or "" if disruption.get("status") == "True" else "",
        waiting=waiting.get("reason") or "",
        waiting_message=one_line(waiting.get("message") or ""),
        started_at=time_of(begun.get("startedAt")),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason") or "",
        termination=ended.get("message") or "",
        node=(body.get("spec") or {}).get("nodeName") or "",
        running_beside=[str(name) for name, other in states.items() if "running" in other],
        unmet=next(filter(None, (_unmet(conditions.get(type_)) for type_ in MET_IN_TURN)), ""),
        index=number_in(metadata.get("annotations") or {}, COMPLETION_INDEX),
        created_at=time_of(metadata.get("creationTimestamp")),
        changed_at=newest(
            metadata.get("creationTimestamp"),
            begun.get("startedAt"),
            ended.get("finishedAt"),
            *(each.get("lastTransitionTime") for each in conditions.values()),
        ),
        gone_by=time_of(metadata.get("deletionTimestamp")),
    )


MET_IN_TURN: Final = (
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
)
"""Conditions of a pod in the order in which they become true."""


def _containers(status: Body) -> list[Body]:
    return [
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    ]


def _waiting(states: Sequence[Body]) -> Body:
    """State of the first container that waits for something out of the ordinary, else of the
    first."""
    found = [each.get("waiting") or {} for each in states]
    troubled = (each for each in found if (each.get("reason") or "") not in ORDINARY)
    return next(troubled, found[0])


def _unmet(condition: Body | None) -> str:
    """Message of a condition that does not hold, on one line."""
    if condition is None or condition.get("status") == "True":
        return ""
    said = (f"{condition.get('type')} is {condition.get('status')}", condition.get("reason"))
    return one_line(": ".join(filter(None, (*said, condition.get("message")))))


def _container(
    spec: ExperimentSpec, attempt: Attempt, environment: Mapping[str, str]
) -> KubeObject:
    execution, template = spec.execution, spec.execution.template
    arguments = ["--seed", str(attempt.seed), "--attempt", str(attempt.number)]
    device = "cuda" if execution.gpus_per_node else "cpu"
    fixed = {
        **ENVIRONMENT,
        "OMP_NUM_THREADS": "1",  # partial sums, and so the bits, depend on the number of threads
        "SUPREME_IMAGE": str(execution.image),  # for the record of what a stage ran on
        names.METRICS_PORT_VARIABLE: str(names.METRICS_PORT),
        # Its own limit would be 30 s between SIGTERM and SIGKILL.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(template.termination_grace_period_seconds),
        **environment,
    }
    given = {each["name"] for each in template.env}
    container: KubeObject = {
        "name": names.CONTAINER,
        "image": execution.image,
        "imagePullPolicy": execution.image_pull_policy,
        "command": ["python", "-m", "supreme_trainer.pod", *arguments, "--device", device],
        "env": [
            *({"name": name, "value": text} for name, text in fixed.items() if name not in given),
            *_credentials(spec),
            *template.env,
        ],
        "ports": [{"name": "metrics", "containerPort": names.METRICS_PORT}],
        "volumeMounts": [
            *({"name": name, "mountPath": path} for name, path in OUR_MOUNTS.items()),
            *template.volume_mounts,
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "File",
    }
    resources = _resources(
        execution.resources, execution.gpu_resource_name, execution.gpus_per_node
    )
    return container | _given(resources=resources)


def _resources(asked: Resources, gpu_name: str, gpus: int) -> KubeObject:
    """Requests are the limits, unless both are given. GPUs are never shared or overcommitted."""
    named = _given(
        cpu=asked.cpu, memory=asked.memory, **{"ephemeral-storage": asked.ephemeral_storage}
    )
    both = {**named, **({gpu_name: str(gpus)} if gpus else {})}
    return _given(
        limits={**both, **(asked.limits or {})}, requests={**both, **(asked.requests or {})}
    )


def _credentials(spec: ExperimentSpec) -> Iterator[KubeObject]:
    reference = spec.storage.credentials_secret_ref
    if reference is None:
        return
    for key in (*CREDENTIALS, SESSION_TOKEN):
        source: KubeObject = {"name": reference.name, "key": key}
        if key == SESSION_TOKEN:
            source["optional"] = True
        yield {"name": key, "valueFrom": {"secretKeyRef": source}}


def _given(**fields: Any) -> KubeObject:
    """The fields that have something in them."""
    return {name: value for name, value in fields.items() if value not in (None, [], {}, "")}
