"""Kueue as its own chart installs it, and queues of tests."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from kubernetes import client

from tests.chart.helm import Helm
from tests.cluster.go_tools import GoTools
from tests.cluster.processes import eventually
from tests.cluster.programs import HELM
from tests.e2e import image
from tests.e2e.experiments import SECONDS
from tests.e2e.node import Cluster
from tests.e2e.packages import NEEDED_IF

ROOT = Path(__file__).parents[2]
KUEUE: Final = GoTools("kueue", NEEDED_IF, files=(("sigs.k8s.io/kueue", "charts"),))
NAMESPACE: Final = "kueue-system"
REPOSITORY, TAG = "localhost/kueue", "tests"
DEPLOYMENT = "deployment/kueue-controller-manager"
SETTINGS = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443"},
    "webhook": {"port": 9443},
    "clientConnection": {"qps": 50, "burst": 100},
    "integrations": {"frameworks": ["batch/job", "kubeflow.org/pytorchjob"]},
}
VALUES = {
    "controllerManager": {
        "featureGates": [{"name": "VisibilityOnDemand", "enabled": False}],
        "manager": {
            "image": {"repository": REPOSITORY, "tag": TAG, "pullPolicy": "Never"},
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": None},
        },
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1},
    },
    "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(SETTINGS)},
}
"""Values of Kueue's chart: without the server that shows what waits, which needs an
aggregated API."""

QUEUES = ROOT / "docs" / "kueue" / "queues.yaml"
QUEUE, URGENT = "gpus", "urgent"
"""The queue of that file, and its priority; GPUs are what it gives away."""
GPUS = "nvidia.com/gpu"


@dataclass(frozen=True)
class Kueue:
    """The one of the cluster, with the queues that users are shown."""

    cluster: Cluster

    def make_queues(self) -> None:
        """Create the queues of the whole cluster."""
        for body in _queues():
            if body["kind"] != "LocalQueue":
                self._apply(body)

    def serve(self, namespace: str) -> None:
        """Let the namespace's children stand in the queue."""
        for body in _queues():
            if body["kind"] == "LocalQueue":
                body["metadata"]["namespace"] = namespace
                self._apply(body)

    def stop(self, policy: Literal["HoldAndDrain", "None"]) -> None:
        """HoldAndDrain takes back what the queue has given; None gives again."""
        patch = json.dumps({"spec": {"stopPolicy": policy}})
        self.cluster.kubectl("patch", "clusterqueue", QUEUE, "--type=merge", "--patch", patch)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Stop Kueue's webhooks, without which nothing is admitted; at the end they are back.

        A pod that is told to stop is out of its Service at once, and still answers on connections
        that it has: its webhooks are away when it is gone.
        """
        self._scale(0)
        eventually(lambda: not self._pods(), seconds=SECONDS)
        try:
            yield
        finally:
            self._scale(1)

    def is_ready(self) -> bool:
        return self._answering() > 0

    def _scale(self, replicas: int) -> None:
        self.cluster.kubectl("scale", "-n", NAMESPACE, DEPLOYMENT, f"--replicas={replicas}")
        eventually(lambda: self._answering() == replicas, seconds=SECONDS)

    def _pods(self) -> list[client.V1Pod]:
        with self.cluster.client() as api:
            return client.CoreV1Api(api).list_namespaced_pod(NAMESPACE).items

    def _answering(self) -> int:
        """Return how many pods answer for the Service."""
        with self.cluster.client() as api:
            found = client.DiscoveryV1Api(api).list_namespaced_endpoint_slice(
                NAMESPACE, label_selector="kubernetes.io/service-name=kueue-webhook-service"
            )
        endpoints = [each for piece in found.items for each in piece.endpoints or ()]
        return sum(bool(each.conditions.ready) for each in endpoints)

    def _apply(self, body: Mapping[str, Any]) -> None:
        self.cluster.kubectl("apply", "-f", "-", text=json.dumps(body))


def _queues() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(QUEUES.read_text()))


@contextlib.contextmanager
def kueue(cluster: Cluster, folder: Path) -> Iterator[Kueue]:
    """Kueue in pods of the node; its webhooks are gone at the end, and so is what waits for it."""
    programs, helm = KUEUE.built(), HELM.built() / "helm"
    archive, values = folder / "kueue.tar", folder / "values.yaml"
    image.write_program_image(archive, f"{REPOSITORY}:{TAG}", programs / "kueue", "/manager")
    cluster.load(archive)
    archive.unlink()
    values.write_text(yaml.safe_dump(VALUES))
    run = Helm(helm, folder, ("--kubeconfig", str(cluster.kubeconfig), "--namespace", NAMESPACE))
    found = Kueue(cluster)
    try:
        run(
            "install",
            "kueue",
            programs / "charts" / "kueue",
            "--create-namespace",
            "--values",
            values,
        )
        # Without a server behind it, what uses all APIs, such as the end of a namespace, waits.
        cluster.kubectl("delete", "apiservices", "-l", "app.kubernetes.io/name=kueue")
        eventually(found.is_ready, seconds=SECONDS)
        found.make_queues()
        yield found
        # While it is there to let them go.
        cluster.kubectl("delete", "--all", "--all-namespaces", "localqueues,clusterqueues")
    finally:
        run("uninstall", "kueue", "--ignore-not-found")
