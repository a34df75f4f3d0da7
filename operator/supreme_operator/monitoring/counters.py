"""Metrics that /metrics shows. Names of the queue, of reconciliation, of requests and of leadership
are those of Go operators too, so that dashboards for these work.

No label of a counter or a histogram names an experiment, a seed or a pod: `gauges` has what there
is for single experiments, and a limit for it.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from supreme_core import DISTRIBUTION
from supreme_core.errors import StoreUnavailable, StoreUnusable
from supreme_operator.cluster.client import ClusterError
from supreme_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, Body
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding.counter_deltas import CounterDeltas
from supreme_operator.deciding.endings import LOST_WITH_ITS_NODE, POD_LOST
from supreme_operator.deciding.standing import PREEMPTED
from supreme_operator.monitoring.gauges import CONTROLLER, ExperimentGauges, QueueGauges
from supreme_operator.results.reader import WorkerFailed

QUICK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds that a request or a reconciliation takes."""

LONG: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400, 172800)
"""Seconds that a seed takes: 10 s to 2 d."""

RETRIES: Final = ("Error", "OOMKilled", "ResultMissing", "DeadlineExceeded")
DISRUPTIONS: Final = (
    *LOST_WITH_ITS_NODE,
    *("PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI"),
    *("DeletionByPodGC", "TerminationByKubelet", "TemporaryFailure", PREEMPTED, POD_LOST),
)
AGGREGATION_ERRORS: Final = {
    StoreUnavailable: "StoreUnavailable",
    StoreUnusable: "StoreUnusable",
    WorkerFailed: "WorkerFailed",
    ClusterError: "SecretUnreadable",
}
BUG: Final = "Bug"

QUEUE: Final = ("name", "controller")
RECONCILER: Final = ("controller",)

COUNTERS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "workqueue_adds_total": ("Keys added to the queue.", QUEUE),
    "workqueue_retries_total": ("Keys tried again.", QUEUE),
    "controller_runtime_reconcile_total": ("Reconciliations.", (*RECONCILER, "result")),
    "controller_runtime_reconcile_errors_total": ("Reconciliations that failed.", RECONCILER),
    "supreme_kube_requests_total": ("Requests to the API server.", ("verb", "resource", "code")),
    "rest_client_requests_total": ("Requests to the API server.", ("method", "code")),
    "supreme_children_created_total": ("Children created.", ("backend",)),
    "supreme_seeds_finished_total": (
        "Seeds that ended.",
        ("namespace", "backend", "result", "reason"),
    ),
    "supreme_seed_retries_total": ("Attempts created after a failure.", ("reason",)),
    "supreme_seed_disruptions_total": (
        "Attempts created after a disruption, preemptions, and pods lost from attempts that go on.",
        ("reason",),
    ),
    "supreme_experiments_finished_total": (
        "Experiments that ended.",
        ("namespace", "result", "reason"),
    ),
    "supreme_aggregation_errors_total": (
        "Failed checks of results and failed publications.",
        ("reason",),
    ),
    "supreme_s3_requests_total": ("Requests to stores.", ("operation", "code")),
    "supreme_watch_lost_changes_total": (
        "Changes that no watch told and only a list brought.",
        ("resource",),
    ),
}
"""Help and labels by name."""

HISTOGRAMS: Final[Mapping[str, tuple[str, Sequence[str], Sequence[float]]]] = {
    "workqueue_queue_duration_seconds": ("Seconds that a key waited in the queue.", QUEUE, QUICK),
    "workqueue_work_duration_seconds": ("Seconds that work on a key took.", QUEUE, QUICK),
    "controller_runtime_reconcile_time_seconds": (
        "Seconds that a reconciliation took.",
        RECONCILER,
        QUICK,
    ),
    "supreme_kube_request_duration_seconds": (
        "Seconds that a request to the API server took.",
        ("verb", "resource"),
        Histogram.DEFAULT_BUCKETS,
    ),
    "rest_client_request_duration_seconds": (
        "Seconds that a request to the API server took.",
        ("verb",),
        QUICK,
    ),
    "rest_client_rate_limiter_duration_seconds": (
        "Seconds that writes waited for their turn.",
        ("verb",),
        QUICK,
    ),
    "supreme_seed_duration_seconds": (
        "Seconds from the start to the end of a seed's last attempt.",
        ("namespace", "backend", "result"),
        LONG,
    ),
    "supreme_seed_queue_seconds": (
        "Seconds from the creation of an attempt to its start.",
        ("namespace",),
        LONG,
    ),
    "supreme_experiment_duration_seconds": (
        "Seconds from an experiment's first child to its end.",
        ("namespace", "result"),
        LONG,
    ),
    "supreme_aggregation_duration_seconds": (
        "Seconds of checking results and of publishing summaries.",
        ("task",),
        Histogram.DEFAULT_BUCKETS,
    ),
}
"""Help, labels and buckets by name."""

