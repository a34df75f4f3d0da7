"""The files of public datasets: verified wherever they come from, there whole or not at all.

    obtain("cifar10", [CIFAR10], source="")        downloaded once into the user's cache folder
    obtain("cifar10", [CIFAR10], source="/data")   as somebody has put them there

Nothing is unpacked to disk and nothing is unpickled; datasets read what they need out of these.
"""

import hashlib
import http.client
import logging
import os
import stat
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from uuid import uuid4

from supreme_core.errors import DownloadFailed, SpecError, one_line
from supreme_core.store.storage import TEMPORARY

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 30
"""Longest silence of a server."""

PROBE_SECONDS: Final = 5
"""Seconds that a server may take to say anything where that is all that is asked."""

CHUNK_BYTES: Final = 1024 * 1024
PROGRESS_SECONDS: Final = 2.0

_allowed = ContextVar("downloads are allowed", default=True)


@dataclass(frozen=True)
class RemoteFile:
    """A file that everybody can fetch.

    checksum: `md5:` or `sha256:`, then the digits, or the first of them where no more are known.
    """

    url: str
    checksum: str

    @property
    def name(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name


def obtain(dataset: str, files: Sequence[RemoteFile], *, source: str) -> list[Path]:
    """The files in the folder `source`; without one in the cache folder, fetched where needed.

    Raises SpecError for a file that is not in `source` or is another one, DownloadFailed.
    """
    folder = source_folder(source) if source else cache_folder() / dataset
    for file in files:
        if source and not (folder / file.name).is_file():
            raise SpecError(
                f"spec.dataset.params.source: {source!r} has no {file.name}; get it from {file.url}"
            )
        try:
            cached(file, folder)
        except DownloadFailed as error:
            raise DownloadFailed(
                f"{error}\n"
                f"put {file.name} into {folder} by hand, or into any folder DIR of a machine that"
                " sees the store, and give `supreme prepare FILE --from DIR --store URI` there"
            ) from None
    return [folder / file.name for file in files]


@contextmanager
def refused() -> Iterator[None]:
    """Nothing is downloaded while the block runs; NotDownloaded says what would have been."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


class NotDownloaded(SpecError):
    """A file that would have to be downloaded, where that is refused."""


def cached(file: RemoteFile, folder: Path) -> Path:
    """The file in that folder, fetched where it is not there yet."""
    path = folder / file.name
    if not path.is_file():
        if not _allowed.get():
            raise NotDownloaded(f"{file.name} is not in {folder}; it comes from {file.url}")
        return fetch(file, folder)
    _verify(path, file)
    return path


def source_folder(source: str) -> Path:
    """The folder that `spec.dataset.params.source` names."""
    return given_folder(source, at="spec.dataset.params.source")


def given_folder(given: str, *, at: str) -> Path:
    """The folder that a user gave, from the root on; SpecError where it is none on this machine."""
    try:
        folder = Path(given).expanduser().absolute()
        is_there = stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_there = False
    except (OSError, ValueError, RuntimeError) as error:  # ~nobody, NUL, a loop, no permission
        reason = getattr(error, "strerror", None) or one_line(error)
        raise SpecError(f"{at}: {given!r} cannot be looked at: {reason}") from None
    if is_there:
        return folder
    whole = "" if folder == Path(given) else f"; from where this runs it is {str(folder)!r}"
    raise SpecError(f"{at}: {given!r} is not a folder on this machine{whole}")


def folder_if_there(given: str) -> Path | None:
    """The folder that a user gave; None where it is none on this machine, or cannot be reached."""
    try:
        return given_folder(given, at="")
    except SpecError:
        return None


def cache_folder() -> Path:
    """Folder for downloads: `supreme` in $XDG_CACHE_HOME, which is ~/.cache by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supreme"


def fetch(file: RemoteFile, folder: Path) -> Path:
    """Download a file and verify it; it appears in `folder` only then. Raises DownloadFailed."""
    path, temporary = folder / file.name, folder / f"{TEMPORARY}{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _verify_digest(_receive(file, temporary), file)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the server's answer, and holds the connection
        raise DownloadFailed(f"cannot download {file.url}: {_reason(error)}") from None
    return path


def why_unreachable(url: str) -> str:
    """Return why nobody answers there, "" where somebody does, whatever the answer."""
    request = urllib.request.Request(url, headers={"User-Agent": "supreme"}, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return ""
    except HTTPError as error:
        error.close()
        return ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _reason(error)


def _receive(file: RemoteFile, path: Path) -> str:
    """Write what the server sends to `path`; its digest."""
    request = urllib.request.Request(file.url, headers={"User-Agent": "supreme"})
    digest, received, told = _hasher(file), 0, time.monotonic()
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, path.open("wb") as out:
        total = answer.length
        log.info("downloading %s (%s)", file.url, "size unknown" if total is None else _mb(total))
        while chunk := answer.read(CHUNK_BYTES):
            out.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                of = "" if total is None else f" of {_mb(total)}"
                log.info("downloading %s: %s%s", file.name, _mb(received), of)
        # `read` with a size says nothing of a connection that was closed too early.
        if total is not None and received < total:
            raise ValueError(f"the transfer broke off after {received} of {total} bytes")
    found: str = digest.hexdigest()
    return found


def _verify(path: Path, file: RemoteFile) -> None:
    digest = _hasher(file)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    try:
        _verify_digest(digest.hexdigest(), file)
    except ValueError as error:
        raise SpecError(f"{path}: {error}; delete it, and take it from {file.url}") from None


def _verify_digest(found: str, file: RemoteFile) -> None:
    algorithm, _, expected = file.checksum.partition(":")
    if not found.startswith(expected):
        raise ValueError(f"it has the {algorithm} {found}, which should be {expected}")


def _hasher(file: RemoteFile) -> Any:
    """Return a hash that finds damage, not forgery, so md5 will do where an author gives no
    other."""
    return hashlib.new(file.checksum.partition(":")[0], usedforsecurity=False)


def _reason(error: Exception) -> str:
    match error:
        case HTTPError():
            return f"the server answered {error.code} {error.reason}"
        case URLError():
            return f"no connection: {error.reason}"
        case OSError():
            where = f": {error.filename}" if error.filename else ""
            return f"{error.strerror or error}{where}"
    return str(error) or type(error).__name__


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
