"""Cache of the objects that the operator has seen in the cluster, by experiment.

Filled by watches, by what the API server answers to our own writes, and by whole lists now and
then, which bring back whatever a watch has lost. Children and pods are kept as digests.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from supreme_core.api import names
from supreme_operator.cluster.resources import Body
from supreme_operator.deciding.facts import Child, Pod


class Key(NamedTuple):
    """An experiment."""

    namespace: str
    name: str


T = TypeVar("T")


class Name(NamedTuple):
    """Name that at most one object of a kind has at one time."""

    namespace: str
    name: str


class CachedObject(NamedTuple, Generic[T]):
    """Part of an object that is kept, and whose it is."""

    version: int
    uid: str
    key: Key
    content: T


class Joined(NamedTuple):
    """A child as it is kept, and the same with its pods."""

    child: Child
    whole: Child


@dataclass
class ObjectCache(Generic[T]):
    """Objects of one kind by name, each in its newest version, which may be that of another object:
    one that was made again while no watch told that its predecessor was gone.

    read: makes of an object what is kept of it; None where it is none of ours.
    gone: is told what was kept of an object that is there no more.
    """

    read: Callable[[Body], T | None]
    gone: Callable[[Key, T], None] = lambda key, content: None
    _objects: dict[Name, CachedObject[T]] = field(default_factory=dict)
    _by_key: dict[Key, set[Name]] = field(default_factory=lambda: defaultdict(set))

    def put(self, body: Body) -> Key | None:
        """Keep what is newer than what is known; forget what is none of ours any more.

        Return whose it is or was, or None where nothing that is kept of it changed: a controller
        writes an object more often than it says something new.
        """
        version, name, key = int(body["metadata"]["resourceVersion"]), _name_of(body), key_of(body)
        known = self._objects.get(name)
        content = self.read(body)
        if known and known.version >= version:
            return None
        if key is None or content is None:
            return self._drop(name)
        kept = CachedObject(version, body["metadata"]["uid"], key, content)
        if known and kept[1:] == known[1:]:
            self._objects[name] = known._replace(version=version)
            return None
        self._drop(name)
        self._objects[name] = kept
        self._by_key[key].add(name)
        return key

    def remove(self, body: Body) -> Key | None:
        """Forget that very object, not one that was made again under its name."""
        name = _name_of(body)
        known = self._objects.get(name)
        if known is None or known.uid != body["metadata"]["uid"]:
            return None
        self.gone(known.key, known.content)
        return self._drop(name)

    def keep(self, listed: Container[str], version: int, namespace: str | None = None) -> set[Key]:
        """Remove what is not in a list, of uids, as of `version`; returns whose it was."""
        gone = [
            (name, known)
            for name, known in self._objects.items()
            if known.uid not in listed
            and (namespace is None or name.namespace == namespace)
            and known.version <= version  # what is newer was made after the list
        ]
        for _, known in gone:
            self.gone(known.key, known.content)
        return {key for name, _ in gone if (key := self._drop(name))}

    def newest(self) -> int:
        """The newest version of all that is kept."""
        return max((known.version for known in self._objects.values()), default=0)

    def distrust(self) -> None:
        """Take whatever comes next for newer than what is known."""
        self._objects = {name: known._replace(version=0) for name, known in self._objects.items()}

    def of(self, key: Key) -> Iterator[T]:
        return (self._objects[name].content for name in sorted(self._by_key.get(key, ())))

    def all(self) -> list[T]:
        """May be called from another thread: it takes a copy first, in one step."""
        return [known.content for known in list(self._objects.values())]

    def _drop(self, name: Name) -> Key | None:
        known = self._objects.pop(name, None)
        if known is None:
            return None
        self._by_key[known.key].discard(name)
        if not self._by_key[known.key]:
            del self._by_key[known.key]
        return known.key

    def known(self) -> set[Key]:
        return set(self._by_key)

    def __len__(self) -> int:
        return len(self._objects)


class Cache:
    """experiments: the resources themselves, for their specs and their status."""

    def __init__(
        self,
        read_child: Mapping[str, Callable[[Body], Child | None]],
        read_pod: Callable[[Body], Pod | None],
    ) -> None:
        """read_child: by the plural of the kind, such as jobs."""
        self.experiments = ObjectCache[Body](_without_managed_fields)
        self.children = {plural: ObjectCache[Child](read) for plural, read in read_child.items()}
        self.pods = ObjectCache[Pod](read_pod, self._note_gone)
        self._failed: dict[Key, dict[str, Pod]] = {}
        self._joined: dict[Key, dict[str, Joined]] = {}

    def of_kind(self, plural: str) -> "ObjectCache[Any]":
        if plural == names.PLURAL:
            return self.experiments
        return self.pods if plural == "pods" else self.children[plural]

    def known(self) -> set[Key]:
        """All experiments."""
        return self.experiments.known()

    def experiment(self, key: Key) -> Body | None:
        return next(self.experiments.of(key), None)

    def all_experiments(self) -> list[Body]:
        """May be called from another thread."""
        return self.experiments.all()

    def children_of(self, key: Key, uid: str) -> tuple[list[Child], list[Pod]]:
        """The children that the experiment of that uid controls, with their pods, and the pods
        whose child is gone."""
        pods = defaultdict(list)
        for pod in self.pods.of(key):
            pods[pod.child].append(pod)
        known, joined = self._joined.get(key, {}), dict[str, Joined]()
        failed = self._failed.get(key, {})
        for objects in self.children.values():
            for child in objects.of(key):
                if child.owner == uid:
                    joined[child.uid] = _join(
                        known.get(child.uid), child, pods.pop(child.uid, ()), failed.get(child.uid)
                    )
        self._joined[key] = joined
        if failed:
            survive = {uid for uid, each in joined.items() if each.child.survives}
            self._failed[key] = {uid: pod for uid, pod in failed.items() if uid in survive}
        orphaned = [pod for each in pods.values() for pod in each if pod.experiment == uid]
        return [each.whole for each in joined.values()], orphaned

    def forget(self, key: Key) -> None:
        """Drop what was kept to answer sooner for an experiment that is gone."""
        self._joined.pop(key, None)
        self._failed.pop(key, None)

    def _note_gone(self, key: Key, pod: Pod) -> None:
        """Keep the last pod of a child that has failed and is gone, so that it can be named."""
        if pod.phase == "Failed":
            self._failed.setdefault(key, {})[pod.child] = pod


def _join(known: Joined | None, child: Child, pods: Sequence[Pod], failed: Pod | None) -> Joined:
    """Join a child and its pods anew only where one of them has changed: of a thousand children
    an event changes one, and to copy all of them took a third of each look."""
    if not child.survives:
        there, lost = tuple(pods), None
    else:
        there = tuple(_newest_of_each_index(pods))
        ended = [each for each in (failed, *pods) if each and each.phase == "Failed"]
        lost = max(ended, key=lambda pod: pod.changed_at or child.created_at, default=None)
    if (
        known
        and known.child is child
        and known.whole.pods == there
        and known.whole.lost_pod == lost
    ):
        return known
    return Joined(child, replace(child, pods=there, lost_pod=lost))


def _newest_of_each_index(pods: Sequence[Pod]) -> Iterator[Pod]:
    """Leave out pods that were made again."""
    newest: dict[int | None, Pod] = {}
    for pod in pods:
        other = newest.get(pod.index)
        if other is None or _made_at(other) <= _made_at(pod):
            newest[pod.index] = pod
    return (pod for pod in pods if pod.index is None or newest[pod.index] is pod)


def _made_at(pod: Pod) -> datetime:
    return pod.created_at or datetime.fromtimestamp(0, UTC)


def _name_of(body: Body) -> Name:
    return Name(body["metadata"]["namespace"], body["metadata"]["name"])


def key_of(body: Body) -> Key | None:
    """The experiment that an object is, or belongs to by its label."""
    metadata = body["metadata"]
    if body.get("kind") == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    name = (metadata.get("labels") or {}).get(names.EXPERIMENT_LABEL)
    return Key(metadata["namespace"], name) if name else None


def _without_managed_fields(body: Body) -> Body:
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": metadata}
