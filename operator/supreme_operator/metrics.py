"""What /metrics shows. Names of the queue and of reconciliation are those of Go operators, so that
dashboards for these work."""

import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from supreme_core.api.v1alpha1 import ExperimentStatus, Phase

NAME = "unlearningexperiment"
QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = self._maker(Counter)
        histogram = self._maker(Histogram)
        gauge = self._maker(Gauge)
        self._adds = counter("workqueue_adds_total", "Keys added to the queue.", ["name"])
        self._retries = counter("workqueue_retries_total", "Keys tried again.", ["name"])
        self._queued = histogram(
            "workqueue_queue_duration_seconds", "Time that a key waited.", ["name"], buckets=QUICK
        )
        self._worked = histogram(
            "workqueue_work_duration_seconds", "Time that a key took.", ["name"], buckets=QUICK
        )
        self._reconciled = counter(
            "controller_runtime_reconcile_total", "Reconciliations.", ["controller", "result"]
        )
        self._errors = counter(
            "controller_runtime_reconcile_errors_total", "Failed ones.", ["controller"]
        )
        self._requests = counter(
            "supreme_kube_requests_total",
            "Requests to the API server.",
            ["verb", "resource", "code"],
        )
        self._request_seconds = histogram(
            "supreme_kube_request_duration_seconds", "Their time.", ["verb", "resource"]
        )
        self._created = counter("supreme_children_created_total", "Children created.", ["backend"])
        self._seeds = counter(
            "supreme_seeds_finished_total", "Seeds that ended.", ["namespace", "result"]
        )
        self._retried = counter("supreme_seed_retries_total", "Attempts after a failure.")
        self._disrupted = counter("supreme_seed_disruptions_total", "Attempts after a disruption.")
        self._experiments = counter(
            "supreme_experiments_finished_total", "Experiments that ended.", ["namespace", "phase"]
        )
        self._collected = histogram(
            "supreme_collection_duration_seconds", "Time of reading results.", ["task", "result"]
        )
        self._watch = gauge(
            "supreme_watch_last_event_timestamp_seconds",
            "When a watch last told anything.",
            ["resource"],
        )
        self._lost = counter(
            "supreme_watch_lost_changes_total", "Changes that only a list brought.", ["resource"]
        )
        self.is_leader = gauge("supreme_leader", "1 where this process acts.")
        info = gauge("supreme_build_info", "Version of the operator.", ["version"])
        info.labels(metadata.version("supreme")).set(1)
        self._adds.labels(NAME)

    def observe(
        self, depth: Callable[[], int], phases: Callable[[], Mapping[tuple[str, str], int]]
    ) -> None:
        """Show what is computed when it is asked for: keys that wait, experiments by phase."""
        self.registry.register(_AtScrape(depth, phases))

    # What the queue tells.
    def added(self) -> None:
        self._adds.labels(NAME).inc()

    def started(self, waited_seconds: float) -> None:
        self._queued.labels(NAME).observe(waited_seconds)

    def finished(self, worked_seconds: float) -> None:
        self._worked.labels(NAME).observe(worked_seconds)

    def retried(self) -> None:
        self._retries.labels(NAME).inc()

    # What the client tells.
    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self._requests.labels(verb, resource, str(code)).inc()
        self._request_seconds.labels(verb, resource).observe(seconds)

    # What reconciliation tells.
    def reconciled(self, result: str) -> None:
        self._reconciled.labels(NAME, result).inc()
        if result == "error":
            self._errors.labels(NAME).inc()

    def created(self, backend: str, *, retries: bool, disruptions: bool) -> None:
        self._created.labels(backend).inc()
        self._retried.inc(retries)
        self._disrupted.inc(disruptions)

    def collected(self, task: str, result: str, seconds: float) -> None:
        self._collected.labels(task, result).observe(seconds)

    def heard(self, resource: str) -> None:
        self._watch.labels(resource).set(time.time())

    def lost(self, resource: str, changes: int) -> None:
        self._lost.labels(resource).inc(changes)

    def moved(self, namespace: str, before: ExperimentStatus, after: ExperimentStatus) -> None:
        """Counted from a status that was written, so once for each transition."""
        self._seeds.labels(namespace, "succeeded").inc(max(0, after.succeeded - before.succeeded))
        self._seeds.labels(namespace, "failed").inc(max(0, after.failed - before.failed))
        if after.completion_time and not before.completion_time:
            self._experiments.labels(namespace, after.phase).inc()

    def _maker(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(name: str, about: str, labels: Iterable[str] = (), **more: Any) -> Any:
            return kind(name, about, labels, registry=self.registry, **more)

        return make


class _AtScrape:
    def __init__(
        self, depth: Callable[[], int], phases: Callable[[], Mapping[tuple[str, str], int]]
    ) -> None:
        self._depth, self._phases = depth, phases

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("workqueue_depth", "Keys that wait.", labels=["name"])
        depth.add_metric([NAME], self._depth())
        yield depth
        experiments = GaugeMetricFamily(
            "supreme_experiments", "Experiments.", labels=["namespace", "phase"]
        )
        counts = self._phases()
        for namespace in sorted({namespace for namespace, _ in counts}):
            for phase in get_args(Phase):
                experiments.add_metric([namespace, phase], counts.get((namespace, phase), 0))
        yield experiments

    def describe(self) -> Iterable[Metric]:
        return ()
