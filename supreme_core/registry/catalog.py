"""Catalogue of components, without importing them: names, facts and schemas of their settings.

`catalog.json` is generated from the registries (`make generate`), so that the operator and
`supreme validate` can refuse a misspelt method within a second and without torch.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain
from math import inf
from sys import float_info
from typing import Any, Final, Self

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from supreme_core import registry
from supreme_core.api.load import NOTHING_WRITTEN, misread
from supreme_core.api.model import parse, path_of, shown
from supreme_core.api.settings import Written
from supreme_core.api.v1alpha1 import Component, ExperimentSpec
from supreme_core.errors import SpecError, mistakes, nearest, number_of, quoted

SCHEMA_VERSION = 1
FILE = "catalog.json"


@dataclass(frozen=True)
class Inner:
    """A component at a position of the list that a setting of another component is."""

    kind: str
    component: Component
    setting: str
    position: int


@dataclass(frozen=True)
class Catalog:
    """kind -> name -> component."""

    components: Mapping[str, Mapping[str, registry.Listed]]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        assert document["schemaVersion"] == SCHEMA_VERSION, "catalog.json of another version"
        return cls(
            {
                kind: {name: registry.Listed(name=name, **facts) for name, facts in entries.items()}
                for kind, entries in document["components"].items()
            }
        )

    def get(self, kind: str, name: str) -> registry.Listed:
        listed = self.find(kind, name)
        if listed is None:
            known = {each.name: each.variants for each in self.components[kind].values()}
            raise SpecError(registry.unknown_component(kind, name, known))
        return listed

    def find(self, kind: str, name: str) -> registry.Listed | None:
        listed = self.components[kind].get(name.partition("/")[0])
        return listed if listed and registry.is_one_of(name, listed.variants) else None

    def problems(
        self, kind: str, component: Component, *, at: str, written: Written = NOTHING_WRITTEN
    ) -> list[str]:
        """Problems with a component's name and settings, a line each.

        written: the texts of a file's values by their paths. Where a class is chosen by number or
        name, a text that is read as something else than its digits or its letters is refused.
        """
        try:
            listed = self.get(kind, component.name)
        except SpecError as error:
            return [f"{at}.name: {error}"]
        errors = _Validator(listed.params).iter_errors(component.params)
        misreads = dict(_misreads(listed.params, component.params, f"{at}.params", written))
        lines = chain(
            misreads.values(),
            chain.from_iterable(
                _explain(wrong, f"{at}.params")
                for wrong in errors
                if _place(wrong, f"{at}.params") not in misreads
            ),
        )
        if found := str(mistakes(lines)).splitlines():
            return found
        return [
            problem
            for each in self.inner(kind, component)
            for problem in self.problems(
                each.kind,
                each.component,
                at=f"{at}.params.{each.setting}[{each.position}]",
                written=written,
            )
        ]

    def inner(self, kind: str, component: Component) -> "Iterator[Inner]":
        """The components that a setting of this one lists, such as the requests of a sequence."""
        listed = self.find(kind, component.name)
        properties = listed.params.get("properties", {}) if listed else {}
        for setting, schema in properties.items():
            if of_kind := schema.get("componentKind"):
                for position, document in enumerate(component.params.get(setting, ())):
                    yield Inner(of_kind, parse(Component, document), setting, position)


@cache
def bundled() -> Catalog:
    """The components of this version, from the file that travels with it."""
    text = resources.files("supreme_core.registry").joinpath(FILE).read_text(encoding="utf-8")
    return Catalog.read(json.loads(text))


def installed() -> Catalog:
    """The bundled one, which is fast; that of the registries where plug-ins add to it."""
    return live() if registry.plugins_are_there() else bundled()


def live() -> Catalog:
    """The catalogue of the registries, plug-ins included; imports every component."""
    return Catalog(
        {
            each.kind: {entry.name: entry.listed for entry in each.entries()}
            for each in registry.REGISTRIES
        }
    )


def document(catalog: Catalog) -> dict[str, Any]:
    """The catalogue as its file has it."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "components": {
            kind: {name: listed.describe() for name, listed in components.items()}
            for kind, components in catalog.components.items()
        },
    }


