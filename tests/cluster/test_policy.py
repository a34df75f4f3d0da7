"""An operator with an identity of its own: it is lent to nobody, and what is allowed later counts.
The policy for tenants that the docs have, too.

Which stores are whose: tests/operator/test_policy.py. Pods are played.
"""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.cluster.operators import RULES, operator
from tests.cluster.processes import eventually


@pytest.fixture
def start(cluster, s3_server, tmp_path, monkeypatch):
    """Starts an operator whose own identity may use every bucket of the server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token-of-the-operator")
    access = cluster.restricted_to(RULES)
    return lambda **settings: operator(access, tmp_path, **settings)


@contextmanager
def listening():
    """An endpoint, and the requests that come to it."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            requests.append((self.command, self.path, dict(self.headers)))
            self.send_error(404)

        do_GET = do_PUT = do_HEAD = do_POST = answer

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


def without_secret(**storage):
    return {"credentialsSecretRef": None, **storage}


def test_the_operators_identity_is_for_allowed_stores_only(
    start, experiments, trainers, s3_server, monkeypatch
):
    monkeypatch.delenv("AWS_SESSION_TOKEN")  # which the server does not know
    allowed = f"s3://*/store/{{namespace}}@{s3_server.endpoint}"
    bucket = s3_server.make_bucket()
    uri = f"s3://{bucket}/store/{experiments.namespace}"
    with start(allowed_stores=allowed):
        experiments.apply("right", seeds={"list": [7]}, storage=without_secret(uri=uri))
        status = experiments.until("right", phase="Succeeded")
        assert status["results"]["uri"].startswith(uri)
        foreign = without_secret(uri=f"s3://{bucket}/store/another")
        experiments.apply("foreign", storage=foreign)
        told = experiments.condition("Accepted", "foreign", status="False", reason="InvalidSpec")
        assert "which is none of the operator's allowedStores" in told["message"]


def test_no_request_goes_to_an_endpoint_that_a_user_names(start, experiments):
    with listening() as (endpoint, requests):
        storage = without_secret(endpoint=endpoint)
        experiments.apply(storage=storage)
        with start(storage_uri="s3://ours/store", storage_endpoint="http://127.0.0.1:1"):
            told = experiments.condition("Accepted", status="False", reason="InvalidSpec")
            assert (
                f"at {endpoint}, which is none of the operator's allowedStores" in (told["message"])
            )
        assert experiments.jobs() == {}
    assert requests == []


def test_what_was_accepted_goes_on_but_no_longer_with_the_operators_identity(
    start, experiments, trainers
):
    with listening() as (endpoint, requests):
        trainers.script = lambda seed, attempt: "run"
        storage = without_secret(endpoint=endpoint)
        experiments.apply(seeds={"list": [7]}, parallelism=1, storage=storage)
        with start(storage_uri="s3://ours", allowed_stores=f"s3://*@{endpoint}"):
            experiments.until(phase="Running")
        requests.clear()
        with start(storage_uri="s3://ours"):
            experiments.condition("Accepted", status="True", reason="AcceptedBefore")
            experiments.change(seeds={"list": [7, 8]}, parallelism=2)
            experiments.until(active=2)
            trainers.script = lambda seed, attempt: "succeed without result"
            experiments.condition("ResultsAggregated", reason="StoreNotAllowed")
        assert requests == []


