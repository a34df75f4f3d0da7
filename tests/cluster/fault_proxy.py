"""A proxy in front of the API server or the store, through which an operator has a bad day.

A test says which requests or events are struck, and by what:

    with fault_proxy(cluster.admin) as proxy:
        access = proxy.through(cluster.restricted_to(rules))
        with proxy.fault(Refuse(503), method="POST", path="/jobs$", which=first(2)) as fault:
            ...
        assert fault.struck == 2
        assert len(proxy.requests(method="POST", path="/jobs$")) == 3

It runs in a thread of the test process and shows the certificate of the server behind it, if that
has one; `fault_proxy(s3_server.endpoint)` is one in front of a store, reached at its `endpoint`.
"""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.cluster.access import Access

WATCH = "WATCH"
"""The method of a GET that watches."""

PATIENCE = 5.0
"""Seconds for which every client waits for a word."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_BYTES = 8 * 1024 * 1024
REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
OF_ONE_CONNECTION = {"Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding"}


@dataclass(frozen=True)
class Refuse:
    """Answers with an error instead of carrying the request out. retry_after: seconds."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Answer:
    """Answers with this instead of carrying the request out."""

    status: int
    body: str = ""

    @classmethod
    def of_s3(cls, status: int, code: str) -> "Answer":
        """A refusal in the form of S3."""
        return cls(status, f"<Error><Code>{code}</Code><Message>two\nlines</Message></Error>")


@dataclass(frozen=True)
class Without:
    """Carries the request out, and leaves a header out of its answer."""

    header: str


@dataclass(frozen=True)
class Hold:
    """Carries the request out once the fault is over, though the client may be gone by then.

    Until then the client is told that it goes on, so that none gives up that has time to wait.
    """


@dataclass(frozen=True)
class Reset:
    """Resets the connection before the request is carried out, or after it, without an answer."""

    carried_out: bool


@dataclass(frozen=True)
class Kill:
    """Kills the client, which must be its process's way to end, and resets the connection.

    carried_out: asked with the request and its body. False: before the request is carried out;
    True: after it; None: it is left alone.
    """

    kill: Callable[[], None]
    carried_out: "Callable[[Request, bytes], bool | None]"


@dataclass(frozen=True)
class Lose:
    """Leaves an event of a watch out."""


@dataclass(frozen=True)
class Repeat:
    """Sends an event of a watch twice."""


@dataclass(frozen=True)
class Expire:
    """Ends a watch with 410 Gone instead of its next event or bookmark."""


@dataclass(frozen=True)
class Silence:
    """A watch that delivers nothing from its next event or bookmark on, and does not end either."""


Effect = Refuse | Answer | Without | Hold | Reset | Kill | Lose | Repeat | Expire | Silence


@dataclass
class Request:
    """status: what the client was answered; None where it was not."""

    method: str
    path: str
    status: int | None = None

    def fits(self, method: str, path: str) -> bool:
        return bool(re.fullmatch(method, self.method) and re.search(path, self.path))


@dataclass
class Fault:
    """method, path: patterns; the first is for all of it, the second for a part.
    which: whether to strike, by the number of the request or event among those that fit, from 0.
    met, struck: how many fitted, and how many of these felt the effect.
    """

    effect: Effect
    method: str
    path: str
    which: Callable[[int], bool]
    met: int = 0
    struck: int = 0


def first(count: int) -> Callable[[int], bool]:
    return lambda number: number < count


def nth(*numbers: int) -> Callable[[int], bool]:
    """Strike at these numbers, counted from 0."""
    return lambda number: number in numbers


def share(part: float, *, seed: int) -> Callable[[int], bool]:
    """About that part of them, in [0, 1]; with one seed always the same ones."""
    return lambda number: Random(f"{seed}/{number}").random() < part