NEVER_UNLISTED: Final = {
    "scenario": "which methods fit it",
    "metric": "the rows of the table",
}
"""Kinds without which nothing can be planned or published, and what would not be known."""


def check_components(
    spec: ExperimentSpec, catalog: Catalog, written: Written = NOTHING_WRITTEN
) -> None:
    """Refuse unknown components and wrong settings; SpecError has a line for each.

    Where unlisted components are allowed, those of an image are left to its trainers.
    written: as in `Catalog.problems`.
    """
    training = spec.training
    single: list[tuple[str, Component, str]] = [
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
    if spec.tuning:
        lists.append(("scenario", spec.tuning.rehearsal, "spec.tuning.rehearsal"))
    for position, method in enumerate(spec.methods):
        lists.append(("wrapper", method.wrappers, f"spec.methods[{position}].wrappers"))
    for kind, components, at in lists:
        single += [(kind, each, f"{at}[{position}]") for position, each in enumerate(components)]
    allowed = spec.execution.allow_unlisted_components
    wrong = mistakes(
        problem
        for kind, component, at in single
        for problem in (
            _unlisted(kind, component, at)
            if allowed and catalog.find(kind, component.name) is None
            else catalog.problems(kind, component, at=at, written=written)
        )
    )
    if str(wrong):
        raise wrong


def _unlisted(kind: str, component: Component, at: str) -> Iterator[str]:
    if kind in NEVER_UNLISTED:
        yield (
            f"{at}.name: unknown {kind} {component.name!r}; execution.allowUnlistedComponents does"
            f" not go for a {kind}, without which nobody here knows {NEVER_UNLISTED[kind]}"
        )


def _is_integer(checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: object, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= float_info.max


def _items(
    validator: Any, items: Mapping[str, Any], instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """The mistakes of a list's entries; nobody looks at those of a list that is too long."""
    if isinstance(instance, list) and len(instance) > schema.get("maxItems", inf):
        return
    yield from Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"items": _items},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)
"""Validator as strict as the components' own models: no 8.0 for an integer, no NaN, no infinity."""


def _misreads(
    schema: Mapping[str, Any], params: Mapping[str, Any], at: str, written: Written
) -> Iterator[tuple[str, str]]:
    """Path and line of each class by number or name that YAML does not read as it is written."""
    for setting, each in schema.get("properties", {}).items():
        value = params.get(setting)
        places = {f"{at}.{setting}": value} if each.get("anyOf") == NUMBER_OR_NAME else {}
        if each.get("items", {}).get("anyOf") == NUMBER_OR_NAME and isinstance(value, list):
            places = {f"{at}.{setting}[{place}]": chosen for place, chosen in enumerate(value)}
        for path, chosen in places.items():
            text = written.get(path)
            if text and not isinstance(chosen, str) and (type(chosen), text) != (int, str(chosen)):
                yield path, misread(path, text)


NUMBER_OR_NAME: Final = [{"type": "integer"}, {"type": "string"}]
"""The schema of what chooses a class, a fine class or an identity."""


def _place(error: ValidationError, at: str) -> str:
    return path_of([at, *error.absolute_path])


def _explain(error: ValidationError, at: str) -> Iterator[str]:
    path = _place(error, at)
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        allowed = sorted(schema.get("properties", {}))
        known = f"; allowed: {', '.join(allowed)}" if allowed else "; it has no settings"
        for name in instance:
            if name not in allowed:
                hint = nearest(name, allowed) or known
                yield f"{path_of([path, name])}: unknown field {quoted(name)}{hint}"
    elif error.validator == "required":
        for name in schema["required"]:
            if name not in instance:
                yield f"{path}.{name} is required and was not given"
    else:
        rule = _RULES.get(error.validator, _in_its_own_words)
        yield f"{path} is {shown(instance)}; {rule(error)}"


def _in_its_own_words(error: ValidationError) -> str:
    return error.message


def _entries(number: int) -> str:
    return number_of(number, "entry", "entries")


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
    "minItems": lambda error: f"it should have at least {_entries(error.validator_value)}",
    "maxItems": lambda error: f"it should have at most {_entries(error.validator_value)}",
    "multipleOf": lambda error: f"it should be a multiple of {error.validator_value}",
}


if __name__ == "__main__":
    print(json.dumps(document(live()), indent=1, sort_keys=True))
