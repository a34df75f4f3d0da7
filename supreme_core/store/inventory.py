"""Read all of a store: its listing, its manifests, its experiments, and for a check every byte."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import RunResult
from supreme_core.api.selection import Proposals
from supreme_core.errors import CorruptArtefact, SpecError, one_line
from supreme_core.store.artefacts import StoredFile, is_sound_checkpoint, read_manifest
from supreme_core.store.checksums import edited, measured
from supreme_core.store.housekeeping import (
    Damage,
    Inventory,
    Leftover,
    Needs,
    Piece,
    Pruning,
    Removal,
    StageId,
    damage_in,
    needs_of,
)
from supreme_core.store.leases import has_heartbeat
from supreme_core.store.results import (
    FAILED_RUN_BYTES,
    FAULT_BYTES,
    RESULT_BYTES,
    parse_failed_run,
    parse_fault,
    parse_order,
    parse_result,
)
from supreme_core.store.selections import read_proposals
from supreme_core.store.storage import MissingObject, ObjectInfo, ObjectTooLarge, Storage
from supreme_core.tuning.selection import learns

T = TypeVar("T")

THREADS: Final = 8
"""Requests at a time: a store that is far away answers each after milliseconds."""

ANEW: Final = "`supreme report EXPERIMENT-URI` makes it anew from the results"

OBJECT = re.compile(r"objects/([^/]+)/([0-9a-f]{2})/(\2[0-9a-f]{62})/[^/]+")
EXPERIMENT = re.compile(r"(experiments/[^/]+/[^/]+)/(?:order|seed=\d+/attempt=\d+/result)\.json")
FAULT = re.compile(r"experiments/[^/]+/[^/]+/seed=\d+/attempt=\d+/fault\.json")
FAILED_RUN = re.compile(r"experiments/[^/]+/[^/]+/seed=\d+/attempt=\d+/failed-[^/]+\.json")


class Track(Protocol):
    """Passes items on, and shows how many of `total` have passed."""

    def __call__(self, items: Iterable[T], *, total: int, what: str) -> Iterable[T]: ...


@dataclass(frozen=True)
class StoredExperiment:
    """The documents of one experiment.

    prefix: its folder.  order: None where there is none.  results: of all attempts, by their keys.
    proposals: of its trials; None where there are none that can be read.
    """

    prefix: str
    order: ExperimentOrder | None
    results: Mapping[str, RunResult]
    proposals: Proposals | None = None


@dataclass(frozen=True)
class Documents:
    """Documents of all experiments.

    unreadable: why a document cannot be read, by its key.  unsealed: orders without a digest.
    """

    experiments: list[StoredExperiment]
    unreadable: Mapping[str, str]
    unsealed: Sequence[str]


def read_inventory(storage: Storage, track: Track) -> Inventory:
    """Read what a store holds. Experiments are read last: one that appears meanwhile is not
    missed."""
    folders = _folders(storage)
    at_work = frozenset(_at_work(storage, folders))
    with _threads() as pool:
        read = pool.map(lambda item: _piece(storage, *item), folders.items())
        pieces = list(track(read, total=len(folders), what="reading manifests"))
        temporaries = list(storage.temporaries())
        found = _read_experiments(storage, pool, track)
    if not pieces and not temporaries and not found.experiments:
        raise SpecError(f"{storage.uri} holds neither stages nor experiments; is it a store?")
    needs = _needs(found.experiments)
    return Inventory(pieces, temporaries, needs, found.unreadable, found.unsealed, at_work)


def read_needs_again(storage: Storage, inventory: Inventory, track: Track) -> Inventory:
    """The same stages beside the experiments that there are by now."""
    with _threads() as pool:
        found = _read_experiments(storage, pool, track)
    return replace(inventory, needs=_needs(found.experiments), unreadable=found.unreadable)


def read_experiments(storage: Storage, track: Track) -> list[StoredExperiment]:
    """The experiments of a store; documents that cannot be read are left out."""
    with _threads() as pool:
        return _read_experiments(storage, pool, track).experiments


def sizes_of_stages(storage: Storage) -> dict[StageId, int]:
    """Bytes of each stage in a store with all that lies in its folder."""
    return {
        stage: sum(info.size for info in objects) for stage, objects in _folders(storage).items()
    }


def read_damage(storage: Storage, inventory: Inventory, track: Track) -> list[Damage]:
    """Everything that is damaged; reads each object that seems sound to its last byte.

    Published files come last, when whoever was publishing has most likely ended.
    """
    found = damage_in(inventory)
    known = {damage.object for damage in found}
    files = [
        (piece.id, key, file)
        for piece in inventory.pieces
        for key, file in piece.files().items()
        if key not in known
    ]
    begun = [piece for piece in inventory.pieces if not piece.manifest and not piece.problem]
    with _threads() as pool:
        read = pool.map(lambda item: _damage(storage, *item), files)
        tracked = track(read, total=len(files), what="verifying files")
        found += [damage for damage in tracked if damage]
        found += filter(None, pool.map(lambda piece: _of_checkpoint(storage, piece), begun))
    found += [Damage(None, None, key, problem) for key, problem in _damaged_records(storage)]
    return found + [
        Damage(None, None, key, f"{problem}; {ANEW}")
        for folder in published_folders(storage)
        for key, problem in edited(storage, folder)
    ]


def _damaged_records(storage: Storage) -> Iterator[tuple[str, str]]:
    """Records of faults and of failed runs that trainers do not believe, so that a stage has one
    more try."""
    for info in storage.list("experiments"):
        try:
            if FAULT.fullmatch(info.key):
                parse_fault(storage.read(info.key, limit=FAULT_BYTES), info.key)
            elif FAILED_RUN.fullmatch(info.key):
                parse_failed_run(storage.read(info.key, limit=FAILED_RUN_BYTES), info.key)
        except MissingObject:
            continue
        except (SpecError, ObjectTooLarge) as error:
            yield info.key, one_line(error).removeprefix(f"{info.key} ")


def without_digest(storage: Storage, inventory: Inventory) -> list[str]:
    """Documents of which nobody can say whether they were edited: older versions wrote them."""
    published = [
        names.summary_key(folder)
        for folder, files in published_folders(storage).items()
        if names.summary_key(folder) in files and names.checksums_key(folder) not in files
    ]
    return sorted([*inventory.unsealed, *published])


def published_folders(storage: Storage) -> dict[str, set[str]]:
    """The published files of each experiment and each import that are not empty, by its folder."""
    found: dict[str, set[str]] = defaultdict(set)
    for root in ("experiments", "imports"):
        for info in storage.list(root):
            folder = info.key.rpartition("/")[0]
            if info.size and info.key in names.summary_keys(folder):
                found[folder].add(info.key)
    return dict(found)


def delete(storage: Storage, pruning: Pruning) -> int:
    """Remove what may go and has not changed since it was listed; gives the bytes."""
    return sum(_delete_piece(storage, piece) for piece in pruning.orphans) + sum(
        _delete_leftover(storage, leftover) for leftover in pruning.leftovers
    )


def remove_experiment(storage: Storage, removal: Removal) -> int:
    """Remove an experiment and what goes with it; gives the bytes.

    Results go first, so that no result ever names a stage that is gone. An experiment without
    results is one that has not begun: whoever is killed here leaves a store in which it can be
    computed again, and its order, which goes last, lets the same call go on.
    """
    results = [info for info in removal.documents if info.key.endswith("/result.json")]
    orders = [info for info in removal.documents if info.key.endswith("/order.json")]
    others = [info for info in removal.documents if info not in results and info not in orders]
    removed = _delete_documents(storage, results)
    removed += sum(_delete_piece(storage, piece) for piece in removal.stages)
    removed += sum(_delete_leftover(storage, leftover) for leftover in removal.leftovers)
    return removed + _delete_documents(storage, [*others, *orders])


def _delete_documents(storage: Storage, documents: Iterable[ObjectInfo]) -> int:
    size = 0
    for info in documents:
        storage.delete(info.key)
        size += info.size
    return size


def _folders(storage: Storage) -> dict[StageId, list[ObjectInfo]]:
    """The objects of each stage; what lies elsewhere is not ours."""
    found: dict[StageId, list[ObjectInfo]] = defaultdict(list)
    for info in storage.list("objects"):
        if match := OBJECT.fullmatch(info.key):
            found[match[1], match[3]].append(info)
    return dict(found)


def _at_work(
    storage: Storage, folders: Mapping[StageId, Sequence[ObjectInfo]]
) -> Iterator[StageId]:
    """The stages that a process is computing."""
    now = datetime.now(UTC)
    for stage, objects in folders.items():
        found = (info for info in objects if info.key.rpartition("/")[2].startswith(names.LEASE))
        if any(has_heartbeat(storage, lease, now=now) for lease in found):
            yield stage


def _piece(storage: Storage, stage: StageId, objects: Sequence[ObjectInfo]) -> Piece:
    name = f"{names.artefact_prefix(*stage)}/{names.MANIFEST}"
    if all(info.key != name for info in objects):
        return Piece(*stage, tuple(objects))
    try:
        return Piece(*stage, tuple(objects), read_manifest(storage, *stage))
    except CorruptArtefact as error:
        return Piece(*stage, tuple(objects), problem=str(error).removeprefix(f"{name}: "))


def _read_experiments(storage: Storage, pool: ThreadPoolExecutor, track: Track) -> Documents:
    keys = [info.key for info in storage.list("experiments") if EXPERIMENT.fullmatch(info.key)]
    read = pool.map(lambda key: _document(storage, key), keys)
    orders: dict[str, ExperimentOrder] = {}
    results: dict[str, dict[str, RunResult]] = {}
    unreadable, unsealed = {}, []
    tracked = track(read, total=len(keys), what="reading experiments")
    for key, document in zip(keys, tracked, strict=True):
        prefix = "/".join(key.split("/")[:3])
        results.setdefault(prefix, {})
        if isinstance(document, tuple):
            orders[prefix], has_digest = document
            unsealed += [] if has_digest else [key]
        elif isinstance(document, RunResult):
            results[prefix][key] = document
        elif document:
            unreadable[key] = document
    found = [
        StoredExperiment(prefix, order, results[prefix], _proposals(storage, order))
        for prefix in results
        for order in [orders.get(prefix)]
    ]
    return Documents(found, unreadable, unsealed)


def _proposals(storage: Storage, order: ExperimentOrder | None) -> Proposals | None:
    """None where nothing is proposed, or somebody has edited it, which whoever goes on says."""
    if order is None or order.tuning is None or not learns(order.tuning):
        return None
    try:
        return read_proposals(storage, order)
    except SpecError:
        return None


def _needs(found: Iterable[StoredExperiment]) -> list[Needs]:
    return [needs_of(each.prefix, each.order, each.results) for each in found]


def _document(storage: Storage, key: str) -> tuple[ExperimentOrder, bool] | RunResult | str:
    """An order, and whether it has a digest; a result; a line that says why it cannot be read.

    The line is empty where the document is gone.
    """
    try:
        data = storage.read(key, limit=RESULT_BYTES)
        if key.endswith("/order.json"):
            return parse_order(data, key)
        return parse_result(data, key)
    except MissingObject:
        return ""
    except (SpecError, ObjectTooLarge) as error:
        return one_line(error)


def _of_checkpoint(storage: Storage, piece: Piece) -> Damage | None:
    """A checkpoint with which a training that was interrupted would begin again."""
    key = names.checkpoint_key(*piece.id)
    if all(info.key != key for info in piece.objects):
        return None
    try:
        sound = is_sound_checkpoint(storage.chunks(key), has_origin=True)
    except MissingObject:
        return None  # the training has ended meanwhile
    problem = "it has been changed since it was written; the training will begin again"
    return None if sound else Damage(*piece.id, key, problem)


def _damage(storage: Storage, stage: StageId, key: str, expected: StoredFile) -> Damage | None:
    try:
        found = measured(storage, key)
    except MissingObject:
        return Damage(*stage, key, "it is missing")
    if found == expected:
        return None
    return Damage(
        *stage,
        key,
        f"it has {found.size} bytes with sha256 {found.sha256[:16]}, its manifest says"
        f" {expected.size} with {expected.sha256[:16]}",
    )


def _delete_piece(storage: Storage, piece: Piece) -> int:
    """The manifest first, so that there is never one whose data are gone."""
    if not all(_is_unchanged(storage, info) for info in piece.objects):
        return 0
    for info in sorted(piece.objects, key=lambda info: not info.key.endswith(names.MANIFEST)):
        storage.delete(info.key)
    return piece.size


def _delete_leftover(storage: Storage, leftover: Leftover) -> int:
    if leftover.is_temporary:
        storage.delete_temporary(leftover.info.key)
    elif not _is_unchanged(storage, leftover.info):
        return 0
    else:
        storage.delete(leftover.info.key)
    return leftover.info.size


def _is_unchanged(storage: Storage, info: ObjectInfo) -> bool:
    """S3 tells the time of an object to the second or more exactly, as it is asked."""
    now = storage.stat(info.key)
    if now is None or now.size != info.size or now.linked:
        return False
    return abs(now.modified - info.modified) < timedelta(seconds=1)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
