"""The CustomResourceDefinition, made from the models that `supreme run` reads.

The API server wants a structural schema: no references, one type for each value, no unions. What
the models say and such a schema cannot is a TypeError here, never a limit that is quietly lost.
"""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, NoDefault
from pydantic_core.core_schema import WithDefaultSchema

from supreme_core.api import names
from supreme_core.api.guarded import GUARDS
from supreme_core.api.model import Document
from supreme_core.api.rules import validations
from supreme_core.api.status import ExperimentStatus
from supreme_core.api.v1alpha1 import ExperimentSpec, Metadata, UnlearningExperiment
from supreme_core.checking import on_cluster
from supreme_core.registry.catalog import Catalog, bundled

COLUMNS: Final = (
    ("Phase", "string", ".status.phase", 0),
    ("Seeds", "string", ".status.progress", 0),
    ("Done", "string", ".status.done", 0),
    ("Failed", "integer", ".status.failed", 0),
    ("Dataset", "string", ".spec.dataset.name", 0),
    ("Model", "string", ".spec.model.name", 0),
    ("Active", "integer", ".status.active", 1),
    ("Metric", "string", ".spec.primaryMetric", 1),
    ("Reason", "string", ".status.reason", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
"""(name, type, path, priority) of what `kubectl get` shows; priority 1 only with `-o wide`."""

SELECTABLE: Final = (".status.phase", ".spec.dataset.name", ".spec.model.name")
"""Fields that `kubectl get --field-selector` can ask for."""

SAME: Final = frozenset(
    {
        "type",
        "description",
        "default",
        "enum",
        "required",
        "minimum",
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
)
"""Keywords that a structural schema has too, with the same meaning."""


def custom_resource_definition(catalog: Catalog | None = None) -> dict[str, Any]:
    """The manifest that teaches an API server the resource.

    catalog: the components whose names it knows; by default those of this version.
    """
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["uexp"],
                "categories": ["all", "supreme"],
            },
            "versions": [_version(catalog or bundled())],
        },
    }


def _version(catalog: Catalog) -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.parallelism",
                "statusReplicasPath": ".status.active",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": path} for path in SELECTABLE],
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, "priority": priority}
            for name, type_, path, priority in COLUMNS
        ],
        "schema": {"openAPIV3Schema": _resource(catalog)},
    }


def _resource(catalog: Catalog) -> dict[str, Any]:
    """The whole object. apiVersion, kind and the rest of metadata are the API server's own."""
    return {
        "type": "object",
        "description": UnlearningExperiment.__doc__,
        "required": ["spec"],
        **validations(*GUARDS),
        "properties": {
            "metadata": {
                "type": "object",
                "properties": {"name": structural(Metadata)["properties"]["name"]},
            },
            "spec": _spec(catalog),
            "status": structural(ExperimentStatus),
        },
    }


def _spec(catalog: Catalog) -> dict[str, Any]:
    """Spec with what a cluster needs beyond the models."""
    made = structural(ExperimentSpec)
    made["x-kubernetes-validations"] += [rule.validation() for rule in on_cluster.rules(catalog)]
    for field, known in on_cluster.names(catalog).items():
        made["properties"][field]["items"]["properties"]["name"]["enum"] = known
    return made


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """A model as a structural schema; TypeError where it cannot be said."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_WithEveryDefault)
    return _structural(schema, schema.get("$defs", {}))


class _WithEveryDefault(GenerateJsonSchema):
    """pydantic's JSON schema, with what default factories give.

    A section's default is what its factory says itself, the rest being defaults of its own fields.
    An empty list or mapping is none: leaving the field out means the same.
    """

    def get_default_value(self, schema: WithDefaultSchema) -> Any:
        if "default_factory" not in schema:
            return super().get_default_value(schema)
        value = schema["default_factory"]()  # type: ignore[call-arg]
        return NoDefault if value in ([], {}) else value

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Document):
            return dft.to_document(exclude_unset=True)
        return super().encode_default(dft)


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _inlined(node, definitions)
    made: dict[str, Any] = {}
    for keyword, value in node.items():
        match keyword, value:
            case ("title" | "$defs", _) | ("default", None):
                pass
            case "properties", _:
                made[keyword] = {
                    name: _structural(child, definitions) for name, child in value.items()
                }
            case "items", _:
                made[keyword] = _structural(value, definitions)
            case "additionalProperties", False:
                pass  # the server itself prunes or refuses fields that it does not know
            case "additionalProperties", True:
                # Of each value, not of the mapping, where CEL's == overlooks that a key is renamed.
                made[keyword] = {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}
            case "additionalProperties", _:
                made[keyword] = _structural(value, definitions)
            case "exclusiveMinimum", _:
                made |= {"minimum": value, "exclusiveMinimum": True}
            case _ if keyword in SAME:
                made[keyword] = value
            case _:
                raise TypeError(f"a structural schema has no {keyword}: {dict(node)}")
    return made


def _inlined(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The node with what it refers to in its place, and `X | None` as X."""
    match node:
        case {"$ref": str(reference), **rest}:
            return {**definitions[reference.removeprefix("#/$defs/")], **rest}
        case {"anyOf": [dict(branch), {"type": "null"}], **rest}:
            return {**_inlined(branch, definitions), **rest}
    return node
