"""Storage: a few operations on objects that have keys, and the errors of each.

The rest of the system sees keys, which are slash-separated words such as
`experiments/local/digits/order.json`, and the errors of `supreme_core.errors`. An object appears
whole or not at all, whoever is killed meanwhile. `opening` gives the store of an address, which is
a `folder` or a bucket on `s3`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from supreme_core.errors import StorageError, StoreUnusable

TEMPORARY: Final = ".supreme-tmp-"
"""Prefix of the names of files that are being written, or were when their writer was killed."""

CHUNK_BYTES: Final = 1024 * 1024

FULL: Final = "no space left; free some or raise the quota, what is stored so far stays valid"
WAS_WRITABLE: Final = "it could be written a while ago, so try again"
GARBLED: Final = (
    "what was written is not what is read back, so something else answers in the place of the"
    " store, such as a proxy or the login page of a network"
)


class MissingObject(StorageError):
    """The store has no object under this key."""


class ObjectTooLarge(StorageError):
    """The object is larger than its reader is willing to take."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it; `size` in bytes, `modified` in UTC.

    linked: it lies behind a symbolic link in the store, so that it may lie anywhere.
    """

    key: str
    size: int
    modified: datetime
    linked: bool = False


class Storage(Protocol):
    """Objects under keys.

    A key is relative; a part that is empty, `.`, `..` or not printable is a ValueError. Every
    method may raise StoreUnusable or StoreUnavailable, whose message is one line.
    """

    @property
    def uri(self) -> str:
        """The store in a form that `open_storage` takes."""

    def check(self) -> None:
        """Find out, at the price of a tiny object, whether this store can be used and written."""

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        """The whole object. Raises MissingObject, and ObjectTooLarge beyond `limit` bytes."""

    def write(self, key: str, data: bytes) -> None:
        """Put or replace an object; a reader sees the old bytes or the new ones."""

    def write_if_absent(self, key: str, data: bytes) -> bool:
        """Put an object unless there is one; of several writers at a time one gets True.

        After a lost answer of S3 that one may get False too, so False means: look what is there.
        """

    def upload(self, key: str, path: Path) -> None:
        """Write, as `write` does, from a file of any size."""

    def local_path(self, key: str, cache: Path) -> Path:
        """A file with the object's bytes, to be read only: the object itself, or a copy in `cache`.

        Raises MissingObject. A copy lies directly in `cache` and belongs to one version of the
        object, so processes may share the folder and a replaced object is fetched again.
        """

    def stat(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None where there is none."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects below `prefix` in the order of their keys' UTF-8 bytes.

        `prefix` names a folder, so `seed=1` does not list what lies below `seed=10`.
        """

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """The object's bytes, a part at a time and never all of them in memory or on the disk.

        Raises MissingObject.
        """

    def temporaries(self) -> Iterator[ObjectInfo]:
        """Files that writers left that were killed, or are at work; no key of theirs is for
        `read`."""

    def delete_temporary(self, key: str) -> None:
        """Remove one of `temporaries`."""


def checked_key(key: str) -> str:
    if not is_key(key):
        raise ValueError(
            f"{key!r} is no key: keys are relative, without parts that are empty, '.', '..', not "
            f"printable, longer than 255 bytes or begin with {TEMPORARY}"
        )
    return key


def require_unlinked(storage: Storage, objects: Iterable[ObjectInfo]) -> None:
    """Refuse, by a StoreUnusable, to delete what lies behind a symbolic link."""
    for info in objects:
        if info.linked:
            raise StoreUnusable(
                f"{storage.uri}: {info.key} lies behind a symbolic link, through which nothing is"
                " removed; remove the link by hand, or name a store without one"
            )


def is_key(text: str) -> bool:
    """Return whether a text names an object, or a folder of objects."""
    return all(map(is_key_part, text.split("/")))


def is_key_part(text: str) -> bool:
    return (
        text not in ("", ".", "..")
        and text.isprintable()  # neither control characters nor what UTF-8 cannot write
        and "\\" not in text
        and not text.startswith(TEMPORARY)
        and len(text.encode()) <= 255
    )


def is_temporary(name: str) -> bool:
    return name.startswith(TEMPORARY)


def no_object(uri: str, key: str) -> MissingObject:
    return MissingObject(f"{uri}: there is no object {key}")


def too_large(uri: str, key: str, limit: int | None) -> ObjectTooLarge:
    return ObjectTooLarge(f"{uri}: object {key} has more than the {limit} bytes that are read")
