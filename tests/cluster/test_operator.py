"""The operator on a real API server with the real Job controller; pods are played.

Covered: the life of an experiment from `kubectl apply` to its summary in the store.
Left out: what real pods do (tests/e2e), a misbehaving API server (test_faults.py).
"""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from kubernetes import client

from supreme_core.api import names
from supreme_core.errors import EXIT_TEMPORARY, EXIT_TERMINATED
from tests.cluster.kubelet import Kubelet
from tests.cluster.processes import eventually
from tests.cluster.test_waiting import said_to
from tests.cluster.trainers import always_succeed

SECRET_KEY = "AWS_SECRET_ACCESS_KEY"
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("running")


@pytest.fixture
def api(controlled):
    return controlled


@pytest.fixture
def children(experiments):
    """The ends of the names of the unfinished children, such as s0-a0."""

    def unfinished():
        return {
            name
            for name, job in experiments.jobs().items()
            if not any(c.type in ("Complete", "Failed") for c in job.status.conditions or ())
        }

    return unfinished


def seed(status, seed):
    return next(each for each in status["seedStatuses"] if each["seed"] == seed)


def standings(status):
    """(phase, disruptions) of the first two seeds."""
    found = status.get("seedStatuses") or ()
    return [(each["phase"], each["disruptions"]) for each in found[:2]]


class TestTheLifeOfAnExperiment:
    def test_it_is_computed_to_the_end(self, experiments, trainers, cluster):
        experiments.apply(parallelism=2)
        status = experiments.until(phase="Succeeded")
        assert (status["progress"], status["completedIndexes"]) == ("3/3", "0-2")
        assert status["results"]["uri"].endswith("/summary.json")
        assert [row["method"] for row in status["summary"]] == ["original", "retrained", "finetune"]
        shown = cluster.kubectl("get", "uexp", "-n", experiments.namespace)
        assert "Succeeded" in shown
        describe = ["describe", "uexp", "three", "-n", experiments.namespace]
        # Events are written after the status.
        eventually(lambda: "SeedsSucceeded" in cluster.kubectl(*describe).split("Events:")[1])

    def test_more_seeds_open_it_again_and_only_they_are_computed(self, experiments, trainers):
        experiments.apply(seeds={"list": [7]})
        first = experiments.until(phase="Succeeded")
        experiments.change(seeds={"list": [7, 8]})
        second = experiments.until(phase="Succeeded", progress="2/2")
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0"}
        assert second["results"]["sha256"] != first["results"]["sha256"]

    def test_more_methods_open_it_again_for_every_seed(self, experiments, trainers):
        experiments.apply(seeds={"list": [7, 8]})
        experiments.until(phase="Succeeded")
        both = [{"name": "finetune", "label": ""}, {"name": "ssd", "label": ""}]
        experiments.change(methods=both)
        experiments.until(observedGeneration=2)
        status = experiments.until(phase="Succeeded", observedGeneration=2)
        assert {row["method"] for row in status["summary"]} > {"finetune", "ssd"}
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0", "s0-a1", "s1-a1"}

    def test_parallelism_is_kept_and_can_be_scaled(self, experiments, trainers, children, cluster):
        trainers.script = lambda seed, attempt: "run"
        experiments.apply(parallelism=1)
        experiments.until(phase="Running", active=1, pending=2)
        assert children() == {"s0-a0"}
        scale = ["scale", "uexp/three", "--replicas=3", "-n", experiments.namespace]
        cluster.kubectl(*scale)
        experiments.until(active=3)
        eventually(lambda: children() == {"s0-a0", "s1-a0", "s2-a0"})
        trainers.script = always_succeed
        experiments.until(phase="Succeeded")

    def test_a_suspended_experiment_stops_and_goes_on_without_cost(
        self, experiments, trainers, children
    ):
        trainers.script = lambda seed, attempt: "run"
        experiments.apply()
        experiments.until(phase="Running")
        experiments.change(suspend=True)
        experiments.condition("Suspended", status="True")
        eventually(lambda: not children())
        trainers.script = always_succeed
        experiments.change(suspend=False)
        status = experiments.until(phase="Succeeded")
        assert {(each["retries"], each["disruptions"]) for each in status["seedStatuses"]} == {
            (0, 0)
        }

    def test_what_is_deleted_takes_its_children_with_it(self, experiments, trainers):
        trainers.script = lambda seed, attempt: "run"
        experiments.apply()
        experiments.until(phase="Running")
        experiments.delete()
        eventually(lambda: not experiments.jobs())

    def test_another_controllers_experiment_is_left_alone(self, experiments, trainers):
        experiments.apply("theirs", managedBy="example.org/other")
        experiments.apply("ours")
        experiments.until("ours", phase="Succeeded")
        assert experiments.status("theirs") == {}

    def test_a_finished_experiment_is_deleted_in_time(self, experiments, trainers):
        experiments.apply(ttlSecondsAfterFinished=1)
        eventually(lambda: not experiments.exists())

    def test_finished_children_are_deleted_in_time(self, experiments, trainers):
        experiments.apply(childTtlSecondsAfterFinished=0)
        experiments.until(phase="Succeeded")
        eventually(lambda: not experiments.jobs())


