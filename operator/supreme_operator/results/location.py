"""Location of an experiment's results, and the stores that the operator lets itself be sent to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from boto3.session import Session

from supreme_core.checking.patterns import holds, matches
from supreme_core.errors import SpecError, StoreUnusable, one_line
from supreme_core.store.opening import open_bucket
from supreme_core.store.s3 import S3Credentials, S3Storage, bucket_and_prefix
from supreme_core.store.storage import is_key

Origin = tuple[str, str, int]
"""Scheme, host and port."""

LISTED_PAGES: Final = 500
"""Most pages of the folder of an experiment, where 1,000 seeds that are tried thrice leave 15."""

NAMESPACE: Final = "{namespace}"
"""Word for the namespace of the experiment in a pattern."""


class StoreNotAllowed(StoreUnusable):
    """The installation does not let the operator use this store."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """The store of an experiment.

    endpoint: None for the cloud's own.  credentials: None for the operator's own identity.
    """

    uri: str
    endpoint: str | None = None
    region: str | None = None
    credentials: S3Credentials | None = None

    def open(self, session: Session | None = None) -> S3Storage:
        """The store; StoreUnusable where this names none.  session: as `open_bucket` has it."""
        try:
            return open_bucket(
                self.uri,
                endpoint=self.endpoint,
                region=self.region,
                credentials=self.credentials,
                session=session,
                most_pages=LISTED_PAGES,
            )
        except SpecError as error:
            raise StoreUnusable(str(error)) from None


class AllowedEndpoints:
    """The endpoints that experiments may name: users choose them, and the operator's network may
    reach what users' does not. None allows every one. The cloud's own is no user's choice."""

    def __init__(self, endpoints: Sequence[str] | None) -> None:
        self._endpoints = endpoints
        self._origins = set(map(_configured, endpoints or ()))

    def check(self, location: Location) -> None:
        """StoreNotAllowed where the operator is not to connect to this endpoint."""
        if self._endpoints is None or location.endpoint is None:
            return
        if _origin(location.endpoint) not in self._origins:
            allowed = ", ".join(self._endpoints) or "only that of the cloud, so leave it out"
            raise StoreNotAllowed(
                one_line(
                    f"storage.endpoint is {location.endpoint!r}, which is none of the operator's"
                    f" allowedEndpoints; allowed: {allowed}"
                )
            )


@dataclass(frozen=True)
class StorePattern:
    """A bucket, or what lies below a prefix of it.

    bucket, prefix: `*` is any characters but a slash.  endpoint: None for the cloud's own.
    """

    bucket: str
    prefix: str
    endpoint: str | None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read s3://bucket/prefix or s3://bucket/prefix@endpoint; SpecError where it is neither."""
        found = re.fullmatch(r"s3://([^/@]+)(?:/(.*?))?/?(?:@(https?://.+))?", text)
        bucket, prefix, endpoint = found.group(1, 2, 3) if found else ("", "", None)
        prefix = prefix or ""
        names = [part.replace(NAMESPACE, "n") for part in (bucket, prefix)]
        is_plain = re.fullmatch("[a-z0-9.*-]+", names[0]) and not re.search("[{}]", names[1])
        if not is_plain or (prefix and not is_key(names[1])):
            raise SpecError(
                f"allowedStores has {text!r}; write s3://bucket/prefix, and with an endpoint"
                f" s3://bucket/prefix@http://host:port; * and {NAMESPACE} may stand in them"
            )
        if endpoint is not None:
            _configured(endpoint, "allowedStores")
        elif re.search("[*{]", bucket):
            raise SpecError(
                f"allowedStores has {text!r}; in the cloud anyone can have a bucket of such a name,"
                " so write the bucket in full, or name an endpoint"
            )
        return cls(bucket, prefix, endpoint)

    def allows(self, location: Location, namespace: str) -> bool:
        try:
            bucket, prefix = bucket_and_prefix(location.uri)
        except SpecError:
            return False
        allowed = self.prefix.replace(NAMESPACE, namespace)
        return (
            _is_same_server(self.endpoint, location.endpoint)
            and matches(self.bucket.replace(NAMESPACE, namespace), bucket)
            and (not allowed or holds(allowed, prefix))
        )

    def __str__(self) -> str:
        at = f"@{self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + at


class OwnStores:
    """The stores that the operator's own identity serves. With it the operator could be made to
    read and write what those who create experiments may not.

    default: the store of experiments that name none, where it is served with that identity.
    """

    def __init__(self, patterns: Sequence[str] = (), default: Location | None = None) -> None:
        self._allowed = [StorePattern.read(text) for text in patterns]
        if default is not None:
            bucket, prefix = bucket_and_prefix(default.uri)
            self._allowed.append(StorePattern(bucket, prefix, default.endpoint))

    def check(self, location: Location, namespace: str) -> None:
        """StoreNotAllowed where it does not serve the store of an experiment in a namespace."""
        if any(each.allows(location, namespace) for each in self._allowed):
            return
        at = f" at {location.endpoint}" if location.endpoint else ""
        allowed = ", ".join(map(str, self._allowed)) or "none"
        raise StoreNotAllowed(
            one_line(
                f"storage.uri is {location.uri!r}{at}, which is none of the operator's"
                " allowedStores, and no other does it use with its own identity; name a Secret in"
                f" storage.credentialsSecretRef; allowed: {allowed}"
            )
        )


def _is_same_server(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return _origin(one) is not None and _origin(one) == _origin(other)


def _configured(endpoint: str, setting: str = "allowedEndpoints") -> Origin:
    origin = _origin(endpoint)
    if origin is None:
        raise SpecError(f"{setting} has {endpoint!r}; write http://host:port")
    return origin


def _origin(endpoint: str) -> Origin | None:
    """None for anything but scheme, host and port: what else a URL can hold (names, paths, escapes)
    is read differently by different programs, and here two have to agree on the host."""
    if not endpoint.isascii():
        return None  # some letters become ASCII's when they are made small
    match = re.fullmatch(
        r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?", endpoint.lower()
    )
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, int(port or {"http": 80, "https": 443}[scheme])
