"""Talk to the API server: a handful of verbs on plain objects, and errors that say what to do.

All writes pass a token bucket, so that a thousand children cannot crowd out other clients.
"""

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException

from supreme_core.errors import one_line
from supreme_operator.cluster.clock import ServerClock
from supreme_operator.cluster.resources import KubeObject, Resource

REQUEST_SECONDS: Final = 30.0
OBJECTS_OF_PAGE: Final = 100
JSON: Final = "application/json"

DENIED: Final = re.compile(
    r'admission webhook "[^"]*" denied the request'
    r"|AdmissionPolicy '[^']*'( with binding '[^']*')? denied request"
)


class ClusterError(Exception):
    """The API server did not do what was asked; the message is its own, on one line."""


class NotFound(ClusterError):
    """The API server has no such object, or no such kind of objects."""


class AlreadyExists(ClusterError):
    """An object of that name is there."""


class Conflict(ClusterError):
    """The object has changed since it was read."""


class Forbidden(ClusterError):
    """The API server forbids a request: by a role, a quota, an admission policy, or because the
    namespace is being deleted."""


class Refused(ClusterError):
    """The object cannot be as it was sent."""


class Unavailable(ClusterError):
    """The server is away or has too much to do: try again later.

    after_seconds: what the server asks for, else 0.
    """

    def __init__(self, message: str, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Page(NamedTuple):
    """A part of a list; version: the resourceVersion of the whole of it."""

    bodies: list[KubeObject]
    version: int


class RequestMeter(Protocol):
    """Is told of each request; code: the HTTP status, 0 where there was no answer."""

    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None: ...

    def throttled(self, verb: str, seconds: float) -> None:
        """Observe the seconds that a write waited for its turn."""


class TokenBucket:
    """Limit of `per_second` writes in the long run, and `burst` of them at once."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._tokens, self._at = float(burst), clock()

    async def take(self) -> float:
        """Wait for one's turn; returns the seconds that it took."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        self._tokens -= 1  # a debt makes the next ones wait in turn
        seconds = max(0.0, -self._tokens / self._per_second)
        if seconds:
            await asyncio.sleep(seconds)
        return seconds


class Cluster:
    """The API server, as far as the operator needs it."""

    def __init__(self, api: ApiClient, bucket: TokenBucket, meter: RequestMeter) -> None:
        self._api, self._bucket, self._meter = api, bucket, meter
        self.clock = ServerClock()
        self.failures_in_a_row = 0

    async def get(self, resource: Resource, namespace: str, name: str) -> KubeObject:
        return await self._request("GET", resource, resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[Page]:
        """All objects: whoever reads them need not hold a thousand whole Jobs at one time."""
        query = [("limit", str(OBJECTS_OF_PAGE))]
        query += [("labelSelector", labels)] if labels else []
        query += [("fieldSelector", fields)] if fields else []
        more: str | None = None
        while True:
            page = [*query, ("continue", more)] if more else query
            answer = await self._request("GET", resource, resource.path(namespace), query=page)
            yield Page(answer.get("items") or [], int(answer["metadata"]["resourceVersion"]))
            more = answer["metadata"].get("continue")
            if not more:
                return

    async def serves(self, resource: Resource) -> bool:
        """Return whether the server knows this kind of objects."""
        try:
            path = f"/apis/{resource.group}/{resource.version}"
            answer = await self._request("GET", resource, path)
        except NotFound:
            return False
        return any(each["name"] == resource.plural for each in answer.get("resources") or ())

    async def create(self, resource: Resource, namespace: str, body: KubeObject) -> KubeObject:
        return await self._write("POST", resource, resource.path(namespace), body)

    async def write_status(
        self, resource: Resource, body: KubeObject, status: KubeObject
    ) -> KubeObject:
        """Replace the status of an object; Conflict where it is not what it was in `body`."""
        metadata = body["metadata"]
        path = f"{resource.path(metadata['namespace'], metadata['name'])}/status"
        return await self._write("PUT", resource, path, {**body, "status": status})

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete that very object, and in the background what it owns; gone already is fine."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._write("DELETE", resource, resource.path(namespace, name), options)
        except (NotFound, Conflict):
            return

    async def _write(
        self, method: str, resource: Resource, path: str, body: Any, content_type: str = JSON
    ) -> KubeObject:
        self._meter.throttled(method, await self._bucket.take())
        return await self._request(method, resource, path, body=body, content_type=content_type)

    async def _request(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        query: Any = (),
        body: Any = None,
        content_type: str = JSON,
    ) -> KubeObject:
        begun, asked_at, code = time.monotonic(), self.clock.now(), 0
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=list(query),
                header_params={"Accept": JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._api.call_api(*request, _request_timeout=REQUEST_SECONDS)
            data = await response.read()  # type: ignore[no-untyped-call]
            code = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            self.failures_in_a_row += 1
            raise Unavailable(
                f"no answer from the API server: {one_line(error) or type(error).__name__}"
            ) from error
        except ApiException as error:  # the client's own, before anything was sent
            raise ClusterError(one_line(error.reason)) from error
        finally:
            self._meter.requested(method, resource.title, code, time.monotonic() - begun)
        self.clock.told(response.headers.get("Date", ""), asked_at)
        if code >= 500 or code == 429:
            self.failures_in_a_row += 1
        else:
            self.failures_in_a_row = 0
        if 200 <= code < 300:
            return _object(data)
        raise _error(code, data, response.headers, resource)


def _object(data: bytes) -> KubeObject:
    try:
        found = json.loads(data)
    except ValueError:
        raise Unavailable("the API server's answer is cut off") from None
    return found if isinstance(found, dict) else {}


def _error(code: int, data: bytes, headers: Mapping[str, str], resource: Resource) -> ClusterError:
    try:
        told = json.loads(data)
        message, reason = one_line(told.get("message", "")), told.get("reason", "")
    except (ValueError, AttributeError):
        # Such as of a kind of objects that the server does not know.
        said = one_line(data[:200].decode(errors="replace")) or f"HTTP status {code}"
        message, reason = f"{resource.title}: {said}", ""
    message = message or f"HTTP status {code}"
    if DENIED.search(message):  # with whatever code its author chose
        return Refused(message)
    match code:
        case 401:  # a token that has just expired is renewed soon
            return Unavailable(f"the API server does not know who asks: {message}")
        case 403:
            return Forbidden(message)
        case 404:
            return NotFound(message)
        case 409 if reason == "AlreadyExists":
            return AlreadyExists(message)
        case 409:
            return Conflict(message)
        case 400 | 413 | 422:
            return Refused(message)
        case _:
            return Unavailable(message, _seconds(headers.get("Retry-After", "")))


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


@asynccontextmanager
async def connected() -> AsyncIterator[ApiClient]:
    """A client with the rights of this pod's service account, or those of the kubeconfig."""
    settings = Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        # The package looks for the variable when it is imported, which may have been before.
        file = os.environ.get("KUBECONFIG") or None
        await config.load_kube_config(file, client_configuration=settings)  # type: ignore[no-untyped-call]
    settings.retries = 0  # the queue tries again, and knows when
    async with ApiClient(settings) as api:
        yield api