class TestFailures:
    def test_a_failed_attempt_is_tried_again(self, experiments, trainers):
        trainers.script = lambda seed, attempt: "fail 1" if attempt == 0 else "succeed"
        experiments.apply(seeds={"list": [7]})
        status = experiments.until(phase="Succeeded")
        assert (seed(status, 7)["attempt"], seed(status, 7)["retries"]) == (1, 1)

    def test_a_disruption_costs_no_retry(self, experiments, trainers):
        trainers.script = lambda seed, attempt: "disrupt" if attempt == 0 else "succeed"
        experiments.apply(seeds={"list": [7]}, failurePolicy={"maxRetriesPerSeed": 0})
        status = experiments.until(phase="Succeeded")
        assert (seed(status, 7)["retries"], seed(status, 7)["disruptions"]) == (0, 1)

    def test_after_one_seed_found_the_store_away_it_and_the_others_go_on(
        self, experiments, trainers
    ):
        away = f"fail {EXIT_TEMPORARY}"
        trainers.script = lambda seed, attempt: away if (seed, attempt) == (7, 0) else "succeed"
        experiments.apply(parallelism=1, failurePolicy={"maxRetriesPerSeed": 0})
        status = experiments.until(phase="Succeeded")
        costs = [(each["retries"], each["disruptions"]) for each in status["seedStatuses"]]
        assert costs == [(0, 1), (0, 0), (0, 0)]

    @pytest.mark.parametrize(
        ("act", "nodes"),
        [("refuse OutOfcpu", 1), ("refuse NodeAffinity", 2), ("give up", 1), ("give up", 2)],
    )
    def test_what_never_started_costs_no_retry(self, experiments, trainers, act, nodes):
        trainers.script = lambda seed, attempt: act if attempt < 2 else "succeed"
        experiments.apply(
            seeds={"list": [7]},
            failurePolicy={"maxRetriesPerSeed": 0},
            training={"microBatches": nodes},
            execution={"nodes": nodes, "distribution": "Data"},
        )
        status = experiments.until(phase="Succeeded")
        assert (seed(status, 7)["retries"], seed(status, 7)["disruptions"]) == (0, 2)

    def test_an_invalid_order_ends_all_at_once(self, experiments, trainers, children):
        trainers.script = lambda seed, attempt: "fail 2" if seed == 7 else "run"
        experiments.apply()
        failed = experiments.condition("Failed", status="True", reason="FailureBudgetExceeded")
        assert "seed 7: InvalidOrder" in failed["message"]
        eventually(lambda: not children())
        experiments.until(phase="Failed")

    def test_some_seeds_may_fail(self, experiments, trainers):
        trainers.script = lambda seed, attempt: "fail 2" if seed == 8 else "succeed"
        experiments.apply(failurePolicy={"maxFailedSeeds": 1})
        status = experiments.until(phase="PartiallySucceeded")
        assert (status["progress"], status["failedIndexes"]) == ("2/3", "1")
        assert {row["n"] for row in status["summary"]} == {2}

    def test_what_a_failed_experiment_has_is_published(self, experiments, trainers):
        trainers.script = lambda seed, attempt: "fail 2" if seed == 8 else "succeed"
        experiments.apply(parallelism=1)
        experiments.condition("Failed", status="True")
        experiments.condition("ResultsAggregated", status="True")
        assert experiments.status()["results"]["seeds"] == 1

    def test_a_result_that_is_not_there_is_computed_again(self, experiments, trainers):
        first = "succeed without result"
        trainers.script = lambda seed, attempt: first if attempt == 0 else "succeed"
        experiments.apply(seeds={"list": [7]})
        assert seed(experiments.until(phase="Succeeded"), 7)["retries"] == 1

    def test_past_its_deadline_an_experiment_fails(self, experiments, trainers, children):
        trainers.script = lambda seed, attempt: "run"
        experiments.apply(activeDeadlineSeconds=1)
        experiments.condition("Failed", status="True", reason="DeadlineExceeded")
        eventually(lambda: not children())

    def test_a_seed_that_ran_is_not_given_up_when_its_queue_stops_it(
        self, experiments, trainers, api, cluster
    ):
        """Kueue stops it after the deadline for its start has passed: it is made an hour old."""
        trainers.script = lambda seed, attempt: "run"
        experiments.apply(seeds={"list": [7]}, schedulingDeadlineSeconds=1800)
        experiments.until(phase="Running")
        jobs, now = client.BatchV1Api(api), datetime.now(UTC)
        name = experiments.jobs()["s0-a0"].metadata.name
        read = jobs.read_namespaced_job(name, experiments.namespace, _preload_content=False)
        old = json.loads(read.data)
        old["metadata"]["creationTimestamp"] = f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        cluster.store(old)
        hold = partial(jobs.patch_namespaced_job, name, experiments.namespace)
        assert now - hold({"spec": {"suspend": True}}).metadata.creation_timestamp >= HOUR
        status = experiments.until(phase="Queued")
        assert seed(status, 7)["disruptions"] == 1
        assert datetime.fromisoformat(seed(status, 7)["waitingSince"]) >= now - HOUR / 2
        trainers.script = always_succeed
        hold({"spec": {"suspend": False}})
        experiments.until(phase="Succeeded")
        assert set(experiments.jobs()) == {"s0-a0"}

    def test_seeds_that_a_queue_stops_at_once_wait_and_go_on_as_the_same_children(
        self, experiments, trainers, api
    ):
        """Kueue preempts as many as the urgent one needs the room of."""
        trainers.script = lambda seed, attempt: "run"
        experiments.apply(parallelism=2)
        experiments.told(lambda status: standings(status) == [("Running", 0), ("Running", 0)])
        jobs = client.BatchV1Api(api)

        def hold(suspend):
            for each in ("s0-a0", "s1-a0"):
                name = experiments.jobs()[each].metadata.name
                spec = {"spec": {"suspend": suspend}}
                jobs.patch_namespaced_job(name, experiments.namespace, spec)

        hold(True)
        experiments.told(lambda status: standings(status) == [("Queued", 1), ("Queued", 1)])
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0"}
        trainers.script = always_succeed
        hold(False)
        status = experiments.until(phase="Succeeded")
        assert [each["disruptions"] for each in status["seedStatuses"]] == [1, 1, 0]
        assert set(experiments.jobs()) == {"s0-a0", "s1-a0", "s2-a0"}

    def test_a_seed_that_finds_no_node_in_time_fails(self, experiments, trainers, children):
        trainers.script = lambda seed, attempt: "unschedulable 0/3 nodes are available"
        experiments.apply(seeds={"list": [7]}, schedulingDeadlineSeconds=1)
        experiments.condition("Failed", status="True")
        assert seed(experiments.status(), 7)["reason"] == "SchedulingDeadlineExceeded"
        eventually(lambda: not children())

    def test_wrong_credentials_are_said_and_can_be_mended(self, experiments, trainers, api):
        core, namespace = client.CoreV1Api(api), experiments.namespace
        secret = core.read_namespaced_secret("s3", namespace).data
        core.patch_namespaced_secret("s3", namespace, {"stringData": {SECRET_KEY: "wrong"}})
        experiments.apply(seeds={"list": [7]})
        told = experiments.condition("ResultsAggregated", reason="ResultsUnavailable")
        assert "the credentials are refused" in told["message"]
        status = experiments.status()
        assert (status["phase"], status["failed"]) == ("Aggregating", 0)
        core.patch_namespaced_secret("s3", namespace, {"data": {SECRET_KEY: secret[SECRET_KEY]}})
        experiments.until(phase="Succeeded")


