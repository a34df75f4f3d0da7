"""Where results and models live: a folder or an S3 bucket, behind one small interface.

    open_storage(uri)  ->  LocalStorage | S3Storage

The rest of the system sees keys, which are slash-separated words such as
`experiments/local/digits/order.json`, and the errors of `supreme_core.errors`. An object appears
whole or not at all, whoever is killed meanwhile. No exception of botocore leaves this module.

An identity on S3 needs s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload.
A writer that is killed during a large upload leaves parts behind which no list shows; a lifecycle
rule of the bucket (AbortIncompleteMultipartUpload) removes them.
"""

import errno
import hashlib
import os
import re
import shutil
import stat as file_status
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.parsers import ResponseParserError
from botocore.response import StreamingBody
from s3transfer.exceptions import (
    RetriesExceededError,
    S3DownloadFailedError,
    S3UploadFailedError,
    S3ValidationError,
)

from supreme_core.errors import (
    SpecError,
    StorageError,
    StoreUnavailable,
    StoreUnusable,
    one_line,
)
from supreme_core.system.files import NotAFile, open_file

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

TEMPORARY: Final = ".supreme-tmp-"
"""How the names of files begin that are being written, or were when their writer was killed."""

PART_BYTES: Final = 32 * 1024 * 1024
"""Larger objects go to S3 in parts of this size. S3 wants at least 5 MiB, at most 10,000 parts."""

CHUNK_BYTES: Final = 1024 * 1024

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 30
ATTEMPTS: Final = 3
"""With CONNECT_SECONDS: an endpoint that swallows packets is given up after about ten seconds."""


class MissingObject(StorageError):
    """There is no object under this key."""


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


