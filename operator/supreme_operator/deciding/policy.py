"""Policy of an installation: what experiments may do, beyond what can be done at all. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.checking.pod_policy import PodPolicy
from supreme_operator.results.location import AllowedEndpoints, Location, OwnStores, StoreNotAllowed


@dataclass(frozen=True, kw_only=True)
class Policy:
    """own_namespace: the operator's, if no experiment may be there."""

    own_stores: OwnStores
    pods: PodPolicy = field(default_factory=PodPolicy)
    endpoints: AllowedEndpoints = field(default_factory=lambda: AllowedEndpoints(None))
    may_read_secrets: bool = True
    own_namespace: str = ""

    def check_store(self, spec: ExperimentSpec, namespace: str) -> None:
        """StoreNotAllowed where the operator may not use the store of an experiment."""
        location = location_of(spec)
        self.endpoints.check(location)
        if not self.may_read_secrets or spec.storage.credentials_secret_ref is None:
            self.own_stores.check(location, namespace)

    def violations(self, spec: ExperimentSpec, namespace: str) -> Iterator[str]:
        """List what is not allowed, a line for each."""
        if namespace == self.own_namespace:
            yield (
                f"metadata.namespace is {namespace!r}, the operator's own, whose service account"
                " and Secrets its pods could use; use another, or set allowOwnNamespace"
            )
        try:
            self.check_store(spec, namespace)
        except StoreNotAllowed as error:
            yield f"spec.{error}"
        yield from self.pods.violations(spec)


def location_of(spec: ExperimentSpec) -> Location:
    """The store as the experiment names it."""
    storage = spec.storage
    return Location(uri=storage.uri or "", endpoint=storage.endpoint, region=storage.region)
