"""Nobody waits without a reason: the operator on a real API server that refuses, or goes silent.

refused    policies, terminating namespaces, webhooks, rights and quotas, in the server's own words
waiting    pods that neither start nor end, as a kubelet would report them
mended     what waits is made anew; what has begun is left alone

Which facts give which reason is a table in tests/operator/test_waiting.py.
"""

import json
from datetime import UTC, datetime

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from supreme_operator.deciding.waiting import refusal

from tests.cluster.kubelet import Kubelet
from tests.cluster.processes import eventually
from tests.cluster.trainers import always_succeed

pytestmark = pytest.mark.usefixtures("running")


@pytest.fixture
def api(controlled):
    return controlled


@pytest.fixture
def kubelet(api, restricted):
    return Kubelet(api, restricted)


@pytest.fixture
def policy(api, restricted):
    """Refuse objects of a kind in the namespace, until the test ends; gives its name."""
    admission, names = client.AdmissionregistrationV1Api(api), []

    def refuse(group, resource, *, reason):
        name = f"{restricted}-{resource}"
        names.append(name)
        here = {"matchLabels": {"kubernetes.io/metadata.name": restricted}}
        rule = {
            "apiGroups": [group],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": [resource],
        }
        matches = {"namespaceSelector": here, "resourceRules": [rule]}
        validations = [{"expression": "false", "message": "no quota for you", "reason": reason}]
        admission.create_validating_admission_policy(
            {
                "metadata": {"name": name},
                "spec": {"matchConstraints": matches, "validations": validations},
            }
        )
        admission.create_validating_admission_policy_binding(
            {
                "metadata": {"name": name},
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            }
        )
        eventually(lambda: said_to(api, restricted, group))

    yield refuse
    for name in names:
        admission.delete_validating_admission_policy_binding(name)
        admission.delete_validating_admission_policy(name)


POD = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}


def said_to(api, namespace, group="batch"):
    """Return the API server's answer to a Job or a pod without a purpose; "" where it accepts
    it."""
    try:
        if group:
            body = {"metadata": {"name": "nobody"}, "spec": {"template": {"spec": POD}}}
            client.BatchV1Api(api).create_namespaced_job(namespace, body, dry_run="All")
        else:
            strict = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
            own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
            containers = [{**POD["containers"][0], "securityContext": own}]
            spec = {**POD, "securityContext": strict, "containers": containers}
            body = {"metadata": {"name": "nobody"}, "spec": spec}
            client.CoreV1Api(api).create_namespaced_pod(namespace, body, dry_run="All")
    except ApiException as error:
        return json.loads(error.body)["message"]
    return ""


