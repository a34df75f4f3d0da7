"""Events that `kubectl describe` shows of an experiment: one for each transition. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import uuid4

from supreme_core.api import names
from supreme_core.api.status import Condition, ExperimentStatus
from supreme_operator.deciding.endings import POD_LOST
from supreme_operator.deciding.times import written

WARNINGS: Final = {"Accepted": "False", "ChildrenScheduled": "False", "Failed": "True"}
"""Conditions whose status is a trouble."""

REPORTED: Final = (
    "Accepted",
    "Suspended",
    "ChildrenScheduled",
    "SettingsChosen",
    "ResultsAggregated",
    "Complete",
    "Failed",
)
"""Progressing changes with every seed; what it says stands in the status."""


PENDING: Final = {"SettingsChosen": "TrialsPending", "ResultsAggregated": "ResultsPending"}
"""Conditions that do not hold at first, and their reason until they do."""


class Transition(NamedTuple):
    """An event before it has an object and a time."""

    type: str
    reason: str
    message: str


def transitions(before: ExperimentStatus, after: ExperimentStatus) -> Iterator[Transition]:
    """Changes that a person wants to know."""
    known = {each.type: each for each in before.conditions}
    for condition in after.conditions:
        previous = known.get(condition.type)
        is_news = previous is None or _fact(previous) != _fact(condition)
        if condition.type in REPORTED and is_news and not _is_dull(previous, condition):
            warns = WARNINGS.get(condition.type) == condition.status or _is_trouble(condition)
            yield Transition("Warning" if warns else "Normal", condition.reason, condition.message)
    seeds = {each.seed: each for each in before.seed_statuses}
    for seed in after.seed_statuses:
        was = seeds.get(seed.seed)
        if was and was.attempt == seed.attempt and seed.lost_pods > was.lost_pods:
            said = seed.message if seed.reason == POD_LOST else "a pod of it was lost"
            yield Transition("Warning", POD_LOST, f"seed {seed.seed}: {said}")
    were_failed = {each.seed for each in before.seed_statuses if each.phase == "Failed"}
    for seed in after.seed_statuses:
        if seed.phase == "Failed" and seed.seed not in were_failed:
            message = f"seed {seed.seed}: {seed.reason}: {seed.message or ''}"
            yield Transition("Warning", "SeedFailed", message)


def event(transition: Transition, body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The Event object of a transition of a resource."""
    metadata, time = body["metadata"], written(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{uuid4().hex[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": transition.type,
        "reason": transition.reason,
        "message": transition.message,
        "source": {"component": names.OPERATOR},
        "reportingComponent": names.OPERATOR,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def _fact(condition: Condition) -> tuple[str, str]:
    return condition.status, condition.reason


def _is_dull(previous: Condition | None, condition: Condition) -> bool:
    """Nothing was wrong before, and nothing is now."""
    was_well = previous is None or not _is_trouble(previous)
    dull = ("SeedsScheduled", "TrialsPending", "ResultsPending")
    return condition.reason in dull and was_well


def _is_trouble(condition: Condition) -> bool:
    if condition.type in PENDING:
        return condition.status == "False" and condition.reason != PENDING[condition.type]
    return condition.type == "ChildrenScheduled" and condition.status == "False"