STAGES = {"nodes": 2, "backend": "IndexedJob", "distribution": "Stages"}


def losses(kubelet, core):
    """Ways in which the cluster takes a pod from its child, by the reason that is told of it."""

    def deletes(pod, namespace):
        core.delete_namespaced_pod(pod, namespace)
        kubelet.fail(pod, EXIT_TERMINATED)

    def evicts(pod, namespace):
        core.create_namespaced_pod_eviction(pod, namespace, {"metadata": {"name": pod}})
        kubelet.fail(pod, EXIT_TERMINATED)

    return {
        "PodDeleted": deletes,
        "EvictionByEvictionAPI": evicts,
        "PreemptionByScheduler": lambda pod, _: kubelet.disrupt(pod),
        "Terminated": lambda pod, _: kubelet.fail(pod, EXIT_TERMINATED),
        "OutOfcpu": lambda pod, _: kubelet.refuse(pod, "OutOfcpu"),
    }


class TestLostPods:
    """Children of two pods that share out stages; their pods are played one by one."""

    @pytest.fixture
    def kubelet(self, api, experiments):
        return Kubelet(api, experiments.namespace)

    @pytest.fixture
    def lose(self, api, kubelet, experiments):
        """Lose the pod of an index of a child, such as s0-a0; its name, and that of the other."""
        ways = losses(kubelet, client.CoreV1Api(api))

        def lose(child, why, index=1):
            job = experiments.jobs()[child].metadata.name
            pods = kubelet.pods(job=job, count=2)
            ways[why](pods[index], experiments.namespace)
            return pods[index], pods[1 - index]

        return lose

    def test_a_child_goes_on_without_a_pod_which_comes_back(
        self, running, experiments, trainers, kubelet, lose, api, cluster
    ):
        """Each seed loses one in another way."""
        whys = list(losses(kubelet, client.CoreV1Api(api)))
        seeds = [*range(7, 7 + len(whys))]
        before = running.metric("supreme_seed_disruptions_total")
        trainers.script = lambda seed, attempt: "run"
        experiments.apply(seeds={"list": seeds}, parallelism=len(seeds), execution=STAGES)
        experiments.until(phase="Running", active=len(seeds), queued=0)
        children = [f"s{index}-a0" for index in range(len(seeds))]
        lost = {child: lose(child, why) for child, why in zip(children, whys, strict=True)}
        words = [
            ("PodLost", f"pod {pod} was lost: {why}; its child goes on")
            for why, (pod, _) in zip(whys, lost.values(), strict=True)
        ]

        def are_told(status):
            """Return a status in which each seed names its pod, seen after the loss perhaps."""
            told = [(each.get("reason"), each.get("message")) for each in status["seedStatuses"]]
            return status if told == words else None

        status = experiments.told(are_told)
        assert {paid(each) for each in status["seedStatuses"]} == {("Running", 0, 0, 1)}
        assert {each["lostPods"] for each in status["seedStatuses"]} == {1}
        for child, (pod, other) in lost.items():
            job = experiments.jobs()[child].metadata.name
            there = kubelet.pods(job=job, count=2)
            assert other in there
            assert pod not in there
        describe = ["describe", "uexp", "three", "-n", experiments.namespace]
        # Events and counters follow the status.
        eventually(lambda: cluster.kubectl(*describe).split("Events:")[1].count("PodLost") >= 5)
        lost_pods = lambda: running.metric("supreme_seed_disruptions_total") - before  # noqa: E731
        eventually(lambda: lost_pods() >= len(seeds))
        assert lost_pods() == len(seeds)

        trainers.script = always_succeed
        done = experiments.until(phase="Succeeded")
        assert {paid(each) for each in done["seedStatuses"]} == {("Succeeded", 0, 0, 1)}
        assert set(experiments.jobs()) == set(children)

    def test_the_budget_ends_it_and_another_exit_code_does_at_once(
        self, experiments, trainers, kubelet, lose
    ):
        trainers.script = lambda seed, attempt: "run"
        experiments.apply(
            seeds={"list": [7, 8]},
            parallelism=2,
            execution=STAGES,
            failurePolicy={
                "maxDisruptionsPerSeed": 1,
                "maxRetriesPerSeed": 1,
                "maxFailedSeeds": 1,
            },
        )
        experiments.told(lambda status: standings(status) == [("Running", 0), ("Running", 0)])
        lose("s0-a0", "PreemptionByScheduler")
        experiments.told(lambda status: standings(status) == [("Running", 1), ("Running", 0)])
        lose("s0-a0", "PreemptionByScheduler", index=0)
        failed = experiments.told(
            lambda status: status if standings(status)[0][0] == "Failed" else None
        )
        assert seed(failed, 7)["reason"] == "TooManyDisruptions"
        assert paid(seed(failed, 7)) == ("Failed", 0, 0, 1)

        lose("s1-a0", "PreemptionByScheduler")
        experiments.told(lambda status: standings(status)[1] == ("Running", 1))
        other, _ = kubelet.pods(job=experiments.jobs()["s1-a0"].metadata.name, count=2)
        trainers.script = lambda seed, attempt: "succeed" if attempt else "run"
        kubelet.fail(other, 1)
        done = experiments.until(phase="PartiallySucceeded")
        assert paid(seed(done, 8)) == ("Succeeded", 1, 1, 1)


