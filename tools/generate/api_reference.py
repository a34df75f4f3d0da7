"""The reference of the resource, from the schema that the API server has."""

import json
from collections.abc import Iterator
from typing import Any

from tools.generate import crd

Schema = dict[str, Any]


def fields_table(part: str) -> str:
    """A line for each field below spec or status."""
    lines = ["| field | type | default | what it is |", "| --- | --- | --- | --- |"]
    for path, schema, is_required in _fields(_part(part), f"{part}."):
        default = "required" if is_required else _default(schema)
        about = _cell(schema.get("description", ""))
        lines.append(f"| `{path}` | {_type(schema)} | {default} | {about} |")
    return "\n".join(lines)


def rules_list() -> str:
    """Rules by which the server refuses beyond types and limits, with its own words."""
    found = [("", _resource(), False), ("spec", _part("spec"), False)]
    found += _fields(_part("spec"), "spec.")
    return "\n".join(
        f"* `{path}{rule.get('fieldPath', '')}`: {_cell(_words(rule))}".replace("`.", "`")
        for path, schema, _ in found
        for rule in schema.get("x-kubernetes-validations", ())
    )


def _words(rule: Schema) -> str:
    """Words of a message that is made when the rule is broken, with dots for what is not known
    before."""
    if "message" in rule:
        return str(rule["message"])
    return str(rule["messageExpression"]).partition('".format(')[0].strip('"').replace("%s", "…")


def _resource() -> Schema:
    version = crd.custom_resource_definition()["spec"]["versions"][0]
    resource: Schema = version["schema"]["openAPIV3Schema"]
    return resource


def _part(name: str) -> Schema:
    part: Schema = _resource()["properties"][name]
    return part


def _fields(schema: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    """(path, schema, whether it has to be given) of all fields below, parents first."""
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, field, name in schema.get("required", ())
        yield from _fields(field, f"{path}.")
        if field.get("type") == "array":
            yield from _fields(field["items"], f"{path}[].")


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list{_span(schema, 'minItems', 'maxItems')}"
    if kind == "object":
        return "object" if "properties" in schema else "mapping"
    limits = _span(schema, "minimum", "maximum")
    if kind == "string" and "maxLength" in schema:
        limits = f", at most {schema['maxLength']} characters"
    if schema.get("exclusiveMinimum"):
        limits = f", above {schema['minimum']}"
    return f"{kind}{limits}"


def _span(schema: Schema, least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if high is None:
        return "" if low is None else f", at least {low}"
    return f", at most {high}" if low is None else f", {low} to {high}"


def _default(schema: Schema) -> str:
    """Default of a field; of a section nothing, as its fields have their own."""
    value = schema.get("default")
    if value in (None, "", {}) or "properties" in schema:
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;")
