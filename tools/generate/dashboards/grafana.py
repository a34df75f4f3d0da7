"""The JSON of Grafana's dashboards, as far as ours need it.

A panel is its JSON without a place; `dashboard` puts the panels of each row side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

SCHEMA_VERSION: Final = 39
"""Schema version of Grafana 11; later ones read it too."""

COLUMNS: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """An expression and what its series are called in the legend, such as `{{method}}`."""

    expression: str
    legend: str = ""


def timeseries(
    title: str,
    *queries: Query,
    unit: str = "short",
    about: str = "",
    width: int = 8,
    stacked: bool = False,
) -> Json:
    """about: what it shows beyond its title; "" where the title says all."""
    custom: Json = {"lineWidth": 1, "fillOpacity": 60 if stacked else 0, "showPoints": "auto"}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    panel = _panel("timeseries", title, about, queries, unit, width)
    panel["fieldConfig"]["defaults"] |= {"min": 0, "custom": custom}
    panel["options"] = {"tooltip": {"mode": "multi", "sort": "desc"}}
    return panel


def values(
    title: str, query: Query, *, unit: str = "short", about: str = "", width: int = 4
) -> Json:
    """The latest value of each series, large; without a unit that of their names."""
    panel = _panel("stat", title, about, [query], unit, width, height=4)
    panel["options"] = {
        "textMode": "value" if unit else "name",
        "colorMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"]},
    }
    return panel


def table(
    title: str,
    columns: Mapping[str, str],
    hidden: Sequence[str] = (),
    *,
    about: str = "",
    units: Mapping[str, str] | None = None,
    width: int = COLUMNS,
) -> Json:
    """A row for each set of labels, and a column for each expression, by its title.

    hidden: labels and columns that are not shown.  units: of columns.
    """
    queries = [Query(expression) for expression in columns.values()]
    panel = _panel("table", title, about, queries, "short", width)
    for target in panel["targets"]:
        target |= {"instant": True, "range": False, "format": "table"}
    # Grafana calls the only value `Value`, and several by their queries.
    places = [f"Value #{target['refId']}" for target in panel["targets"]]
    named = dict(zip(places if len(places) > 1 else ["Value"], columns, strict=True))
    unseen = [place for place, name in named.items() if name in hidden]
    exclude = {name: True for name in ("Time", *hidden, *unseen)}
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": exclude, "renameByName": named}},
    ]
    panel["fieldConfig"]["overrides"] = [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": "unit", "value": unit}],
        }
        for column, unit in (units or {}).items()
    ]
    return panel


def timeline(title: str, query: Query, *, about: str = "", width: int = COLUMNS) -> Json:
    """A bar for each series whose colour is its value, from 0 to 1."""
    panel = _panel("state-timeline", title, about, [query], "percentunit", width)
    panel["fieldConfig"]["defaults"] |= {
        "min": 0,
        "max": 1,
        "color": {"mode": "continuous-BlYlRd"},
    }
    panel["options"] = {"mergeValues": True, "showValue": "never"}
    return panel


def _panel(
    kind: str,
    title: str,
    about: str,
    queries: Iterable[Query],
    unit: str,
    width: int,
    height: int = 8,
) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
        }
        for place, query in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit} if unit else {}, "overrides": []},
    }


def label_variable(name: str, label: str, of: str, *, all_of_them: bool = True) -> Json:
    """A choice among the values that a label has in the series of an expression.

    all_of_them: they can be chosen together, by `.*`, which is so at first; a label that no series
    has does not matter then.
    """
    choice = {"includeAll": True, "multi": True, "allValue": ".*"} if all_of_them else {}
    current = {"current": {"text": ["All"], "value": ["$__all"]}} if all_of_them else {}
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({of}, {label})", "refId": name},
        "refresh": 2,
        "sort": 1,
        **choice,
        **current,
    }


def dashboard(
    name: str, title: str, variables: Sequence[Json], rows: Mapping[str, Sequence[Json]]
) -> Json:
    """name: of its address.  rows: panels by the heading over them."""
    return {
        "uid": f"supreme-{name}",
        "title": title,
        "tags": ["supreme"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [
            {"type": "dashboards", "tags": ["supreme"], "title": "SUPREME", "asDropdown": True}
        ],
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                *variables,
            ]
        },
        "panels": _placed(rows),
    }


def _placed(rows: Mapping[str, Sequence[Json]]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    for heading, panels in rows.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        placed.append({"type": "row", "title": heading, "collapsed": False, "gridPos": place})
        x, y, height = 0, y + 1, 0
        for panel in panels:
            size = panel["gridPos"]
            if x + size["w"] > COLUMNS:
                x, y, height = 0, y + height, 0
            placed.append({**panel, "gridPos": {"x": x, "y": y, **size}})
            x, height = x + size["w"], max(height, size["h"])
        y += height
    return [{"id": number, **panel} for number, panel in enumerate(placed, start=1)]
