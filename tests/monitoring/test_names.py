"""Every metric that a dashboard, an alert or a page names is exported by somebody.

Ours are read off the registries of the operator and of the trainer; FOREIGN are those of others.
Left out: that alerts fire (test_rules.py), and that queries find something, which a real Prometheus
shows (tests/cluster/test_monitoring.py).
"""

import re
from pathlib import Path

import pytest
import yaml

from tests.monitoring.exported import operator_series, trainer_series
from tests.monitoring.queries import metrics_in, panels
from tests.monitoring.test_rules import ALERTS, ROOT, RUNBOOKS
from tools.generate.dashboards import DASHBOARDS

FOREIGN = {
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_XID_ERRORS",
    "DCGM_FI_PROF_DRAM_ACTIVE",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
}
"""Metrics of DCGM's exporter, as its default counters have them."""

MONITORING, OPERATOR = ROOT / "docs" / "monitoring.md", ROOT / "docs" / "operator.md"
PAGES = [MONITORING, OPERATOR, *sorted(RUNBOOKS.glob("*.md"))]


@pytest.fixture(scope="module")
def exported():
    return operator_series() | trainer_series() | FOREIGN


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (le, job) (rate(a_bucket{b="c d"}[5m])) > 0.1', {"a_bucket"}),
        ('label_replace(a, "b", "$1", "c", "(.+)") * on (d) group_left (e) f', {"a", "f"}),
        ("time() - max(a) unless b offset 5m", {"a", "b"}),
    ],
)
def test_names_are_told_from_functions_labels_and_words(expression, names):
    assert metrics_in(expression) - {"5m"} == names


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_names_only_metrics_that_are_exported(exported, dashboard):
    found = [each for each in panels(DASHBOARDS) if each.dashboard == dashboard]
    assert len(found) > 10
    for panel in found:
        assert metrics_in(panel.expression) <= exported, panel.title


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_only_metrics_that_are_exported(exported, alert):
    assert metrics_in(ALERTS[alert]["expr"]) <= exported


@pytest.mark.parametrize("alert", ALERTS)
def test_the_cases_of_an_alert_are_made_of_metrics_that_are_exported(exported, alert):
    document = yaml.safe_load((Path(__file__).parent / "rules" / f"{alert}.yaml").read_text())
    series = [each["series"] for test in document["tests"] for each in test["input_series"]]
    assert {name for each in series for name in metrics_in(each)} <= exported


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_only_metrics_that_are_exported(exported, page):
    text = page.read_text()
    queries = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"\b(?:supreme|controller_runtime|rest_client)_\w+", text))
    named |= {name for each in queries for name in metrics_in(each)}
    histograms = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported}
    assert named <= exported | histograms


def test_the_trainers_metrics_are_explained_and_no_others():
    rows = re.findall(r"^\| `(supreme_trainer_\w+)", MONITORING.read_text(), re.MULTILINE)
    assert set(rows) == trainer_series()


def test_each_alert_stands_in_the_table_with_how_bad_it_is():
    rows = re.findall(r"^\| \[(\w+)\]\(\S+\) \| (\w+) \|", MONITORING.read_text(), re.MULTILINE)
    assert dict(rows) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
