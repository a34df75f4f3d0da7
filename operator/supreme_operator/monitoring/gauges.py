"""Metrics that are computed when Prometheus asks, from what the operator has seen by then, in a
thread apart from the event loop.

Those of single experiments are limited to the ones that matter the most, because each costs tens of
series: first those that are not done, then the newest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from supreme_core.api.status import Phase
from supreme_operator.cluster.resources import Body
from supreme_operator.cluster.workqueue import WorkQueue

CONTROLLER: Final = "unlearningexperiment"

SEED_PHASES: Final = ("Pending", "Queued", "Running", "Succeeded", "Failed")


@dataclass(frozen=True, eq=False)
class QueueGauges(Collector):
    """workers: how many keys are worked on at most."""

    queue: WorkQueue[Any]
    workers: int

    def collect(self) -> Iterable[Metric]:
        name = {"name": CONTROLLER, "controller": CONTROLLER}
        yield _single("workqueue_depth", "Keys that wait in the queue.", name, self.queue.depth)
        yield _single(
            "workqueue_unfinished_work_seconds",
            "Seconds that the keys being worked on took so far, together.",
            name,
            self.queue.work_seconds(),
        )
        yield _single(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the key worked on for longest took so far.",
            name,
            self.queue.oldest_work_seconds(),
        )
        controller = {"controller": CONTROLLER}
        active, most = "controller_runtime_active_workers", "controller_runtime_max_concurrent"
        yield _single(active, "Keys being worked on.", controller, self.queue.working)
        yield _single(
            f"{most}_reconciles",
            "Most keys that are worked on at one time.",
            controller,
            self.workers,
        )


@dataclass(frozen=True, eq=False)
class ExperimentGauges(Collector):
    """experiments: as the API server has them.  shown: how many have metrics of their own at most;
    0 means none."""

    experiments: Callable[[], Iterable[Body]]
    shown: int

    def collect(self) -> Iterable[Metric]:
        bodies = list(self.experiments())
        yield _phases(bodies)
        yield _single(
            "supreme_experiments_not_shown",
            "Experiments without metrics of their own, because there are too many.",
            {},
            max(0, len(bodies) - self.shown),
        )
        yield from _of_each(chosen(bodies, self.shown))


def chosen(bodies: Sequence[Body], most: int) -> list[Body]:
    """Experiments that have metrics of their own."""
    newest = sorted(bodies, key=lambda body: body["metadata"]["creationTimestamp"], reverse=True)
    return sorted(newest, key=lambda body: "completionTime" in _status(body))[:most]


def _phases(bodies: Iterable[Body]) -> Metric:
    family = GaugeMetricFamily(
        "supreme_experiments", "Experiments by phase.", labels=["namespace", "phase"]
    )
    counts = Counter((body["metadata"]["namespace"], _phase(body)) for body in bodies)
    for namespace in sorted({namespace for namespace, _ in counts}):
        for phase in get_args(Phase):
            family.add_metric([namespace, phase], counts[namespace, phase])
    return family


def _of_each(bodies: Iterable[Body]) -> Iterator[Metric]:
    which = ["namespace", "experiment"]
    info = GaugeMetricFamily(
        "supreme_experiment_info",
        "Phase, dataset and model of an experiment; always 1.",
        labels=[*which, "phase", "dataset", "model"],
    )
    seeds = GaugeMetricFamily(
        "supreme_experiment_seeds", "Seeds of an experiment by phase.", labels=[*which, "phase"]
    )
    retries = GaugeMetricFamily(
        "supreme_experiment_retries", "Attempts of an experiment that failures cost.", labels=which
    )
    disruptions = GaugeMetricFamily(
        "supreme_experiment_disruptions",
        "Attempts of an experiment that disruptions cost.",
        labels=which,
    )
    started = GaugeMetricFamily(
        "supreme_experiment_start_timestamp_seconds",
        "Start of an experiment's first child, in Unix seconds.",
        labels=which,
    )
    completed = GaugeMetricFamily(
        "supreme_experiment_completion_timestamp_seconds",
        "End of an experiment, in Unix seconds.",
        labels=which,
    )
    objective = GaugeMetricFamily(
        "supreme_experiment_objective",
        "Primary metric of an experiment over its seeds.",
        labels=[*which, "metric", "scenario", "method", "stat"],
    )
    for body in bodies:
        metadata, spec, status = body["metadata"], body["spec"], _status(body)
        names = [metadata["namespace"], metadata["name"]]
        info.add_metric([*names, _phase(body), spec["dataset"]["name"], spec["model"]["name"]], 1)
        for phase, count in zip(SEED_PHASES, _seeds(status), strict=True):
            seeds.add_metric([*names, phase], count)
        for family, field in ((retries, "retries"), (disruptions, "disruptions")):
            told = status.get("seedStatuses") or ()
            family.add_metric(names, sum(seed.get(field, 0) for seed in told))
        for family, field in ((started, "startTime"), (completed, "completionTime")):
            if field in status:
                family.add_metric(names, datetime.fromisoformat(status[field]).timestamp())
        for row in status.get("summary") or ():
            labels = [*names, spec.get("primaryMetric", ""), row["scenario"], row["method"]]
            for stat in ("mean", "low", "high"):
                if row.get(stat) is not None:
                    objective.add_metric([*labels, stat], row[stat])
    yield from (info, seeds, retries, disruptions, started, completed, objective)


def _seeds(status: Body) -> tuple[int, ...]:
    """Return the numbers of seeds in the order of SEED_PHASES; the status counts queued ones as
    active too."""
    queued = status.get("queued", 0)
    return (
        status.get("pending", 0),
        queued,
        status.get("active", 0) - queued,
        status.get("succeeded", 0),
        status.get("failed", 0),
    )


def _status(body: Body) -> Body:
    return body.get("status") or {}


def _phase(body: Body) -> str:
    return str(_status(body).get("phase") or "Pending")


def _single(name: str, about: str, labels: Mapping[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, about, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
