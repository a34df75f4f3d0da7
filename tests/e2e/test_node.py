"""The node does what the tests of the operator take for granted.

Pods run this Python environment under the restricted profile, find one another by name, reach the
API server and an S3 server, count GPUs, and are evicted; PyTorchJobs run.

Left out: more than one node, and what a cloud adds, such as load balancers and storage classes.
"""

import sys
from functools import partial
from types import SimpleNamespace

import pytest
from kubernetes import client

from tests.cluster.processes import eventually
from tests.e2e.node import GPUS, NODE
from tests.e2e.pods import Pods, restricted

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def node_of_tests(cluster):
    if not cluster.ours:
        pytest.skip("this is about the node that tests start, and SUPREME_E2E_KUBECONFIG is set")


@pytest.fixture
def pod(cluster, template):
    """pod(*command, **of its container): the spec of a restricted pod."""
    return partial(restricted, cluster, template)


def python(script, *arguments):
    return ["python", "-c", script, *arguments]


@pytest.fixture
def pods(api, namespace):
    return Pods(api, namespace)


@pytest.fixture
def jobs(api, namespace):
    """create(name, spec) and finished(name), the terminal conditions, of the namespace's Jobs."""
    batch = client.BatchV1Api(api)

    def create(name, spec):
        batch.create_namespaced_job(namespace, {"metadata": {"name": name}, "spec": spec})

    def finished(name):
        conditions = batch.read_namespaced_job_status(name, namespace).status.conditions or ()
        return {each.type for each in conditions} & {"Complete", "Failed"}

    return SimpleNamespace(create=create, finished=finished)


def test_a_restricted_job_imports_torch_from_this_environment(jobs, pods, pod):
    script = "import os, torch, torchvision, supreme_core; print(os.getuid(), torch.__file__)"
    jobs.create("import", {"backoffLimit": 0, "template": {"spec": pod(*python(script))}})
    conditions = eventually(lambda: jobs.finished("import"))
    (found,) = pods.of("import")
    where = f"{sys.prefix}/lib/python3.11/site-packages/torch/__init__.py"
    assert pods.ended(found.metadata.name).split() == ["65532", where]
    assert conditions == {"Complete"}


def test_a_pod_that_may_too_much_is_refused(pods, pod):
    with pytest.raises(client.ApiException, match="violates PodSecurity"):
        pods.create("root", pod("true", securityContext={}))


def test_nothing_of_this_machine_can_be_changed(pods, pod):
    script = """
import os, sys
for each in sys.argv[1:]:
    print(os.statvfs(each).f_flag & os.ST_RDONLY)
"""
    spec = pod(*python(script))
    folders = [each["mountPath"] for each in spec["containers"][0]["volumeMounts"]]
    spec["containers"][0]["command"] += ["/", *folders]
    pods.create("reader", spec)
    flags = dict(zip(["/", *folders], pods.ended("reader").split(), strict=True))
    assert [folder for folder, flag in flags.items() if flag == "0"] == ["/tmp"]


MEETING = """
import socket, sys, time
index, host = sys.argv[1:]
if index == "0":
    with socket.create_server(("", 8000)) as server:
        connection, _ = server.accept()
        print(connection.recv(5).decode())
    sys.exit()
while True:  # as long as the test waits
    try:
        socket.create_connection((host, 8000), timeout=5).sendall(b"hello")
        break
    except OSError:
        time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("address", "host"),
    [("None", "meeting-0.meeting"), (None, "meeting")],
    ids=["headless", "cluster IP"],
)
def test_pods_of_an_indexed_job_meet_through_a_service(
    core, namespace, jobs, pods, pod, address, host
):
    service = {
        "clusterIP": address,
        "selector": {"batch.kubernetes.io/job-completion-index": "0"},
        "ports": [{"port": 8000}],
    }
    core.create_namespaced_service(namespace, {"metadata": {"name": "meeting"}, "spec": service})
    spec = pod(*python(MEETING, "$(JOB_COMPLETION_INDEX)", host)) | {"subdomain": "meeting"}
    job = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 0}
    jobs.create("meeting", job | {"template": {"spec": spec}})
    assert eventually(lambda: jobs.finished("meeting")) == {"Complete"}
    assert sorted(pods.ended(each.metadata.name) for each in pods.of("meeting")) == ["", "hello\n"]


def test_a_pod_reaches_the_api_server_with_its_own_token(pods, pod, namespace):
    script = """
