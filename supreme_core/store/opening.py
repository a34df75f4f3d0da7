"""Open the store at an address, or an experiment in one."""

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from boto3.session import Session

from supreme_core.errors import SpecError, SupremeError, listed
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import experiments_in
from supreme_core.store.s3 import S3Credentials, S3Storage, bucket_and_prefix
from supreme_core.store.storage import Storage, is_key


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
    """Open a bucket, as `open_storage` does, and no folder, which would belong to one machine.

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


def open_experiment(uri: str, *, endpoint: str | None, region: str | None) -> tuple[Storage, str]:
    """The store and the folder of an experiment; SpecError for what names more, or less, than one.

    A namespace is no experiment, nor is a seed; the error names the experiments of that store.
    """
    store, separator, rest = uri.rstrip("/").rpartition("/experiments/")
    if separator and rest.count("/") == 1 and is_key(rest):
        return open_storage(store, endpoint=endpoint, region=region), f"experiments/{rest}"
    message = f"{uri!r} is no experiment; it should look like STORE/experiments/NAMESPACE/NAME-UID"
    with suppress(SupremeError):  # what it names may be no store either
        found = open_storage(
            store or uri.rstrip("/").removesuffix("/experiments"), endpoint=endpoint, region=region
        )
        if there := experiments_in(found):
            message += f", such as {found.uri.rstrip('/')}/experiments/{there[0]}"
            message += f"; experiments there: {listed(there)}" * (len(there) > 1)
    raise SpecError(message)
