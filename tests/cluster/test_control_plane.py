"""Foundations of the operator's tests: the real controllers react to a kubelet that is played.

Covered: the Job controller, garbage collection, namespaces and their security standard, the rights
of service accounts, an API server that is away. Left out: a node; nothing runs in the pods.
"""

import json
from functools import partial

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.cluster.kubelet import Kubelet
from tests.cluster.processes import eventually
from tests.cluster.specs import SPEC

ON_DISRUPTION = {
    "action": "FailJob",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}
ON_BAD_ORDER = {
    "action": "FailJob",
    "onExitCodes": {"containerName": "main", "operator": "In", "values": [2]},
}


@pytest.fixture
def api(cluster):
    with cluster.client() as found:
        yield found


@pytest.fixture
def jobs(api):
    return client.BatchV1Api(api)


@pytest.fixture
def pods(api):
    return client.CoreV1Api(api)


@pytest.fixture
def kubelet(api, namespace):
    return Kubelet(api, namespace)


def job(*rules, retries=3, **spec):
    """A Job of one pod, which is judged by rules of podFailurePolicy."""
    container = {"name": "main", "image": "registry.example/some:1"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    policy = {"podFailurePolicy": {"rules": list(rules)}} if rules else {}
    return {
        "metadata": {"name": "some"},
        "spec": {"backoffLimit": retries, "template": {"spec": pod}} | policy | spec,
    }


def condition(jobs, namespace, kind):
    """Waits until a condition of the Job is true; the condition."""

    def found():
        conditions = jobs.read_namespaced_job("some", namespace).status.conditions or ()
        return next((one for one in conditions if (one.type, one.status) == (kind, "True")), None)

    return eventually(found)


class TestJobs:
    def test_a_job_whose_pod_succeeds_is_complete(self, jobs, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job())
        (pod,) = kubelet.pods(job="some")
        kubelet.run(pod)
        eventually(lambda: jobs.read_namespaced_job("some", namespace).status.ready == 1)
        kubelet.succeed(pod)
        assert condition(jobs, namespace, "Complete").reason == "CompletionsReached"

    def test_an_exit_code_that_the_policy_names_fails_the_job(self, jobs, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job(ON_BAD_ORDER))
        (pod,) = kubelet.pods(job="some")
        kubelet.run(pod)
        kubelet.fail(pod, 2)
        failed = condition(jobs, namespace, "Failed")
        assert failed.reason == "PodFailurePolicy"
        assert "exit code 2" in failed.message

    def test_an_exit_code_that_the_policy_does_not_name_is_a_retry(self, jobs, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job(ON_BAD_ORDER, retries=0))
        (pod,) = kubelet.pods(job="some")
        kubelet.fail(pod, 1)
        assert condition(jobs, namespace, "Failed").reason == "BackoffLimitExceeded"

    def test_a_disruption_that_the_policy_names_fails_the_job(self, jobs, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job(ON_DISRUPTION))
        (pod,) = kubelet.pods(job="some")
        kubelet.run(pod)
        kubelet.disrupt(pod, "EvictionByEvictionAPI")
        failed = condition(jobs, namespace, "Failed")
        assert failed.reason == "PodFailurePolicy"
        assert "DisruptionTarget" in failed.message

    def test_a_pod_that_waits_says_what_for(self, jobs, pods, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job())
        (pod,) = kubelet.pods(job="some")
        kubelet.cannot_be_scheduled(pod, "Insufficient nvidia.com/gpu")
        (scheduled,) = pods.read_namespaced_pod(pod, namespace).status.conditions
        assert (scheduled.reason, scheduled.status) == ("Unschedulable", "False")
        kubelet.schedule(pod)
        kubelet.waits(pod, "ErrImagePull", "no such image")
        status = pods.read_namespaced_pod(pod, namespace).status
        assert [one.status for one in status.conditions if one.type == "PodScheduled"] == ["True"]
        assert status.container_statuses[0].state.waiting.reason == "ErrImagePull"

    def test_what_a_container_leaves_behind_can_be_read(self, jobs, pods, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job())
        (pod,) = kubelet.pods(job="some")
        kubelet.fail(pod, 137, reason="OOMKilled", message="epoch 3 of 8")
        ended = pods.read_namespaced_pod(pod, namespace).status.container_statuses[0].state
        assert ended.terminated.exit_code == 137
        assert (ended.terminated.reason, ended.terminated.message) == ("OOMKilled", "epoch 3 of 8")

    def test_a_finished_job_is_deleted_when_its_time_is_over(self, jobs, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job(ttlSecondsAfterFinished=0))
        (pod,) = kubelet.pods(job="some")
        kubelet.succeed(pod)
        eventually(lambda: not jobs.list_namespaced_job(namespace).items)


class TestDeletion:
    def test_what_an_experiment_owns_goes_with_it(self, cluster, jobs, namespace, tmp_path):
        file = tmp_path / "some.json"
        metadata = {"name": "some", "namespace": namespace}
        kind = {"apiVersion": "supreme.dev/v1alpha1", "kind": "UnlearningExperiment"}
        file.write_text(json.dumps({**kind, "metadata": metadata, "spec": SPEC}))
        cluster.kubectl("create", "-f", str(file))
        there = ["uexp", "some", "-n", namespace]
        uid = cluster.kubectl("get", *there, "-o", "jsonpath={.metadata.uid}")
        child = job()
        child["metadata"]["ownerReferences"] = [{**kind, "name": "some", "uid": uid}]
        jobs.create_namespaced_job(namespace, child)
        cluster.kubectl("delete", *there)
        eventually(lambda: not jobs.list_namespaced_job(namespace).items)

    def test_a_pod_that_was_scheduled_ends_when_the_kubelet_says_so(
        self, jobs, pods, kubelet, namespace
    ):
        jobs.create_namespaced_job(namespace, job())
        (pod,) = kubelet.pods(job="some")
        kubelet.schedule(pod)
        kubelet.run(pod)
        jobs.delete_namespaced_job("some", namespace, propagation_policy="Background")
        eventually(lambda: pods.read_namespaced_pod(pod, namespace).metadata.deletion_timestamp)
        kubelet.remove(pod)
        eventually(lambda: not pods.list_namespaced_pod(namespace).items)

    def test_a_namespace_goes_with_all_that_is_in_it(self, jobs, pods, kubelet, namespace):
        jobs.create_namespaced_job(namespace, job())
        (pod,) = kubelet.pods(job="some")
        kubelet.schedule(pod)
        pods.delete_namespace(namespace)
        kubelet.remove(pod)
        there = partial(pods.list_namespace, field_selector=f"metadata.name={namespace}")
        eventually(lambda: not there().items)

    def test_what_a_test_leaves_ends_with_it(self, cluster, jobs, pods):
        with cluster.namespace() as name:
            jobs.create_namespaced_job(name, job())
            kubelet = Kubelet(jobs.api_client, name)
            (pod,) = kubelet.pods(job="some")
            kubelet.schedule(pod)
        eventually(lambda: not jobs.list_namespaced_job(name).items)
        eventually(lambda: not pods.list_namespaced_pod(name).items)


class TestRights:
    RULES = ({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},)

    def test_a_service_account_may_do_what_its_rules_say(self, cluster, namespace):
        with cluster.restricted_to(self.RULES).client() as api:
            assert client.BatchV1Api(api).list_namespaced_job(namespace).items == []
            with pytest.raises(ApiException) as refused:
                client.CoreV1Api(api).list_namespaced_pod(namespace)
        assert refused.value.status == 403

    def test_programs_use_its_rights_through_a_file(self, cluster, namespace, tmp_path):
        access = cluster.restricted_to(self.RULES)
        file = access.write_kubeconfig(tmp_path / "kubeconfig")
        with client.ApiClient(loaded(file)) as api:
            assert client.BatchV1Api(api).list_namespaced_job(namespace).items == []
            with pytest.raises(ApiException) as refused:
                client.BatchV1Api(api).delete_collection_namespaced_job(namespace)
        assert refused.value.status == 403

    def test_a_restricted_namespace_lets_no_pod_in_that_could_be_root(self, cluster, pods):
        pod = {"metadata": {"name": "some"}, "spec": job()["spec"]["template"]["spec"]}
        with (
            cluster.namespace(restricted=True) as name,
            pytest.raises(ApiException, match="violates PodSecurity"),
        ):
            pods.create_namespaced_pod(name, pod)


def loaded(file):
    settings = client.Configuration()
    config.load_kube_config(str(file), client_configuration=settings)
    return settings


def test_after_an_outage_all_is_as_it_was(cluster, api, jobs, kubelet, namespace):
    jobs.create_namespaced_job(namespace, job())
    (pod,) = kubelet.pods(job="some")
    before = jobs.read_namespaced_job("some", namespace)
    with cluster.outage(), pytest.raises(Exception, match="refused"):
        jobs.read_namespaced_job("some", namespace)
    assert jobs.read_namespaced_job("some", namespace).metadata.uid == before.metadata.uid
    kubelet.succeed(pod)
    assert condition(jobs, namespace, "Complete")
