"""`supreme store`. What is damaged or not needed is decided elsewhere."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from supreme_trainer.command.terminal import say_found, tracked

from supreme_core.errors import EXIT_ERROR, EXIT_OK, SpecError, number_of
from supreme_core.store.housekeeping import (
    Damage,
    Inventory,
    Leftover,
    Piece,
    Pruning,
    leftovers,
    orphans,
    prunable,
)
from supreme_core.store.inventory import delete, read_damage, read_inventory, without_digest
from supreme_core.store.opening import open_storage
from supreme_core.store.storage import Storage

OLDER = (
    "an older version wrote them, or a process that was killed; `supreme run FILE` writes"
    " order.json anew, and `supreme report EXPERIMENT-URI` summary.json"
)
HOURS_AT_WORK = 1.0
"""Least age of what goes while somebody is at work: far above the time that a file takes to be
written, and a checkpoint or a stage to be named by what comes after it."""

SHOWN = 20
"""Lines of one kind; --json has all of them."""


def check_store(uri: str, *, endpoint: str | None, region: str | None, as_json: bool) -> None:
    """Say what is damaged, left behind or orphaned in a store, and end the process."""
    storage = open_storage(uri, endpoint=endpoint, region=region)
    inventory = read_inventory(storage, tracked)
    damaged = read_damage(storage, inventory, tracked)
    unsealed = without_digest(storage, inventory)
    found = Pruning(orphans(inventory), leftovers(inventory))
    if as_json:
        document = {
            **_document(storage, inventory, found),
            "damaged": list(map(_damage, damaged)),
            "withoutDigest": unsealed,
        }
        click.echo(json.dumps(document, indent=1))
    else:
        _show_check(storage, inventory, damaged, found)
        _list("documents without a digest, in which no edit is noticed: " + OLDER, unsealed)
    raise SystemExit(EXIT_ERROR if damaged or inventory.unreadable else EXIT_OK)


def prune_store(
    uri: str,
    *,
    really: bool,
    hours: float,
    with_data: bool,
    endpoint: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Say what no experiment needs in a store, and remove it where `really` is set."""
    storage = open_storage(uri, endpoint=endpoint, region=region)
    inventory = read_inventory(storage, tracked)
    if inventory.at_work and hours < HOURS_AT_WORK:
        hours = HOURS_AT_WORK
    before = datetime.now(UTC) - timedelta(hours=hours)
    pruning = prunable(inventory, before=before, with_data=with_data)
    deleted = delete(storage, pruning) if really else 0
    if as_json:
        document = {**_document(storage, inventory, pruning), "deletedBytes": deleted}
        click.echo(json.dumps(document, indent=1))
    else:
        if inventory.at_work:
            count = number_of(len(inventory.at_work), "stage")
            say_found(f"{count} being computed now, by leases that are renewed")
        _show_prune(pruning, hours=hours, deleted=deleted if really else None)
    if inventory.unreadable:
        raise SpecError(
            "no stage counts as orphaned, because an experiment cannot be read: "
            + "; ".join(inventory.unreadable.values())
        )


def _show_check(
    storage: Storage, inventory: Inventory, damaged: Sequence[Damage], found: Pruning
) -> None:
    files = sum(len(piece.files()) for piece in inventory.pieces)
    stages = sum(piece.manifest is not None for piece in inventory.pieces)
    size = sum(piece.size for piece in inventory.pieces)
    say_found(
        f"{storage.uri}: {number_of(stages, 'stage')} with {number_of(files, 'file')},"
        f" {in_bytes(size)}"
    )
    if not damaged and not inventory.unreadable:
        say_found("nothing is damaged")
    _list("damaged", [f"{each.object}: {each.problem}" for each in damaged])
    _list("experiments that cannot be read", list(inventory.unreadable.values()))
    _show_found(found)


def _show_prune(pruning: Pruning, *, hours: float, deleted: int | None) -> None:
    _show_found(pruning)
    if pruning.young:
        say_found(f"{pruning.young} more, written in the last {hours:g} h, stay")
    if pruning.data:
        size = sum(piece.size for piece in pruning.data)
        count = len(pruning.data)
        pieces = f"{number_of(count, 'piece')} of prepared data"
        say_found(f"{pieces}, {in_bytes(size)}, unused so far: kept without --data")
    _list("behind symbolic links, through which nothing is removed", pruning.linked)
    if not pruning.orphans and not pruning.leftovers:
        say_found("nothing to remove")
    elif deleted is None:
        say_found(f"{in_bytes(pruning.size)} would go; --delete removes them")
    else:
        say_found(f"{in_bytes(deleted)} removed")


def _show_found(found: Pruning) -> None:
    left = sum(leftover.info.size for leftover in found.leftovers)
    _list(
        f"left behind, {in_bytes(left)}",
        [f"{each.info.key}: {each.why}, {in_bytes(each.info.size)}" for each in found.leftovers],
    )
    _list(
        f"orphaned stages, {in_bytes(found.size - left)}",
        [f"{piece.stage} {piece.key}, {in_bytes(piece.size)}" for piece in found.orphans],
    )


def _list(title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    say_found(f"{len(lines)} {title}")
    for line in lines[:SHOWN]:
        say_found(f"  {line}")
    if len(lines) > SHOWN:
        say_found(f"  and {len(lines) - SHOWN} more; --json lists all of them")


def _document(storage: Storage, inventory: Inventory, found: Pruning) -> dict[str, Any]:
    return {
        "store": storage.uri,
        "stages": sum(piece.manifest is not None for piece in inventory.pieces),
        "files": sum(len(piece.files()) for piece in inventory.pieces),
        "bytes": sum(piece.size for piece in inventory.pieces),
        "unreadable": list(inventory.unreadable.values()),
        "leftovers": list(map(leftover_document, found.leftovers)),
        "orphans": list(map(piece_document, found.orphans)),
        "young": found.young,
        "atWork": [{"stage": stage, "key": key} for stage, key in sorted(inventory.at_work)],
        "linked": found.linked,
        "unusedData": list(map(piece_document, found.data)),
    }


def _damage(damage: Damage) -> dict[str, Any]:
    return {
        "stage": damage.stage,
        "key": damage.key,
        "object": damage.object,
        "problem": damage.problem,
    }


def leftover_document(leftover: Leftover) -> dict[str, Any]:
    info = leftover.info
    return {
        "object": info.key,
        "bytes": info.size,
        "modified": info.modified.isoformat(),
        "why": leftover.why,
    }


def piece_document(piece: Piece) -> dict[str, Any]:
    return {
        "stage": piece.stage,
        "key": piece.key,
        "bytes": piece.size,
        "modified": piece.modified.isoformat(),
    }


def in_bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return number_of(round(size), "byte") if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