class FaultProxy:
    """A running proxy, as `fault_proxy` starts it."""

    endpoint: str

    def __init__(self, server: str, certificate: Path | None, host: str) -> None:
        self._server, self._certificate, self._host = server, certificate, host
        self._log: list[Request] = []
        self._faults: tuple[Fault, ...] = ()

    def through(self, access: Access) -> Access:
        """The same user, by way of the proxy."""
        return replace(access, endpoint=self.endpoint)

    @contextlib.contextmanager
    def fault(
        self,
        effect: Effect,
        *,
        method: str = ".*",
        path: str = "",
        which: Callable[[int], bool] = lambda number: True,
    ) -> Iterator[Fault]:
        """Strike while the block runs; of faults that strike at once the oldest has its effect."""
        fault = Fault(effect, method, path, which)
        self._faults += (fault,)
        try:
            yield fault
        finally:
            self._faults = tuple(other for other in self._faults if other is not fault)

    def requests(self, *, method: str = ".*", path: str = "") -> list[Request]:
        """All that came and fits, in the order in which it came."""
        return [request for request in self._log if request.fits(method, path)]

    def cut(self) -> None:
        """Resets all connections."""
        self._loop.call_soon_threadsafe(self._reset_all)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        ours, trust = None, True
        if self._certificate:
            ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            ours.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))
            trust = ssl.create_default_context(cafile=self._certificate)
        application = web.Application(client_max_size=MAX_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        async with ClientSession(
            connector=TCPConnector(limit=0, ssl=trust),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as self._session:
            await self._runner.setup()
            try:
                site = web.TCPSite(self._runner, self._host, 0, ssl_context=ours)
                await site.start()
                _, port = self._runner.addresses[0]
                self.endpoint = f"{'https' if ours else 'http'}://{self._host}:{port}"
                yield
            finally:
                await self._runner.cleanup()
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()  # such as a watch that is silent

    async def _answer(self, incoming: web.Request) -> web.StreamResponse:
        watches = incoming.query.get("watch") in ("1", "true")
        request = Request(WATCH if watches else incoming.method, incoming.path)
        self._log.append(request)
        try:
            return await self._answer_to(request, incoming)
        except (ClientError, ConnectionError):  # a fault, or one of the two sides is gone
            _reset(incoming.transport)
            return web.Response()  # to nobody

    async def _answer_to(self, request: Request, incoming: web.Request) -> web.StreamResponse:
        body = await incoming.read()
        effect = self._effect_on(request, Refuse, Answer, Without, Hold, Reset, Kill)
        if isinstance(effect, Kill):
            when = effect.carried_out(request, body)
            kill, effect = effect.kill, None if when is None else Reset(when)
        else:
            kill = None
        match effect:
            case Refuse(status, retry_after):
                request.status = status
                return _refusal(status, retry_after)
            case Answer(status, text):
                request.status = status
                return web.Response(status=status, text=text, content_type="application/xml")
            case Hold():
                await self._hold(effect, incoming)
            case Reset(carried_out=False):
                if kill:
                    kill()
                raise ConnectionResetError
        async with self._session.request(
            incoming.method,
            URL(self._server + incoming.raw_path, encoded=True),
            headers=_passed_on(incoming.headers),
            data=body or None,
            allow_redirects=False,
        ) as found:
            if isinstance(effect, Reset):
                if kill:
                    kill()
                raise ConnectionResetError
            request.status = found.status
            headers = _passed_on(found.headers)
            if request.method == "HEAD":
                headers["Content-Length"] = found.headers.get("Content-Length", "0")
            if isinstance(effect, Without):
                headers.pop(effect.header, None)
            if request.method == "HEAD":
                return web.Response(status=found.status, headers=headers)
            if request.method != WATCH or found.status != 200:
                return web.Response(status=found.status, headers=headers, body=await found.read())
            answer = web.StreamResponse(headers=headers)
            await answer.prepare(incoming)
            await self._pass_events_on(request, found, answer)
            return answer

    async def _hold(self, effect: Hold, incoming: web.Request) -> None:
        loop = asyncio.get_running_loop()
        told = loop.time()
        while any(fault.effect is effect for fault in self._faults):
            await asyncio.sleep(0.02)
            if incoming.transport and loop.time() > told + PATIENCE:
                incoming.transport.write(CONTINUE)
                told = loop.time()

    async def _pass_events_on(
        self, request: Request, found: ClientResponse, answer: web.StreamResponse
    ) -> None:
        silent = False
        async for event in _lines(found):
            effect = self._effect_on(request, Expire, Silence)
            silent = silent or isinstance(effect, Silence)
            if silent:
                continue
            if isinstance(effect, Expire):
                expired = {"type": "ERROR", "object": _status(410)}
                await answer.write(json.dumps(expired).encode() + b"\n")
                return
            times = 1
            if json.loads(event)["type"] in ("ADDED", "MODIFIED", "DELETED"):
                effect = self._effect_on(request, Lose, Repeat)
                times = 0 if isinstance(effect, Lose) else 2 if isinstance(effect, Repeat) else 1
            for _ in range(times):
                await answer.write(event + b"\n")
        if silent:
            await asyncio.Event().wait()  # until the proxy ends

    def _effect_on(self, request: Request, *kinds: type[Effect]) -> Effect | None:
        """Return the effect of the oldest fault that strikes now."""
        effect = None
        for fault in self._faults:
            if isinstance(fault.effect, kinds) and request.fits(fault.method, fault.path):
                strikes = fault.which(fault.met)
                fault.met += 1
                if strikes and effect is None:
                    fault.struck += 1
                    effect = fault.effect
        return effect

    def _reset_all(self) -> None:
        for connection in self._runner.server.connections:
            _reset(connection.transport)


@contextlib.contextmanager
def fault_proxy(
    server: Access | str, host: str = "127.0.0.1", *, certificate: Path | None = None
) -> Iterator[FaultProxy]:
    """A proxy on a free port of this machine's address `host`.

    server: what stands behind it, or its endpoint.  certificate: what the proxy shows in front of
    an endpoint, with its key beside it.
    """
    if isinstance(server, Access):
        proxy = FaultProxy(server.endpoint, server.certificate, host)
    else:
        proxy = FaultProxy(server, certificate, host)
    stack = contextlib.AsyncExitStack()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        _run(loop, stack.enter_async_context(proxy.serving()))
        yield proxy
    finally:
        _run(loop, stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, None]) -> None:
    asyncio.run_coroutine_threadsafe(work, loop).result()


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = [item for item in headers.items() if item[0].title() not in OF_ONE_CONNECTION]
    return CIMultiDict(kept)


async def _lines(found: ClientResponse) -> AsyncIterator[bytes]:
    """Yield lines of any length; readline of aiohttp bounds them."""
    rest = b""
    async for chunk in found.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _refusal(status: int, retry_after: int | None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(_status(status), status=status, headers=headers)


def _status(code: int) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "struck by a fault of the test",
        "reason": REASONS[code],
        "code": code,
    }


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is not None:
        at_once = struct.pack("ii", 1, 0)  # and so by RST
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        transport.abort()
