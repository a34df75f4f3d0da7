"""Where the results of an experiment lie, and which servers the operator lets itself be sent to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from boto3.session import Session

from supreme_core.errors import SpecError, StoreUnusable, one_line
from supreme_core.storage import S3Credentials, S3Storage, open_bucket

Origin = tuple[str, str, int]
"""Scheme, host and port."""


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
        """StoreUnusable where the operator is not to connect to this endpoint."""
        if self._endpoints is None or location.endpoint is None:
            return
        if _origin(location.endpoint) not in self._origins:
            allowed = ", ".join(self._endpoints) or "only that of the cloud, so leave it out"
            raise StoreUnusable(
                one_line(
                    f"storage.endpoint is {location.endpoint!r}, which is none of the operator's"
                    f" allowedEndpoints; allowed: {allowed}"
                )
            )


def _configured(endpoint: str) -> Origin:
    origin = _origin(endpoint)
    if origin is None:
        raise SpecError(f"allowedEndpoints has {endpoint!r}; write http://host:port")
    return origin


def _origin(endpoint: str) -> Origin | None:
    """None for anything but scheme, host and port: what else a URL can hold (names, paths, escapes)
    is read differently by different programs, and here two have to agree on the host."""
    match = re.fullmatch(
        r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?", endpoint.lower()
    )
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, int(port or {"http": 80, "https": 443}[scheme])
