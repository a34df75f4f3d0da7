"""Dashboards as Grafana reads them: places, ids, variables.

Left out: the names of metrics (test_names.py), what queries find, which a real Prometheus shows
(tests/cluster/test_monitoring.py), that the files are up to date (tests/contracts), Grafana itself.
"""

import itertools
import re

import pytest

from tools.generate.dashboards import DASHBOARDS

every_dashboard = pytest.mark.parametrize(
    "dashboard", DASHBOARDS.values(), ids=[str(name) for name in DASHBOARDS]
)

BUILT_IN = {"__rate_interval", "__range"}
"""Variables that Grafana itself gives."""


def test_each_dashboard_has_an_address_and_a_title_of_its_own():
    for field in ("uid", "title"):
        assert len({dashboard[field] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@every_dashboard
def test_panels_stand_side_by_side_and_none_over_another(dashboard):
    covered = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        fields = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert not covered & fields, panel["title"]
        covered |= fields


@every_dashboard
def test_panels_and_their_queries_have_ids_of_their_own(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        queries = panel.get("targets", [])
        assert len({query["refId"] for query in queries}) == len(queries)


@every_dashboard
def test_a_query_uses_variables_that_there_are(dashboard):
    known = {variable["name"] for variable in dashboard["templating"]["list"]} | BUILT_IN
    for panel in dashboard["panels"]:
        for query in panel.get("targets", ()):
            assert set(re.findall(r"\$(\w*[a-z]\w*)", query["expr"])) <= known, panel["title"]
            assert query["datasource"]["uid"] == "${datasource}"


@every_dashboard
def test_lines_and_bars_have_a_legend_that_is_shown(dashboard):
    """The library's builders hide it where they write any option of a panel."""
    drawn = [p for p in dashboard["panels"] if p["type"] in ("timeseries", "state-timeline")]
    assert drawn
    for panel in drawn:
        assert panel["options"]["legend"]["showLegend"] is True, panel["title"]


@every_dashboard
def test_times_are_shown_in_the_zone_that_a_reader_prefers(dashboard):
    assert dashboard["timezone"] == ""
