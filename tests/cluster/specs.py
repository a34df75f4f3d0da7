"""Good and bad specs, made from the limits that the models have.

Read from pydantic's own JSON schema, not from the CRD: a limit that got lost on the way to the CRD
is still a case here.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from supreme_core.api.v1alpha1 import ExperimentSpec

SPEC = {
    "dataset": {"name": "digits"},
    "model": {"name": "resnet18"},
    "scenarios": [{"name": "full_class", "params": {"classes": [3]}}],
    "methods": [{"name": "finetune", "params": {"epochs": 2, "lr": 0.01}}],
}

TUNED = {
    "training": {"validation": {"fraction": 0.1}},
    "tuning": {"objective": "tow"},
}

BESIDE = {
    "seeds.start": {"seeds": {"count": 1}},
    "training.selection": {"training": {"validation": {"fraction": 0.1}}},
    "methods.0.search": TUNED,
    "tuning": TUNED,
    "tuning.seeds.start": TUNED | {"tuning": {"objective": "tow", "seeds": {"count": 1}}},
    "tuning.rounds": TUNED | {"tuning": {"objective": "tow", "seeds": {"count": 100}}},
}
"""Fields that make a value at its limit valid."""

UNIONS = {
    "execution.template.imagePullSecrets.0": ("registry", {"name": "registry"}),
    "methods.0.search": ("none", {"lr": {"log": [0.1, 1.0]}}),
    "tuning.objective": ("tow", {"forget_accuracy": 1.0}),
}
"""Values of each form of a field that has several."""


class Case(NamedTuple):
    """A spec that differs from SPEC in one place."""

    path: str
    value: Any
    good: bool

    @property
    def spec(self) -> dict[str, Any]:
        part = "tuning" if self.path.startswith("tuning.") else self.path
        spec = SPEC | deepcopy(BESIDE.get(self.path, BESIDE.get(part, {})))
        return _with(spec, _SCHEMA, self.path.split("."), self.value)

    @property
    def field(self) -> str:
        """The path as messages write it."""
        return f"spec.{self.path}".replace(".0", "[0]")


def cases() -> list[Case]:
    return list(_cases(_SCHEMA, ""))


def _cases(node: dict[str, Any], path: str) -> Iterator[Case]:
    if path:
        yield from (Case(path, value, True) for value in _good(node, path))
        yield from (Case(path, value, False) for value in _bad(node))
    step = f"{path}." if path else ""
    for name, child in node.get("properties", {}).items():
        yield from _cases(_resolved(child), f"{step}{name}")
    if node.get("properties"):
        yield Case(f"{step}surplus", 1, False)
    for name in node.get("required", ()):
        yield Case(f"{step}{name}", _MISSING, False)
    if "items" in node:
        yield from _cases(_resolved(node["items"]), f"{step}0")
    if isinstance(node.get("additionalProperties"), dict):
        yield from _cases(_resolved(node["additionalProperties"]), f"{step}a")


def _good(node: dict[str, Any], path: str) -> Iterator[Any]:
    """Values at the limits."""
    match node.get("type"):
        case None:
            yield from UNIONS[path]
        case "integer":
            yield from (node["minimum"], node["maximum"])
        case "number":
            most = node.get("maximum", 1e300)
            yield from (node["exclusiveMinimum"] + 1e-300, min(1, most), most)
        case "boolean":
            yield from (True, False)
        case "string":
            yield from node.get("enum") or [_text(node, node["maxLength"])]
        case "array":
            yield from (_list(node, node.get("minItems", 0)), _list(node, node["maxItems"]))
        case "object" if "maxProperties" in node:
            value = _example(_resolved(node["additionalProperties"]))
            yield {f"a{index}": value for index in range(node["maxProperties"])}


def _bad(node: dict[str, Any]) -> Iterator[Any]:
    """Values beyond the limits, and of other types."""
    match node.get("type"):
        case None:
            return
        case "integer":
            yield from (node["minimum"] - 1, node["maximum"] + 1, 1.5, "1", True, [])
        case "number":
            yield from (node["exclusiveMinimum"], -1.5, "1", True)
            if "maximum" in node:
                yield node["maximum"] + 0.01
        case "boolean":
            yield from (0, "true", "yes")
        case "string" if "enum" in node:
            yield from ("nonsense", "", node["enum"][0] + " ", 1)
        case "string":
            yield from (_text(node, node["maxLength"] + 1), 1, True, {})
            if "pattern" in node:
                yield from ("ä", "a b", _text(node, 9) + "\n")
        case "array":
            yield from (_list(node, node["maxItems"] + 1), {}, "text", 1)
            if node.get("minItems"):
                yield []
        case "object":
            yield from ([], "text", 1)
            if "maxProperties" in node:
                value = _example(_resolved(node["additionalProperties"]))
                yield {f"a{index}": value for index in range(node["maxProperties"] + 1)}


def _example(node: dict[str, Any], index: int = 0) -> Any:
    """A good value; one of another index is another one."""
    match node.get("type"):
        case None:
            return f"registry-{index}"
        case "integer":
            return node["minimum"] + index
        case "number":
            return node.get("maximum", 1.5)
        case "string":
            return _text(node, 12) + f"{index}"
        case "object":
            needed = {name: node["properties"][name] for name in node.get("required", ())}
            return {name: _example(_resolved(child), index) for name, child in needed.items()}
        case other:
            raise TypeError(f"no example of {other}")


def _text(node: dict[str, Any], length: int) -> str:
    """A text of that length that fits the pattern, if there is one."""
    texts = [begin + "1" * (length - len(begin)) for begin in ("", "http://")]
    return next(text for text in texts if re.search(node.get("pattern", ""), text))


def _list(node: dict[str, Any], length: int) -> list[Any]:
    return [_example(_resolved(node["items"]), index) for index in range(length)]


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING: Any = _Missing()


def _with(value: Any, node: dict[str, Any], steps: list[str], leaf: Any) -> Any:
    """The value with `leaf` at the end of the steps; what is not there on the way is made."""
    if not steps:
        return leaf
    step, *rest = steps
    if "items" in node:
        child = _resolved(node["items"])
        return [_with(value[0] if value else _example(child), child, rest, leaf)]
    properties = node.get("properties", {})
    child = _resolved(properties.get(step) or node.get("additionalProperties") or {})
    if not rest and leaf is _MISSING:
        return {name: inner for name, inner in value.items() if name != step}
    there = value.get(step)
    if there is None and rest:
        there = [] if "items" in child else _example(child)
    return value | {step: _with(there, child, rest, leaf)}


def _resolved(node: Any) -> dict[str, Any]:
    """A node without $ref and without `or null`."""
    if not isinstance(node, dict):
        return {}
    for branch in node.get("anyOf", ()):
        if branch != {"type": "null"}:
            return _resolved(branch)
    if "$ref" in node:
        return _DEFINITIONS[node["$ref"].removeprefix("#/$defs/")]
    return node


_SCHEMA = ExperimentSpec.model_json_schema(by_alias=True)
_DEFINITIONS = _SCHEMA["$defs"]
