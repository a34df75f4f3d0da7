"""The CustomResourceDefinition as a document; no API server is asked here.

structure    one type for each value, nothing that a structural schema has no word for
limits       whatever a user writes is bounded, and described
defaults     filled in as an API server does it, they change nothing that a model reads
rules        each one stands in the CRD, in the words of the models
refusal      what a model says and a CRD cannot

That a real API server takes it, and judges as the models do, is tests/cluster/test_crd.py's.
"""

from copy import deepcopy
from typing import Annotated

import pytest
import yaml
from pydantic import Field, StringConstraints

from supreme_core.api import guarded, v1alpha1
from supreme_core.api.guarded import FIXED, FIXED_WITH_DDP, GUARDS, MAY_BE_ABSENT
from supreme_core.api.model import Document, parse
from supreme_core.api.rules import Rule, unchanging
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.checking import on_cluster
from tools.generate.crd import COLUMNS, SELECTABLE, custom_resource_definition, structural
from tools.generate.generated import CRD

SPEC = {
    "dataset": {"name": "digits"},
    "model": {"name": "resnet18"},
    "scenarios": [{"name": "full_class", "params": {"classes": [3]}}],
    "methods": [{"name": "finetune"}, {"name": "ssd", "label": "mild"}],
}

CHANGEABLE = {
    "childTtlSecondsAfterFinished",
    "execution",
    "seeds",
    "methods",
    "parallelism",
    "failurePolicy",
    "suspend",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
}
"""Fields of the spec that may change once the object is there; seeds and methods only grow."""

