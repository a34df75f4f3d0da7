"""`supreme-operator`: the process that computes UnlearningExperiment resources on a cluster."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import kopf
from kubernetes.aio.client import ApiClient

from supreme_core.checking.pod_policy import PodPolicy
from supreme_core.errors import EXIT_ERROR
from supreme_core.registry import catalog
from supreme_core.system.ending import ending
from supreme_operator.children import readers
from supreme_operator.children.pod import observe_pod
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import Cluster, ClusterError, TokenBucket, connected
from supreme_operator.cluster.credentials import Credentials
from supreme_operator.cluster.leadership import LeadershipLost, Lease, lead
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding.backoff import BackoffPolicy
from supreme_operator.deciding.policy import Policy
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.monitoring.health import Health, serving
from supreme_operator.reconcile.admissions import Admissions
from supreme_operator.reconcile.child_writer import ChildWriter
from supreme_operator.reconcile.reconciler import Reconciler, Running
from supreme_operator.results.location import AllowedEndpoints, Location, OwnStores
from supreme_operator.results.reader import PUBLISHING, Collector
from supreme_operator.settings import Settings
from supreme_operator.watches import Watches

log = logging.getLogger("supreme_operator")

NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

LOOKS_AT_ONCE: Final = 16
"""Experiments whose progress is read at one time, of as many namespaces."""

RETRY_SECONDS: Final = 2.0
"""Time between two tries at what a server that is away does not answer."""


def main() -> None:
    with ending():
        settings = Settings.read(sys.argv[1:])
        _log(settings)
        try:
            asyncio.run(run(settings))
        except LeadershipLost as error:
            log.error("%s", error, exc_info=error.__cause__)
            sys.exit(EXIT_ERROR)


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_unawaited)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics(os.environ.get("SUPREME_REVISION", ""))
    async with connected() as api:
        operator = Operator(settings, api, metrics)
        health = Health(
            oldest_work_seconds=operator.queue.oldest_work_seconds,
            silent=operator.watches.silent,
            # One that waits for its turn has all that it needs for that.
            is_synced=lambda: operator.watches.is_synced or not operator.is_acting,
            failures_in_a_row=lambda: operator.cluster.failures_in_a_row,
        )
        async with serving(
            health, metrics.registry, host=settings.host, port=settings.port
        ) as port:
            log.info("serving", extra={"port": port})

            if settings.leader_election:
                lease = Lease(settings.lease_namespace, settings.lease_name, settings.lease_time)
                await lead(api, operator.run, stop, lease)
            else:
                await operator.run(stop)


def tell_unawaited(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of a task that nobody awaits; in one line where its connection was closed, as
    kopf's are that still look for resources when it is told to stop."""
    error = context.get("exception")
    if isinstance(error, aiohttp.ClientConnectionError):
        log.warning("a connection was closed that nobody waits for: %s", error)
    else:
        loop.default_exception_handler(context)


