"""`supreme list`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from supreme_trainer.command.sentences import describe

from supreme_core.errors import SpecError
from supreme_core.registry import Listed, catalog
from supreme_core.report.words import sees


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
            text += _tuned(setting, component.facts)
            describe(console, "", f"  {text}", column=width)
        if kind == "objective":
            for text in _of_objective(component.facts):
                describe(console, "", f"  {text}", column=width)
        if source := component.facts.get("search_source"):
            describe(console, "", f"  ranges for tuning: {source}", column=width)


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


def _tuned(setting: str, facts: Mapping[str, Any]) -> str:
    """Ranges that a setting is tuned in: `; tuned in {log: [0.0001, 0.1]}`."""
    of_all, of_transformers = (
        facts.get(fact, {}).get(setting) for fact in ("search", "search_for_transformers")
    )
    text = f"; tuned in {_range(of_all)}" if of_all else ""
    return text + (
        f"; {_range(of_transformers)} for a vision transformer" if of_transformers else ""
    )


def _of_objective(facts: Mapping[str, Any]) -> Iterator[str]:
    """Facts by which a reader judges an objective."""
    yield sees(facts["track"])
    if facts["not_for"]:
        yield f"has no meaning for {', '.join(facts['not_for'])}"
    yield f"is gamed by: {facts['gamed_by']}"


def _range(document: Mapping[str, Any]) -> str:
    """A range as a file has it: `{log: [0.0001, 0.1]}`."""
    [(kind, values)] = document.items()
    if kind == "epochs":
        return f"{{int: {json.dumps(values)}}} up to the budget of a trial"
    return f"{{{kind}: {json.dumps(values)}}}"
