"""A store in a folder: an object is a file, which appears whole or not at all."""

import errno
import os
import shutil
import stat as file_status
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Final
from uuid import uuid4

from supreme_core.errors import StorageError, StoreUnavailable, StoreUnusable, one_line
from supreme_core.store.storage import (
    CHUNK_BYTES,
    FULL,
    GARBLED,
    TEMPORARY,
    WAS_WRITABLE,
    MissingObject,
    ObjectInfo,
    checked_key,
    is_key_part,
    is_temporary,
    no_object,
    too_large,
)
from supreme_core.system.files import NotAFile, open_file


class LocalStorage:
    """A folder, created when it is needed; keys are paths below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._has_written = False

    @property
    def uri(self) -> str:
        return self._folder.as_uri()

    def check(self) -> None:
        written = uuid4().bytes
        with self._explained(), temporary_file(self._folder / "check") as probe:
            probe.write_bytes(written)
            read = probe.read_bytes()
        if read != written:
            raise StoreUnusable(f"{self.uri}: {GARBLED}")

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        path = self._path(key)
        with self._explained(), _told_as_missing(self.uri, key), open_file(path) as file:
            if limit is None:
                return file.read()
            data = file.read(limit + 1)
        if len(data) > limit:
            raise too_large(self.uri, key, limit)
        return data

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._explained(), temporary_file(path) as temporary:
            temporary.write_bytes(data)
            replace(temporary, path)
            self._has_written = True

    def write_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with self._explained(), temporary_file(path) as temporary:
            temporary.write_bytes(data)
            self._has_written |= (is_mine := _link(temporary, path))
            return is_mine

    def upload(self, key: str, path: Path) -> None:
        target = self._path(key)
        with path.open("rb") as source, self._explained(), temporary_file(target) as temporary:
            with temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
            replace(temporary, target)
            self._has_written = True

    def local_path(self, key: str, cache: Path) -> Path:
        if self.stat(key) is None:
            raise no_object(self.uri, key)
        return self._path(key)

    def stat(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with self._explained():
            return _file_info(path, key, linked=self._is_linked(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = self._path(prefix) if prefix else self._folder
        linked = bool(prefix) and self._is_linked(prefix)
        with self._explained():
            yield from _walk(folder, f"{prefix}/" if prefix else "", linked=linked)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._explained():
            try:
                path.unlink(missing_ok=True)
            except (NotADirectoryError, IsADirectoryError):
                pass  # S3 knows no folders: there is no object of this name

    def chunks(self, key: str) -> Iterator[bytes]:
        path = self._path(key)
        with self._explained(), _told_as_missing(self.uri, key), open_file(path) as file:
            while data := file.read(CHUNK_BYTES):
                yield data

    def temporaries(self) -> Iterator[ObjectInfo]:
        with self._explained():
            yield from _walk(self._folder, "", wanted=is_temporary)

    def delete_temporary(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        assert is_temporary(name), f"{key} is no temporary file"
        with self._explained():
            (self._path(folder) if folder else self._folder).joinpath(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / checked_key(key)

    def _is_linked(self, key: str) -> bool:
        """Return whether a part of the key, and not the folder itself, is a symbolic link."""
        steps = accumulate(key.split("/"), lambda above, part: f"{above}/{part}")
        return any((self._folder / step).is_symlink() for step in steps)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise file_error(error, self.uri, has_written=self._has_written) from error


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to; whatever is still there at the end is removed."""
    _make_folder(target.parent)
    temporary = target.parent / f"{TEMPORARY}{uuid4().hex}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def replace(temporary: Path, target: Path) -> None:
    _sync(temporary)
    os.replace(temporary, target)
    _sync(target.parent)


UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
"""Answers of a file system to what it cannot do. On Linux the first two are one number."""


def _link(temporary: Path, target: Path) -> bool:
    """Give `temporary` its final name unless that is taken."""
    _sync(temporary)
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, *UNSUPPORTED):
            raise
        # No hard links here (FAT, some network mounts): of two at one moment the last one wins.
        if target.exists():
            return False
        os.replace(temporary, target)
    _sync(target.parent)
    return True


