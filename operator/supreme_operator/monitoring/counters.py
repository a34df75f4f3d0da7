"""Metrics that /metrics shows. Names of the queue, of reconciliation, of requests and of leadership
are those of Go operators too, so that dashboards for these work.

No label of a counter or a histogram names an experiment, a seed or a pod: `gauges` has what there
is for single experiments, and a limit for it.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from supreme_core import DISTRIBUTION
from supreme_core.errors import StoreUnavailable, StoreUnusable
from supreme_operator.cluster.client import ClusterError
from supreme_operator.cluster.resources import EXPERIMENTS, JOBS, PODS
from supreme_operator.deciding.endings import LOST_WITH_ITS_NODE
from supreme_operator.deciding.tally import PREEMPTED, Tally
from supreme_operator.monitoring.gauges import (
    CONTROLLER,
    Body,
    ExperimentGauges,
    Queue,
    QueueGauges,
)
from supreme_operator.results.reader import WorkerFailed

QUICK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds that a request or a reconciliation takes."""

LONG: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400, 172800)
"""Seconds that a seed takes: 10 s to 2 d."""

RETRIES: Final = ("Error", "OOMKilled", "ResultMissing", "DeadlineExceeded")
DISRUPTIONS: Final = (
    *LOST_WITH_ITS_NODE,
    *("PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI"),
    *("DeletionByPodGC", "TerminationByKubelet", "TemporaryFailure", PREEMPTED),
)
AGGREGATION_ERRORS: Final = {
    StoreUnavailable: "StoreUnavailable",
    StoreUnusable: "StoreUnusable",
    WorkerFailed: "WorkerFailed",
    ClusterError: "SecretUnreadable",
}
BUG: Final = "Bug"


