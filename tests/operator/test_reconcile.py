"""Writes of a look at an experiment, where a story on a real API server would take minutes.

The cluster here keeps what it is given and does nothing; tests/cluster has a real one.
"""

import asyncio
from copy import deepcopy
from datetime import UTC, datetime
from itertools import count

import pytest
from supreme_operator.children import readers
from supreme_operator.children.pod import observe_pod
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import AlreadyExists, Page
from supreme_operator.cluster.credentials import Credentials
from supreme_operator.cluster.resources import EXPERIMENTS, JOBS
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding.policy import Policy
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.reconcile.admissions import Admissions
from supreme_operator.reconcile.child_writer import ChildWriter
from supreme_operator.reconcile.reconciler import Reconciler
from supreme_operator.results.location import OwnStores

from tests.operator.looks import BACKOFF, CATALOG, resource

KEY = Key("research", "three")


class Kept:
    """Objects by kind and name."""

    def __init__(self):
        self.objects, self.created, self._versions = {}, [], count(2)

    async def create(self, resource, namespace, body):
        name = body["metadata"].get("name", "")
        self.created.append((resource.plural, name))
        if (resource.plural, name) in self.objects:
            raise AlreadyExists(name)
        version = str(next(self._versions))
        of_server = {
            "uid": f"uid-{version}",
            "resourceVersion": version,
            "creationTimestamp": datetime.now(UTC).isoformat(),
        }
        return self.put(resource, {**body, "metadata": {**body["metadata"], **of_server}})

    async def get(self, resource, namespace, name):
        return self.objects[resource.plural, name]

    async def list(self, resource, **_):
        yield Page([], 1)

    async def write_status(self, resource, body, status):
        version = {"resourceVersion": str(next(self._versions))}
        written = {**body, "status": status, "metadata": {**body["metadata"], **version}}
        return self.put(resource, written)

    def put(self, resource, body):
        self.objects[resource.plural, body["metadata"].get("name", "")] = deepcopy(body)
        return body

    def jobs(self):
        return [each for (plural, _), each in self.objects.items() if plural == JOBS.plural]


def started(cluster, looks):
    """A process that begins with what is there and looks so many times; the status then."""

    async def story():
        cache = Cache(readers(), observe_pod)
        for body in cluster.jobs():
            cache.of_kind(JOBS.plural).put(body)
        cache.experiments.put(cluster.objects[EXPERIMENTS.plural, KEY.name])
        metrics, policy = Metrics(), Policy(own_stores=OwnStores(["s3://bucket"]))
        queue = WorkQueue(metrics)
        reconciler = Reconciler(
            cluster=cluster,
            cache=cache,
            collector=None,
            credentials=Credentials(cluster, policy),
            admissions=Admissions(cluster=cluster, catalog=CATALOG, defaults={}, policy=policy),
            child_writer=ChildWriter(
                cluster=cluster, cache=cache, metrics=metrics, queue=queue, has_user=True
            ),
            metrics=metrics,
            queue=queue,
            backoff=BACKOFF,
            status_interval=0,
        )
        for _ in range(looks):
            await reconciler.reconcile(KEY)
        return cluster.objects[EXPERIMENTS.plural, KEY.name]["status"]

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("annotations", "supreme.dev/retries", "none"),
        ("annotations", "supreme.dev/backend", "Deployment"),
        ("labels", "supreme.dev/attempt", "first"),
        ("labels", "supreme.dev/experiment", "other"),
    ],
)
def test_a_child_on_which_somebody_has_written_is_not_made_again_and_again(field, name, value):
    """Writes are limited for all experiments together."""
    cluster = Kept()
    cluster.put(EXPERIMENTS, resource(seeds={"list": [7]}))
    started(cluster, looks=2)
    (job,) = cluster.jobs()
    job["metadata"][field][name] = value
    cluster.created.clear()
    status = started(cluster, looks=20)
    made = [each for each in cluster.created if each[0] == JOBS.plural]
    assert {*made} == {(JOBS.plural, job["metadata"]["name"])}
    assert len(made) < 5  # on a slow machine the pause between two tries may pass
    (told,) = [each for each in status["conditions"] if each["type"] == "ChildrenScheduled"]
    assert (told["status"], told["reason"]) == ("False", "ChildConflict")
    assert "not what the operator wrote; delete it" in told["message"]
