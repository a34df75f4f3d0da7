"""Marks of methods whose models lost the task, which no place on an axis shows. Pure."""

from typing import Final

from supreme_core.report import tables
from supreme_core.report.tables import IndexedSummary

LOST: Final = {False: ("*", "in some seed"), True: ("**", "in every seed")}
"""Marks and their words, by whether every model of a method did."""


def marks(indexed: IndexedSummary, scenario: str) -> dict[str, str]:
    """Marks by method, of those that have one."""
    lost = tables.lost_tasks(indexed, scenario)
    return {method: LOST[every][0] for method, every in lost.items()}


def explained(indexed: IndexedSummary, scenario: str) -> str:
    """Line that explains the marks of a figure: * lost the task in some seed, ** in every seed"""
    there = sorted(set(tables.lost_tasks(indexed, scenario).values()))
    return ", ".join(
        f"{mark}{'' if place else ' lost the task'} {words}"
        for place, (mark, words) in enumerate(LOST[every] for every in there)
    )
