"""An API server takes every object that is made of an experiment, as strictly as it can.

In a namespace with the restricted security standard, and with everything that a template may say.
Unknown and repeated fields are refused too. Nothing is kept. Left out: PyTorchJobs, whose
definition the cluster does not have; their pods are here.
"""

import pytest
from kubernetes import client
from supreme_operator.children import BACKENDS
from supreme_operator.children.order import order_config_map
from supreme_operator.deciding.admission import admit, shared_order

from tests.operator.looks import CATALOG, resource
from tests.operator.manifests import LARGE, OWNER, child, template_of

LIMITS = {"cpu": "2", "memory": "4Gi", "ephemeralStorage": "9Gi"}
WHOLE = {
    "template": LARGE,
    "resources": {**LIMITS, "requests": {"cpu": "1"}, "limits": {"rdma/hca": "1"}},
    "scheduling": {"queueName": "team-a", "workloadPriorityClass": "low", "schedulerName": "other"},
    "storage": {"credentialsSecretRef": {"name": "s3"}},
    "spec": {"seedActiveDeadlineSeconds": 60},
    "gpusPerNode": 2,
}
"""Something of everything, but for classes of priority and runtime, which would have to exist."""

STRICTLY = {"dry_run": "All", "field_validation": "Strict"}


@pytest.mark.parametrize("changes", [{}, WHOLE], ids=["least", "most"])
@pytest.mark.parametrize("kind", BACKENDS)
def test_pods_are_taken_in_a_restricted_namespace(controlled, restricted, kind, changes):
    template = template_of(child(kind, **changes))
    body = {"metadata": {**template["metadata"], "name": "pod"}, "spec": template["spec"]}
    there = client.CoreV1Api(controlled).create_namespaced_pod(restricted, body, **STRICTLY)
    assert there.spec.containers[0].name == "pytorch"


@pytest.mark.parametrize("changes", [{}, WHOLE], ids=["least", "most"])
@pytest.mark.parametrize("kind", ["Job", "IndexedJob"])
def test_jobs_are_taken(controlled, restricted, kind, changes):
    nodes = 1 if kind == "Job" else 4
    body = child(kind, nodes=nodes, distribution="Data", **changes)
    body["metadata"]["namespace"] = restricted
    there = client.BatchV1Api(controlled).create_namespaced_job(restricted, body, **STRICTLY)
    assert (there.spec.completions, there.spec.backoff_limit) == (nodes, 0)


def test_the_order_and_the_service_are_taken(controlled, restricted):
    core = client.CoreV1Api(controlled)
    admitted = admit(resource(), CATALOG, defaults={})
    order = order_config_map(OWNER, shared_order(admitted.experiment, admitted.order))
    service = BACKENDS["IndexedJob"].service(OWNER)
    for body in (order, service):
        body["metadata"]["namespace"] = restricted

    assert core.create_namespaced_config_map(restricted, order, **STRICTLY).immutable
    there = core.create_namespaced_service(restricted, service, **STRICTLY)
    assert there.spec.publish_not_ready_addresses