def paid(seed):
    """(phase, attempt, retries, disruptions) of a seed's status."""
    return tuple(seed[name] for name in ("phase", "attempt", "retries", "disruptions"))


class TestObstacles:
    @pytest.mark.parametrize(
        ("act", "reason", "message"),
        [
            ("unschedulable Insufficient nvidia.com/gpu", "Unschedulable", "nvidia.com/gpu"),
            ("waits ImagePullBackOff", "ImagePullFailed", "seed 7"),
            ("waits CreateContainerConfigError", "ContainerNotCreated", "seed 7"),
        ],
    )
    def test_what_keeps_pods_from_starting_is_said(
        self, experiments, trainers, act, reason, message
    ):
        trainers.script = lambda seed, attempt: act
        experiments.apply(seeds={"list": [7]})
        told = experiments.condition("ChildrenScheduled", status="False", reason=reason)
        assert message in told["message"]
        assert experiments.status()["phase"] == "Queued"

    @pytest.mark.parametrize("what", ["pods", "count/jobs.batch"])
    def test_a_quota_is_said_and_can_be_raised(self, experiments, trainers, api, what):
        core, quota = client.CoreV1Api(api), {"metadata": {"name": "none"}}
        core.create_namespaced_resource_quota(
            experiments.namespace, {**quota, "spec": {"hard": {what: "0"}}}
        )
        group = "batch" if what == "count/jobs.batch" else ""
        eventually(lambda: "exceeded quota" in said_to(api, experiments.namespace, group))
        experiments.apply(seeds={"list": [7]})
        told = experiments.condition("ChildrenScheduled", reason="QuotaExceeded")
        assert f"limited: {what}=0" in told["message"]
        core.delete_namespaced_resource_quota("none", experiments.namespace)
        experiments.until(phase="Succeeded")

    def test_a_name_that_is_taken_is_said(self, experiments, trainers, api):
        experiments.apply(parallelism=0)
        uid = experiments.read()["metadata"]["uid"]
        name = names.child_name("three", uid, index=0, attempt=0)
        pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
        job = {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}
        jobs = client.BatchV1Api(api)
        jobs.create_namespaced_job(experiments.namespace, job)
        experiments.change(parallelism=1)
        told = experiments.condition("ChildrenScheduled", reason="ChildConflict")
        assert f"{name} is there and belongs to something else" in told["message"]

    def test_a_kind_of_child_that_is_not_there_is_said(self, experiments):
        experiments.apply(execution={"backend": "PyTorchJob"})
        told = experiments.condition("ChildrenScheduled", reason="BackendUnavailable")
        assert told["message"] == "the API server knows no pytorchjobs.kubeflow.org"


