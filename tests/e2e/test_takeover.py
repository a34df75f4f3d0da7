"""A process is killed in the middle of a training, and another of its child takes the stage over.

The seed ends in the same attempt, with the bits of `supreme run`. It takes minutes, so that
`make test-slow` runs it; -s shows the seconds until the stage was taken over. What becomes of
leases is tested without pods in tests/trainer/test_crew.py and tests/core/store/test_leases.py.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.cluster.processes import eventually
from tests.e2e.experiments import SECONDS, SPEC, costs, digest_of, digest_of_run
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
