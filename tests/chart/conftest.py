"""Fixtures of the chart's tests."""

import pytest
from kubernetes import client

from tests.chart.helm import NAMESPACE, Helm
from tests.cluster.control_plane import control_plane
from tests.cluster.operators import Experiments
from tests.cluster.programs import HELM, MONITORS
from tests.cluster.trainers import Trainers, storage_of


@pytest.fixture(scope="session")
def helm(tmp_path_factory):
    """Helm without a cluster."""
    return Helm(HELM.built() / "helm", tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A control plane that knows monitors, but not experiments, and has the namespaces that files
    of ci/ name; where the chart is installed only pods of the restricted standard are let in."""
    files = [HELM.built() / f"monitoring.coreos.com_{kind}.yaml" for kind in MONITORS]
    folder = tmp_path_factory.mktemp("cluster")
    with control_plane(folder, definitions=files, controllers=True) as found:
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        with found.client() as api:
            for name in (NAMESPACE, "research", "teaching"):
                body = {"metadata": {"name": name, "labels": enforced}}
                client.CoreV1Api(api).create_namespace(body)
        yield found


@pytest.fixture(scope="session")
def api(cluster):
    """A client that may do everything."""
    with cluster.client() as found:
        yield found


@pytest.fixture(scope="session")
def helm_there(helm, cluster):
    """Helm with that cluster."""
    return helm.at(cluster)


@pytest.fixture
def experiments(api, cluster, s3_server):
    """Experiments of a namespace of this test, which store their results in a bucket of it."""
    storage = storage_of(s3_server, s3_server.make_bucket())
    with cluster.namespace(restricted=True) as namespace:
        yield Experiments(api, namespace, storage, s3_server.credentials)


@pytest.fixture
def trainers(api, experiments, s3_server):
    """Plays what runs in the pods of that namespace."""
    with Trainers(api, experiments.namespace, s3_server.credentials) as found:
        yield found
