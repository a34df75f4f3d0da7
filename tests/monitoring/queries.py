"""Parts of the queries of dashboards and rules, read off their text."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"} | {
    "group_left",
    "group_right",
}


class Panel(NamedTuple):
    """A query of a panel of a dashboard."""

    dashboard: str
    title: str
    expression: str


def panels(dashboards: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    """All queries of all panels."""
    return [
        Panel(name, panel["title"], target["expr"])
        for name, dashboard in dashboards.items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def metrics_in(expression: str) -> set[str]:
    """The names of the series that a PromQL expression reads."""
    rest = re.sub(r'"[^"]*"', '""', expression)
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", rest)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", rest)
    names = re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", rest)
    return {name for name in names if name not in WORDS}
