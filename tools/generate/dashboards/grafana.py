"""Panels, variables and dashboards in the look that ours share, made by Grafana's own builders.

constraints.txt pins grafana-foundation-sdk to one release of Grafana, named behind the `!` of its
version. That release and later ones read the dashboards.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import timeseries as series
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Json = dict[str, Any]
Query = prometheus.Dataquery
Panel = series.Panel | stat.Panel | tables.Panel | statetimeline.Panel
AnyPanel = TypeVar("AnyPanel", series.Panel, stat.Panel, tables.Panel, statetimeline.Panel)

COLUMNS: Final = 24
DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def query(expression: str, legend: str = "") -> Query:
    """An expression and the name of its series in the legend, such as `{{method}}`."""
    return Query().expr(expression).legend_format(legend or "__auto").datasource(DATASOURCE)


def timeseries(
    title: str,
    *queries: Query,
    unit: str = "short",
    about: str = "",
    width: int = 8,
    stacked: bool = False,
) -> series.Panel:
    """Lines over time.  about: what the title does not say; empty where it says everything."""
    tooltip = common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI)
    panel = (
        _filled(series.Panel(), title, queries, unit=unit, about=about, width=width)
        .min(0)
        .line_width(1)
        .fill_opacity(60 if stacked else 0)
        .show_points(looks.VisibilityMode.AUTO)
        .tooltip(tooltip.sort(looks.SortOrder.DESCENDING))
        .legend(_legend())
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    return panel


def values(
    title: str, of: Query, *, unit: str = "short", about: str = "", width: int = 4
) -> stat.Panel:
    """The latest value of each series in large print; the series' name where there is no unit."""
    text = looks.BigValueTextMode.VALUE if unit else looks.BigValueTextMode.NAME
    return (
        _filled(stat.Panel(), title, [of], unit=unit, about=about, width=width, height=4)
        .text_mode(text)
        .color_mode(looks.BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def table(
    title: str,
    columns: Mapping[str, str],
    hidden: Sequence[str] = (),
    *,
    about: str = "",
    units: Mapping[str, str] | None = None,
    width: int = COLUMNS,
) -> tables.Panel:
    """A row for each set of labels, and a column for each expression, by its title.

    hidden: labels and columns that are not shown.  units: of columns.
    """
    queries = [query(each).instant().format(PromQueryFormat.TABLE) for each in columns.values()]
    panel = _filled(tables.Panel(), title, queries, unit="short", about=about, width=width)
    # Grafana calls the only value `Value`, and several by their queries.
    places = [f"Value #{_letter(place)}" for place in range(len(queries))]
    named = dict(zip(places if len(places) > 1 else ["Value"], columns, strict=True))
    unseen = [place for place, name in named.items() if name in hidden]
    exclude = {name: True for name in ("Time", *hidden, *unseen)}
    organized = {"excludeByName": exclude, "renameByName": named}
    panel.with_transformation(models.DataTransformerConfig("merge", options={}))
    panel.with_transformation(models.DataTransformerConfig("organize", options=organized))
    for column, unit in (units or {}).items():
        panel.override_by_name(column, [models.DynamicConfigValue("unit", unit)])
    return panel


def timeline(
    title: str, of: Query, *, about: str = "", width: int = COLUMNS
) -> statetimeline.Panel:
    """A bar for each series whose colour is its value, from 0 to 1."""
    return (
        _filled(statetimeline.Panel(), title, [of], unit="percentunit", about=about, width=width)
        .min(0)
        .max(1)
        .color_scheme(dashboards.FieldColor().mode(models.FieldColorModeId.CONTINUOUS_BL_YL_RD))
        .merge_values(True)
        .show_value(looks.VisibilityMode.NEVER)
        .legend(_legend())
    )


def _legend() -> common.VizLegendOptions:
    """A shown legend: the builders hide it by default, Grafana itself shows it."""
    place = common.VizLegendOptions().placement(looks.LegendPlacement.BOTTOM)
    return place.display_mode(looks.LegendDisplayMode.LIST).show_legend(True)


def _filled(
    panel: AnyPanel,
    title: str,
    queries: Iterable[Query],
    *,
    unit: str,
    about: str,
    width: int,
    height: int = 8,
) -> AnyPanel:
    panel.title(title).datasource(DATASOURCE).span(width).height(height)
    if about:
        panel.description(about)
    if unit:
        panel.unit(unit)
    for place, each in enumerate(queries):
        panel.with_target(each.ref_id(_letter(place)))
    return panel


def _letter(place: int) -> str:
    return chr(ord("A") + place)


def label_variable(
    name: str, label: str, of: str, *, all_of_them: bool = True
) -> dashboards.QueryVariable:
    """A choice among the values that a label has in the series of an expression.

    all_of_them: several can be chosen at once, and all are chosen at first, by `.*`, which series
    without the label match too.
    """
    variable = (
        dashboards.QueryVariable(name)
        .datasource(DATASOURCE)
        .query({"query": f"label_values({of}, {label})", "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if all_of_them:
        everything = models.VariableOption(text=["All"], value=["$__all"])
        variable.include_all(True).multi(True).all_value(".*").current(everything)
    return variable


def dashboard(
    name: str,
    title: str,
    variables: Sequence[dashboards.QueryVariable],
    rows: Mapping[str, Sequence[Panel]],
) -> Json:
    """The JSON of a dashboard.  name: of its address.  rows: panels by the heading over them."""
    link = dashboards.DashboardLink("SUPREME").type(models.DashboardLinkType.DASHBOARDS)
    built = (
        dashboards.Dashboard(title)
        .uid(f"supreme-{name}")
        .tags(["supreme"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("")  # the reader's preference; the builder's default overrides it
        .link(link.tags(["supreme"]).as_dropdown(True))
        .with_variable(dashboards.DatasourceVariable("datasource").type("prometheus"))
    )
    for variable in variables:
        built.with_variable(variable)
    numbers = count(1)
    for heading, panels in rows.items():
        built.with_row(dashboards.Row(heading).id(next(numbers)))
        for panel in panels:
            built.with_panel(panel.id(next(numbers)))
    document: Json = json.loads(JSONEncoder().encode(built.build()))
    return document
