"""Pods of tests."""

from kubernetes import client

from tests.cluster.processes import eventually


def restricted(cluster, template, *command, **container):
    """The spec of a pod of one container that a restricted namespace admits.

    template: of the namespace, Cluster.template.  container: what its container has besides.
    """
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [*template.get("volumes", ()), {"name": "scratch", "emptyDir": {}}],
        "containers": [
            {
                "name": "pytorch",
                "image": cluster.image,
                "command": [*command],
                "env": template.get("env", []),
                "volumeMounts": [
                    *template.get("volumeMounts", ()),
                    {"name": "scratch", "mountPath": "/tmp"},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
            | container
        ],
    }


class Pods:
    """Pods of one namespace."""

    def __init__(self, api, namespace):
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    def create(self, name, spec):
        body = {"metadata": {"name": name}, "spec": spec}
        self._core.create_namespaced_pod(self._namespace, body)

    def ended(self, name):
        """Return the log of the pod, once it has ended well."""
        phase = eventually(lambda: self._end(name))
        log = self._core.read_namespaced_pod_log(name, self._namespace)
        assert phase == "Succeeded", log
        return log

    def of(self, job):
        """The pods of a Job that are not ending."""
        found = self._core.list_namespaced_pod(
            self._namespace, label_selector=f"batch.kubernetes.io/job-name={job}"
        )
        return [pod for pod in found.items if not pod.metadata.deletion_timestamp]

    def phase(self, name):
        return self._core.read_namespaced_pod_status(name, self._namespace).status.phase

    def why_pending(self, name):
        """(reason, message), once the scheduler has one."""
        status = self._core.read_namespaced_pod_status(name, self._namespace).status
        assert status.phase == "Pending"
        for condition in status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                return condition.reason, condition.message
        return None

    def _end(self, name):
        phase = self.phase(name)
        return phase if phase in ("Succeeded", "Failed") else None
