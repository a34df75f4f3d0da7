"""Choices of settings in the store."""

from typing import Final

from supreme_core.api import names
from supreme_core.api.selection import Selection
from supreme_core.errors import SpecError
from supreme_core.store.sealed import parse_unchanged, sealed_json
from supreme_core.store.storage import MissingObject, ObjectTooLarge, Storage

SELECTION_BYTES: Final = 64 * 1024 * 1024


def read_selection(storage: Storage, experiment: str) -> Selection | None:
    """The choices that were made for the experiment whose folder is given; None for none yet.

    SpecError where the file was changed since: nothing can be computed by what nobody has chosen.
    """
    key = names.selection_key(experiment)
    try:
        data = storage.read(key, limit=SELECTION_BYTES)
    except MissingObject:
        return None
    except ObjectTooLarge as error:
        raise SpecError(str(error)) from None
    return parse_unchanged(Selection, data, source=key)


def write_selection(storage: Storage, experiment: str, selection: Selection) -> None:
    data = sealed_json(selection.to_document(), indent=None)
    storage.write(names.selection_key(experiment), data)
