"""`supreme store delete`: remove one experiment and what only it needs."""

import json
import sys

import click
from supreme_trainer.command.store import in_bytes, leftover_document, piece_document
from supreme_trainer.command.terminal import say_found, tracked

from supreme_core.errors import SpecError, number_of
from supreme_core.store.housekeeping import Inventory, Removal, removal
from supreme_core.store.inventory import read_inventory, read_needs_again, remove_experiment
from supreme_core.store.opening import open_experiment
from supreme_core.store.results import no_experiment
from supreme_core.store.storage import Storage, require_unlinked


def delete_experiment(
    uri: str,
    *,
    yes: bool,
    with_data: bool,
    endpoint: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Say what goes with an experiment, and remove it where `yes` is set or a person says so."""
    storage, experiment = open_experiment(uri, endpoint=endpoint, region=region)
    if not any(storage.list(experiment)):
        raise no_experiment(storage, experiment)
    inventory = read_inventory(storage, tracked)
    found = _removal(storage, inventory, experiment, with_data=with_data)
    if not as_json:
        _show(storage, experiment, found, with_data=with_data)
    deleted = None
    if yes or (not as_json and _says_yes()):
        # Another experiment may have begun while somebody read and thought.
        inventory = read_needs_again(storage, inventory, tracked)
        found = _removal(storage, inventory, experiment, with_data=with_data)
        deleted = remove_experiment(storage, found)
    if as_json:
        click.echo(json.dumps(_document(storage, experiment, found, deleted or 0), indent=1))
    elif deleted is not None:
        say_found(f"{in_bytes(deleted)} removed")
    elif not _is_watched():
        say_found(f"{in_bytes(found.size)} would go; --yes removes them")
    else:
        say_found("nothing was removed")


def _removal(
    storage: Storage, inventory: Inventory, experiment: str, *, with_data: bool
) -> Removal:
    if unreadable := inventory.without(experiment).unreadable:
        raise SpecError(
            "nothing is removed, because another experiment cannot be read, and nobody knows what"
            f" it needs: {'; '.join(unreadable.values())}"
        )
    documents = list(storage.list(experiment))
    found = removal(inventory, experiment, documents, with_data=with_data)
    inside = (*documents, *(info for piece in found.stages for info in piece.objects))
    require_unlinked(storage, [*inside, *(leftover.info for leftover in found.leftovers)])
    return found


def _show(storage: Storage, experiment: str, found: Removal, *, with_data: bool) -> None:
    documents = sum(info.size for info in found.documents)
    stages = sum(piece.size for piece in found.stages)
    say_found(f"{storage.uri.rstrip('/')}/{experiment}")
    say_found(f"its folder: {number_of(len(found.documents), 'file')}, {in_bytes(documents)}")
    if found.unfinished:
        seeds = ", ".join(map(str, found.unfinished[:12])) + ", ..." * (len(found.unfinished) > 12)
        say_found(f"unfinished: seeds {seeds}; where a run is at work on them, stop it first")
    say_found(f"stages that only it needs: {len(found.stages)}, {in_bytes(stages)}")
    if found.shared:
        say_found(f"stages that another experiment needs too, which stay: {found.shared}")
    if found.leftovers:
        size = sum(leftover.info.size for leftover in found.leftovers)
        say_found(f"checkpoints that nobody goes on with: {len(found.leftovers)}, {in_bytes(size)}")
    if found.data:
        size = sum(piece.size for piece in found.data)
        say_found(f"prepared data that nobody else uses, kept without --data: {in_bytes(size)}")


def _is_watched() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _says_yes() -> bool:
    return _is_watched() and click.confirm("remove this?", default=False)


def _document(storage: Storage, experiment: str, found: Removal, deleted: int) -> dict[str, object]:
    return {
        "store": storage.uri,
        "experiment": experiment,
        "documents": [info.key for info in found.documents],
        "unfinishedSeeds": list(found.unfinished),
        "stages": list(map(piece_document, found.stages)),
        "leftovers": list(map(leftover_document, found.leftovers)),
        "sharedStages": found.shared,
        "unusedData": list(map(piece_document, found.data)),
        "bytes": found.size,
        "deletedBytes": deleted,
    }
