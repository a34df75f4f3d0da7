"""Fixtures of the tests that need a Kubernetes node."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from tests.cluster import s3_server
from tests.cluster.fault_proxy import fault_proxy
from tests.cluster.operators import RULES, Experiments, operator
from tests.cluster.trainers import storage_of
from tests.e2e import node, operator_image
from tests.e2e.environment import ALLOWED
from tests.e2e.experiments import SEEDS, SPEC, Applied, digest_of_run
from tools.generate.generated import CRD

HERE = Path(__file__).parent


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
    """Return the part of spec.execution.template that the trainer needs in pods of the
    namespace."""
    return cluster.template(namespace)


@pytest.fixture(scope="session")
def s3(cluster, tmp_path_factory):
    """An S3 server under an endpoint that this machine and pods share."""
    with s3_server.serve(tmp_path_factory.mktemp("s3"), cluster.host) as server:
        yield server


@pytest.fixture
def proxy(cluster, s3):
    """A proxy of the S3 server, which pods reach too and in which a test puts faults."""
    with fault_proxy(s3.endpoint, cluster.host) as found:
        yield found


@pytest.fixture
def experiments(cluster, api, namespace, template, s3):
    """Experiments of the namespace, computed by pods in which this environment is mounted."""
    storage = storage_of(s3, s3.make_bucket())
    found = Experiments(api, namespace, storage, s3.credentials)
    resources = {
        "cpu": "2",  # or pods would be slowed down while the machine is idle
        "requests": {"cpu": "250m"},  # so that a node of two cores has room for all
        "memory": "2Gi",
        "sharedMemory": "256Mi",
    }
    execution = {
        "image": cluster.image,
        "gpusPerNode": 0,
        "resources": resources,
        "template": template,
    }
    return Applied(found, {**SPEC, "execution": execution})


@pytest.fixture(scope="session")
def rights(cluster, tmp_path_factory):
    """The kubeconfig of a service account that has the role that users grant the operator."""
    name = {"metadata": {"name": "supreme-operator"}}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name["metadata"]}
    account = {"kind": "ServiceAccount", "namespace": "default", **name["metadata"]}
    with cluster.client() as api:
        access = client.RbacAuthorizationV1Api(api)
        access.create_cluster_role({**name, "rules": RULES})
        access.create_cluster_role_binding({**name, "roleRef": role, "subjects": [account]})
        client.CoreV1Api(api).create_namespaced_service_account("default", name)
    token = cluster.kubectl("create", "token", "supreme-operator", "--duration=2h").strip()
    known = yaml.safe_load(cluster.kubeconfig.read_text())
    for user in known["users"]:
        user["user"] = {"token": token}
    path = tmp_path_factory.mktemp("rights") / "kubeconfig"
    path.write_text(json.dumps(known))
    return path


@pytest.fixture(scope="module")
def running(cluster, rights, tmp_path_factory):
    """An operator of this machine, while the tests of one file run."""
    cluster.serve(CRD)
    with operator(rights, tmp_path_factory.mktemp("operator"), **ALLOWED) as found:
        yield found


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """expected(*seeds): the digest of the summary that those experiments have to come to."""

    @cache
    def all_seeds():
        folder = tmp_path_factory.mktemp("run")
        return folder, digest_of_run(folder)

    @cache
    def of(*seeds):
        computed, digest = all_seeds()
        if seeds == SEEDS:
            return digest
        folder = tmp_path_factory.mktemp("run")  # where all stages are found
        shutil.copytree(computed / "store" / "objects", folder / "store" / "objects")
        return digest_of_run(folder, seeds={"list": list(seeds)})

    return of


OTHERS = "tests marked e2e in other folders"
ORDER = (
    *("test_node", "test_operator", "test_kueue", OTHERS),
    *("test_chart", "test_images", "test_node_ends"),
)
"""Order of files: images are built beside files that need none, and nothing beside the last one,
which looks at what is on this machine. Files that are not named come first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    def place(item):
        file = item.path.stem if item.path.parent == HERE else OTHERS
        return ORDER.index(file) if file in ORDER else -1

    if any(item.path.parent == HERE for item in items) and config.option.markexpr == "e2e":
        items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def images(request):
    """Builds of the operator's image, by the fixtures that tests of this run name.

    They go on while other tests wait for the node.
    """
    builds = {"operator_image": (), "second_image": ("--no-cache",)}
    named = {name for item in request.session.items for name in item.fixturenames}
    with operator_image.builder() as builder, ThreadPoolExecutor(1) as pool:
        yield {
            name: pool.submit(builder.build, *options)
            for name, options in builds.items()
            if name in named
        }


@pytest.fixture(scope="session", name="operator_image")
def built_image(images):
    """The operator's image; `cluster.load` lets pods run it."""
    return images["operator_image"].result()


@pytest.fixture(scope="session")
def second_image(images):
    """The same image, built again without what the first build left."""
    return images["second_image"].result()
