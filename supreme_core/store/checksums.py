"""SHA256SUMS: digests of the published files beside it, which `sha256sum -c` reads.

    experiments/local/digits-1a2b3c4d/SHA256SUMS
    experiments/local/digits-1a2b3c4d/{report.html, summary.csv, over_seeds.csv, summary.json}

It is empty while the files are written, and afterwards has their digests. So where it has some,
every file is as it was published, and one that is not was edited or damaged since.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from supreme_core.api import names
from supreme_core.errors import SpecError, StoreUnavailable
from supreme_core.store.artefacts import StoredFile
from supreme_core.store.storage import MissingObject, ObjectTooLarge, Storage

MOST_BYTES: Final = 16 * 1024
ATTEMPTS: Final = 3
"""Tries for one object, because hours of reading must not end with the first lost connection."""

LINE: Final = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>[A-Za-z0-9_.]{1,64})")
EDITED: Final = "it has been changed since it was published, or its digest in SHA256SUMS was"


def write_files(storage: Storage, folder: str, files: Mapping[str, bytes]) -> None:
    """Publish files by their names, in this order, then their digests."""
    storage.write(names.checksums_key(folder), b"")
    for name, data in files.items():
        storage.write(f"{folder}/{name}", data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    storage.write(names.checksums_key(folder), "".join(lines).encode())


def read_checksums(storage: Storage, folder: str) -> dict[str, str] | None:
    """The digest of each file by its name; None where there is none, SpecError if edited."""
    key = names.checksums_key(folder)
    try:
        data = storage.read(key, limit=MOST_BYTES)
        lines = data.decode().splitlines()
    except MissingObject:
        return None
    except (ObjectTooLarge, UnicodeDecodeError):
        raise SpecError(f"{key}: it is no list of digests") from None
    if not data:
        return None
    found = [LINE.fullmatch(line) for line in lines]
    named = {match["name"]: match["sha256"] for match in found if match}
    if not named or len(named) < len(found):
        raise SpecError(f"{key}: it is no list of digests")
    return named


def edited(storage: Storage, folder: str) -> Iterator[tuple[str, str]]:
    """Each published file of a folder that is not as it was published, and what is wrong."""
    try:
        listed = read_checksums(storage, folder) or {}
    except SpecError as error:
        yield names.checksums_key(folder), str(error).partition(": ")[2]
        return
    for name, sha256 in listed.items():
        key = f"{folder}/{name}"
        try:
            if measured(storage, key).sha256 != sha256:
                yield key, EDITED
        except MissingObject:
            yield key, "it is missing, and SHA256SUMS names it"


def measured(storage: Storage, key: str) -> StoredFile:
    """Size and digest of an object, which is never in memory as a whole."""
    for attempt in range(ATTEMPTS):
        try:
            size, sha256 = 0, hashlib.sha256()
            for chunk in storage.chunks(key):
                size += len(chunk)
                sha256.update(chunk)
            return StoredFile(size=size, sha256=sha256.hexdigest())
        except StoreUnavailable:
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")
