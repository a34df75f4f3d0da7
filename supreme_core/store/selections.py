"""Choices of settings, and what was proposed before them, in the store."""

import hashlib
from typing import Final

from supreme_core.api import names
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.selection import Proposals, Selection
from supreme_core.errors import SpecError
from supreme_core.store.sealed import parse_unchanged, sealed_json
from supreme_core.store.storage import MissingObject, ObjectTooLarge, Storage

SELECTION_BYTES: Final = 64 * 1024 * 1024


def read_selection(
    storage: Storage, experiment: str, *, sha256: str | None = None
) -> Selection | None:
    """The choices that were made for the experiment whose folder is given; None for none yet.

    SpecError where the file was changed since: nothing can be computed by what nobody has chosen.
    sha256: that of the file, where it is known; any other is changed.
    """
    key = names.selection_key(experiment)
    if (data := _read(storage, key)) is None:
        return None
    if sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise SpecError(f"{key} is not the one by which settings were chosen; put that one back")
    return parse_unchanged(Selection, data, source=key)


def write_selection(storage: Storage, experiment: str, selection: Selection) -> str:
    """Put the choices there; gives the sha256 of the file."""
    data = _bytes(selection)
    storage.write(names.selection_key(experiment), data)
    return hashlib.sha256(data).hexdigest()


def selection_digest(selection: Selection) -> str:
    """The sha256 of the file that the choices make."""
    return hashlib.sha256(_bytes(selection)).hexdigest()


def read_proposals(storage: Storage, order: ExperimentOrder) -> Proposals:
    """The trials that were proposed for an experiment, none at first.

    SpecError where the file was changed since: other trials would follow from it.
    """
    key = names.proposals_key(order.prefix)
    if (data := _read(storage, key)) is None:
        return Proposals(experiment=order.experiment)
    try:
        return parse_unchanged(Proposals, data, source=key)
    except SpecError as error:
        raise SpecError(
            f"{error}; put it back, or delete it, and trials are proposed anew from the results"
        ) from None


def write_proposals(storage: Storage, proposals: Proposals, order: ExperimentOrder) -> None:
    """Put the proposals there."""
    data = sealed_json(proposals.to_document(), indent=None)
    storage.write(names.proposals_key(order.prefix), data)


def _bytes(selection: Selection) -> bytes:
    return sealed_json(selection.to_document(), indent=None)


def _read(storage: Storage, key: str) -> bytes | None:
    try:
        return storage.read(key, limit=SELECTION_BYTES)
    except MissingObject:
        return None
    except ObjectTooLarge as error:
        raise SpecError(str(error)) from None