class Metrics:
    """All metrics of the operator, in a registry of their own."""

    def __init__(self, revision: str = "") -> None:
        """revision: of the source that the operator was built from."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = self._maker(Counter)
        histogram = self._maker(Histogram)
        gauge = self._maker(Gauge)
        queue, controller = ["name", "controller"], ["controller"]
        self._adds = counter("workqueue_adds_total", "Keys added to the queue.", queue)
        self._retries = counter("workqueue_retries_total", "Keys tried again.", queue)
        self._queued = histogram(
            "workqueue_queue_duration_seconds",
            "Seconds that a key waited in the queue.",
            queue,
            buckets=QUICK,
        )
        self._worked = histogram(
            "workqueue_work_duration_seconds",
            "Seconds that work on a key took.",
            queue,
            buckets=QUICK,
        )
        self._reconciled = counter(
            "controller_runtime_reconcile_total", "Reconciliations.", [*controller, "result"]
        )
        self._errors = counter(
            "controller_runtime_reconcile_errors_total", "Reconciliations that failed.", controller
        )
        self._reconcile_seconds = histogram(
            "controller_runtime_reconcile_time_seconds",
            "Seconds that a reconciliation took.",
            controller,
            buckets=QUICK,
        )
        self._requests = counter(
            "supreme_kube_requests_total",
            "Requests to the API server.",
            ["verb", "resource", "code"],
        )
        self._request_seconds = histogram(
            "supreme_kube_request_duration_seconds",
            "Seconds that a request to the API server took.",
            ["verb", "resource"],
        )
        self._rest_requests = counter(
            "rest_client_requests_total", "Requests to the API server.", ["method", "code"]
        )
        self._rest_seconds = histogram(
            "rest_client_request_duration_seconds",
            "Seconds that a request to the API server took.",
            ["verb"],
            buckets=QUICK,
        )
        self._throttled = histogram(
            "rest_client_rate_limiter_duration_seconds",
            "Seconds that writes waited for their turn.",
            ["verb"],
            buckets=QUICK,
        )
        self._created = counter("supreme_children_created_total", "Children created.", ["backend"])
        self._seeds = counter(
            "supreme_seeds_finished_total",
            "Seeds that ended.",
            ["namespace", "backend", "result", "reason"],
        )
        self._seed_seconds = histogram(
            "supreme_seed_duration_seconds",
            "Seconds from the start to the end of a seed's last attempt.",
            ["namespace", "backend", "result"],
            buckets=LONG,
        )
        self._seed_waits = histogram(
            "supreme_seed_queue_seconds",
            "Seconds from the creation of an attempt to its start.",
            ["namespace"],
            buckets=LONG,
        )
        self._retried = counter(
            "supreme_seed_retries_total", "Attempts created after a failure.", ["reason"]
        )
        self._disrupted = counter(
            "supreme_seed_disruptions_total",
            "Attempts created after a disruption, and preemptions.",
            ["reason"],
        )
        self._experiments = counter(
            "supreme_experiments_finished_total",
            "Experiments that ended.",
            ["namespace", "result", "reason"],
        )
        self._experiment_seconds = histogram(
            "supreme_experiment_duration_seconds",
            "Seconds from an experiment's first child to its end.",
            ["namespace", "result"],
            buckets=LONG,
        )
        self._aggregated = histogram(
            "supreme_aggregation_duration_seconds",
            "Seconds of checking results and of publishing summaries.",
            ["task"],
        )
        self._not_aggregated = counter(
            "supreme_aggregation_errors_total",
            "Failed checks of results and failed publications.",
            ["reason"],
        )
        self._store_requests = counter(
            "supreme_s3_requests_total", "Requests to stores.", ["operation", "code"]
        )
        self._watch = gauge(
            "supreme_watch_last_event_timestamp_seconds",
            "Time of the last event of a watch, in Unix seconds.",
            ["resource"],
        )
        self._lost = counter(
            "supreme_watch_lost_changes_total",
            "Changes that no watch told and only a list brought.",
            ["resource"],
        )
        self._is_leader = gauge("supreme_leader", "Leadership: 1 where this process acts, else 0.")
        self._is_master = gauge(
            "leader_election_master_status",
            "Leadership under client-go's name: 1 where this process acts, else 0.",
            ["name"],
        )
        info = gauge(
            "supreme_build_info",
            "Version, revision and Python of the operator; always 1.",
            ["version", "revision", "python"],
        )
        version, python = metadata.version(DISTRIBUTION), platform.python_version()
        info.labels(version, revision, python).set(1)
        self._begin_at_zero()

    def observe(
        self, queue: Queue, workers: int, experiments: Callable[[], Iterable[Body]], shown: int
    ) -> None:
        """Show what is computed when it is asked for: `gauges`."""
        self.registry.register(QueueGauges(queue, workers))
        self.registry.register(ExperimentGauges(experiments, shown))

    # What the queue tells.
    def added(self) -> None:
        self._adds.labels(CONTROLLER, CONTROLLER).inc()

    def started(self, waited_seconds: float) -> None:
        self._queued.labels(CONTROLLER, CONTROLLER).observe(waited_seconds)

    def finished(self, worked_seconds: float) -> None:
        self._worked.labels(CONTROLLER, CONTROLLER).observe(worked_seconds)

    def retried(self) -> None:
        self._retries.labels(CONTROLLER, CONTROLLER).inc()

    # What the client tells.
    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self._requests.labels(verb, resource, str(code)).inc()
        self._request_seconds.labels(verb, resource).observe(seconds)
        self._rest_requests.labels(verb, str(code or "<error>")).inc()
        self._rest_seconds.labels(verb).observe(seconds)

    def throttled(self, verb: str, seconds: float) -> None:
        self._throttled.labels(verb).observe(seconds)

    # What reconciliation tells.
    def reconciled(self, result: str, seconds: float) -> None:
        self._reconciled.labels(CONTROLLER, result).inc()
        self._reconcile_seconds.labels(CONTROLLER).observe(seconds)
        if result == "error":
            self._errors.labels(CONTROLLER).inc()

    def created(
        self, namespace: str, backend: str, *, retried: str | None, disrupted: str | None
    ) -> None:
        """retried, disrupted: why the attempt before ended, where it did so in this way."""
        self._begin_at_zero_in(namespace, backend)
        self._created.labels(backend).inc()
        if retried is not None:
            self._retried.labels(retried).inc()
        if disrupted is not None:
            self._disrupted.labels(disrupted).inc()

    @contextmanager
    def aggregating(self, task: str) -> Iterator[None]:
        """Measure the reading of results, whatever comes of it.  task: verify or publish."""
        with self._aggregated.labels(task).time():
            yield

    def not_aggregated(self, error: Exception) -> None:
        kinds = AGGREGATION_ERRORS.items()
        reason = next((reason for kind, reason in kinds if isinstance(error, kind)), BUG)
        self._not_aggregated.labels(reason).inc()

    def asked_store(self, operation: str, code: int) -> None:
        self._store_requests.labels(operation, str(code)).inc()

    def heard(self, resource: str) -> None:
        self._watch.labels(resource).set(time.time())

    def lost(self, resource: str, changes: int) -> None:
        self._lost.labels(resource).inc(changes)

    def wrote(self, namespace: str, counted: Tally) -> None:
        """Count a status that was written just now."""
        for seed in counted.seeds:
            labels = namespace, seed.backend, seed.result
            self._seeds.labels(*labels, seed.reason).inc()
            if seed.seconds is not None:
                self._seed_seconds.labels(*labels).observe(seed.seconds)
        for seconds in counted.waits:
            self._seed_waits.labels(namespace).observe(seconds)
        self._disrupted.labels(PREEMPTED).inc(counted.preemptions)
        if end := counted.end:
            self._experiments.labels(namespace, end.result, end.reason).inc()
            if end.seconds is not None:
                self._experiment_seconds.labels(namespace, end.result).observe(end.seconds)

    def leads(self) -> None:
        """This process acts from now on."""
        self._is_leader.set(1)
        self._is_master.labels(CONTROLLER).set(1)

    def _begin_at_zero(self) -> None:
        """Let every series that is known from the start rise from 0, so that Prometheus sees the
        first time too."""
        self._adds.labels(CONTROLLER, CONTROLLER)
        self._retries.labels(CONTROLLER, CONTROLLER)
        self._errors.labels(CONTROLLER)
        self._is_master.labels(CONTROLLER)
        for result in ("success", "requeue_after", "error"):
            self._reconciled.labels(CONTROLLER, result)
        for reason in RETRIES:
            self._retried.labels(reason)
        for reason in DISRUPTIONS:
            self._disrupted.labels(reason)
        for reason in (*AGGREGATION_ERRORS.values(), BUG):
            self._not_aggregated.labels(reason)
        for resource in (EXPERIMENTS, JOBS, PODS):
            self._lost.labels(resource.plural)

    def _begin_at_zero_in(self, namespace: str, backend: str) -> None:
        """Let the series that a namespace will most likely have rise from 0, too."""
        self._seed_waits.labels(namespace)
        self._seeds.labels(namespace, backend, "succeeded", "")
        self._seed_seconds.labels(namespace, backend, "succeeded")
        self._experiments.labels(namespace, "succeeded", "SeedsSucceeded")
        self._experiments.labels(namespace, "failed", "FailureBudgetExceeded")
        self._experiment_seconds.labels(namespace, "succeeded")

    def _maker(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(name: str, about: str, labels: Iterable[str] = (), **more: Any) -> Any:
            return kind(name, about, labels, registry=self.registry, **more)

        return make
