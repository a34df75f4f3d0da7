"""What components there are, without importing them: names, facts and schemas of their settings.

`catalog.json` is generated from the registries (`make generate`), so that the operator and
`supreme validate` can refuse a misspelt method within a second and without torch.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from sys import float_info
from typing import Any, Self

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from supreme_core import registry
from supreme_core.api.model import shown
from supreme_core.api.v1alpha1 import Component, ExperimentSpec
from supreme_core.errors import SpecError, nearest

SCHEMA_VERSION = 1
FILE = "catalog.json"


@dataclass(frozen=True)
class Listed:
    """One component as the catalogue knows it; `params` is a JSON schema."""

    name: str
    version: int
    summary: str
    facts: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def variants(self) -> registry.Variants | None:
        """Those of a family, None for anything else."""
        return self.facts.get("variants")


@dataclass(frozen=True)
class Catalog:
    """kind -> name -> component."""

    components: Mapping[str, Mapping[str, Listed]]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        assert document["schemaVersion"] == SCHEMA_VERSION, "catalog.json of another version"
        return cls(
            {
                kind: {name: Listed(name=name, **facts) for name, facts in entries.items()}
                for kind, entries in document["components"].items()
            }
        )

    def get(self, kind: str, name: str) -> Listed:
        listed = self.components[kind].get(name.partition("/")[0])
        if listed is None or not registry.is_one_of(name, listed.variants):
            known = {each.name: each.variants for each in self.components[kind].values()}
            raise SpecError(registry.unknown_component(kind, name, known))
        return listed

    def problems(self, kind: str, component: Component, *, at: str) -> list[str]:
        """What is wrong with a component's name and settings, a line each."""
        try:
            listed = self.get(kind, component.name)
        except SpecError as error:
            return [f"{at}.name: {error}"]
        errors = _Validator(listed.params).iter_errors(component.params)
        lines = [line for error in errors for line in _explain(error, f"{at}.params")]
        return list(dict.fromkeys(lines))  # each missing field is an error that names them all


@cache
def bundled() -> Catalog:
    """The components of this version, from the file that travels with it."""
    text = resources.files("supreme_core").joinpath(FILE).read_text(encoding="utf-8")
    return Catalog.read(json.loads(text))


def installed() -> Catalog:
    """The bundled one, which is fast; that of the registries where plug-ins add to it."""
    return Catalog.read(live()) if registry.plugins_are_installed() else bundled()


def live() -> dict[str, Any]:
    """The catalogue's document from the registries, plug-ins included; imports every component."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "components": {
            each.kind: {entry.name: entry.describe() for entry in each.entries()}
            for each in registry.REGISTRIES
        },
    }


def document(catalog: Catalog) -> dict[str, Any]:
    """The catalogue as its file has it."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "components": {
            kind: {
                name: {key: value for key, value in asdict(listed).items() if key != "name"}
                for name, listed in components.items()
            }
            for kind, components in catalog.components.items()
        },
    }


def check_components(spec: ExperimentSpec, catalog: Catalog) -> None:
    """Refuse unknown components and wrong settings; SpecError has a line for each."""
    problems: list[str] = []
    training = spec.training
    single = [
        ("dataset", spec.dataset, "spec.dataset"),
        ("model", spec.model, "spec.model"),
        ("optimizer", training.optimizer, "spec.training.optimizer"),
        ("schedule", training.schedule, "spec.training.schedule"),
    ]
    lists: list[tuple[str, list[Any], str]] = [
        ("augmentation", training.augmentation, "spec.training.augmentation"),
        ("scenario", spec.scenarios, "spec.scenarios"),
        ("method", spec.methods, "spec.methods"),
        ("metric", spec.metrics, "spec.metrics"),
        ("seed_metric", spec.seed_metrics, "spec.seedMetrics"),
    ]
    for kind, component, at in single:
        problems += catalog.problems(kind, component, at=at)
    for kind, components, at in lists:
        for position, component in enumerate(components):
            problems += catalog.problems(kind, component, at=f"{at}[{position}]")
    if problems:
        raise SpecError("\n".join(problems))


def _is_integer(checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: object, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= float_info.max


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)
"""As strict as the components' own models: no 8.0 for an integer, no NaN, no infinity."""


def _explain(error: ValidationError, at: str) -> Iterator[str]:
    path = at + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
    )
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        allowed = sorted(schema.get("properties", {}))
        known = f"; allowed: {', '.join(allowed)}" if allowed else "; it has no settings"
        for name in instance:
            if name not in allowed:
                yield f"{path}.{name}: unknown field {name!r}{nearest(name, allowed) or known}"
    elif error.validator == "required":
        for name in schema["required"]:
            if name not in instance:
                yield f"{path}.{name} is required and was not given"
    else:
        rule = _RULES.get(error.validator, _in_its_own_words)
        yield f"{path} is {shown(instance)}; {rule(error)}"


def _in_its_own_words(error: ValidationError) -> str:
    return error.message


_RULES: Mapping[Any, Any] = {
    "anyOf": lambda error: (
        "it should be of type "
        + " or ".join(each.get("type", "?") for each in error.validator_value)
    ),
    "type": lambda error: f"it should be of type {error.validator_value}",
    "enum": lambda error: (
        f"allowed: {', '.join(map(str, error.validator_value))}"
        + nearest(str(error.instance), map(str, error.validator_value))
    ),
    "minimum": lambda error: f"it should be at least {error.validator_value}",
    "maximum": lambda error: f"it should be at most {error.validator_value}",
    "exclusiveMinimum": lambda error: f"it should be greater than {error.validator_value}",
    "exclusiveMaximum": lambda error: f"it should be less than {error.validator_value}",
    "minItems": lambda error: f"it should have at least {error.validator_value} entries",
    "maxItems": lambda error: f"it should have at most {error.validator_value} entries",
    "multipleOf": lambda error: f"it should be a multiple of {error.validator_value}",
}


if __name__ == "__main__":
    print(json.dumps(live(), indent=1, sort_keys=True))