import json, ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount"
url = "https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews"
token = open(f"{account}/token").read()
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
body = json.dumps({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}).encode()
trust = ssl.create_default_context(cafile=f"{account}/ca.crt")
answer = urllib.request.urlopen(urllib.request.Request(url, body, headers), context=trust)
print(json.load(answer)["status"]["userInfo"]["username"])
"""
    pods.create("asks", pod(*python(script)) | {"automountServiceAccountToken": True})
    assert pods.ended("asks") == f"system:serviceaccount:{namespace}:default\n"


def test_a_pod_and_this_machine_share_a_bucket(pods, pod, s3):
    script = """
import sys, boto3
endpoint, key, secret, bucket = sys.argv[1:]
access = {"aws_access_key_id": key, "aws_secret_access_key": secret, "region_name": "us-east-1"}
store = boto3.session.Session().client("s3", endpoint_url=endpoint, **access)
body = store.get_object(Bucket=bucket, Key="from-here")["Body"].read()
store.put_object(Bucket=bucket, Key="from-the-pod", Body=body + b" back")
"""
    bucket = s3.make_bucket()
    s3.client().put_object(Bucket=bucket, Key="from-here", Body=b"there and")
    arguments = (s3.endpoint, s3.access_key, s3.secret_key, bucket)
    pods.create("stores", pod(*python(script, *arguments)))
    pods.ended("stores")
    stored = s3.client().get_object(Bucket=bucket, Key="from-the-pod")["Body"].read()
    assert stored == b"there and back"


def gpus(count):
    return {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}


class TestGpus:
    def test_a_pod_that_asks_for_some_runs(self, pods, pod):
        pods.create("some", pod("true", **gpus(2)))
        pods.ended("some")

    def test_a_pod_that_asks_for_more_than_there_are_waits(self, pods, pod):
        pods.create("many", pod("true", **gpus(2 * GPUS)))
        reason, message = eventually(lambda: pods.why_pending("many"))
        assert reason == "Unschedulable"
        assert "Insufficient nvidia.com/gpu" in message


def test_workers_of_a_pytorchjob_add_up_their_ranks(api, namespace, pods, pod):
    script = """
import torch, torch.distributed
torch.distributed.init_process_group("gloo")
total = torch.tensor([torch.distributed.get_rank() + 1])
torch.distributed.all_reduce(total)
print(total.item())
torch.distributed.destroy_process_group()  # else the interpreter may end under its threads
"""
    start = 'echo "$0" > /tmp/script.py; exec torchrun /tmp/script.py'
    template = {"spec": pod("sh", "-c", start, script)}
    worker = {"replicas": 2, "restartPolicy": "Never", "template": template}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "workers"},
        "spec": {
            "nprocPerNode": "1",
            "elasticPolicy": {"minReplicas": 2, "maxReplicas": 2, "rdzvBackend": "c10d"},
            "pytorchReplicaSpecs": {"Worker": worker},
        },
    }
    objects = client.CustomObjectsApi(api)
    kind = ("kubeflow.org", "v1", namespace, "pytorchjobs")
    objects.create_namespaced_custom_object(*kind, job)

    def finished():
        status = objects.get_namespaced_custom_object_status(*kind, "workers").get("status", {})
        conditions = status.get("conditions", ())
        true = {each["type"] for each in conditions if each["status"] == "True"}
        return true & {"Succeeded", "Failed"}

    end = eventually(finished)
    # torchrun itself may say afterwards that the other machine, which was done first, is gone.
    for number in (0, 1):
        assert "3" in pods.ended(f"workers-worker-{number}").splitlines()
    assert end == {"Succeeded"}


def test_a_drained_pod_comes_back_when_the_node_does(cluster, core, namespace, jobs, pods, pod):
    ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    job = {"backoffLimit": 0, "podFailurePolicy": {"rules": [ignored]}}
    jobs.create("stays", job | {"template": {"spec": pod("sleep", "1000")}})

    def running():
        return next((each for each in pods.of("stays") if each.status.phase == "Running"), None)

    before = eventually(running)
    try:
        cluster.kubectl("drain", NODE, "--delete-emptydir-data")
        waiting = eventually(lambda: pods.of("stays"))[0].metadata
        assert waiting.uid != before.metadata.uid
        reason, message = eventually(lambda: pods.why_pending(waiting.name))
        assert (reason, "were unschedulable" in message) == ("Unschedulable", True)
        assert not jobs.finished("stays")
    finally:
        cluster.kubectl("uncordon", NODE)
    assert eventually(running).metadata.uid == waiting.uid
