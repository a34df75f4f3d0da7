"""Alerts: promtool computes each on series by hand, of which some make it fire and some do not.

Covered: expressions, times, labels and texts of all alerts; that each has cases and a runbook.
Left out: that the series are exported under these names (test_names.py).
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.prometheus import program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "supreme" / "files" / "rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
CASES = {path.stem: path for path in sorted((Path(__file__).parent / "rules").glob("*.yaml"))}
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}

every_alert = pytest.mark.parametrize("alert", ALERTS)


def test_each_alert_has_cases_and_a_runbook_and_nothing_else_has():
    assert set(ALERTS) == set(CASES)
    assert set(ALERTS) == {path.stem for path in RUNBOOKS.glob("*.md")}


@every_alert
def test_an_alert_fires_where_it_should_and_only_there(alert):
    done = subprocess.run(
        [program("promtool"), "test", "rules", CASES[alert]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@every_alert
def test_the_cases_of_an_alert_are_about_it_and_of_both_kinds(alert):
    tests = yaml.safe_load(CASES[alert].read_text())["tests"]
    asked = [each for test in tests for each in test["alert_rule_test"]]
    assert {each["alertname"] for each in asked} == {alert}
    assert {bool(each["exp_alerts"]) for each in asked} == {True, False}


@every_alert
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert ROOT / rule["annotations"]["runbook_url"] == RUNBOOKS / f"{alert}.md"


@every_alert
def test_a_runbook_says_what_it_means_how_to_see_and_what_to_do(alert):
    page = (RUNBOOKS / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Meaning", "Diagnosis", "Remedy"]