@dataclass(frozen=True)
class S3Credentials:
    """An explicit identity; without one, boto3's own chain (environment, files, pod) decides."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


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
        """As `write`, from a file of any size."""

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
        """What writers left that were killed, or are at work; no key of theirs is for `read`."""

    def delete_temporary(self, key: str) -> None:
        """Remove one of `temporaries`."""


def open_storage(
    uri: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    credentials: S3Credentials | None = None,
) -> Storage:
    """The store at `uri`: s3://bucket/prefix, file:///absolute/path, or the path of a folder.

    `endpoint`, `region` (else the environment's, else us-east-1) and `credentials` are for S3 only.
    Nothing is asked of the store yet; `check()` does that. Raises SpecError.
    """
    if "\0" in unquote(uri):
        raise SpecError(f"the store's URI is {uri!r}; it must not have a NUL character")
    # A folder may be called a:b; who writes s3:bucket or a space before the scheme means none.
    scheme = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]*:/|([Ss]3|[Ff][Ii][Ll][Ee]):)", uri)
    if uri and scheme is None:
        return LocalStorage(_expanded(uri))
    if uri.startswith("file:///"):
        return LocalStorage(Path(unquote(uri.removeprefix("file://"))))
    if uri.startswith("s3://"):
        return open_bucket(uri, endpoint=endpoint, region=region, credentials=credentials)
    raise SpecError(
        f"the store's URI is {uri!r}; allowed: s3://bucket/prefix, file:///absolute/path "
        "or the path of a folder"
    )


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = path.partition("/")[0]
        raise SpecError(
            f"the store's URI is {path!r}, but {user} is nobody's home directory here; for a folder"
            f" of that name write ./{path}"
        ) from None


def open_bucket(
    uri: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    credentials: S3Credentials | None = None,
    session: Session | None = None,
    most_pages: int | None = None,
) -> "S3Storage":
    """As `open_storage` where folders, which belong to one machine, are none of the choices.

    session: shared by stores of one thread; the first store of one takes 50 ms, each other 3.
    most_pages: of one list; None reads it to its end.
    """
    if not uri.startswith("s3://"):
        raise SpecError(f"the store's URI is {uri!r}; on a cluster it must be s3://bucket/prefix")
    bucket, prefix = bucket_and_prefix(uri)
    return S3Storage(
        bucket,
        prefix,
        endpoint=endpoint,
        region=region,
        credentials=credentials,
        session=session,
        most_pages=most_pages,
    )


class LocalStorage:
    """A folder, created when it is needed; keys are paths below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def uri(self) -> str:
        return self._folder.as_uri()

    def check(self) -> None:
        written = uuid4().bytes
        with self._explained(), _temporary_file(self._folder / "check") as probe:
            probe.write_bytes(written)
            read = probe.read_bytes()
        if read != written:
            raise StoreUnusable(f"{self.uri}: {GARBLED}")

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        path = self._path(key)
        with self._explained(), _missing(self.uri, key), open_file(path) as file:
            if limit is None:
                return file.read()
            data = file.read(limit + 1)
        if len(data) > limit:
            raise _too_large(self.uri, key, limit)
        return data

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._explained(), _temporary_file(path) as temporary:
            temporary.write_bytes(data)
            _replace(temporary, path)

    def write_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with self._explained(), _temporary_file(path) as temporary:
            temporary.write_bytes(data)
            return _link(temporary, path)

    def upload(self, key: str, path: Path) -> None:
        target = self._path(key)
        with path.open("rb") as source, self._explained(), _temporary_file(target) as temporary:
            with temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
            _replace(temporary, target)

    def local_path(self, key: str, cache: Path) -> Path:
        if self.stat(key) is None:
            raise _no_object(self.uri, key)
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
        with self._explained(), _missing(self.uri, key), open_file(path) as file:
            while data := file.read(CHUNK_BYTES):
                yield data

    def temporaries(self) -> Iterator[ObjectInfo]:
        with self._explained():
            yield from _walk(self._folder, "", wanted=_is_temporary)

    def delete_temporary(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        assert _is_temporary(name), f"{key} is no temporary file"
        with self._explained():
            (self._path(folder) if folder else self._folder).joinpath(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / _checked(key)

    def _is_linked(self, key: str) -> bool:
        """Whether a part of the key, and not the folder itself, is a symbolic link."""
        steps = accumulate(key.split("/"), lambda above, part: f"{above}/{part}")
        return any((self._folder / step).is_symlink() for step in steps)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _file_error(error, self.uri) from error


class S3Storage:
    """A bucket, or what lies below a prefix of it, on S3 or a server that speaks its protocol."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        credentials: S3Credentials | None = None,
        part_bytes: int = PART_BYTES,
        session: Session | None = None,
        most_pages: int | None = None,
    ) -> None:
        """most_pages: of one list, each of up to 1,000 objects; a server can give them for ever."""
        self._most_pages = most_pages
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._place = f"{self.uri} at {endpoint}" if endpoint else self.uri
        self._bucket_was_seen = False
        self._has_written = False
        self._transfer = TransferConfig(
            multipart_threshold=part_bytes,
            multipart_chunksize=part_bytes,
            preferred_transfer_client="classic",  # the same code with and without awscrt installed
        )
        with self._explained():
            # Else one of our own: boto3's default session is not thread-safe.
            self._client = _client(session or Session(), endpoint, region, credentials)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def check(self) -> None:
        probe, written = f"{self._prefix}{TEMPORARY}{uuid4().hex}", uuid4().bytes
        with self._explained():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            self._client.put_object(Bucket=self._bucket, Key=probe, Body=written)
            with closing(self._client.get_object(Bucket=self._bucket, Key=probe)["Body"]) as body:
                read = _read_at_most(body, len(written))
            if read != written:
                raise StoreUnusable(f"{self._place}: {GARBLED}")
            self._client.delete_object(Bucket=self._bucket, Key=probe)

    def read(self, key: str, *, limit: int | None = None) -> bytes:
        name = self._name(key)
        with self._explained(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            with closing(answer["Body"]) as body:  # as itself it gives urllib3's answer and errors
                if limit is None:
                    return body.read()
                if answer.get("ContentLength", 0) <= limit and (
                    (data := _read_at_most(body, limit)) is not None
                ):
                    return data
        raise _too_large(self.uri, key, limit)

    def signed_url(self, key: str, *, seconds: int) -> str:
        """Where anyone can GET the object for so long; nothing is asked of the server for it."""
        name = self._name(key)
        with self._explained():
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": name}, ExpiresIn=seconds
            )

    def write(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._explained(key):
            self._client.put_object(Bucket=self._bucket, Key=name, Body=data)
        self._has_written = True

    def write_if_absent(self, key: str, data: bytes) -> bool:
        name = self._name(key)
        for _ in range(ATTEMPTS):
            try:
                with self._explained(key):
                    self._client.put_object(
                        Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*"
                    )
                self._has_written = True
                return True
            except StorageError as error:
                code = _code(error.__cause__)
                if code == "PreconditionFailed":
                    return False
                if code == "NotImplemented":
                    return self._write_after_looking(key, data)
                if code != "ConditionalRequestConflict":
                    raise
                conflict = error  # another conditional write or a delete was under way: ask again
        raise conflict

    def upload(self, key: str, path: Path) -> None:
        name = self._name(key)
        with path.open("rb"):
            pass  # a file that cannot be read is the caller's mistake and no trouble of the store
        with (
            self._explained(key),
            create_transfer_manager(self._client, self._transfer) as manager,
        ):
            # Not client.upload_file: it turns the server's answer into a sentence without a code.
            manager.upload(str(path), self._bucket, name).result()
        self._has_written = True

    def local_path(self, key: str, cache: Path) -> Path:
        name = self._name(key)
        with self._explained(key):
            head = self._head(key, name)
            etag, size = head["ETag"], head["ContentLength"]
        path = cache / self._copy_name(key, etag)
        try:
            if path.is_file() and path.stat().st_size == size:
                return path
            with _temporary_file(path) as temporary:
                # Before and not while 100 GB come over the network.
                _require_space(cache, size)
                self._download(key, temporary)
                _replace(temporary, path)
        except OSError as error:
            raise _file_error(error, f"cache folder {cache}") from error
        return path

    def stat(self, key: str) -> ObjectInfo | None:
        name = self._name(key)
        try:
            with self._explained(key):
                head = self._head(key, name)
                modified = head["LastModified"].astimezone(UTC)
                return ObjectInfo(key, head["ContentLength"], modified)
        except MissingObject:
            return None

    def _head(self, key: str, name: str) -> "HeadObjectOutputTypeDef":
        """The answer to a HEAD has no body, so of a refusal it says only the status, and a missing
        bucket is not told from a missing object: then a listing is asked for the reason."""
        try:
            with self._explained(key):
                return self._client.head_object(Bucket=self._bucket, Key=name)
        except MissingObject:
            if not self._bucket_was_seen:
                self._ask_for_a_listing()
            raise
        except (StoreUnusable, StoreUnavailable) as error:
            if isinstance(error.__cause__, ClientError):
                self._ask_for_a_listing()
            raise

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        below = f"{self._prefix}{_checked(prefix)}/" if prefix else self._prefix
        # Consoles mark a folder by an empty object whose name ends in a slash.
        yield from (info for info in self._listed(below) if is_key(info.key))

    def _listed(self, below: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=below
        )
        with self._explained():
            for number, page in enumerate(pages):
                if self._most_pages is not None and number >= self._most_pages:
                    raise StoreUnusable(
                        f"{self._place}: the list of {below} has more than the"
                        f" {self._most_pages} pages that are read"
                    )
                if not {"Name", "KeyCount", "IsTruncated"} & page.keys():
                    raise KeyError("ListBucketResult")  # which an empty answer is not
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(self._prefix)
                    yield ObjectInfo(key, entry["Size"], entry["LastModified"].astimezone(UTC))

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._explained(key):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def chunks(self, key: str) -> Iterator[bytes]:
        name = self._name(key)
        with self._explained(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK_BYTES)

    def temporaries(self) -> Iterator[ObjectInfo]:
        listed = self._listed(self._prefix)
        yield from (info for info in listed if _is_temporary(info.key.rpartition("/")[2]))

    def delete_temporary(self, key: str) -> None:
        assert _is_temporary(key.rpartition("/")[2]), f"{key} is no temporary file"
        with self._explained(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def _name(self, key: str) -> str:
        return self._prefix + _checked(key)

    def _write_after_looking(self, key: str, data: bytes) -> bool:
        """For a server without conditional writes: of two at the same moment the last one wins."""
        if self.stat(key) is not None:
            return False
        self.write(key, data)
        return True

    def _download(self, key: str, path: Path) -> None:
        with (
            self._explained(key),
            create_transfer_manager(self._client, self._transfer) as manager,
        ):
            manager.download(self._bucket, self._name(key), str(path)).result()

    def _copy_name(self, key: str, etag: str) -> str:
        version = "\n".join((self._endpoint or "", self.uri, key, etag))
        return hashlib.sha256(version.encode()).hexdigest()[:32] + PurePosixPath(key).suffix

    def _ask_for_a_listing(self) -> None:
        with self._explained():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        self._bucket_was_seen = True

    @contextmanager
    def _explained(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if key and _code(error) in ("NoSuchKey", "404"):
                raise _no_object(self.uri, key) from error
            raise _answer_error(error, self._place, self._has_written) from error
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
            raise StoreUnusable(
                f"{self._place}: no credentials ({one_line(error)}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or name a Secret in "
                "storage.credentialsSecretRef"
            ) from error
        except InvalidRegionError as error:
            raise StoreUnusable(f"{self._place}: {one_line(error)}; check the region") from error
        except RecursionError as error:
            # botocore asks for the bucket's region by a request that is redirected as well.
            raise StoreUnusable(
                f"{self._place}: its redirect goes round in circles; check the endpoint and region"
            ) from error
        except SSLError as error:
            raise StoreUnavailable(f"{self._place}: {_tls_words(error)}") from error
        except (ResponseParserError, KeyError, ValueError) as error:
            # botocore's own, of headers and XML that are not there or are something else.
            raise StoreUnavailable(
                f"{self._place}: its answer is not that of an S3 server, or a proxy has changed it"
                f" ({one_line(f'{type(error).__name__}: {error}', 200)})"
            ) from error
        except (BotoCoreError, *OF_TRANSFERS) as error:
            raise StoreUnavailable(
                f"{self._place}: {one_line(error)}; check the address and that the server runs"
            ) from error


def _read_at_most(body: StreamingBody, limit: int) -> bytes | None:
    """All of an answer, or None as soon as it is longer: a server may well announce no length."""
    chunks, size = [], 0
    for chunk in body.iter_chunks(CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return None
    return b"".join(chunks)


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """The two that s3://bucket/prefix names; SpecError where it does not name them plainly."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.removesuffix("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise SpecError(
            f"the store's URI is {uri!r}, whose bucket is {bucket!r}; a bucket's name has 3 to 63 "
            "lower-case letters, digits, dots and hyphens, as in s3://bucket/prefix"
        )
    if prefix and not is_key(prefix):
        raise SpecError(
            f"the store's URI is {uri!r}; its prefix may have no part that is empty, '.', '..', "
            "not printable or too long"
        )
    return bucket, prefix


def _client(
    session: Session, endpoint: str | None, region: str | None, credentials: S3Credentials | None
) -> "S3Client":
    if endpoint is not None and not _is_web_address(endpoint):
        raise SpecError(
            f"the store's endpoint is {endpoint!r}; write http://host:port or https://host:port"
        )
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=16,
        signature_version="s3v4",  # which is the default for requests but not for signed URLs
    )
    if endpoint is not None:
        # bucket.host needs a wildcard in DNS, and many servers refuse the checksum trailers that
        # boto3 adds since 1.36. Artefacts carry their own sha256.
        config = config.merge(
            Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
        )
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or session.region_name or "us-east-1",
        aws_access_key_id=credentials.access_key if credentials else None,
        aws_secret_access_key=credentials.secret_key if credentials else None,
        aws_session_token=credentials.session_token if credentials else None,
        config=config,
    )


