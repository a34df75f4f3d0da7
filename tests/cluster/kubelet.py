"""The kubelet, played: what it would report on pods, written where it would write it.

The real controllers react to it. A pod that was not scheduled is gone at once when it is deleted;
one that was scheduled stays until `remove`, as on a node that waits for its containers to end.
"""

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kubernetes import client

from tests.cluster.processes import eventually

NODE = "node1"


class Kubelet:
    """Speaks about the pods of one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    def pods(self, *, job: str, count: int = 1) -> list[str]:
        """The names of the job's pods that have not ended, as soon as there are so many; sorted."""
        return eventually(partial(self._unfinished, f"job-name={job}", count))

    def schedule(self, pod: str) -> None:
        """The scheduler's part: onto a node, which need not be there."""
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        body = {"metadata": {"name": pod}, "target": target}
        # The answer is a Status, not the Binding that the client expects.
        self._core.create_namespaced_pod_binding(pod, self._namespace, body, _preload_content=False)

    def cannot_be_scheduled(self, pod: str, message: str = "0/1 nodes are available") -> None:
        self._report(pod, condition=_condition("PodScheduled", "False", "Unschedulable", message))

    def waits(self, pod: str, reason: str = "ImagePullBackOff", message: str = "") -> None:
        """The containers do not start, for a reason such as ErrImagePull or InvalidImageName."""
        self._report(pod, state={"waiting": {"reason": reason, "message": message}})

    def run(self, pod: str) -> None:
        self._report(
            pod,
            phase="Running",
            state={"running": {"startedAt": _now()}},
            condition=_condition("Ready", "True"),
        )

    def succeed(self, pod: str, message: str = "") -> None:
        """message: what the containers wrote into their termination log."""
        self._end(pod, "Succeeded", exit_code=0, reason="Completed", message=message)

    def fail(
        self, pod: str, exit_code: int = 1, *, reason: str = "Error", message: str = ""
    ) -> None:
        """reason: that of the containers, such as OOMKilled."""
        self._end(pod, "Failed", exit_code=exit_code, reason=reason, message=message)

    def end_beside(self, pod: str, other: str) -> None:
        """The trainer ends well, and a container that was injected beside it runs on."""
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}
        states = [("pytorch", {"terminated": ended}), (other, {"running": {"startedAt": _now()}})]
        body = {"phase": "Running", "containerStatuses": [_container(*each) for each in states]}
        self._patch(pod, body)

    def disrupt(
        self, pod: str, reason: str = "PreemptionByScheduler", *, exit_code: int = 143
    ) -> None:
        """The pod ends for no fault of its own, such as EvictionByEvictionAPI,
        DeletionByTaintManager, DeletionByPodGC or, from the kubelet, TerminationByKubelet."""
        self._report(pod, condition=_condition("DisruptionTarget", "True", reason, "disrupted"))
        self.fail(pod, exit_code)

    def refuse(self, pod: str, reason: str) -> None:
        """The node does not take the pod, such as OutOfcpu: none of its containers ever starts."""
        self._patch(pod, {"phase": "Failed", "reason": reason, "message": f"no room: {reason}"})

    def give_up(self, pod: str) -> None:
        """The pod is deleted before its containers start, of which the kubelet makes up an end."""
        self._core.delete_namespaced_pod(pod, self._namespace)
        unknown = {"exitCode": 137, "reason": "ContainerStatusUnknown"}
        self._report(pod, phase="Failed", state={"terminated": unknown})

    def remove(self, pod: str) -> None:
        """The containers of a deleted pod have ended; it is gone."""
        self._core.delete_namespaced_pod(pod, self._namespace, grace_period_seconds=0)

    def _unfinished(self, selector: str, count: int) -> list[str]:
        ended = ("Succeeded", "Failed")
        listed = self._core.list_namespaced_pod(
            self._namespace, label_selector=selector, _preload_content=False
        )
        names = [
            pod["metadata"]["name"]
            for pod in json.loads(listed.data)["items"]
            if pod["status"]["phase"] not in ended and "deletionTimestamp" not in pod["metadata"]
        ]
        return sorted(names) if len(names) == count else []

    def _end(self, pod: str, phase: str, *, exit_code: int, reason: str, message: str) -> None:
        state = {"exitCode": exit_code, "reason": reason, "message": message}
        times = {"startedAt": _now(), "finishedAt": _now()}
        self._report(
            pod,
            phase=phase,
            state={"terminated": state | times},
            condition=_condition("Ready", "False", "PodFailed" if exit_code else "PodCompleted"),
        )

    def _report(
        self,
        pod: str,
        *,
        phase: str = "Pending",
        state: dict[str, Any] | None = None,
        condition: dict[str, Any] | None = None,
    ) -> None:
        """Patch the pod's status; all its containers are in the same state."""
        status: dict[str, Any] = {"phase": phase, "startTime": _now()}
        if condition:
            status["conditions"] = [condition]
        if state:
            spec = self._core.read_namespaced_pod(pod, self._namespace).spec
            status["containerStatuses"] = [
                _container(container.name, state) for container in spec.containers
            ]
        self._patch(pod, status)

    def _patch(self, pod: str, status: dict[str, Any]) -> None:
        self._core.patch_namespaced_pod_status(
            pod,
            self._namespace,
            {"status": status},
            _content_type="application/strategic-merge-patch+json",
        )


def _container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "registry.example/image:1",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    now = _now()
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
