"""Kinds of objects that the operator deals with, as paths of the API name them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from supreme_core.api import names

Body = Mapping[str, Any]
"""An object as the API server has it."""

KubeObject = dict[str, Any]
"""An object, or a part of one, that is made here, or that has just been read."""


class Resource(NamedTuple):
    """One kind of objects. group: "" for the core."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [base]
        if namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)

    @property
    def title(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


EXPERIMENTS: Final = Resource(names.GROUP, names.VERSION, names.PLURAL)
JOBS: Final = Resource("batch", "v1", "jobs")
PYTORCHJOBS: Final = Resource("kubeflow.org", "v1", "pytorchjobs")
PODS: Final = Resource("", "v1", "pods")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps")
SERVICES: Final = Resource("", "v1", "services")
SECRETS: Final = Resource("", "v1", "secrets")
EVENTS: Final = Resource("", "v1", "events")
