"""Fixtures of the tests that need a Kubernetes node."""

import pytest
from kubernetes import client

from tests.cluster import s3_server
from tests.cluster.operators import Experiments
from tests.cluster.trainers import storage_of
from tests.e2e import node, operator_image
from tests.e2e.experiments import SPEC, Applied, digest_of_run


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A Kubernetes that runs pods: client(), kubectl(), namespace(), template(), image, host."""
    with node.cluster(tmp_path_factory.mktemp("node")) as found:
        yield found


@pytest.fixture(scope="session")
def api(cluster):
    """A client of the cluster that may do everything."""
    with cluster.client() as found:
        yield found


@pytest.fixture
def core(api):
    return client.CoreV1Api(api)


@pytest.fixture
def namespace(cluster):
    """The name of a new namespace, in which pods have to keep to the restricted profile."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture
def template(cluster, namespace):
    """What pods of the namespace need of spec.execution.template to run the trainer."""
    return cluster.template(namespace)


@pytest.fixture(scope="session")
def s3(cluster, tmp_path_factory):
    """An S3 server under an endpoint that this machine and pods share."""
    with s3_server.serve(tmp_path_factory.mktemp("s3"), cluster.host) as server:
        yield server


@pytest.fixture
def experiments(cluster, api, namespace, template, s3):
    """Experiments of the namespace, computed by pods in which this environment is mounted."""
    storage = storage_of(s3, s3.make_bucket())
    found = Experiments(api, namespace, storage, s3.credentials)
    resources = {"cpu": "250m", "memory": "2Gi", "sharedMemory": "256Mi"}
    execution = {
        "image": cluster.image,
        "gpusPerNode": 0,
        "resources": resources,
        "template": template,
    }
    return Applied(found, {**SPEC, "execution": execution})


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """The digest of the summary that those experiments have to come to."""
    return digest_of_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def image_builder():
    """build(*options) gives an Image: reference, archive, digest, settings, unpacked_bytes."""
    with operator_image.builder() as found:
        yield found


@pytest.fixture(scope="session", name="operator_image")
def built_image(image_builder):
    """The operator's image; `cluster.load` lets pods run it."""
    return image_builder.build()