def _make_folder(folder: Path) -> None:
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in created:
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk: a rename alone may outrun its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network mounts refuse it for folders and store names at once; nothing is lost there.
        if error.errno not in (errno.EINVAL, *UNSUPPORTED) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def require_space(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class _PathInStore:
    """A file or folder of a store.  key: from the store's folder on, with a slash after a folder's.

    linked: it, or a folder above it in the store, is a symbolic link.
    """

    path: Path
    key: str
    linked: bool


def _walk(
    folder: Path,
    prefix: str,
    *,
    linked: bool = False,
    wanted: Callable[[str], bool] = is_key_part,
) -> Iterator[ObjectInfo]:
    """The files whose names are wanted, in all folders whose names are parts of keys.

    Links are followed, and each folder is looked at once: links to links would else have no end.
    """
    seen = set[tuple[int, int]]()
    below = [_entries(_PathInStore(folder, prefix, linked), seen)]
    while below:
        entry = next(below[-1], None)
        if entry is None:
            below.pop()
        elif entry.key.endswith("/"):
            if is_key_part(entry.path.name):
                below.append(_entries(entry, seen))
        elif wanted(entry.path.name) and (
            info := _file_info(entry.path, entry.key, linked=entry.linked)
        ):
            yield info


def _entries(folder: _PathInStore, seen: set[tuple[int, int]]) -> Iterator[_PathInStore]:
    """List a folder in the order of the keys; empty where it is one that was seen."""
    try:
        status = os.stat(folder.path)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder.path) as entries:
            # A folder sorts with its slash: `a-b` comes before `a/b`, as in a listing of S3.
            found = {f"{each.name}/" if each.is_dir() else each.name: each for each in entries}
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, each in sorted(found.items()):
        linked = folder.linked or each.is_symlink()
        yield _PathInStore(folder.path / each.name, folder.key + name, linked)


def _file_info(path: Path, key: str, *, linked: bool) -> ObjectInfo | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not file_status.S_ISREG(status.st_mode):
        return None
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return ObjectInfo(key, status.st_size, modified, linked)


@contextmanager
def _told_as_missing(uri: str, key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_object(uri, key) from error
    except NotAFile as error:
        raise MissingObject(f"{uri}: there is no object {key}: {error.strerror}") from error


DENIED: Final = "permission denied; the store must be readable and writable"
NO_FOLDER: Final = "a file lies where a folder is needed; name another folder"

READ_ONLY: Final = "the file system is read-only"

FILE_ERRORS: Final[dict[int | None, tuple[type[StorageError], str]]] = {
    errno.ENOSPC: (StoreUnavailable, FULL),
    errno.EDQUOT: (StoreUnavailable, FULL),
    errno.EACCES: (StoreUnusable, DENIED),
    errno.EPERM: (StoreUnusable, DENIED),
    errno.EROFS: (StoreUnusable, f"{READ_ONLY}; name another folder"),
    errno.ENOENT: (StoreUnusable, "the folder cannot be created; name another one"),
    errno.ENOTDIR: (StoreUnusable, NO_FOLDER),
    errno.EEXIST: (StoreUnusable, NO_FOLDER),
    errno.EISDIR: (StoreUnusable, "a folder lies where an object is to be; remove it"),
    errno.ENAMETOOLONG: (StoreUnusable, "the path is too long; name another folder"),
    errno.ELOOP: (StoreUnusable, "its symbolic links go round in circles; name another folder"),
}


REFUSALS: Final[dict[int | None, str]] = {
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    errno.EROFS: READ_ONLY,
}
"""Words of what may pass where it could be written before: a ticket has expired, a disk is bad."""


def file_error(error: OSError, place: str, *, has_written: bool = False) -> StorageError:
    """Error that says what a file system's refusal means.

    has_written: the same process could write before, so what is refused now was allowed then.
    """
    reason = f"{error.strerror or error}; try again when the file system is well"
    kind, text = FILE_ERRORS.get(error.errno, (StoreUnavailable, reason))
    if has_written and error.errno in REFUSALS:
        kind, text = StoreUnavailable, f"{REFUSALS[error.errno]}; {WAS_WRITABLE}"
    at = f" ({error.filename})" if error.filename else ""
    return kind(one_line(f"{place}: {text}{at}"))