class TestRefused:
    def test_the_servers_words_are_understood(self, cluster, api, namespace):
        core = client.CoreV1Api(api)
        with cluster.restricted_to([]).client() as nobody:
            assert refusal(said_to(nobody, namespace)) == "RBACDenied"
        assert refusal(said_to(api, "no-such-namespace")) == "NamespaceTerminating"
        kept = {"metadata": {"name": "kept", "finalizers": ["example.org/keep"]}}
        core.create_namespaced_config_map(namespace, kept)
        core.delete_namespace(namespace)
        eventually(lambda: said_to(api, namespace))
        assert refusal(said_to(api, namespace)) == "NamespaceTerminating"
        core.patch_namespaced_config_map("kept", namespace, {"metadata": {"finalizers": None}})

    @pytest.mark.parametrize(
        ("group", "resource", "reason", "said"),
        [
            ("batch", "jobs", "Forbidden", "ChildRefused"),
            ("batch", "jobs", "Invalid", "ChildRefused"),
            ("", "pods", "Forbidden", "PodsNotCreated"),
        ],
    )
    def test_a_policy_is_neither_a_missing_right_nor_a_quota(
        self, experiments, policy, group, resource, reason, said
    ):
        policy(group, resource, reason=reason)
        experiments.apply("quota-exceeded", seeds={"list": [7]})
        told = experiments.condition("ChildrenScheduled", "quota-exceeded", reason=said)
        assert "no quota for you" in told["message"]

    def test_a_webhook_that_is_away_is_named_and_mended(
        self, experiments, trainers, api, restricted
    ):
        admission = client.AdmissionregistrationV1Api(api)
        here = {"matchLabels": {"kubernetes.io/metadata.name": restricted}}
        webhook = {
            "name": "away.example.org",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [
                {
                    "apiGroups": ["batch"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["jobs"],
                }
            ],
            "namespaceSelector": here,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        admission.create_validating_webhook_configuration(
            {"metadata": {"name": restricted}, "webhooks": [webhook]}
        )
        try:
            eventually(lambda: said_to(api, restricted))
            experiments.apply(seeds={"list": [7]})
            told = experiments.condition("ChildrenScheduled", reason="WebhookUnavailable")
            assert 'failed calling webhook "away.example.org"' in told["message"]
        finally:
            admission.delete_validating_webhook_configuration(restricted)
        experiments.until(phase="Succeeded")


def unmoved(experiments, kubelet, trainers):
    """The pod of an experiment of one seed that nobody plays."""
    trainers.script = lambda seed, attempt: "wait"
    experiments.apply(
        seeds={"list": [7]}, execution={"template": {"terminationGracePeriodSeconds": 1}}
    )
    job = eventually(lambda: experiments.jobs().get("s0-a0"))
    (pod,) = kubelet.pods(job=job.metadata.name)
    return pod


class TestWaiting:
    def test_a_pod_that_no_scheduler_looks_at(self, experiments, kubelet, trainers):
        unmoved(experiments, kubelet, trainers)
        told = experiments.condition("ChildrenScheduled", reason="Unschedulable")
        assert "no scheduler has said anything" in told["message"]

    def test_a_volume_that_cannot_be_mounted(self, experiments, kubelet, trainers, api):
        name = unmoved(experiments, kubelet, trainers)
        kubelet.schedule(name)
        kubelet.waits(name, "ContainerCreating")
        core, namespace = client.CoreV1Api(api), experiments.namespace
        pod = core.read_namespaced_pod(name, namespace)
        about = {"kind": "Pod", "name": name, "namespace": namespace, "uid": pod.metadata.uid}
        core.create_namespaced_event(
            namespace,
            {
                "metadata": {"name": f"{name}.1"},
                "involvedObject": about,
                "type": "Warning",
                "reason": "FailedMount",
                "message": 'MountVolume.SetUp failed for volume "data" : no such claim',
                "lastTimestamp": datetime.now(UTC).isoformat(),
            },
        )
        told = experiments.condition("ChildrenScheduled", reason="VolumeNotMounted")
        assert 'MountVolume.SetUp failed for volume "data"' in told["message"]

    def test_a_container_that_was_put_beside_it_runs_on(self, experiments, kubelet, trainers):
        name = unmoved(experiments, kubelet, trainers)
        kubelet.schedule(name)
        kubelet.end_beside(name, "istio-proxy")
        told = experiments.condition("ChildrenScheduled", reason="SidecarRunsOn")
        assert "istio-proxy beside it runs on" in told["message"]

    def test_a_pod_of_a_lost_node(self, experiments, kubelet, trainers, api):
        name = unmoved(experiments, kubelet, trainers)
        kubelet.schedule(name)
        kubelet.run(name)
        experiments.until(phase="Running")
        client.CoreV1Api(api).delete_namespaced_pod(name, experiments.namespace)
        told = experiments.condition("ChildrenScheduled", reason="PodStuckTerminating")
        assert "its node node1 does not say that it is" in told["message"]


class TestMended:
    def test_a_child_that_has_not_started_gets_the_mended_image(
        self, experiments, kubelet, trainers
    ):
        trainers.script = lambda seed, attempt: "run" if seed == 8 else "waits ImagePullBackOff"
        experiments.apply(seeds={"list": [7, 8]})
        experiments.condition("ChildrenScheduled", reason="ImagePullFailed")
        experiments.until(active=2, queued=1)
        begun = experiments.jobs()["s1-a0"].metadata.uid
        experiments.change(execution={"image": "registry.example/trainer:2"})
        eventually(lambda: image_of(experiments, "s0-a0") == "registry.example/trainer:2")
        trainers.script = always_succeed
        status = experiments.until(phase="Succeeded")
        assert experiments.jobs()["s1-a0"].metadata.uid == begun
        assert {(each["attempt"], each["retries"]) for each in status["seedStatuses"]} == {(0, 0)}


def image_of(experiments, name):
    job = experiments.jobs().get(name)
    return job and job.spec.template.spec.containers[0].image