WITH_A_TYPO = {"name": "finetune", "params": {"epoch": 3}}


INVALID = {
    "setting": ({"methods": [WITH_A_TYPO]}, "did you mean 'epochs'?"),
    "image": ({"execution": {"image": ""}}, "spec.execution.image is missing"),
    "path": (
        {"execution": {"template": {"volumes": [{"name": "a", "hostPath": {}}]}}},
        "spec.execution.template.volumes[0].hostPath: unknown field 'hostPath'",
    ),
    "label": (
        {"execution": {"template": {"labels": {"supreme.dev/seed": "1"}}}},
        "is reserved for controllers",
    ),
    "environment": (
        {"execution": {"template": {"env": [{"name": "RANK", "value": "0"}]}}},
        "spec.execution.template.env[0].name is RANK",
    ),
}


def test_what_is_wrong_is_said_nothing_of_it_is_started_and_others_go_on(experiments, trainers):
    for name, (spec, _) in INVALID.items():
        experiments.apply(name, **spec)
    for name, (_, message) in INVALID.items():
        told = experiments.condition("Accepted", name, status="False", reason="InvalidSpec")
        assert message in told["message"]
    assert experiments.jobs() == {}
    experiments.apply("right", seeds={"list": [7]})
    experiments.until("right", phase="Succeeded")
    (job,) = experiments.jobs().values()
    assert job.metadata.labels["supreme.dev/experiment"] == "right"


