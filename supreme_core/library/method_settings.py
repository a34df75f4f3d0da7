"""Settings of methods with their defaults, those that were chosen in tuning included."""

from collections.abc import Mapping
from typing import Any

from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.registry import catalog
from supreme_core.tuning.entries import entries_of


def method_settings(order: ExperimentOrder) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Settings of each method by the titles of scenario and method."""
    known = catalog.installed()
    return {
        (scenario.title, title): _settings_of(entry, known)
        for scenario in order.work.scenarios
        for title, entry in entries_of(order.work, scenario.title).items()
    }


def _settings_of(entry: MethodEntry, known: catalog.Catalog) -> dict[str, Any]:
    """Settings of a method with its defaults, and what is wrapped around it."""
    listed = known.find("method", entry.name)  # None where a plug-in is not installed here
    properties = listed.params.get("properties", {}) if listed else {}
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    more = entry.to_document()
    around = {name: more[name] for name in ("wrappers", "augmentation") if name in more}
    return {**defaults, **entry.params, **around}