class Operator:
    """Everything of one process."""

    def __init__(self, settings: Settings, api: ApiClient, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.is_acting = not settings.leader_election
        bucket = TokenBucket(settings.writes_per_second, settings.writes_at_once)
        self.cluster = Cluster(api, bucket, metrics)
        self.queue = WorkQueue[Key](meter=metrics, group=lambda key: key.namespace)
        cache = Cache(readers(), observe_pod)
        self._other_backends = asyncio.Event()
        self.watches = Watches(self.cluster, cache, self.queue, metrics, settings.namespaces)
        self._collector = Collector(
            workers=settings.collectors,
            publishing=replace(PUBLISHING, memory_mebibytes=settings.publishing_memory),
            allowed_endpoints=settings.allowed_endpoints or None,
            requested=metrics.asked_store,
        )
        policy = policy_of(settings)
        self._credentials = Credentials(self.cluster, policy)
        self._child_writer = ChildWriter(
            cluster=self.cluster,
            cache=cache,
            metrics=metrics,
            queue=self.queue,
            has_user=settings.fixed_user,
        )
        self._reconciler = Reconciler(
            cluster=self.cluster,
            cache=cache,
            collector=self._collector,
            credentials=self._credentials,
            admissions=Admissions(
                cluster=self.cluster,
                catalog=catalog.bundled(),
                defaults=_defaults(settings),
                policy=policy,
            ),
            child_writer=self._child_writer,
            metrics=metrics,
            queue=self.queue,
            backoff=BackoffPolicy(
                retry_seconds=settings.retry_wait,
                disruption_seconds=settings.disruption_wait,
                longest_seconds=settings.longest_wait,
                silence_seconds=settings.inquiry_wait,
            ),
            status_interval=settings.status_interval,
        )
        metrics.observe(
            self.queue, settings.workers, cache.all_experiments, settings.metrics_experiments
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Watch and reconcile until told to stop; what is being done then is finished first."""
        self.is_acting = True
        self._metrics.leads()
        await self._first_sync(stop)
        watching = asyncio.create_task(self._watch())
        others = [asyncio.create_task(self._work()) for _ in range(self._settings.workers)]
        others.append(asyncio.create_task(self._resync()))
        others.append(asyncio.create_task(self._look_at_progress()))
        stopping = asyncio.create_task(stop.wait())
        tasks = {watching, stopping, *others}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        self.queue.close()
        for task in (stopping, watching, *others):
            task.cancel()
        await asyncio.gather(stopping, watching, *others, return_exceptions=True)
        await self._reconciler.close()
        await self._collector.close()
        for task in done - {stopping}:
            task.result()  # a task that ended by itself has an error to tell

    async def _first_sync(self, stop: asyncio.Event) -> None:
        """Nothing is decided before everything has been seen once."""
        while not stop.is_set():
            try:
                self._note_backends(await self.watches.resync())
                return
            except ClusterError as error:
                log.warning("cannot list everything yet: %s", error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), RETRY_SECONDS)

    async def _watch(self) -> None:
        """Watch until told to stop, which kopf hears of by itself where it has the signals; anew
        when there is another kind of children to watch."""
        while True:
            self._other_backends.clear()
            await kopf.operator(
                registry=self.watches.registry(self._child_writer.served),
                settings=kopf.OperatorSettings(),
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                standalone=True,
                stop_flag=self._other_backends,
            )
            if not self._other_backends.is_set():
                return

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                wait = await asyncio.shield(self._reconcile(key))
                if wait is not None:
                    self.queue.add_after(key, wait)
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: Key) -> float | None:
        begun = time.monotonic()
        try:
            wait = await self._reconciler.reconcile(key)
        except ClusterError as error:
            self._metrics.reconciled("error", time.monotonic() - begun)
            seconds = self.queue.retry(key)
            log.warning("%s; tried again in %.1f s", error, seconds, extra=_named(key))
            return None
        except Exception:
            self._metrics.reconciled("error", time.monotonic() - begun)
            self.queue.retry(key)
            log.exception("reconciliation failed", extra=_named(key))
            return None
        self.queue.succeeded(key)
        result = "success" if wait is None else "requeue_after"
        self._metrics.reconciled(result, time.monotonic() - begun)
        return wait

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_interval)
            self._reconciler.refresh()
            try:
                self._note_backends(await self.watches.resync())
            except ClusterError as error:
                log.warning("cannot list everything: %s", error)

    async def _look_at_progress(self) -> None:
        while True:
            await asyncio.sleep(self._settings.progress_interval)
            by_namespace: dict[str, list[Running]] = {}
            for each in self._reconciler.running():
                by_namespace.setdefault(each[0].namespace, []).append(each)
            places = asyncio.Semaphore(LOOKS_AT_ONCE)
            looks = (self._look_at_each(running, places) for running in by_namespace.values())
            await asyncio.gather(*looks)

    async def _look_at_each(self, running: list[Running], places: asyncio.Semaphore) -> None:
        """Look at experiments of one namespace one after the other, so that slow stores make their
        own users wait."""
        for key, order, experiment, pairs in running:
            async with places:
                try:
                    location = await self._credentials.location(experiment)
                except Exception as error:  # only progress
                    uri = experiment.spec.storage.uri
                    log.debug("no progress of %s: %s", uri, error, extra=_named(key))
                    continue
                told = await self._collector.progress(order.prefix, location, pairs)
            self._reconciler.told_progress(key, told)

    def _note_backends(self, has_pytorchjobs: bool) -> None:
        served = {"Job", "IndexedJob", *(["PyTorchJob"] if has_pytorchjobs else [])}
        if served != self._child_writer.served:
            self._child_writer.served = served
            self._other_backends.set()


def _defaults(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Defaults that an experiment need not state, as its document would state them."""
    storage: dict[str, Any] = {
        "uri": settings.storage_uri,
        "endpoint": settings.storage_endpoint,
        "region": settings.storage_region,
    }
    if settings.storage_secret:
        storage["credentialsSecretRef"] = {"name": settings.storage_secret}
    return {
        "execution": {"image": settings.image} if settings.image else {},
        "storage": {name: value for name, value in storage.items() if value},
    }


def policy_of(settings: Settings) -> Policy:
    """SpecError names a setting that cannot be read."""
    # With a Secret for it, the default store is no business of the operator's own identity.
    is_own = settings.storage_uri and not (settings.storage_secret and settings.read_secrets)
    default = Location(uri=settings.storage_uri, endpoint=settings.storage_endpoint or None)
    own_namespace = settings.own_namespace or _namespace_of_pod()
    return Policy(
        own_stores=OwnStores(settings.allowed_stores, default if is_own else None),
        endpoints=AllowedEndpoints(settings.allowed_endpoints or None),
        may_read_secrets=settings.read_secrets,
        pods=PodPolicy(
            labels=settings.allowed_labels,
            annotations=settings.allowed_annotations,
            env=settings.allowed_env,
            mount_paths=settings.allowed_mount_paths,
            priority_classes=settings.allowed_priority_classes,
        ),
        own_namespace="" if settings.allow_own_namespace else own_namespace,
    )


def _namespace_of_pod() -> str:
    """Namespace of the service account whose token is mounted; "" in no pod."""
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        return ""


def _named(key: Key) -> dict[str, str]:
    return {"namespace": key.namespace, "experiment": key.name}


class _Json(logging.Formatter):
    """One object a line, with the fields that a message was given."""

    PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told.update({name: value for name, value in vars(record).items() if name not in self.PLAIN})
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _log(settings: Settings) -> None:
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(_Json())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())
    # They tell of every event of every object.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
