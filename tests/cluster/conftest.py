"""Fixtures of the tests that need Kubernetes."""

import pytest

from tests.cluster.control_plane import control_plane
from tests.cluster.operators import RULES, Experiments, operator
from tests.cluster.trainers import Trainers, storage_of
from tools.generate.generated import CRD


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A control plane of this test process that knows experiments, with controllers: Jobs make
    pods, and owned objects go with their owner."""
    folder = tmp_path_factory.mktemp("cluster")
    with control_plane(folder, definitions=[CRD], controllers=True) as found:
        yield found


@pytest.fixture(scope="module")
def account(cluster):
    """A service account of that cluster with the rights that users grant the operator."""
    return cluster.restricted_to(RULES)


@pytest.fixture(scope="module")
def running(account, tmp_path_factory):
    """An operator with these rights, for all tests of a file."""
    with operator(account, tmp_path_factory.mktemp("operator")) as found:
        yield found


@pytest.fixture
def namespace(cluster):
    """The name of a new namespace."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture
def restricted(cluster):
    """A namespace whose pods must keep to the restricted security standard."""
    with cluster.namespace(restricted=True) as name:
        yield name


@pytest.fixture
def controlled(cluster):
    """A client that may do everything."""
    with cluster.client() as api:
        yield api


@pytest.fixture
def experiments(controlled, restricted, s3_server):
    """Experiments of a namespace of this test, which store their results in a bucket of it."""
    storage = storage_of(s3_server, s3_server.make_bucket())
    return Experiments(controlled, restricted, storage, s3_server.credentials)


@pytest.fixture
def trainers(controlled, restricted, s3_server):
    """Plays what runs in the pods of that namespace."""
    with Trainers(controlled, restricted, s3_server.credentials) as found:
        yield found