def test_pods_keep_what_was_accepted_and_get_nothing_that_is_forbidden(
    start, experiments, trainers
):
    trainers.script = lambda seed, attempt: "run"
    theirs = {"annotations": {"openshift.io/scc": "anyuid"}}
    experiments.apply(seeds={"list": [7]}, execution={"template": theirs})
    with start():
        told = experiments.condition("Accepted", status="False", reason="InvalidSpec")
        assert (
            "'openshift.io/scc', which the operator's allowedAnnotations does not have"
            in (told["message"])
        )
    with start(allowed_annotations="openshift.io/*"):
        experiments.until(phase="Running")
    with start():
        told = experiments.condition("Accepted", status="True", reason="AcceptedBefore")
        assert "allowedAnnotations" in told["message"]
        experiments.change(seeds={"list": [7, 8]}, parallelism=2)
        new = eventually(lambda: experiments.jobs().get("s1-a0"))
        assert new.spec.template.metadata.annotations == theirs["annotations"]
        experiments.change(execution={"template": {"annotations": {"openshift.io/scc": "other"}}})
        experiments.condition("Accepted", status="False", reason="InvalidSpec")
        experiments.change(execution={"template": None}, seeds={"list": [7, 8, 9]}, parallelism=3)
        experiments.condition("Accepted", status="True", reason="SpecAccepted")
        new = eventually(lambda: experiments.jobs().get("s2-a0"))
        assert new.spec.template.metadata.annotations is None


def test_in_the_operators_namespace_nothing_is_computed(start, experiments, trainers):
    with start(own_namespace=experiments.namespace):
        experiments.apply(seeds={"list": [7]})
        told = experiments.condition("Accepted", status="False", reason="InvalidSpec")
        assert "the operator's own, whose service account" in told["message"]
        assert experiments.jobs() == {}
    with start(own_namespace=experiments.namespace, allow_own_namespace="true"):
        experiments.until(phase="Succeeded")


FOR_TENANTS = Path(__file__).parents[2] / "docs" / "policies" / "experiments.yaml"


@pytest.fixture
def tenant(cluster, experiments):
    """Experiments of a namespace to which the policy for tenants applies."""
    with cluster.client() as api:
        labels = {"metadata": {"labels": {"tenant": "true"}}}
        client.CoreV1Api(api).patch_namespace(experiments.namespace, labels)
    experiments.apply("before", execution={"scheduling": {"queueName": "theirs"}}, parallelism=0)
    cluster.kubectl("apply", "-f", str(FOR_TENANTS))
    try:
        eventually(lambda: not lets_in(experiments, template={"serviceAccountName": "theirs"}))
        yield experiments
    finally:
        cluster.kubectl("delete", "-f", str(FOR_TENANTS))
        # The API server goes by it for a while.
        eventually(lambda: lets_in(experiments, template={"serviceAccountName": "theirs"}))


def lets_in(experiments, **execution):
    """Return whether an experiment is let in, which is removed again."""
    try:
        experiments.apply("tried", execution=execution)
    except ApiException as error:
        if "experiments-of-tenants' with binding" not in error.body:
            raise
        return False
    experiments.delete("tried")
    return True


def test_the_policy_for_tenants_lets_in_what_its_lists_have_and_nothing_else(tenant):
    def tolerates(**toleration):
        return {"template": {"tolerations": [toleration]}}

    good = [
        {},
        {"template": {"serviceAccountName": "trainer", "labels": {"team": "vision"}}},
        tolerates(key="nvidia.com/gpu", operator="Exists"),
        {"scheduling": {"queueName": "gpus", "workloadPriorityClass": "low"}},
    ]
    bad = [
        {"template": {"serviceAccountName": "theirs"}},
        tolerates(operator="Exists"),  # every taint
        tolerates(key="node-role.kubernetes.io/control-plane", operator="Exists"),
        {"scheduling": {"queueName": "theirs"}},
        {"scheduling": {"workloadPriorityClass": "urgent"}},
        {"scheduling": {"schedulerName": "mine"}},
        {"scheduling": {"runtimeClassName": "mine"}},
    ]
    assert [each for each in good if not lets_in(tenant, **each)] == []
    assert [each for each in bad if lets_in(tenant, **each)] == []


def test_an_experiment_from_before_the_policy_goes_on_until_it_asks_for_other_pods(tenant):
    tenant.change("before", suspend=True, seeds={"list": [7, 8, 9, 10]})
    with pytest.raises(ApiException, match="queueName may be gpus"):
        tenant.change("before", execution={"gpusPerNode": 1})
