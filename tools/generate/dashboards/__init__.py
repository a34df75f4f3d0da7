"""Grafana's dashboards as code; `make generate` writes them to charts/supreme/files/dashboards."""

from typing import Any, Final

from tools.generate.dashboards import experiment, experiments, operator

DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    "operator": operator.dashboard(),
    "experiments": experiments.dashboard(),
    "experiment": experiment.dashboard(),
}
"""Dashboards by the name of the file."""
