"""The HTTP port: /livez, /readyz, /metrics.

Live means that restarting would not help: queue and watches move. An API server that is away makes
the operator not ready, but it stays alive and goes on when the server is back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from supreme_core.system.listening import bound

STUCK_SECONDS: Final = 600.0
"""A key takes seconds; requests end after 30."""

FAILURES_THAT_COUNT: Final = 3


@dataclass(frozen=True)
class Health:
    """oldest_work_seconds: of the queue.  silent: watches that tell nothing although there is news.
    is_synced: everything was listed once.  failures_in_a_row: of requests to the API server."""

    oldest_work_seconds: Callable[[], float]
    silent: Callable[[], list[str]]
    is_synced: Callable[[], bool]
    failures_in_a_row: Callable[[], int]

    def not_live(self) -> list[str]:
        troubles = [f"the watch of {plural} is silent" for plural in self.silent()]
        if self.oldest_work_seconds() > STUCK_SECONDS:
            troubles.append(f"one key has been worked on for {self.oldest_work_seconds():.0f} s")
        return troubles

    def not_ready(self) -> list[str]:
        troubles = self.not_live()
        if not self.is_synced():
            troubles.append("not everything has been listed yet")
        if self.failures_in_a_row() >= FAILURES_THAT_COUNT:
            troubles.append("the API server does not answer")
        return troubles


@asynccontextmanager
async def serving(
    health: Health, registry: CollectorRegistry, *, host: str, port: int
) -> AsyncIterator[int]:
    """Serve while the block runs; returns the port.  host, port: as `bound` takes them."""

    async def livez(request: web.Request) -> web.Response:
        return _answer(health.not_live())

    async def readyz(request: web.Request) -> web.Response:
        return _answer(health.not_ready())

    async def metrics(request: web.Request) -> web.Response:
        # With hundreds of experiments it takes half a second, in which others go on.
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    routes = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}
    application.add_routes([web.get(path, handler) for path, handler in routes.items()])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.SockSite(runner, bound(host, port))
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _answer(troubles: list[str]) -> web.Response:
    text = "\n".join(troubles) or "ok"
    return web.Response(text=text + "\n", status=503 if troubles else 200)
