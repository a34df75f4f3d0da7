"""The whole way: `kubectl apply`, the operator, trainers in real pods, the summary in the store.

One seed's pods may be on several nodes in name only: this machine is the only node.
"""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.fault_proxy import Reset
from tests.cluster.processes import eventually
from tests.e2e.experiments import SECONDS, SEEDS, SPEC, TUNED, costs, digest_of, digest_of_run
from tests.e2e.node import NODE

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("running")]


STAGES = {"nodes": 2, "processesPerNode": 2, "distribution": "Stages"}


@pytest.mark.parametrize(
    ("seeds", "execution"),
    [
        (SEEDS, {"nodes": 2, "backend": "IndexedJob", "distribution": "Data"}),
        ((260,), {"nodes": 2, "backend": "PyTorchJob", "distribution": "Data"}),
        ((260,), {"backend": "IndexedJob", **STAGES}),
        ((260,), {"backend": "PyTorchJob", **STAGES}),
    ],
    ids=["IndexedJob", "PyTorchJob", "IndexedJob, stages", "PyTorchJob, stages"],
)
def test_two_pods_for_each_seed_give_the_same_summary_as_supreme_run(
    experiments, s3, expected, seeds, execution
):
    experiments.apply(seeds={"list": [*seeds]}, parallelism=2, execution=execution)
    status = experiments.succeeded()
    assert {each["attempt"] for each in status["seedStatuses"]} == {0}
    assert digest_of(status, s3) == expected(*seeds)


def test_settings_are_chosen_in_pods_as_supreme_run_chooses_them(experiments, s3, tmp_path_factory):
    """The process of the tuning seed is killed, which is tried again."""
    experiments.apply(**TUNED)
    kill_a_rank(next_trainer(0, "t0"))
    experiments.until_seed(9000, retries=1, phase="Succeeded")
    status = experiments.succeeded()
    assert status["tuning"]["searches"] == len(SPEC["scenarios"])
    folder = tmp_path_factory.mktemp("tuned")
    assert digest_of(status, s3) == digest_of_run(folder, **TUNED)


def test_what_becomes_of_pods_changes_no_number(experiments, cluster, core, s3, expected):
    """A killed process is a failure, a drained node and a deleted pod are disruptions."""
    experiments.apply(seeds={"list": [260]})
    kill_a_rank(next_trainer(0))
    experiments.until_seed(260, retries=1)

    next_trainer(1)
    cluster.kubectl("drain", NODE, "--delete-emptydir-data", "--ignore-daemonsets")
    experiments.until_seed(260, disruptions=1)
    told = experiments.all.condition("ChildrenScheduled", reason="Unschedulable")
    assert "were unschedulable" in told["message"]
    cluster.kubectl("uncordon", NODE)

    next_trainer(2)
    (pod,) = eventually(lambda: running_pods(core, experiments))
    core.delete_namespaced_pod(pod, experiments.all.namespace)
    status = experiments.succeeded()
    assert costs(status) == [(1, 2)]
    assert digest_of(status, s3) == expected(260)


def test_a_store_that_is_away_when_a_training_ends_changes_no_number(
    experiments, proxy, s3, expected
):
    """The store is away from the moment that the seed's result is to be written, for that
    attempt."""
    is_away = lambda _: proxy.requests(method="PUT", path="/result.json$") != []  # noqa: E731
    with proxy.fault(Reset(carried_out=False), which=is_away):
        experiments.apply(seeds={"list": [260]}, storage={"endpoint": proxy.endpoint})
        experiments.until_seed(260, disruptions=1)
    status = experiments.succeeded()
    assert costs(status) == [(0, 1)]
    assert digest_of(status, s3) == expected(260)


def next_trainer(attempt, seed="s0"):
    """The process of a trainer in that attempt at a seed, as soon as there is one.

    seed: the first one; t0 is the first tuning seed.
    """
    return eventually(lambda: trainer(attempt, seed), seconds=SECONDS)


def trainer(attempt, seed):
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if b"supreme_trainer.process.trainer" in command and f"-{seed}-a{attempt}" in environment:
            return int(folder.name)
    return None


def kill_a_rank(pid):
    os.kill(pid, signal.SIGKILL)


def running_pods(core, experiments):
    pods = core.list_namespaced_pod(experiments.all.namespace).items
    return [pod.metadata.name for pod in pods if pod.status.phase == "Running"]


@pytest.mark.parametrize(("gpus", "fits"), [(2, True), (16, False)])
def test_gpus_are_asked_for(experiments, core, gpus, fits):
    """The node says that it has eight, and has none: only where the pods go is tested."""
    experiments.apply(
        seeds={"list": [260]},
        execution={"gpusPerNode": gpus, "processesPerNode": 1},
        failurePolicy={"maxRetriesPerSeed": 0},
    )
    if fits:
        pods = eventually(lambda: core.list_namespaced_pod(experiments.all.namespace).items)
        name = pods[0].metadata.name
        read = partial(core.read_namespaced_pod, name, experiments.all.namespace)
        assert eventually(lambda: read().spec.node_name) == NODE
        limits = pods[0].spec.containers[0].resources.limits
        assert limits["nvidia.com/gpu"] == "2"
    else:
        told = experiments.all.condition("ChildrenScheduled", reason="Unschedulable")
        assert "Insufficient nvidia.com/gpu" in told["message"]
