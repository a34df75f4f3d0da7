"""Find damaged, unreferenced and leftover objects of a store. Pure.

A stage is needed where the result of an experiment names it, or names something whose meaning names
it. An experiment whose order is there but not all of whose seeds are finished may need more than
any document says yet. So everything that could belong to an unfinished seed counts as needed too:

    its meaning, or that of what it was computed from, has this training seed
    it has no training seed at all, as prepared data

That keeps more than is needed, for example the stages of other experiments with the same seeds, and
never less. Nothing is said about stages whose manifests cannot be read: they may be of a newer
version.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from supreme_core.api import names
from supreme_core.api.canonical import keys_in
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import RunResult
from supreme_core.errors import number_of
from supreme_core.store.artefacts import Manifest, StoredFile, object_key
from supreme_core.store.results import is_finished
from supreme_core.store.storage import ObjectInfo
from supreme_core.tuning.selection import is_chosen

StageId = tuple[str, str]
"""(stage, key)."""

SPARE: Final = ("importances",)
"""Stages that only save time: methods that are added later would read them, and would otherwise
compute them again. They are as large as two models each, so to prune takes them."""

DATA: Final = ("datasets", "pretrained")
"""The stages of prepared data: what was brought into the store and not computed."""


@dataclass(frozen=True)
class Piece:
    """One folder of objects/ with all that lies in it.

    manifest: None where there is none, or none that can be trusted; then `problem` says why.
    """

    stage: str
    key: str
    objects: tuple[ObjectInfo, ...]
    manifest: Manifest | None = None
    problem: str = ""

    @property
    def id(self) -> StageId:
        return self.stage, self.key

    @property
    def size(self) -> int:
        """Bytes of everything in the folder."""
        return sum(info.size for info in self.objects)

    @property
    def modified(self) -> datetime:
        """Time at which anything of it was written last."""
        return max(info.modified for info in self.objects)

    @property
    def linked(self) -> bool:
        """True if anything of it lies behind a symbolic link, and so perhaps outside the store."""
        return any(info.linked for info in self.objects)

    def files(self) -> dict[str, StoredFile]:
        """The data objects that the manifest names, by their keys in the store."""
        if self.manifest is None:
            return {}
        return {object_key(self.manifest, name): file for name, file in self.manifest.files.items()}


@dataclass(frozen=True)
class Needs:
    """Needs of one experiment: stages that it names, and seeds for which nobody knows yet.

    spare: stages that it names too, but that its results do without.
    """

    experiment: str
    stages: frozenset[StageId]
    unfinished: frozenset[int]
    spare: frozenset[StageId] = frozenset()


@dataclass(frozen=True)
class Inventory:
    """Inventory of a whole store.

    unreadable: why a document of an experiment cannot be read, by its key in the store.
    unsealed: keys of orders that carry no digest, as older versions wrote them.
    at_work: stages that a process is computing at the moment, as their leases tell.
    """

    pieces: Sequence[Piece]
    temporaries: Sequence[ObjectInfo]
    needs: Sequence[Needs]
    unreadable: Mapping[str, str]
    unsealed: Sequence[str] = ()
    at_work: frozenset[StageId] = frozenset()

    @cached_property
    def unfinished(self) -> frozenset[int]:
        return frozenset[int]().union(*(each.unfinished for each in self.needs))

    @cached_property
    def named(self) -> frozenset[StageId]:
        return frozenset[StageId]().union(*(each.stages for each in self.needs))

    def without(self, experiment: str) -> "Inventory":
        """The store as it would be without the documents of one experiment."""
        return replace(
            self,
            needs=[each for each in self.needs if each.experiment != experiment],
            unreadable={
                key: why
                for key, why in self.unreadable.items()
                if not key.startswith(f"{experiment}/")
            },
        )


@dataclass(frozen=True)
class Damage:
    """An object that is not what it should be: a manifest, data that it names, a published file.

    stage, key: None where it belongs to none.
    """

    stage: str | None
    key: str | None
    object: str
    problem: str


@dataclass(frozen=True)
class Leftover:
    """An object that no manifest names and that no process will use."""

    info: ObjectInfo
    why: str
    is_temporary: bool = False


@dataclass(frozen=True)
class Pruning:
    """Objects that may go, that are too young to go, and prepared data that no experiment uses yet.

    linked: keys of objects that stay because they lie behind a symbolic link.
    """

    orphans: list[Piece] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    young: int = 0
    data: list[Piece] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        orphans = sum(piece.size for piece in self.orphans)
        return orphans + sum(leftover.info.size for leftover in self.leftovers)


@dataclass(frozen=True)
class Removal:
    """Objects that go with one experiment.

    documents: everything in its folder.  stages, leftovers: what no other experiment needs.
    data: prepared data that no other experiment uses, and that stay.  shared: how many of the
    stages that its results name stay because another experiment needs them.  unfinished: its seeds
    without a result.
    """

    documents: Sequence[ObjectInfo]
    stages: Sequence[Piece]
    leftovers: Sequence[Leftover]
    data: Sequence[Piece]
    shared: int
    unfinished: Sequence[int]

    @property
    def size(self) -> int:
        return (
            sum(info.size for info in self.documents)
            + sum(piece.size for piece in self.stages)
            + sum(leftover.info.size for leftover in self.leftovers)
        )


def needs_of(prefix: str, order: ExperimentOrder | None, results: Mapping[str, RunResult]) -> Needs:
    """Needs of the experiment in the folder `prefix`.

    results: of all attempts, by their keys in the store; also those of earlier work count, because
    a change of the file back to it makes them the newest again. order: None where there is none;
    then nothing is going to be computed any more. No trial is, once settings are chosen.
    """
    stages = {(record.stage, record.key) for result in results.values() for record in result.stages}
    unfinished = {
        seed
        for part in (() if order is None else [order] if is_chosen(order) else order.parts)
        for seed in set(part.seeds) - _finished(prefix, part, results)
    }
    spare = {each for each in stages if each[0] in SPARE}
    return Needs(prefix, frozenset(stages - spare), frozenset(unfinished), frozenset(spare))


def damage_in(inventory: Inventory) -> list[Damage]:
    """Damage that listing and manifests tell without reading any data."""
    found = []
    for piece in inventory.pieces:
        if piece.problem:
            manifest = f"{names.artefact_prefix(*piece.id)}/{names.MANIFEST}"
            found.append(Damage(*piece.id, manifest, piece.problem))
        there = {info.key: info.size for info in piece.objects}
        for key, file in piece.files().items():
            if key not in there:
                found.append(Damage(*piece.id, key, "it is missing"))
            elif there[key] != file.size:
                problem = f"it has {number_of(there[key], 'byte')}, its manifest says {file.size}"
                found.append(Damage(*piece.id, key, problem))
    return found + list(_missing(inventory))


def orphans(inventory: Inventory) -> list[Piece]:
    """Finished stages that no experiment needs; none where an experiment cannot be read."""
    if inventory.unreadable:
        return []
    graph = Graph(inventory.pieces, inventory.unfinished)
    needed = graph.with_inputs(inventory.named)
    return [
        piece
        for piece in inventory.pieces
        if piece.manifest is not None
        and piece.id not in needed
        and not graph.may_belong(piece.manifest)
    ]


def leftovers(inventory: Inventory) -> list[Leftover]:
    """Objects of writers that were killed, of work that was replaced, and old checkpoints.

    Some may be those of a writer who is at work: its lease tells, else age does.
    """
    found = [
        Leftover(info, "a file that was being written", is_temporary=True)
        for info in inventory.temporaries
    ]
    for piece in inventory.pieces:
        if piece.id in inventory.at_work:
            continue
        found += _leftovers_of(piece, may_go_on=bool(inventory.unfinished or inventory.unreadable))
    return found


def prunable(inventory: Inventory, *, before: datetime, with_data: bool = False) -> Pruning:
    """Orphans and leftovers that were written before some moment.

    A process may be at work whose experiment has no order yet, so nothing young goes. Data may have
    been prepared for an experiment to come, from a source that is not at hand any more, so they go
    only where that is said. Through a symbolic link nothing goes, for it may lead anywhere.
    """
    gone, left = orphans(inventory), leftovers(inventory)
    data = [] if with_data else [piece for piece in gone if piece.stage in DATA]
    gone = [piece for piece in gone if piece not in data]
    orphaned = {info.key for piece in gone for info in piece.objects}
    left = [leftover for leftover in left if leftover.info.key not in orphaned]
    linked = [info.key for piece in gone if piece.linked for info in piece.objects if info.linked]
    linked += [leftover.info.key for leftover in left if leftover.info.linked]
    gone = [piece for piece in gone if not piece.linked]
    left = [leftover for leftover in left if not leftover.info.linked]
    old_gone = [piece for piece in gone if piece.modified < before]
    old_left = [leftover for leftover in left if leftover.info.modified < before]
    young = len(gone) + len(left) - len(old_gone) - len(old_left)
    return Pruning(old_gone, old_left, young, data, linked)


def removal(
    inventory: Inventory,
    experiment: str,
    documents: Sequence[ObjectInfo],
    *,
    with_data: bool = False,
) -> Removal:
    """Removal of the experiment in the folder `experiment`, which holds these documents.

    That is what is needed now and would not be without it. What nobody needs already, other
    commands of the past left, and `prunable` finds it. Every other experiment must be readable.
    """
    rest = inventory.without(experiment)
    assert not rest.unreadable, "nobody knows what an experiment needs that cannot be read"
    now = replace(inventory, unreadable={})
    own = [each for each in inventory.needs if each.experiment == experiment]
    spare = frozenset[StageId]().union(*(each.spare for each in own))
    spare -= frozenset[StageId]().union(*(each.spare for each in rest.needs))
    unneeded = {piece.id for piece in orphans(now)} - spare
    gone = [piece for piece in orphans(rest) if piece.id not in unneeded]
    data = [] if with_data else [piece for piece in gone if piece.stage in DATA]
    gone = [piece for piece in gone if piece not in data]
    left_before = {leftover.info.key for leftover in leftovers(now)}
    inside = {info.key for piece in gone for info in piece.objects}
    left = [
        leftover for leftover in leftovers(rest) if leftover.info.key not in left_before | inside
    ]
    named = frozenset[StageId]().union(*(each.stages for each in own))
    going = {piece.id for piece in (*gone, *data)}
    there = {piece.id for piece in inventory.pieces if piece.manifest is not None}
    return Removal(
        documents=documents,
        stages=gone,
        leftovers=left,
        data=data,
        shared=len((named & there) - going),
        unfinished=sorted({seed for each in own for seed in each.unfinished}),
    )


def _finished(prefix: str, order: ExperimentOrder, results: Mapping[str, RunResult]) -> set[int]:
    """Seeds whose newest result for the order's work leaves nothing to do."""
    wanted = work_digest(order.work)
    newest: dict[int, RunResult] = {}
    for key, result in sorted(results.items(), key=lambda item: item[1].attempt):
        attempt = names.attempt_prefix(prefix, result.seed, result.attempt)
        in_place = (result.experiment, key) == (order.experiment, names.result_key(attempt))
        if in_place and result.work_digest == wanted:
            newest[result.seed] = result
    return {seed for seed, result in newest.items() if is_finished(result, order)}


