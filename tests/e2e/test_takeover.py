"""A process, or a pod, is lost in the middle of a training, and another of its child takes the
stage over.

The seed ends in the same attempt, with the bits of `supreme run`. It takes minutes, so that
`make test-slow` runs it; -s shows the seconds until the stage was taken over. What becomes of
leases is tested without pods in tests/trainer/test_crew.py and tests/core/store/test_leases.py,
what of children in tests/cluster/test_operator.py.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.cluster.processes import eventually
from tests.e2e.experiments import SECONDS, SPEC, costs, digest_of, digest_of_run
from tests.e2e.node import NODE
from tests.e2e.test_operator import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("running")]

SLOWLY = {"epochs": 100, "optimizer": {"name": "sgd", "params": {"lr": 0.001}}}
LONG = {"seeds": {"list": [260]}, "training": {**SPEC["training"], **SLOWLY}}
"""Changes of SPEC: trainings that last until their leases are there."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Digest of the summary that `supreme run` comes to."""
    return digest_of_run(tmp_path_factory.mktemp("run"), **LONG)


@pytest.mark.parametrize("backend", ["IndexedJob", "PyTorchJob"])
def test_a_stage_of_a_killed_process_is_taken_over(experiments, s3, expected, backend):
    experiments.apply(execution={"backend": backend, **STAGES}, **LONG)
    lease, pid = eventually(lambda: next(held(s3, "/originals/"), None), seconds=SECONDS)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    next_lease = lease.replace("lease-0001", "lease-0002")
    eventually(lambda: next_lease in leases(s3), seconds=SECONDS)
    taken = time.monotonic() - killed
    status = experiments.succeeded()
    print(
        f"{backend}: taken over after {taken:.1f} s, done after {time.monotonic() - killed:.1f} s"
    )
    assert costs(status) == [(0, 0)]
    assert digest_of(status, s3) == expected


def test_a_child_goes_on_without_a_pod_that_is_deleted(experiments, core, s3, expected):
    experiments.apply(execution={"backend": "IndexedJob", **STAGES}, **LONG)
    key, pid = eventually(lambda: next(held(s3, "/originals/"), None), seconds=SECONDS)
    holder, index = leases(s3)[key]["process"], variable(pid, "JOB_COMPLETION_INDEX")
    before = pods_by_index(core, experiments)
    core.delete_namespaced_pod(before[index].metadata.name, experiments.all.namespace)
    deleted = time.monotonic()
    stage = key.rpartition("/")[0]
    eventually(lambda: next(others(s3, stage, holder), None), seconds=SECONDS)
    taken = time.monotonic() - deleted
    eventually(lambda: is_back(core, experiments, before, index), seconds=SECONDS)
    back = time.monotonic() - deleted
    status = experiments.succeeded()
    done = time.monotonic() - deleted
    print(
        f"taken over after {taken:.1f} s, the pod back after {back:.1f} s, done after {done:.1f} s"
    )
    assert costs(status) == [(0, 1)]
    (seed,) = status["seedStatuses"]
    assert (seed["attempt"], seed["lostPods"]) == (0, 1)
    assert digest_of(status, s3) == expected


def test_a_child_goes_on_where_its_node_is_drained_of_all_its_pods(
    experiments, cluster, core, s3, expected
):
    experiments.apply(execution={"backend": "IndexedJob", **STAGES}, **LONG)
    eventually(lambda: next(held(s3, "/originals/"), None), seconds=SECONDS)
    before = pods_by_index(core, experiments)
    cluster.kubectl("drain", NODE, "--delete-emptydir-data", "--ignore-daemonsets")
    told = experiments.all.condition("ChildrenScheduled", reason="Unschedulable", seconds=SECONDS)
    assert "were unschedulable" in told["message"]
    cluster.kubectl("uncordon", NODE)
    status = experiments.succeeded()
    assert costs(status) == [(0, 2)]
    (seed,) = status["seedStatuses"]
    assert (seed["attempt"], seed["lostPods"]) == (0, len(before))
    assert digest_of(status, s3) == expected


def variable(pid, name):
    """Return a variable of a process's environment."""
    found = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(each.partition("=")[::2] for each in found)[name]


def pods_by_index(core, experiments):
    """The pods that run or are about to, by their index."""
    pods = core.list_namespaced_pod(experiments.all.namespace).items
    there = [pod for pod in pods if not pod.metadata.deletion_timestamp]
    index = "batch.kubernetes.io/job-completion-index"
    return {pod.metadata.labels[index]: pod for pod in there}


def is_back(core, experiments, before, index):
    """Return whether another pod of that index runs, and the others are those of before."""
    now = pods_by_index(core, experiments)
    assert {i: pod.metadata.uid for i, pod in now.items() if i != index} == {
        i: pod.metadata.uid for i, pod in before.items() if i != index
    }
    return index in now and now[index].status.phase == "Running"


def others(s3, stage, holder):
    """Leases of a stage that another process than that one holds."""
    for key, each in leases(s3).items():
        if key.startswith(stage) and each["process"] != holder:
            yield key


def held(s3, of):
    """(key of a lease, process of this machine that holds it), of the stages of a kind."""
    for key, holder in leases(s3).items():
        for process in Path("/proc").iterdir() if of in key else ():
            try:
                namespace = os.readlink(process / "ns" / "pid")
                status = (process / "status").read_text()
            except OSError:  # no process, or no longer one
                continue
            inside = status.partition("NSpid:")[2].partition("\n")[0].split()[-1:]
            if inside and f"/{namespace} {inside[0]}:" in holder["process"]:
                yield key, int(process.name)


def leases(s3):
    """Content of each lease in the store, by its key."""
    client = s3.client()
    found = {}
    for bucket in client.list_buckets()["Buckets"]:
        objects = client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ())
        for key in (each["Key"] for each in objects if "/lease-" in each["Key"]):
            try:
                body = client.get_object(Bucket=bucket["Name"], Key=key)["Body"].read()
            except client.exceptions.NoSuchKey:  # it has just been released
                continue
            found[f"{bucket['Name']}/{key}"] = json.loads(body)
    return found
