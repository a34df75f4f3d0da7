"""Sources of keys in the queue: events of kopf's watches, and lists of everything.

Handlers only note what they are told. A list now and then brings back what a watch has lost, and
shows whether a watch has fallen silent.
"""

import itertools
import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import kopf

from supreme_core.api import names
from supreme_operator.cluster.cache import Cache, Key, key_of
from supreme_operator.cluster.client import (
    OBJECTS_OF_PAGE,
    Cluster,
    ClusterError,
    Forbidden,
    NotFound,
)
from supreme_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, PYTORCHJOBS, Resource
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.monitoring.counters import Metrics

log = logging.getLogger(__name__)

SILENT_AFTER: Final = 2
"""Lists that bring news since the watch has told anything."""


@dataclass
class Watches:
    """namespaces: those that are watched; none means all."""

    cluster: Cluster
    cache: Cache
    queue: WorkQueue[Key]
    metrics: Metrics
    namespaces: Sequence[str]
    _told: dict[str, int] = field(default_factory=dict)
    _silences: dict[str, int] = field(default_factory=dict)
    _closed: set[str] = field(default_factory=set)
    is_synced: bool = False

    def registry(self, backends: Container[str]) -> kopf.OperatorRegistry:
        """Handlers for kopf: one for each kind that there is, all doing the same."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        kopf.on.startup(registry=registry)(_configure)
        for resource in (EXPERIMENTS, JOBS, PODS, PYTORCHJOBS):
            if resource == PYTORCHJOBS and "PyTorchJob" not in backends:
                continue
            note = kopf.on.event(
                group=resource.group,
                version=resource.version,
                plural=resource.plural,
                id=resource.plural,
                registry=registry,
            )
            note(self._handler(resource))
        return registry

    async def resync(self) -> bool:
        """List everything; returns whether PyTorchJobs are served. Errors of the cluster pass.

        Of several namespaces one may be closed, as where it was deleted with the rights in it: the
        others are none the worse for it.
        """
        closed = dict[str, ClusterError]()
        resources = [EXPERIMENTS, JOBS, PODS]
        has_pytorchjobs = await self.cluster.serves(PYTORCHJOBS)
        if has_pytorchjobs:
            resources.append(PYTORCHJOBS)
        for resource in resources:
            told, changed = self._told.pop(resource.plural, 0), set[Key]()
            for namespace in self.namespaces or (None,):
                if namespace in closed:
                    continue
                try:
                    changed |= await self._list(resource, namespace)
                except (Forbidden, NotFound) as error:
                    if namespace is None or len(closed) + 1 == len(self.namespaces):
                        raise
                    closed[namespace] = error
            if self.is_synced and changed:
                self.metrics.lost(resource.plural, len(changed))
            # A list without news says nothing of the watch: there may have been none.
            missed = self._silences.get(resource.plural, 0) + bool(self.is_synced and changed)
            self._silences[resource.plural] = 0 if told else missed
        self._note_closed(closed)
        self.is_synced = True
        for key in self.cache.known():
            self.queue.add(key)
        return has_pytorchjobs

    def _note_closed(self, closed: Mapping[str, ClusterError]) -> None:
        for namespace in closed.keys() - self._closed:
            log.warning(
                "namespace %s cannot be listed and is left out: %s", namespace, closed[namespace]
            )
        for namespace in self._closed - closed.keys():
            log.info("namespace %s can be listed again", namespace)
        self._closed = set(closed)

    async def _list(self, resource: Resource, namespace: str | None) -> set[Key]:
        """Return the experiments for which the list brought news."""
        objects, labels = self.cache.of_kind(resource.plural), names.UID_LABEL
        listed, changed, version = set[str](), set[Key](), 0
        newest = objects.newest()
        pages = self.cluster.list(
            resource, namespace=namespace, labels="" if resource == EXPERIMENTS else labels
        )
        async for page in pages:
            if page.version < newest:
                log.warning(
                    "%s are as of version %d although %d was seen: what is stored was set back, as"
                    " by a restored backup, and is looked at anew",
                    resource.plural,
                    page.version,
                    newest,
                )
                objects.distrust()
                newest = 0
            version = page.version
            for body in page.bodies:
                listed.add(body["metadata"]["uid"])
                if key := objects.put(_with_kind(body, resource)):
                    changed.add(key)
                    # At once: its event brings no news any more, and the next list may fail.
                    self.queue.add(key)
        gone = objects.keep(listed, version, namespace)
        for key in gone:
            self.queue.add(key)
        return changed | gone

    def silent(self) -> list[str]:
        """Kinds whose watch tells nothing although there is news."""
        return [plural for plural, count in self._silences.items() if count >= SILENT_AFTER]

    def _handler(self, resource: Resource) -> Any:
        async def note(event: Mapping[str, Any], **_: Any) -> None:
            body = event["object"]
            self._told[resource.plural] = self._told.get(resource.plural, 0) + 1
            self.metrics.heard(resource.plural)
            objects = self.cache.of_kind(resource.plural)
            news = objects.remove(body) if event["type"] == "DELETED" else objects.put(body)
            # Of an experiment its own writer too looks again: what it wrote may call for more.
            if key := news or (key_of(body) if resource == EXPERIMENTS else None):
                self.queue.add(key)

        return note


def _login(**known: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**known) or kopf.login_with_kubeconfig(**known)


def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    ours = names.UID_LABEL
    settings.watching.label_selectors["jobs.batch"] = ours
    settings.watching.label_selectors["pods"] = ours
    settings.watching.label_selectors["pytorchjobs.kubeflow.org"] = ours
    # Observing what kinds there are needs more rights; lists notice a new kind.
    settings.scanning.disabled = True
    settings.watching.chunk_size = OBJECTS_OF_PAGE
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 60
    # A watch that gives up would leave us deaf.
    settings.networking.error_backoffs = [1, 1, 2, 3, 5, 8, *itertools.repeat(10, 100_000)]
    # Handlers only note. A worker of kopf that idles keeps its place among a limited number, and
    # events of other objects wait for it: with 100 places and 5 seconds a thousand waited for 50.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.1
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoComparison()


class _NoComparison(kopf.DiffBaseStorage):
    """Nothing by which kopf could tell what has changed in an object: no handler here asks for
    that, and to copy each object for it took a quarter of the operator's time."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass


def _with_kind(body: Mapping[str, Any], resource: Resource) -> Mapping[str, Any]:
    """Items of a list do not say what they are."""
    if resource == EXPERIMENTS:
        return {"apiVersion": names.API_VERSION, "kind": names.KIND, **body}
    return body