def _missing(inventory: Inventory) -> Iterator[Damage]:
    """Stages that results name and that are not in the store."""
    there = {piece.id for piece in inventory.pieces if piece.manifest or piece.problem}
    for stage, key in sorted(inventory.named - there):
        manifest = f"{names.artefact_prefix(stage, key)}/{names.MANIFEST}"
        yield Damage(stage, key, manifest, "it is missing, and a result names it")


def _leftovers_of(piece: Piece, *, may_go_on: bool) -> Iterator[Leftover]:
    """may_go_on: some experiment is unfinished, so a stage without a manifest may be gone on with.

    Where a manifest cannot be read nobody knows what it names.
    """
    if piece.problem:
        return
    files = piece.files()
    for info in piece.objects:
        name = info.key.rpartition("/")[2]
        if name == names.MANIFEST or info.key in files:
            continue
        if info.key == names.checkpoint_key(*piece.id):
            if piece.manifest is not None:
                yield Leftover(info, "the checkpoint of a stage that is done")
            elif not may_go_on:
                yield Leftover(info, "the checkpoint of a stage that no experiment goes on with")
        elif name.startswith(names.LEASE):
            yield Leftover(info, "the lease of a process that was killed")
        else:
            yield Leftover(info, "data that no manifest names")


class Graph:
    """Stages that each stage of a store is computed from, by the keys that their meanings name.

    Anybody may have written the manifests, so each meaning is read once, whoever names it, and
    without recursion. Stages that have one key have one meaning, so a key stands for all of them.
    unfinished: the training seeds of which nobody knows yet what they need.
    """

    def __init__(self, pieces: Iterable[Piece], unfinished: frozenset[int]) -> None:
        self._unfinished = unfinished
        self._stages: dict[str, list[StageId]] = defaultdict(list)
        self._meanings: dict[str, Mapping[str, object]] = {}
        for piece in pieces:
            self._stages[piece.key].append(piece.id)
            if piece.manifest:
                self._meanings[piece.key] = piece.manifest.meaning
        self._inputs: dict[str, set[str]] = {}
        self._of_unfinished: dict[str, bool | None] = {}

    def with_inputs(self, named: Iterable[StageId]) -> set[StageId]:
        """Return these stages, and whatever their meanings name, and so on."""
        needed = set(named)
        known = {key for _, key in needed}
        waiting = list(known)
        while waiting:
            more = self._inputs_of(waiting.pop()) - known
            known |= more
            waiting += more
            needed.update(stage for key in more for stage in self._stages[key])
        return needed

    def may_belong(self, manifest: Manifest) -> bool:
        """Return whether some run of an unfinished training seed could ask for this stage."""
        return bool(self._unfinished) and self._is_of_unfinished(manifest.key) is not False

    def _is_of_unfinished(self, key: str) -> bool | None:
        """Decide by the seeds in its meaning, else by those of its inputs; None where there are
        none."""
        waiting = [(key, False)]
        while waiting:
            here, inputs_are_known = waiting.pop()
            if here in self._of_unfinished:
                continue
            seeds = _seeds_in(self._meanings.get(here, {}))
            inputs = set[str]() if seeds else self._inputs_of(here)
            if inputs and not inputs_are_known:
                waiting += [(here, True), *((each, False) for each in inputs)]
                continue
            told = [self._of_unfinished.get(each) for each in inputs]
            told += [not self._unfinished.isdisjoint(seeds)] if seeds else []
            some = [each for each in told if each is not None]
            self._of_unfinished[here] = any(some) if some else None
        return self._of_unfinished[key]

    def _inputs_of(self, key: str) -> set[str]:
        """The keys in a meaning under which there is something in the store."""
        if key not in self._inputs:
            named = keys_in(self._meanings[key]) if key in self._meanings else set[str]()
            self._inputs[key] = named & self._stages.keys()
        return self._inputs[key]


def _seeds_in(meaning: Mapping[str, object]) -> set[int]:
    """The training seeds that a meaning has itself, or that of the model that stands in it."""
    model = meaning.get("model")
    places = (meaning, model) if isinstance(model, dict) else (meaning,)
    return {seed for place in places if isinstance(seed := place.get("seed"), int)}
