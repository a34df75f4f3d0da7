"""`supreme list`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from supreme_trainer.command.sentences import describe

from supreme_core.errors import SpecError
from supreme_core.registry import Listed, catalog


def list_components(kind: str, *, text: str | None, as_json: bool) -> None:
    """List the components of a kind."""
    listed = catalog.installed().components[kind]
    if as_json:
        document = catalog.document(catalog.installed())["components"][kind]
        click.echo(json.dumps(document, indent=1, sort_keys=True))
        return
    if text is not None:
        found = [name for name in _names(listed) if text in name]
        if not found:
            raise SpecError(f"no {kind} has {text!r} in its name")
        click.echo("\n".join(found))
        return
    console, width = Console(), max(map(len, listed), default=0)
    for name, component in sorted(listed.items()):
        describe(console, name, component.summary, column=width)
        if needs := component.facts.get("needs"):
            describe(console, "", f"  needs {', '.join(map(_in_words, needs))}", column=width)
        if component.variants:
            count = f"{len(component.variants)} of them, as {name}/NAME or {name}/NAME.WEIGHTS"
            describe(console, "", f"  {count}: supreme list {kind} --find TEXT", column=width)
        for setting, schema in component.params.get("properties", {}).items():
            of_transformers = component.facts.get("for_transformers", {}).get(setting)
            text = _setting(setting, schema, of_transformers)
            describe(console, "", f"  {text}", column=width)


def _names(listed: Mapping[str, Listed]) -> Iterator[str]:
    """Names that can be chosen, those of families with the names of their weights."""
    for name, component in sorted(listed.items()):
        if component.variants is None:
            yield name
        for variant, weights in sorted((component.variants or {}).items()):
            yield f"{name}/{variant}"
            yield from (f"{name}/{variant}.{each}" for each in weights)


def _in_words(need: str) -> str:
    words = {
        "retain": "retain samples",
        "validation": "validation samples",
        # Named like the stage; the margins of an experiment are something else.
        "margins": "logit confidence of the training samples",
    }
    return words.get(need, need.replace("_", " "))


def _setting(name: str, schema: Mapping[str, Any], of_transformers: object) -> str:
    default = f"default {json.dumps(schema['default'])}" if "default" in schema else "required"
    if of_transformers is not None:
        default += f"; {json.dumps(of_transformers)} for a vision transformer"
    return f"{name}: {schema.get('description', '')} ({default})"