def _is_web_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _checked(key: str) -> str:
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
    """Whether a text names an object, or a folder of objects."""
    return all(map(_is_key_part, text.split("/")))


def _is_key_part(text: str) -> bool:
    return (
        text not in ("", ".", "..")
        and text.isprintable()  # neither control characters nor what UTF-8 cannot write
        and "\\" not in text
        and not text.startswith(TEMPORARY)
        and len(text.encode()) <= 255
    )


def _is_temporary(name: str) -> bool:
    return name.startswith(TEMPORARY)


@contextmanager
def _temporary_file(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to; whatever is still there at the end is removed."""
    _make_folder(target.parent)
    temporary = target.parent / f"{TEMPORARY}{uuid4().hex}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, target: Path) -> None:
    _sync(temporary)
    os.replace(temporary, target)
    _sync(target.parent)


UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
"""What a file system answers to what it cannot do. On Linux the first two are one number."""


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


def _require_space(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class _Entry:
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
    wanted: Callable[[str], bool] = _is_key_part,
) -> Iterator[ObjectInfo]:
    """The files whose names are wanted, in all folders whose names are parts of keys.

    Links are followed, and each folder is looked at once: links to links would else have no end.
    """
    seen = set[tuple[int, int]]()
    below = [_entries(_Entry(folder, prefix, linked), seen)]
    while below:
        entry = next(below[-1], None)
        if entry is None:
            below.pop()
        elif entry.key.endswith("/"):
            if _is_key_part(entry.path.name):
                below.append(_entries(entry, seen))
        elif wanted(entry.path.name) and (
            info := _file_info(entry.path, entry.key, linked=entry.linked)
        ):
            yield info


def _entries(folder: _Entry, seen: set[tuple[int, int]]) -> Iterator[_Entry]:
    """What lies in a folder, in the order of the keys; nothing where it is one that was seen."""
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
        yield _Entry(folder.path / each.name, folder.key + name, linked)


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
def _missing(uri: str, key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_object(uri, key) from error
    except NotAFile as error:
        raise MissingObject(f"{uri}: there is no object {key}: {error.strerror}") from error


def _no_object(uri: str, key: str) -> MissingObject:
    return MissingObject(f"{uri}: there is no object {key}")


def _too_large(uri: str, key: str, limit: int | None) -> ObjectTooLarge:
    return ObjectTooLarge(f"{uri}: object {key} has more than the {limit} bytes that are read")


FULL: Final = "no space left; free some or raise the quota, what is stored so far stays valid"
DENIED: Final = "permission denied; the store must be readable and writable"
NO_FOLDER: Final = "a file lies where a folder is needed; name another folder"

FILE_ERRORS: Final[dict[int | None, tuple[type[StorageError], str]]] = {
    errno.ENOSPC: (StoreUnavailable, FULL),
    errno.EDQUOT: (StoreUnavailable, FULL),
    errno.EACCES: (StoreUnusable, DENIED),
    errno.EPERM: (StoreUnusable, DENIED),
    errno.EROFS: (StoreUnusable, "the file system is read-only; name another folder"),
    errno.ENOENT: (StoreUnusable, "the folder cannot be created; name another one"),
    errno.ENOTDIR: (StoreUnusable, NO_FOLDER),
    errno.EEXIST: (StoreUnusable, NO_FOLDER),
    errno.EISDIR: (StoreUnusable, "a folder lies where an object is to be; remove it"),
    errno.ENAMETOOLONG: (StoreUnusable, "the path is too long; name another folder"),
    errno.ELOOP: (StoreUnusable, "its symbolic links go round in circles; name another folder"),
}


def _file_error(error: OSError, place: str) -> StorageError:
    reason = f"{error.strerror or error}; try again when the file system is well"
    kind, text = FILE_ERRORS.get(error.errno, (StoreUnavailable, reason))
    at = f" ({error.filename})" if error.filename else ""
    return kind(one_line(f"{place}: {text}{at}"))


GARBLED: Final = (
    "what was written is not what is read back, so something else answers in the place of the"
    " store, such as a proxy or the login page of a network"
)

OF_TRANSFERS: Final = (
    RetriesExceededError,
    S3DownloadFailedError,
    S3UploadFailedError,
    S3ValidationError,
)

UNKNOWN_CA: Final = (
    "unknown certificate authority: nothing here trusts what signed the server's certificate; set"
    " AWS_CA_BUNDLE to a file with the certificate of the authority (docs/cluster.md)"
)


def _tls_words(error: SSLError) -> str:
    said = one_line(error, 300)
    if re.search(r"self[- ]signed|unable to get (local )?issuer|unknown ca", said, re.IGNORECASE):
        return f"{UNKNOWN_CA} ({said})"
    return f"{said}; check the address, and that the server speaks TLS"


CREDENTIALS: Final = "the credentials are refused; check the access key, secret key and token"
REGION: Final = "the bucket lies in another region; set storage.region"

ANSWERS: Final[dict[str, tuple[type[StorageError], str]]] = {
    "NoSuchBucket": (StoreUnusable, "the bucket does not exist; create it or correct the URI"),
    "AccessDenied": (
        StoreUnusable,
        "access denied; the identity must list, read, write and delete here",
    ),
    "InvalidAccessKeyId": (StoreUnusable, CREDENTIALS),
    "SignatureDoesNotMatch": (StoreUnusable, CREDENTIALS),
    "InvalidToken": (StoreUnusable, CREDENTIALS),
    "XAdminUserNotFound": (StoreUnusable, CREDENTIALS),  # versitygw's word for InvalidAccessKeyId
    "InvalidTokenId": (StoreUnusable, CREDENTIALS),
    "RequestTimeTooSkewed": (StoreUnavailable, "this machine's clock is wrong; set it"),
    "PermanentRedirect": (StoreUnusable, REGION),
    "AuthorizationHeaderMalformed": (StoreUnusable, REGION),
    "IllegalLocationConstraintException": (StoreUnusable, REGION),
    "QuotaExceeded": (StoreUnavailable, FULL),
    "XMinioStorageFull": (StoreUnavailable, FULL),
    "InsufficientStorage": (StoreUnavailable, FULL),
}

TRY_AGAIN: Final = (408, 409, 412, 425, 429)

EXPIRED: Final = "the session token has expired; get a new one, which the next attempt reads"
NOT_NOW: Final = "the server cannot do it now; try again"
BROKEN_OFF: Final = "the request did not arrive whole; try again"

PASSING: Final[dict[str, str]] = {
    r"expiredtoken|tokenrefreshrequired": EXPIRED,
    r"incompletebody|baddigest|sha256mismatch|xamzcontentchecksummismatch": BROKEN_OFF,
    r"nosuchupload|invalidpart(order)?|entitytoosmall": "an upload in parts was lost; try again",
    r"throttl|slowdown|toomanyrequests|limitexceeded|bandwidth": "the server is busy; try again",
    r"timeout|requestexpired|unavailable|internal|notready|notinitialized|backenddown": NOT_NOW,
}
"""Parts of the codes, in lower case, of what passes whatever the status is. Servers other than AWS
have words of their own, often for the same in small changes."""


def _answer_error(error: ClientError, place: str, has_written: bool) -> StorageError:
    """What an S3 server's refusal means; its own words are kept at the end.

    has_written: the same client could write before, so what is refused now was allowed then. A
    new attempt, which reads the credentials anew, finds out whether it is for good.
    """
    kind, text = _meaning(error)
    if has_written and kind is StoreUnusable:
        kind, text = StoreUnavailable, f"{text}; it could be written a while ago, so try again"
    details = error.response.get("Error", {})
    said = " ".join(filter(None, (details.get("Code"), details.get("Message"))))
    return kind(one_line(f"{place}: {text} (the server said: {said})"))


def _meaning(error: ClientError) -> tuple[type[StorageError], str]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if known := ANSWERS.get(_code(error)):
        return known
    word = _code(error).lower()
    if passing := next((text for part, text in PASSING.items() if re.search(part, word)), None):
        return StoreUnavailable, passing
    by_status = {401: "InvalidToken", 403: "AccessDenied", 507: "InsufficientStorage"}
    if status in by_status:
        return ANSWERS[by_status[status]]
    if status >= 500 or status in TRY_AGAIN:
        return StoreUnavailable, NOT_NOW
    return StoreUnusable, "the server refuses; check the URI, the endpoint and the region"


def _code(error: BaseException | None) -> str:
    """S3's word for a refusal, or the HTTP status where the answer had no body."""
    found = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else ""
    return found or ""
