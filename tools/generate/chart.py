"""The generated parts of the Helm chart: tables of its README, and the schema of `settings`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from supreme_operator.settings import Settings

CHART = Path(__file__).parents[2] / "charts" / "supreme"
VALUES = CHART / "values.yaml"

NAMED = {
    "namespaces": "namespaces",
    "image": "trainer.image",
    "storage_uri": "storage.uri",
    "storage_endpoint": "storage.endpoint",
    "storage_region": "storage.region",
    "storage_secret": "storage.secretName",
    "allowed_endpoints": "storage.allowedEndpoints",
    "allowed_stores": "storage.allowedStores",
    "allowed_labels": "trainer.allowedLabels",
    "allowed_annotations": "trainer.allowedAnnotations",
    "allowed_env": "trainer.allowedEnv",
    "allowed_mount_paths": "trainer.allowedMountPaths",
    "allowed_priority_classes": "trainer.allowedPriorityClasses",
    "allow_own_namespace": "allowOwnNamespace",
    "read_secrets": "readSecrets",
    "fixed_user": "fixedUser",
    "port": "port",
    "leader_election": "leaderElection.enabled",
    "lease_namespace": "leaderElection.namespace",
    "lease_name": "leaderElection.name",
}
"""Settings of the operator that have a value of their own, by its path; the others are fields of
`settings`, in camelCase."""

TOLD = ("description", "type", "enum", "minimum")
"""Keywords of the values' schema for a field of `settings`."""


def path_of(setting: str) -> str:
    """Path of a setting of the operator in the values."""
    return NAMED.get(setting, f"settings.{_camel(setting)}")


def values_table() -> str:
    rows = ["| value | what it is | default |", "| --- | --- | --- |"]
    text = VALUES.read_text(encoding="utf-8")
    for path, about, default in _described(yaml.compose(text), text.splitlines(), ""):
        shown = json.dumps(default).replace("|", "\\|")
        rows.append(f"| `{path}` | {about} | `{shown}` |")
    return "\n".join(rows)


def settings_table() -> str:
    rows = ["| value | what it is | default |", "| --- | --- | --- |"]
    for name, each in _others().items():
        default = json.dumps(each.default)
        rows.append(f"| `{path_of(name)}` | {each.description} | `{default}` |")
    return "\n".join(rows)


def schema_with_settings(text: str) -> str:
    """values.schema.json with what Settings says of the fields of `settings`."""
    schema = json.loads(text)
    known = Settings.model_json_schema()["properties"]
    schema["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            _camel(name): {key: known[name][key] for key in TOLD if key in known[name]}
            for name in _others()
        },
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _described(
    node: yaml.MappingNode, lines: list[str], path: str
) -> Iterator[tuple[str, str, Any]]:
    """(path, comment, default) of each value with a comment above it; ValueError for one without
    that has nothing below it either."""
    for key, value in node.value:
        here = f"{path}{key.value}"
        about = _comment_above(key.start_mark.line, lines)
        if about:
            yield here, about, yaml.SafeLoader("").construct_document(value)
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _described(value, lines, f"{here}.")
        else:
            raise ValueError(f"{VALUES.name} does not say what {here} is; put a comment above it")


def _comment_above(line: int, lines: list[str]) -> str:
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(each.lstrip(" #") for each in lines[first:line])


def _others() -> dict[str, FieldInfo]:
    return {name: each for name, each in Settings.model_fields.items() if name not in NAMED}


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