GAUGES: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "supreme_watch_last_event_timestamp_seconds": (
        "Time of the last event of a watch, in Unix seconds.",
        ("resource",),
    ),
    "supreme_leader": ("Leadership: 1 where this process acts, else 0.", ()),
    "leader_election_master_status": (
        "Leadership under client-go's name: 1 where this process acts, else 0.",
        ("name",),
    ),
    "supreme_build_info": (
        "Version, revision and Python of the operator; always 1.",
        ("version", "revision", "python"),
    ),
}
"""Help and labels by name."""


class Metrics:
    """All metrics of the operator, in a registry of their own."""

    def __init__(self, revision: str = "") -> None:
        """revision: of the source that the operator was built from."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._counters = {
            name: Counter(name, about, labels, registry=registry)
            for name, (about, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, about, labels, registry=registry, buckets=buckets)
            for name, (about, labels, buckets) in HISTOGRAMS.items()
        }
        self._gauges = {
            name: Gauge(name, about, labels, registry=registry)
            for name, (about, labels) in GAUGES.items()
        }
        version, python = metadata.version(DISTRIBUTION), platform.python_version()
        self._gauges["supreme_build_info"].labels(version, revision, python).set(1)
        self._begin_at_zero()

    def observe(
        self,
        queue: WorkQueue[Any],
        workers: int,
        experiments: Callable[[], Iterable[Body]],
        shown: int,
    ) -> None:
        """Show what is computed when it is asked for: `gauges`."""
        self.registry.register(QueueGauges(queue, workers))
        self.registry.register(ExperimentGauges(experiments, shown))

    # What the queue tells.
    def added(self) -> None:
        self._count("workqueue_adds_total", CONTROLLER, CONTROLLER)

    def started(self, waited_seconds: float) -> None:
        self._observe(waited_seconds, "workqueue_queue_duration_seconds", CONTROLLER, CONTROLLER)

    def finished(self, worked_seconds: float) -> None:
        self._observe(worked_seconds, "workqueue_work_duration_seconds", CONTROLLER, CONTROLLER)

    def retried(self) -> None:
        self._count("workqueue_retries_total", CONTROLLER, CONTROLLER)

    # What the client tells.
    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self._count("supreme_kube_requests_total", verb, resource, str(code))
        self._observe(seconds, "supreme_kube_request_duration_seconds", verb, resource)
        self._count("rest_client_requests_total", verb, str(code or "<error>"))
        self._observe(seconds, "rest_client_request_duration_seconds", verb)

    def throttled(self, verb: str, seconds: float) -> None:
        self._observe(seconds, "rest_client_rate_limiter_duration_seconds", verb)

    # What reconciliation tells.
    def reconciled(self, result: str, seconds: float) -> None:
        self._count("controller_runtime_reconcile_total", CONTROLLER, result)
        self._observe(seconds, "controller_runtime_reconcile_time_seconds", CONTROLLER)
        if result == "error":
            self._count("controller_runtime_reconcile_errors_total", CONTROLLER)

    def created(
        self, namespace: str, backend: str, *, retried: str | None, disrupted: str | None
    ) -> None:
        """retried, disrupted: why the attempt before ended, where it did so in this way."""
        self._begin_at_zero_in(namespace, backend)
        self._count("supreme_children_created_total", backend)
        if retried is not None:
            self._count("supreme_seed_retries_total", retried)
        if disrupted is not None:
            self._count("supreme_seed_disruptions_total", disrupted)

    @contextmanager
    def aggregating(self, task: str) -> Iterator[None]:
        """Measure the reading of results, whatever comes of it.  task: verify or publish."""
        with self._histograms["supreme_aggregation_duration_seconds"].labels(task).time():
            yield

    def not_aggregated(self, error: Exception) -> None:
        kinds = AGGREGATION_ERRORS.items()
        reason = next((reason for kind, reason in kinds if isinstance(error, kind)), BUG)
        self._count("supreme_aggregation_errors_total", reason)

    def asked_store(self, operation: str, code: int) -> None:
        self._count("supreme_s3_requests_total", operation, str(code))

    def heard(self, resource: str) -> None:
        self._gauges["supreme_watch_last_event_timestamp_seconds"].labels(resource).set(time.time())

    def lost(self, resource: str, changes: int) -> None:
        self._counters["supreme_watch_lost_changes_total"].labels(resource).inc(changes)

    def wrote(self, namespace: str, counted: CounterDeltas) -> None:
        """Count a status that was written just now."""
        for seed in counted.seeds:
            labels = namespace, seed.backend, seed.result
            self._count("supreme_seeds_finished_total", *labels, seed.reason)
            if seed.seconds is not None:
                self._observe(seed.seconds, "supreme_seed_duration_seconds", *labels)
        for seconds in counted.waits:
            self._observe(seconds, "supreme_seed_queue_seconds", namespace)
        self._counters["supreme_seed_disruptions_total"].labels(PREEMPTED).inc(counted.preemptions)
        self._counters["supreme_seed_disruptions_total"].labels(POD_LOST).inc(counted.lost_pods)
        if end := counted.end:
            self._count("supreme_experiments_finished_total", namespace, end.result, end.reason)
            if end.seconds is not None:
                self._observe(
                    end.seconds, "supreme_experiment_duration_seconds", namespace, end.result
                )

    def leads(self) -> None:
        """This process acts from now on."""
        self._gauges["supreme_leader"].set(1)
        self._gauges["leader_election_master_status"].labels(CONTROLLER).set(1)

    def _begin_at_zero(self) -> None:
        """Let every series that is known from the start rise from 0, so that Prometheus sees the
        first time too."""
        self._counters["workqueue_adds_total"].labels(CONTROLLER, CONTROLLER)
        self._counters["workqueue_retries_total"].labels(CONTROLLER, CONTROLLER)
        self._counters["controller_runtime_reconcile_errors_total"].labels(CONTROLLER)
        self._gauges["leader_election_master_status"].labels(CONTROLLER)
        for result in ("success", "requeue_after", "error"):
            self._counters["controller_runtime_reconcile_total"].labels(CONTROLLER, result)
        for reason in RETRIES:
            self._counters["supreme_seed_retries_total"].labels(reason)
        for reason in DISRUPTIONS:
            self._counters["supreme_seed_disruptions_total"].labels(reason)
        for reason in (*AGGREGATION_ERRORS.values(), BUG):
            self._counters["supreme_aggregation_errors_total"].labels(reason)
        for resource in (EXPERIMENTS, JOBS, PODS):
            self._counters["supreme_watch_lost_changes_total"].labels(resource.plural)

    def _begin_at_zero_in(self, namespace: str, backend: str) -> None:
        """Let the series that a namespace will most likely have rise from 0, too."""
        self._histograms["supreme_seed_queue_seconds"].labels(namespace)
        self._counters["supreme_seeds_finished_total"].labels(namespace, backend, "succeeded", "")
        self._histograms["supreme_seed_duration_seconds"].labels(namespace, backend, "succeeded")
        self._counters["supreme_experiments_finished_total"].labels(
            namespace, "succeeded", "SeedsSucceeded"
        )
        self._counters["supreme_experiments_finished_total"].labels(
            namespace, "failed", "FailureBudgetExceeded"
        )
        self._histograms["supreme_experiment_duration_seconds"].labels(namespace, "succeeded")

    def _count(self, name: str, *labels: str) -> None:
        self._counters[name].labels(*labels).inc()

    def _observe(self, seconds: float, name: str, *labels: str) -> None:
        self._histograms[name].labels(*labels).observe(seconds)
