"""Kueue admits children in turn, preempts them and takes their quota away; no number changes.

The node says that it has GPUs, and has none: children ask for them and compute on its processor.
"""

import pytest

from tests.cluster.fault_proxy import Hold
from tests.cluster.processes import eventually
from tests.e2e.experiments import MIDDLE, SECONDS, SEEDS, costs, digest_of
from tests.e2e.kueue import GPUS, QUEUE, URGENT, kueue
from tests.trainer.experiments import FINETUNE, FULL_CLASS

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


def is_ending(core, experiments):
    """Return whether a pod has been told to end."""
    pods = core.list_namespaced_pod(experiments.all.namespace).items
    return any(pod.metadata.deletion_timestamp for pod in pods)


def test_children_are_admitted_in_turn_and_preempted_in_the_middle(
    experiments, core, proxy, s3, expected
):
    """The first seed does not end before it is preempted: until then its requests for Retrained are
    held."""
    with proxy.fault(Hold(), **MIDDLE) as held:
        experiments.apply(
            parallelism=2,
            execution=asking(experiments, 2),
            storage={"endpoint": proxy.endpoint},
        )
        experiments.until_seed(261, phase="Queued", reason="WaitingForQuota")
        eventually(lambda: held.struck, seconds=SECONDS)
        experiments.apply(
            name="urgent",
            seeds={"list": [7]},
            scenarios=[FULL_CLASS],
            methods=[FINETUNE],
            execution=asking(experiments, 2, workloadPriorityClass=URGENT),
        )
        eventually(lambda: is_ending(core, experiments), seconds=SECONDS)
    urgent = experiments.succeeded("urgent")
    status = experiments.succeeded()
    assert costs(urgent) == [(0, 0)]
    assert costs(status) == [(0, 1), (0, 0)]
    assert digest_of(status, s3) == expected(*SEEDS)


def test_quota_that_is_taken_away_and_given_back_is_waited_for(
    experiments, queues, core, proxy, s3, expected
):
    """The seed does not end before, as its requests for Retrained are held."""
    execution = {"nodes": 2, "backend": "PyTorchJob", **asking(experiments, 1)}
    storage = {"endpoint": proxy.endpoint}
    with proxy.fault(Hold(), **MIDDLE):
        experiments.apply(seeds={"list": [260]}, execution=execution, storage=storage)
        experiments.until_seed(260, phase="Running")
        queues.stop("HoldAndDrain")
        eventually(lambda: is_ending(core, experiments), seconds=SECONDS)
    experiments.until_seed(260, phase="Queued", reason="WaitingForQuota", disruptions=1)
    queues.stop("None")
    status = experiments.succeeded()
    assert costs(status) == [(0, 1)]
    assert digest_of(status, s3) == expected(260)


def test_without_its_webhook_the_status_says_so_and_nothing_is_lost(experiments, queues):
    with queues.away():
        experiments.apply(seeds={"list": [260]}, execution=asking(experiments, 1))
        told = experiments.all.condition("ChildrenScheduled", status="False")
        assert "kueue" in told["message"]
    experiments.until_seed(260, phase="Running")