KEYWORDS = {
    "type",
    "description",
    "default",
    "enum",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "nullable",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


def schema():
    (version,) = custom_resource_definition()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def nodes(node, path=""):
    """(path, schema) of every value, the root first."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in node:
            yield from nodes(node[keyword], f"{path}[]")


NODES = dict(nodes(schema()))
TYPED = {path: node for path, node in NODES.items() if "type" in node}


def defaulted(value, node):
    """A slow and obvious version of what an API server does with defaults and nulls."""
    if isinstance(value, list):
        return [defaulted(item, node["items"]) for item in value]
    if isinstance(value, dict) and "properties" in node:
        known = node["properties"]
        found = {name: item for name, item in value.items() if item is not None}
        for name, child in known.items():
            if name not in found and "default" in child:
                found[name] = deepcopy(child["default"])
        return {name: defaulted(item, known[name]) for name, item in found.items()}
    return value


def leaves(value, path=""):
    """(path, value) of everything that holds nothing else."""
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from leaves(child, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path, value


class TestStructure:
    def test_each_value_has_one_type_or_is_anything(self):
        assert [
            path
            for path, node in NODES.items()
            if "x-kubernetes-preserve-unknown-fields" not in node
            and not isinstance(node.get("type"), str)
        ] == []

    def test_there_is_no_word_that_a_structural_schema_lacks(self):
        assert set().union(*NODES.values()) <= KEYWORDS

    def test_each_mapping_has_named_fields_or_values_of_one_kind(self):
        for path, node in TYPED.items():
            inside = {"properties", "additionalProperties", "items"} & set(node)
            assert len(inside) == (node["type"] in ("object", "array")), path
            assert ("items" in node) == (node["type"] == "array"), path

    def test_settings_of_components_may_hold_anything(self):
        params = NODES[".spec.methods[].params"]
        assert params["additionalProperties"]["x-kubernetes-preserve-unknown-fields"] is True

    def test_it_is_smaller_than_an_annotation_may_be_by_far(self):
        assert CRD.stat().st_size < 90_000  # of 256 KiB

    def test_the_file_holds_it(self):
        assert yaml.safe_load(CRD.read_text()) == custom_resource_definition()

    @pytest.mark.parametrize("path", [path for _, _, path, _ in COLUMNS] + list(SELECTABLE))
    def test_what_is_shown_and_asked_for_exists(self, path):
        assert path == ".metadata.creationTimestamp" or NODES[path]["type"] in ("string", "integer")


class TestLimits:
    def test_every_text_and_list_is_bounded(self):
        bounds = {"string": {"maxLength", "enum"}, "array": {"maxItems"}}
        assert [
            path
            for path, node in TYPED.items()
            if node["type"] in bounds and not bounds[node["type"]] & set(node)
        ] == []

    def test_every_number_of_a_user_is_bounded(self):
        assert [
            path
            for path, node in TYPED.items()
            if path.startswith(".spec") and node["type"] == "integer"
            if not {"minimum", "maximum"} <= set(node)
        ] == []

    def test_every_field_is_described(self):
        assert [
            path
            for path, node in TYPED.items()
            if not path.endswith("]") and not node.get("description", "").endswith(".")
        ] == [".metadata"]

    @pytest.mark.parametrize(
        ("path", "limits"),
        [
            (".spec.training.epochs", {"minimum": 0, "maximum": 10_000, "default": 8}),
            (".spec.training.maxGradientNorm", {"minimum": 0, "exclusiveMinimum": True}),
            (".spec.training.precision", {"enum": ["fp32", "tf32", "bf16", "fp16", "fp64"]}),
            (".spec.scenarios", {"minItems": 1, "maxItems": 64}),
            (".spec.execution.template.labels", {"maxProperties": 32}),
            (".spec.storage.endpoint", {"pattern": "^https?://[!-~]+$", "maxLength": 1024}),
            (".metadata.name", {"maxLength": 40}),
        ],
    )
    def test_limits_are_those_of_the_models(self, path, limits):
        assert limits.items() <= NODES[path].items()

    @pytest.mark.parametrize(
        ("path", "keys"),
        [
            (".spec.scenarios", ["name", "label"]),
            (".spec.methods", ["name", "label"]),
            (".spec.metrics", ["name", "label"]),
            (".status.conditions", ["type"]),
            (".status.seedStatuses", ["seed"]),
            (".status.summary", ["scenario", "method"]),
        ],
    )
    def test_entries_of_lists_have_keys_that_they_always_have(self, path, keys):
        assert NODES[path]["x-kubernetes-list-map-keys"] == keys
        entry = NODES[f"{path}[]"]
        for key in keys:
            assert key in entry["required"] or "default" in entry["properties"][key]


class TestDefaults:
    @pytest.mark.parametrize(
        "spec",
        [
            SPEC,
            SPEC | {"seeds": {"list": [3, 1]}},
            SPEC | {"seeds": {"start": 7}},
            SPEC | {"training": {"optimizer": {"name": "adamw"}, "schedule": {"name": "cosine"}}},
            SPEC | {"execution": {"resources": {"cpu": "8"}, "template": {"labels": {"a": "b"}}}},
            SPEC | {"storage": {"uri": "s3://bucket", "region": None}},
        ],
        ids=["least", "listed seeds", "first seed", "training", "execution", "null"],
    )
    def test_filled_in_they_change_nothing(self, spec):
        filled = defaulted(spec, NODES[".spec"])
        assert filled != spec
        assert parse(ExperimentSpec, filled) == parse(ExperimentSpec, spec)

    def test_they_leave_out_only_what_is_empty(self):
        filled = dict(leaves(defaulted(SPEC, NODES[".spec"])))
        for path, value in leaves(parse(ExperimentSpec, SPEC).to_document()):
            assert value in ({}, []) or filled[path] == value

    def test_what_was_added_later_is_a_default_too(self):
        assert NODES[".spec.training.batchNorm"]["default"] == "micro_batch"

    def test_no_first_seed_and_no_count_are_filled_in_beside_a_list(self):
        assert "default" not in NODES[".spec.seeds.start"]
        assert "default" not in NODES[".spec.seeds.count"]


RULES = {
    name: rule
    for module in (v1alpha1, guarded, on_cluster)
    for name, rule in vars(module).items()
    if isinstance(rule, Rule)
}


class TestRules:
    @pytest.mark.parametrize("name", RULES)
    def test_each_stands_in_the_crd(self, name):
        found = [
            each for node in NODES.values() for each in node.get("x-kubernetes-validations", [])
        ]
        assert RULES[name].validation() in found

    def test_a_field_of_the_spec_is_fixed_or_was_meant_to_change(self):
        fixed = {field for field in FIXED if "." not in field}
        assert set(NODES[".spec"]["properties"]) == fixed | CHANGEABLE
        assert not fixed & CHANGEABLE

    def test_what_is_guarded_is_guarded_at_the_root(self):
        found = NODES[""]["x-kubernetes-validations"]
        assert [each["fieldPath"] for each in found] == [f".{rule.at}" for rule in GUARDS]
        assert {rule.at for rule in GUARDS} >= {f"spec.{name}" for name in FIXED + FIXED_WITH_DDP}

    @pytest.mark.parametrize("name", FIXED + FIXED_WITH_DDP)
    def test_only_what_may_be_absent_is_asked_for_first(self, name):
        section, _, field = f".spec.{name}".rpartition(".")
        is_there = "default" in NODES[f".spec.{name}"] or field in NODES[section].get(
            "required", ()
        )
        assert is_there != (name in MAY_BE_ABSENT)

    def test_words_without_a_value_are_a_message(self):
        rule = Rule('say "a" or b', cel="self.a || self.b")
        assert rule.validation() == {"rule": "self.a || self.b", "message": 'say "a" or b'}
        assert str(rule.broken()) == 'say "a" or b'

    def test_words_with_values_are_an_expression(self):
        rule = Rule("{max_size} of {what} is too much", cel="false", shown={"what": "self.name"})
        assert rule.validation()["messageExpression"] == (
            '"%s of %s is too much".format([self.maxSize, self.name])'
        )
        assert str(rule.broken(max_size=3, what="x")) == "3 of x is too much"

    def test_quotes_and_backslashes_survive_an_expression(self):
        rule = Rule('"{n}" \\', cel="false")
        assert rule.validation()["messageExpression"] == r'"\"%s\" \\".format([self.n])'

    def test_a_single_field_may_be_to_blame(self):
        assert unchanging("a", where="true").validation()["fieldPath"] == ".a"


class Both(Document):
    """A value of two types."""

    value: int | str = 0


class Keys(Document):
    """A mapping whose keys have a form."""

    value: dict[Annotated[str, StringConstraints(pattern="^a")], int] = Field(default_factory=dict)


class Multiple(Document):
    """A limit that the API server would not check."""

    value: int = Field(0, multiple_of=2)


class Inside(Document):
    """A document that has the field inside a list."""

    values: list[Multiple] | None = None


class TestRefusal:
    @pytest.mark.parametrize(
        ("model", "keyword"),
        [
            (Both, "anyOf"),
            (Keys, "patternProperties"),
            (Multiple, "multipleOf"),
            (Inside, "multipleOf"),
        ],
    )
    def test_what_cannot_be_said_is_an_error(self, model, keyword):
        with pytest.raises(TypeError, match=f"a structural schema has no {keyword}"):
            structural(model)
