"""Pieces of PromQL that dashboards share."""

from typing import Final

from tools.generate.dashboards.grafana import Query, query

CLUSTER: Final = 'cluster=~"$cluster"'
"""A label that Prometheus gives to what leaves it, so one alone may have no such."""


def rate(counter: str, *, by: str, where: str) -> str:
    """Per second, of a counter's series with the same labels `by`."""
    return f"sum by ({by}) (rate({counter}{{{where}}}[$__rate_interval]))"


def quantiles(
    histogram: str, *, where: str, by: str = "", over: str = "$__rate_interval"
) -> list[Query]:
    """Median and 95 % of a histogram, for each value of a label `by`."""
    groups = f"le, {by}" if by else "le"
    name = f" {{{{{by}}}}}" if by else ""
    rates = f"sum by ({groups}) (rate({histogram}_bucket{{{where}}}[{over}]))"
    return [
        query(f"histogram_quantile({q}, {rates})", f"{title}{name}")
        for q, title in ((0.5, "median"), (0.95, "95 %"))
    ]


def gpus(metric: str, where: str) -> str:
    """A metric of DCGM's exporter for the GPUs of trainers' pods, by pod, seed and GPU.

    Which pod uses a GPU stands in `pod`, or in `exported_pod` where the labels of the exporter's
    own pod go first.
    """
    pod = f'label_replace({metric}, "pod", "$1", "exported_pod", "(.+)")'
    both = f'label_replace({pod}, "namespace", "$1", "exported_namespace", "(.+)")'
    ours = f"max by (namespace, pod, experiment, seed) (supreme_trainer_info{{{where}}})"
    return (
        f"sum by (namespace, pod, gpu) ({both})"
        f" * on (namespace, pod) group_left (experiment, seed) {ours}"
    )
