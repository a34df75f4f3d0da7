"""Kueue admits children in turn, preempts them and takes their quota away; no number changes.

The node says that it has GPUs, and has none: children ask for them and compute on its processor.
"""

import pytest

from tests.cluster.processes import eventually
from tests.e2e.experiments import SECONDS, digest_of, digest_of_run
from tests.e2e.kueue import GPUS, QUEUE, URGENT, kueue

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("running")]


@pytest.fixture(scope="module")
def queues(cluster, tmp_path_factory):
    with kueue(cluster, tmp_path_factory.mktemp("kueue")) as found:
        yield found


@pytest.fixture(autouse=True)
def queue(queues, namespace):
    queues.serve(namespace)


def asking(experiments, gpus, **scheduling):
    """execution of children that stand in the queue for GPUs."""
    resources = experiments.spec["execution"]["resources"]
    amount = {GPUS: str(gpus)}
    asked = {**resources, "limits": amount, "requests": {**resources["requests"], **amount}}
    return {
        "gpuResourceName": "example.com/none",  # or the trainers would look for theirs
        "resources": asked,
        "scheduling": {"queueName": QUEUE, **scheduling},
    }


def is_trained(s3, experiments):
    """Return whether something has been computed."""
    store = experiments.all.read()["spec"]["storage"]["uri"]
    bucket, _, place = store.removeprefix("s3://").partition("/")
    found = s3.client().list_objects_v2(Bucket=bucket, Prefix=f"{place}/objects/originals/")
    return found["KeyCount"]


def costs(status):
    """(retries, disruptions) of each seed."""
    return [(each["retries"], each["disruptions"]) for each in status["seedStatuses"]]


def test_children_are_admitted_in_turn_and_preempted_in_the_middle(experiments, s3, expected):
    experiments.apply(parallelism=3, execution=asking(experiments, 1))
    experiments.until_seed(262, phase="Queued", reason="WaitingForQuota")
    eventually(lambda: is_trained(s3, experiments), seconds=SECONDS)
    experiments.apply(
        name="urgent",
        seeds={"list": [7]},
        execution=asking(experiments, 2, workloadPriorityClass=URGENT),
    )
    urgent = experiments.succeeded("urgent")
    status = experiments.succeeded()
    assert costs(urgent) == [(0, 0)]
    assert costs(status) == [(0, 1), (0, 1), (0, 0)]
    assert digest_of(status, s3) == expected


def test_quota_that_is_taken_away_and_given_back_is_waited_for(experiments, queues, s3, tmp_path):
    execution = {"nodes": 2, "backend": "PyTorchJob", **asking(experiments, 1)}
    seeds = {"list": [260]}
    experiments.apply(seeds=seeds, execution=execution)
    experiments.until_seed(260, phase="Running")
    queues.stop("HoldAndDrain")
    experiments.until_seed(260, phase="Queued", reason="WaitingForQuota", disruptions=1)
    queues.stop("None")
    status = experiments.succeeded()
    assert costs(status) == [(0, 1)]
    assert digest_of(status, s3) == digest_of_run(tmp_path, seeds=seeds)


def test_without_its_webhook_the_status_says_so_and_nothing_is_lost(experiments, queues):
    with queues.away():
        experiments.apply(seeds={"list": [260]}, execution=asking(experiments, 1))
        told = experiments.all.condition("ChildrenScheduled", status="False")
        assert "kueue" in told["message"]
    experiments.until_seed(260, phase="Running")
