"""A store in an S3 bucket. No exception of botocore leaves this module.

An identity on S3 needs s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload.
A writer that is killed during a large upload leaves parts behind which no list shows; a lifecycle
rule of the bucket (AbortIncompleteMultipartUpload) removes them.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.response import StreamingBody
from botocore.session import Session as BotocoreSession
from s3transfer.exceptions import (
    RetriesExceededError,
    S3DownloadFailedError,
    S3UploadFailedError,
    S3ValidationError,
)

from supreme_core.errors import SpecError, StorageError, StoreUnavailable, StoreUnusable, one_line
from supreme_core.store.folder import file_error, replace, require_space, temporary_file
from supreme_core.store.storage import (
    CHUNK_BYTES,
    FULL,
    GARBLED,
    TEMPORARY,
    WAS_WRITABLE,
    MissingObject,
    ObjectInfo,
    checked_key,
    is_key,
    is_temporary,
    no_object,
    too_large,
)

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

log = logging.getLogger(__name__)

PART_BYTES: Final = 32 * 1024 * 1024
"""Larger objects go to S3 in parts of this size. S3 wants at least 5 MiB, at most 10,000 parts."""

CONNECT_SECONDS: Final = 3
READ_SECONDS: Final = 30
ATTEMPTS: Final = 3
"""Tries with CONNECT_SECONDS: an endpoint that swallows packets is given up after about ten
seconds."""


@dataclass(frozen=True)
class S3Credentials:
    """An explicit identity; without one, boto3's own chain (environment, files, pod) decides."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


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
        self._has_conditions: bool | None = None
        self._transfer = TransferConfig(
            multipart_threshold=part_bytes,
            multipart_chunksize=part_bytes,
            preferred_transfer_client="classic",  # the same code with and without awscrt installed
        )
        with self._explained():
            self._client = _client(session or _session(), endpoint, region, credentials)

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
            _require_a_store(answer)
            with closing(answer["Body"]) as body:  # as itself it gives urllib3's answer and errors
                if limit is None:
                    return body.read()
                if answer.get("ContentLength", 0) <= limit and (
                    (data := _read_at_most(body, limit)) is not None
                ):
                    return data
        raise too_large(self.uri, key, limit)

    def signed_url(self, key: str, *, seconds: int) -> str:
        """Sign a URL where anyone can GET the object for so long; nothing is asked of the server
        for it."""
        name = self._name(key)
        with self._explained():
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": name}, ExpiresIn=seconds
            )

    def write(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._explained(key):
            _require_a_store(self._client.put_object(Bucket=self._bucket, Key=name, Body=data))
        self._has_written = True

    def write_if_absent(self, key: str, data: bytes) -> bool:
        name = self._name(key)
        if self._has_conditions is None:
            self._has_conditions = self._heeds_conditions(name)
        if self._has_conditions:
            return self._write_on_condition(name, data)
        return self._write_after_looking(key, data)

    def _heeds_conditions(self, name: str) -> bool:
        """True where the server knows conditional writes, as one of the same object twice tells.

        Some servers refuse them; others take them for plain ones, by which each process would take
        the lease of another.
        """
        folder, slash, _ = name.rpartition("/")  # where this identity may write
        probe = f"{folder}{slash}{TEMPORARY}{uuid4().hex}"
        try:
            self._write_on_condition(probe, b"")
            is_heeded = not self._write_on_condition(probe, b"")
            with suppress(MissingObject), self._explained(probe):
                self._client.delete_object(Bucket=self._bucket, Key=probe)
        except StorageError as error:
            if _code(error.__cause__) != "NotImplemented":
                raise
            is_heeded = False
        if not is_heeded:
            words = "has no conditional writes, so two processes may compute the same stage"
            log.warning("%s %s", self._place, words)
        return is_heeded

    def _write_on_condition(self, name: str, data: bytes) -> bool:
        """name: of the object in the bucket."""
        for _ in range(ATTEMPTS):
            try:
                with self._explained(name):
                    answer = self._client.put_object(
                        Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*"
                    )
                    _require_a_store(answer)
                self._has_written = True
                return True
            except StorageError as error:
                code = _code(error.__cause__)
                if code == "PreconditionFailed":
                    return False
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
            with temporary_file(path) as temporary:
                # Before and not while 100 GB come over the network.
                require_space(cache, size)
                self._download(key, temporary)
                replace(temporary, path)
        except OSError as error:
            raise file_error(error, f"cache folder {cache}") from error
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
        below = f"{self._prefix}{checked_key(prefix)}/" if prefix else self._prefix
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
        # Some servers, such as Google's, say that what is not there cannot be deleted.
        with suppress(MissingObject), self._explained(key):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def chunks(self, key: str) -> Iterator[bytes]:
        name = self._name(key)
        with self._explained(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            _require_a_store(answer)
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK_BYTES)

    def temporaries(self) -> Iterator[ObjectInfo]:
        listed = self._listed(self._prefix)
        yield from (info for info in listed if is_temporary(info.key.rpartition("/")[2]))

    def delete_temporary(self, key: str) -> None:
        assert is_temporary(key.rpartition("/")[2]), f"{key} is no temporary file"
        with self._explained(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def _name(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _write_after_looking(self, key: str, data: bytes) -> bool:
        """Write to a server without conditional writes: of two at the same moment the last one
        wins."""
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
            if key and _says_missing(error):
                raise no_object(self.uri, key) from error
            if key and _is_wordless(error, 404):
                raise self._unfit("it knows nothing of this address") from error
            raise _answer_error(error, self._place, self._has_written) from error
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
            raise StoreUnusable(
                f"{self._place}: no credentials ({one_line(error)}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or name a Secret in "
                "storage.credentialsSecretRef"
            ) from error
        except InvalidRegionError as error:
            raise StoreUnusable(f"{self._place}: {one_line(error)}; check the region") from error
        except SSLError as error:
            raise StoreUnavailable(f"{self._place}: {_tls_words(error)}") from error
        except (ResponseParserError, KeyError, ValueError) as error:
            # botocore's own, of headers and XML that are not there or are something else.
            said = one_line(f"{type(error).__name__}: {error}", 200)
            raise self._unfit(said) from error
        except (BotoCoreError, *OF_TRANSFERS) as error:
            if _is_of_a_header(error):
                raise StoreUnusable(f"{self._place}: {NO_HEADER}") from None  # it quotes the header
            raise StoreUnavailable(
                f"{self._place}: {one_line(error)}; check the address and that the server runs"
            ) from error

    def _unfit(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._place}: its answer is not that of an S3 server, or a proxy has changed it"
            f" ({why})"
        )


def _require_a_store(answer: Mapping[str, Any]) -> None:
    """Raise KeyError for an answer about an object that has no tag, as every S3 server gives one:
    the login page of a network takes and gives whatever is asked."""
    if not answer.get("ETag"):
        raise KeyError("ETag")


def _says_missing(error: ClientError) -> bool:
    """Return whether an S3 server says that there is no such object. An answer to HEAD has no words
    for it; to anything else a status alone is that of a proxy that has lost the server."""
    is_head = error.operation_name == "HeadObject"
    return _code(error) == "NoSuchKey" or (is_head and _is_wordless(error, 404))


def _is_wordless(error: ClientError, status: int) -> bool:
    """Return whether an answer has this status and no word of S3's; a page may have words of its
    own."""
    return _status(error) == status and _code(error) in ("", str(status))


def _is_of_a_header(error: Exception) -> bool:
    """Return whether a request was never sent because a header cannot be as it is."""
    return isinstance(error, HTTPClientError) and isinstance(error.kwargs.get("error"), ValueError)


def _read_at_most(body: StreamingBody, limit: int) -> bytes | None:
    """Read all of an answer, or None as soon as it is longer: a server may well announce no
    length."""
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


@cache
def _data_files() -> Loader:
    """Botocore's description of S3, some 10 MB: it takes a tenth of a second of a core to be read,
    and says nothing of who reads it."""
    loader: Loader = BotocoreSession().get_component("data_loader")
    return loader


def _session() -> Session:
    """Make a session of our own, since boto3's default session is not thread-safe."""
    own = BotocoreSession()
    own.register_component("data_loader", _data_files())
    return Session(botocore_session=own)


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
    client = session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or session.region_name or "us-east-1",
        aws_access_key_id=credentials.access_key if credentials else None,
        aws_secret_access_key=credentials.secret_key if credentials else None,
        aws_session_token=credentials.session_token if credentials else None,
        config=config,
    )
    client.meta.events.register_last("before-parameter-build.s3", _ask_once)
    return client


def _ask_once(model: "OperationModel", context: dict[str, Any], **_: object) -> None:
    """Have botocore end after one redirect. It asks then for the bucket's region, by a HEAD that
    this module never makes itself; where that was redirected too it would ask again, 80 times."""
    if model.name == "HeadBucket":
        context["s3_redirect"]["redirected"] = True


def _is_web_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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


NO_HEADER: Final = (
    "the credentials cannot be sent, since AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN has a line break"
    " or another character that no header can have; write them anew, as by `printf` and not `echo`"
)
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
    """Error that says what an S3 server's refusal means; its own words are kept at the end.

    has_written: the same client could write before, so what is refused now was allowed then. A
    new attempt, which reads the credentials anew, finds out whether it is for good.
    """
    kind, text = _meaning(error)
    if has_written and kind is StoreUnusable:
        kind, text = StoreUnavailable, f"{text}; {WAS_WRITABLE}"
    details = error.response.get("Error", {})
    said = " ".join(filter(None, (details.get("Code"), details.get("Message"))))
    return kind(one_line(f"{place}: {text} (the server said: {said})"))


def _meaning(error: ClientError) -> tuple[type[StorageError], str]:
    status = _status(error)
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


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: BaseException | None) -> str:
    """S3's word for a refusal, or the HTTP status where the answer had no body."""
    found = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else ""
    return found or ""
