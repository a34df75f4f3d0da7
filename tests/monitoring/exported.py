"""The metrics that the operator and the trainer export, read off their own registries."""

from collections.abc import Iterable
from dataclasses import asdict

from prometheus_client.core import Metric
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.monitoring.counters import Metrics
from supreme_trainer.process.exporter import Gauges
from supreme_trainer.process.progress import Board

from supreme_core.plan import Step
from tests.trainer.experiments import FINETUNE, FULL_CLASS, experiment, planned

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
}


def operator_families() -> set[str]:
    """Return the names as docs/operator.md has them: a counter with its ending, a histogram
    without."""
    ending = {"counter": "_total"}
    return {f"{each.name}{ending.get(each.type, '')}" for each in operator_metrics()}


def operator_series() -> set[str]:
    """Metrics of the operator, by the names that queries have for them."""
    return _series(operator_metrics())


def operator_metrics() -> list[Metric]:
    """Every family that the operator exports."""
    metrics = Metrics()
    metrics.observe(WorkQueue(metrics), 8, list, 500)
    return list(metrics.registry.collect())


def _series(families: Iterable[Metric]) -> set[str]:
    return {f"{each.name}{suffix}" for each in families for suffix in SUFFIXES[each.type]}


def trainer_series() -> set[str]:
    """Metrics of a trainer, by the names that queries have for them."""
    return _series(trainer_metrics())


def trainer_metrics() -> list[Metric]:
    """Every family of a trainer that is in the middle of a stage, with a loss."""
    step = Step("original")
    board = Board([260], [step], parallel=1)
    board.apply(260, {"event": "stage-started", **asdict(step)})
    told = {"done": 1, "total": 2, "loss": 0.5, "note": "", "epoch": 1, "images": 1, "memory": 1}
    board.apply(260, {"event": "progress", **told})
    document = experiment(scenarios=[FULL_CLASS], methods=[FINETUNE])
    order = planned(document).shared(store="store", endpoint=None, region=None)
    return list(Gauges(order.of_seed(260, attempt=0), board).collect())