def test_several_nodes_become_an_indexed_job_with_names(experiments, trainers, api):
    experiments.apply(seeds={"list": [7]}, training={"microBatches": 2}, execution={"nodes": 2})
    experiments.until(phase="Succeeded")
    job = experiments.jobs()["s0-a0"]
    assert (job.spec.completion_mode, job.spec.completions) == ("Indexed", 2)
    service = job.spec.template.spec.subdomain
    client.CoreV1Api(api).read_namespaced_service(service, experiments.namespace)


def test_what_users_see_in_metrics(running, experiments, trainers):
    before = {name: running.metric(name) for name in COUNTED}
    trainers.script = lambda seed, attempt: "fail 1" if attempt == 0 else "succeed"
    experiments.apply(seeds={"list": [7]})
    experiments.until(phase="Succeeded")
    assert running.get("livez") == "ok\n"

    def counted():
        return {name: running.metric(name) - before[name] for name in COUNTED}

    # A status is seen a moment before what it counts for is counted.
    with suppress(pytest.fail.Exception):
        eventually(lambda: counted() == COUNTED)
    assert counted() == COUNTED
    assert running.metric("supreme_watch_last_event_timestamp_seconds") > 0
    of_this = f'namespace="{experiments.namespace}"'
    line = f'supreme_experiment_seeds{{experiment="three",{of_this},phase="Succeeded"}} 1.0'
    eventually(lambda: line in running.get("metrics"))


COUNTED = {
    "supreme_experiments_finished_total": 1,
    "supreme_experiment_duration_seconds_count": 1,
    "supreme_seeds_finished_total": 1,
    "supreme_seed_duration_seconds_count": 1,
    "supreme_seed_retries_total": 1,
    "supreme_seed_disruptions_total": 0,
    "supreme_children_created_total": 2,
    "controller_runtime_reconcile_errors_total": 0,
}
"""Counters of an experiment of one seed that fails once."""
