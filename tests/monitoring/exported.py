"""The metrics that the operator and the trainer export, read off their own registries."""

from collections.abc import Iterable

from prometheus_client.core import Metric
from supreme_operator.metrics import Metrics
from supreme_operator.workqueue import WorkQueue

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
}


def operator_families() -> set[str]:
    """As docs/operator.md names them: a counter with its ending, a histogram without."""
    ending = {"counter": "_total"}
    return {f"{each.name}{ending.get(each.type, '')}" for each in _operator()}


def operator_series() -> set[str]:
    """As queries name them."""
    return _series(_operator())


def _operator() -> list[Metric]:
    metrics = Metrics()
    metrics.observe(WorkQueue(), 8, list, 500)
    return list(metrics.registry.collect())


def _series(families: Iterable[Metric]) -> set[str]:
    return {f"{each.name}{suffix}" for each in families for suffix in SUFFIXES[each.type]}
