"""Metrics: what a written status counts for, what is shown of single experiments, and the names.

| part                   | how                                                                  |
| ---------------------- | -------------------------------------------------------------------- |
| counters, histograms   | two looks at an experiment, the status of the first being written    |
| gauges of experiments  | bodies as the API server has them; the limit and who is kept         |
| gauges of the queue    | a queue under a clock of our own                                     |

Left out: that reconciliation counts with each write and each creation, which a real operator shows
(tests/cluster/test_monitoring.py).
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding.counter_deltas import (
    CounterDeltas,
    ExperimentEnd,
    SeedEnd,
    counter_deltas,
)
from supreme_operator.deciding.decide import decide
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.monitoring.gauges import chosen

from supreme_core.api.status import ExperimentStatus
from supreme_core.errors import StoreUnavailable
from tests.operator.looks import (
    BACKOFF,
    NOW,
    checks,
    child,
    failed,
    look,
    pod,
    publication,
    resource,
    told,
    valid,
)

CREATED = NOW - timedelta(minutes=1)
STARTED = pod(phase="Running", started_at=CREATED + timedelta(seconds=20))


def counted(*children, before, now=NOW, **given):
    """Return the counts of the status that follows from these children."""
    seen = look(*children, status=before, **given)
    decision = decide(seen, now=now, backoff=BACKOFF)
    after = told(*children, status=before, now=now, **given)
    return counter_deltas(before, after, decision.standings)


class TestWhatAStatusCountsFor:
    def test_a_seed_that_begins_to_run_counts_with_the_time_that_it_waited(self):
        before = told(child(7, "Waiting"))
        assert counted(child(7, pods=[STARTED]), before=before).waits == (20.0,)

    def test_it_counts_once(self):
        running = child(7, pods=[STARTED])
        before = told(running, status=told(child(7, "Waiting")))
        assert counted(running, before=before).waits == ()

    def test_pods_that_are_gone_tell_no_time(self):
        assert counted(child(7), before=told(child(7, "Waiting"))).waits == ()

    def test_a_seed_that_succeeds_counts_with_the_time_of_its_attempt(self):
        done = child(7, "Succeeded", pods=[replace(STARTED, phase="Succeeded")])
        before = told(child(7))
        [end] = counted(done, before=before, observations=valid(7)).seeds
        assert end == SeedEnd(backend="Job", result="succeeded", reason="", seconds=40.0)

    def test_a_seed_that_fails_counts_with_its_reason(self):
        [end] = counted(failed(7, code=2), before=told(child(7))).seeds
        assert (end.result, end.reason, end.seconds) == ("failed", "InvalidOrder", None)

    def test_an_attempt_that_is_followed_by_another_ends_no_seed(self):
        assert counted(failed(7, code=1), before=told(child(7))) == CounterDeltas()

    def test_seeds_that_are_done_count_once(self):
        done = child(7, "Succeeded")
        before = told(done, observations=valid(7))
        assert counted(done, before=before, observations=valid(7)).seeds == ()

    def test_other_work_counts_anew(self):
        before = told(child(7, "Succeeded"), observations=valid(7))
        again = child(7, "Succeeded", attempt=1)
        methods = [{"name": "finetune"}, {"name": "ssd"}]
        observations = valid(7, attempt=1)
        found = counted(again, before=before, observations=observations, methods=methods)
        assert [end.result for end in found.seeds] == ["succeeded"]

    def test_a_child_that_its_queue_suspends_is_a_preemption_once(self):
        before = told(child(7))
        suspended = child(7, "Suspended")
        assert counted(suspended, before=before).preemptions == 1
        assert counted(suspended, before=told(suspended, status=before)).preemptions == 0

    def test_a_pod_without_which_a_child_goes_on_counts_once_and_is_no_preemption(self):
        before = told(child(7))
        lost = child(7, survives=True, lost_pods=1)
        assert counted(lost, before=before).lost_pods == 1
        known = told(lost, status=before)
        assert counted(lost, before=known).lost_pods == 0
        suspended = child(7, "Suspended", survives=True, lost_pods=1)
        found = counted(suspended, before=told(child(7, "Waiting")))
        assert (found.lost_pods, found.preemptions) == (1, 0)
        assert counted(suspended, before=known).preemptions == 1

    def test_a_child_whose_pods_start_alone_has_waited_for_the_first(self):
        before = told(child(7, "Waiting", survives=True))
        runs = child(7, survives=True, pods=[STARTED, pod()])
        assert counted(runs, before=before).waits == (20.0,)

    def test_an_experiment_that_ends_counts_with_its_reason_and_time(self):
        seeds = {"list": [7]}
        before = told(child(7), seeds=seeds, now=NOW - timedelta(minutes=5))
        observations = replace(valid(7), publication=publication(7, seeds=seeds))
        done = child(7, "Succeeded")
        found = counted(done, before=before, observations=observations, seeds=seeds)
        assert found.end == ExperimentEnd("succeeded", "SeedsSucceeded", 300.0)
        after = told(done, status=before, observations=observations, seeds=seeds)
        assert (
            counted(done, before=after, observations=observations, seeds=seeds) == CounterDeltas()
        )

    def test_one_of_which_some_seeds_failed_succeeds_partially(self):
        policy = {"maxFailedSeeds": 1}
        spec = {"seeds": {"list": [7, 8]}, "failurePolicy": policy}
        children = child(7, "Succeeded"), failed(8, code=2)
        observations = replace(
            valid(7), result_checks=checks(7), publication=publication(7, seeds=spec["seeds"])
        )
        end = counted(*children, before=ExperimentStatus(), observations=observations, **spec).end
        assert end == ExperimentEnd("partially_succeeded", "PartiallySucceeded", None)

    def test_one_that_fails_counts_as_failed(self):
        end = counted(failed(7, code=2), before=told(child(7))).end
        assert (end.result, end.reason) == ("failed", "FailureBudgetExceeded")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def body(name="three", *, created="2026-03-01T11:00:00Z", **status):
    found = resource()
    found["metadata"] |= {"name": name, "creationTimestamp": created}
    return {**found, "status": status} if status else found


def shown(*bodies, most=10):
    """Samples of everything, by name and labels."""
    metrics = Metrics()
    metrics.observe(WorkQueue(metrics), 8, lambda: bodies, most)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


class TestGaugesOfExperiments:
    def test_every_phase_of_a_namespace_is_shown(self):
        found = shown(body(), body("other", phase="Running"))
        assert found["supreme_experiments", "research", "Pending"] == 1
        assert found["supreme_experiments", "research", "Running"] == 1
        assert found["supreme_experiments", "research", "Failed"] == 0

    def test_an_experiment_tells_its_seeds_and_times(self):
        found = shown(
            body(
                phase="Running",
                pending=4,
                queued=1,
                active=3,
                succeeded=5,
                failed=6,
                startTime="2026-03-01T11:00:10Z",
                seedStatuses=[{"retries": 1, "disruptions": 3}, {"retries": 1, "disruptions": 0}],
            )
        )
        assert found["supreme_experiment_retries", "research", "three"] == 2
        assert found["supreme_experiment_disruptions", "research", "three"] == 3
        assert found[
            "supreme_experiment_info", "research", "three", "Running", "digits", "resnet18"
        ]
        seeds = {labels[3]: n for labels, n in found.items() if labels[0].endswith("ment_seeds")}
        assert seeds == {"Pending": 4, "Queued": 1, "Running": 2, "Succeeded": 5, "Failed": 6}
        started = found["supreme_experiment_start_timestamp_seconds", "research", "three"]
        assert started == 1772362810
        assert not any("completion" in labels[0] for labels in found)

    def test_the_primary_metric_has_a_mean_and_an_interval(self):
        row = {"scenario": "full_class", "method": "ssd", "n": 3, "mean": 0.5, "low": 0.25}
        objective = "supreme_experiment_objective", "research", "three"
        found = shown(body(phase="Succeeded", summary=[row]))
        which = "", "full_class", "ssd"
        assert found[*objective, *which, "mean"] == 0.5
        assert found[*objective, *which, "low"] == 0.25
        assert (*objective, *which, "high") not in found

    def test_of_too_many_the_unfinished_and_then_the_newest_are_shown(self):
        done = {"completionTime": "2026-03-02T00:00:00Z"}
        bodies = [
            body("old-running", created="2026-01-01T00:00:00Z", phase="Running"),
            body("old", created="2026-01-01T00:00:00Z", **done),
            body("new", created="2026-03-01T00:00:00Z", **done),
        ]
        names = [each["metadata"]["name"] for each in chosen(bodies, 2)]
        assert names == ["old-running", "new"]
        assert shown(*bodies, most=2)["supreme_experiments_not_shown",] == 1

    def test_none_can_be_shown_at_all(self):
        found = shown(body(), most=0)
        assert found["supreme_experiments_not_shown",] == 1
        assert not any(labels[0].startswith("supreme_experiment_") for labels in found)


def test_the_queue_tells_for_how_long_keys_have_been_worked_on():
    async def samples():
        clock = Clock()
        metrics = Metrics()
        queue = WorkQueue(metrics, clock=clock)
        metrics.observe(queue, 8, list, 10)
        for key in ("a", "b", "c"):
            queue.add(key)
        await queue.get()
        clock.now += 3
        await queue.get()
        clock.now += 4
        value = metrics.registry.get_sample_value
        names = {"name": "unlearningexperiment", "controller": "unlearningexperiment"}
        return (
            value("workqueue_depth", names),
            value("workqueue_unfinished_work_seconds", names),
            value("workqueue_longest_running_processor_seconds", names),
            value("controller_runtime_active_workers", {"controller": "unlearningexperiment"}),
        )

    assert asyncio.run(samples()) == (1, 11, 7, 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreUnavailable("away"), "StoreUnavailable"), (KeyError("ours"), "Bug")],
    ids=["the store", "a bug"],
)
def test_why_results_could_not_be_read_is_counted(error, reason):
    metrics = Metrics()
    metrics.not_aggregated(error)
    value = metrics.registry.get_sample_value
    assert value("supreme_aggregation_errors_total", {"reason": reason}) == 1
    assert value("supreme_aggregation_errors_total", {"reason": "StoreUnusable"}) == 0


def test_a_namespace_counts_from_zero_as_soon_as_it_has_a_child():
    metrics = Metrics()
    metrics.created("research", "Job", retried=None, disrupted=None)
    labels = {"namespace": "research", "result": "succeeded", "reason": "SeedsSucceeded"}
    value = metrics.registry.get_sample_value
    assert value("supreme_experiments_finished_total", labels) == 0
    assert value("supreme_children_created_total", {"backend": "Job"}) == 1
    assert value("supreme_seed_retries_total", {"reason": "Error"}) == 0


def test_it_says_what_it_is():
    labels = next(
        sample.labels
        for family in Metrics("abc123").registry.collect()
        for sample in family.samples
        if sample.name == "supreme_build_info"
    )
    assert labels["revision"] == "abc123"
    assert set(labels) == {"version", "revision", "python"}
