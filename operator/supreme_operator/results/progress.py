"""Progress of attempts, as their trainers say in progress.json.

The one thing that the operator reads from stores itself, since a process of its own for each look
would cost more than all the rest. So it asks for little: some kilobytes, within seconds, by a
signed URL, and it follows no redirect. A server can neither hold it up nor fill its memory.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final

import aiohttp
from boto3.session import Session
from botocore.httpsession import get_cert_path
from yarl import URL

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.records import Progress
from supreme_core.errors import SpecError, SupremeError, one_line
from supreme_operator.results.location import AllowedEndpoints, Location

log = logging.getLogger(__name__)

BYTES: Final = 4096
"""Some 1,400 at most, of which `now` can be 1,024."""

SECONDS: Final = 5.0
"""Time for all attempts of one experiment together."""

AT_ONCE: Final = 8
"""Requests at one time for one experiment."""

SIGNED_SECONDS: Final = 60

SeedAttempt = tuple[int, int]
"""Seed and number."""

Requested = Callable[[str, int], None]


class ProgressReader:
    """Reads progress.json of many attempts.

    requested: is told the operation and the HTTP status of each request, 0 where none came.
    """

    def __init__(self, allowed: AllowedEndpoints, requested: Requested) -> None:
        self._allowed, self._requested = allowed, requested
        self._session = Session()
        self._signer = ThreadPoolExecutor(1)  # the only thread that uses the session

    async def read(
        self, experiment: str, location: Location, attempts: Sequence[SeedAttempt]
    ) -> dict[int, str]:
        """`done/total` of the seeds of which it is known; whatever goes wrong, some are missing."""
        found: dict[int, str] = {}
        try:
            self._allowed.check(location)
            async with asyncio.timeout(SECONDS), self._http() as http:
                urls = await asyncio.get_running_loop().run_in_executor(
                    self._signer, self._urls, experiment, location, attempts
                )
                looks = (self._look(http, attempt, url, found) for attempt, url in urls.items())
                await asyncio.gather(*looks)
        except (SupremeError, OSError) as error:
            log.debug("progress of %s: %s", experiment, one_line(error) or "no answer in time")
        return found

    def _urls(
        self, experiment: str, location: Location, attempts: Sequence[SeedAttempt]
    ) -> dict[SeedAttempt, str]:
        """Sign the URLs in a thread, because an identity of the operator's own may have to be
        fetched."""
        storage = location.open(self._session)
        return {
            attempt: storage.signed_url(
                names.progress_key(names.attempt_prefix(experiment, *attempt)),
                seconds=SIGNED_SECONDS,
            )
            for attempt in attempts
        }

    async def _look(
        self, http: aiohttp.ClientSession, attempt: SeedAttempt, url: str, found: dict[int, str]
    ) -> None:
        try:
            data = await self._get(http, url)
            if data is not None:
                found[attempt[0]] = parse_progress(data, attempt)
        except (aiohttp.ClientError, OSError, ValueError, SpecError) as error:
            log.debug("progress of seed %d: %s", attempt[0], one_line(error))

    async def _get(self, http: aiohttp.ClientSession, url: str) -> bytes | None:
        """The object; None where there is none, and an error where it is longer than it can be."""
        data, code = b"", 0
        try:
            async with http.get(URL(url, encoded=True), allow_redirects=False) as answer:
                code = answer.status
                if code == 404:
                    return None
                if code != 200:
                    raise ValueError(f"the server answers {code}")
                async for chunk in answer.content.iter_chunked(BYTES):
                    data += chunk
                    if len(data) > BYTES:
                        raise ValueError(f"it is longer than {BYTES} bytes")
        finally:
            self._requested("GetObject", code)
        return data

    def _http(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=True,  # HTTPS_PROXY and NO_PROXY, as boto3 does
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The authorities that boto3 trusts."""
        own = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        return ssl.create_default_context(cafile=own or get_cert_path(True))


def parse_progress(data: bytes, attempt: SeedAttempt) -> str:
    """`done/total`; SpecError where it is not the progress of this attempt."""
    progress = parse_json(Progress, data, source="progress.json")
    if (progress.seed, progress.attempt) != attempt or progress.done > progress.total:
        raise SpecError("progress.json is that of another attempt, or says more than all is done")
    return f"{progress.done}/{progress.total}"
