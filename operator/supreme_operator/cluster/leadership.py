"""Leader election: only the operator that holds the Lease acts.

Without it two operators do no harm (see reconcile.py), they only do everything twice.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

log = logging.getLogger(__name__)


class LeadershipLost(Exception):
    """Another operator acts now, or this one cannot say that it still does."""


class Lease(NamedTuple):
    """seconds: after which the holder is replaced if it has not been heard of."""

    namespace: str
    name: str
    seconds: int


class _Lock(LeaseLock):
    """The client's own, whose `create` passes an argument that the client refuses (release 37)."""

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        spec = self.update_lease(election_record)
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=spec)
        try:
            await self.api_instance.create_namespaced_lease(namespace, body)
        except ApiException as error:
            log.warning("the lease cannot be created: %s", error.reason)
            return False
        return True


async def lead(
    api: ApiClient,
    work: Callable[[asyncio.Event], Awaitable[None]],
    stop: asyncio.Event,
    lease: Lease,
) -> None:
    """Wait for the Lease, then work until `stop`; LeadershipLost where the Lease goes first."""
    identity = f"{socket.gethostname()}-{os.getpid()}"
    worker: list[asyncio.Task[None]] = []

    async def started() -> None:
        worker.append(asyncio.ensure_future(work(stop)))
        await asyncio.wait(worker)

    async def stopped() -> None:
        pass

    election = LeaderElection(
        Config(
            _Lock(lease.name, lease.namespace, identity, api),
            lease_duration=lease.seconds,
            renew_deadline=lease.seconds * 2 / 3,
            retry_period=max(1.0, lease.seconds / 7.5),
            onstarted_leading=started,
            onstopped_leading=stopped,
        )
    )
    holding = asyncio.create_task(election.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set() and not holding.done() and not any(w.done() for w in worker):
            tasks: set[asyncio.Future[Any]] = {holding, stopping, *worker}
            # With a limit, because the work begins without one of these being done.
            await asyncio.wait(tasks, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            line = f"{identity} holds the lease {lease.namespace}/{lease.name} no more"
            raise LeadershipLost(line) from holding.exception()
        for each in worker:
            await each
    finally:
        for task in (holding, stopping, *worker):
            task.cancel()
        await asyncio.gather(holding, stopping, *worker, return_exceptions=True)
