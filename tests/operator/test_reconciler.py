"""One step of an experiment: the order of what is written, created and deleted, and what is said
where the API server refuses.

The API server is a list of requests here. What a real one answers, and that children are made in
the end, is tested in tests/cluster; what is decided, in test_decide.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from supreme_operator.children import readers
from supreme_operator.children.pod import observe_pod
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import AlreadyExists, Forbidden, NotFound, Unavailable
from supreme_operator.cluster.clock import ServerClock
from supreme_operator.cluster.credentials import Credentials
from supreme_operator.cluster.resources import JOBS
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.deciding.policy import Policy
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.reconcile.admissions import Admissions
from supreme_operator.reconcile.child_writer import ChildWriter
from supreme_operator.reconcile.reconciler import Reconciler
from supreme_operator.results.location import OwnStores
from supreme_operator.results.protocol import ResultCheck

from tests.operator.looks import BACKOFF, CATALOG, SPEC, resource

KEY = Key("research", "three")
QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1'


@dataclass
class Server:
    """Answers what a real one would, but for one kind of request that it refuses."""

    refuses: str = ""
    error: Exception | None = None
    clock: ServerClock = field(default_factory=ServerClock)
    requests: list = field(default_factory=list)
    objects: dict = field(default_factory=dict)

    def _note(self, verb, resource, name):
        self.requests.append(f"{verb} {resource.plural}")
        if self.refuses == self.requests[-1]:
            raise self.error
        return resource.plural, name

    async def create(self, resource, namespace, manifest):
        place = self._note("create", resource, manifest["metadata"]["name"])
        if place in self.objects:
            raise AlreadyExists(f"{place} is there")
        made = {
            **manifest,
            "metadata": {
                **manifest["metadata"],
                "uid": f"uid-{len(self.objects)}",
                "resourceVersion": str(len(self.objects) + 2),
                "creationTimestamp": datetime.now(UTC).isoformat(),
            },
        }
        self.objects[place] = made
        return made

    async def get(self, resource, namespace, name):
        place = self._note("get", resource, name)
        if place not in self.objects:
            raise NotFound(f"{place} is not there")
        return self.objects[place]

    async def delete(self, resource, namespace, name, *, uid):
        self.objects.pop(self._note("delete", resource, name), None)

    def jobs(self):
        return [body for (plural, _), body in self.objects.items() if plural == JOBS.plural]

    async def write_status(self, resource, body, status):
        self._note("write_status", resource, body["metadata"]["name"])
        version = str(int(body["metadata"]["resourceVersion"]) + 1)
        metadata = {**body["metadata"], "resourceVersion": version}
        return {**body, "metadata": metadata, "status": status}

    def made(self, verb):
        """Requests of a kind, but for events, which are a courtesy."""
        return [
            each for each in self.requests if each.startswith(verb) and not each.endswith("events")
        ]


def world(server, body=None, *, collector=None, status_interval=0.0, **spec):
    """A reconciler of a new process that has seen an experiment, and the jobs that are there.

    body: the experiment; None for a new one with this spec.
    """
    cache, metrics = Cache(readers(), observe_pod), Metrics()
    queue = WorkQueue[Key](meter=metrics)
    cache.experiments.put(body or resource(**spec))
    for job in server.jobs():
        cache.of_kind(JOBS.plural).put(job)
    policy = Policy(own_stores=OwnStores(("s3://bucket/prefix",), None))
    return Reconciler(
        cluster=server,
        cache=cache,
        collector=collector,
        credentials=Credentials(server, policy),
        admissions=Admissions(
            cluster=server,
            catalog=CATALOG,
            defaults={},
            policy=policy,
        ),
        child_writer=ChildWriter(
            cluster=server, cache=cache, metrics=metrics, queue=queue, has_user=True
        ),
        metrics=metrics,
        queue=queue,
        backoff=BACKOFF,
        status_interval=status_interval,
    )


def status(reconciler):
    return reconciler.cache.experiment(KEY)["status"]


def condition(reconciler, kind):
    (found,) = [each for each in status(reconciler)["conditions"] if each["type"] == kind]
    return found["status"], found["reason"]


def steps(reconciler, count):
    async def run():
        for _ in range(count):
            await reconciler.reconcile(KEY)

    asyncio.run(run())


def test_the_status_is_written_before_children_are_made_and_none_is_made_twice():
    server = Server()
    reconciler = world(server)

    steps(reconciler, 3)

    assert server.made("")[:3] == [
        "write_status unlearningexperiments",
        "create configmaps",
        "create jobs",
    ]
    # SPEC has a parallelism of 2, and one order for all of them.
    assert server.made("create") == ["create configmaps", "create jobs", "create jobs"]
    assert status(reconciler)["queued"] == 2


def test_what_cannot_be_done_is_said_and_nothing_is_made():
    server = Server()
    reconciler = world(server, methods=[{"name": "no_such_method"}])

    steps(reconciler, 2)

    assert server.made("") == ["write_status unlearningexperiments"]
    assert condition(reconciler, "Accepted") == ("False", "InvalidSpec")


def test_an_experiment_that_is_not_what_its_children_were_told_is_refused():
    server = Server()
    reconciler = world(server)
    steps(reconciler, 2)
    body = reconciler.cache.experiment(KEY)
    changed = {**SPEC, "scenarios": [{"name": "full_class", "params": {"classes": [4]}}]}
    metadata = {**body["metadata"], "generation": 2, "resourceVersion": "99"}
    reconciler.cache.experiments.put({**body, "metadata": metadata, "spec": changed})

    steps(reconciler, 1)

    assert server.made("get") == ["get configmaps"]
    assert condition(reconciler, "Accepted") == ("False", "InvalidSpec")
    assert "spec.scenarios" in status(reconciler)["message"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(Forbidden(QUOTA), "QuotaExceeded", id="quota"),
        pytest.param(NotFound("the server has no such kind"), "BackendUnavailable", id="no kind"),
    ],
)
def test_a_refused_child_is_said_and_tried_again_later(error, reason):
    server = Server(refuses="create jobs", error=error)
    reconciler = world(server)

    steps(reconciler, 3)

    assert server.made("create jobs") == ["create jobs"]
    assert condition(reconciler, "ChildrenScheduled") == ("False", reason)


def test_an_unanswered_request_is_the_queues_to_try_again():
    server = Server(refuses="create jobs", error=Unavailable("timeout"))
    with pytest.raises(Unavailable):
        steps(world(server), 1)


def test_a_child_that_is_gone_before_it_is_looked_at_is_the_queues_to_try_again():
    """Not a kind that the API server does not know."""
    server = Server(refuses="create jobs", error=AlreadyExists('jobs.batch "x" already exists'))
    with pytest.raises(Unavailable, match="although it was there just now"):
        steps(world(server), 1)


def test_a_deadline_passes_by_the_clock_that_dated_the_child_and_not_by_this_machines():
    server = Server()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    server.clock = ServerClock(lambda: ahead)
    server.clock.told(format_datetime(datetime.now(UTC), usegmt=True), asked_at=ahead)
    reconciler = world(server, schedulingDeadlineSeconds=600)

    steps(reconciler, 3)

    assert status(reconciler)["failed"] == 0
    assert {each["phase"] for each in status(reconciler)["seedStatuses"]} == {"Queued", "Pending"}


class Reader:
    """A collector to whom every result is sound, once it is let go."""

    def __init__(self):
        self.held = asyncio.Event()

    async def verify(self, order, location, claims):
        await self.held.wait()
        return [
            ResultCheck(seed=each.seed, attempt=each.attempt, state="valid", message="")
            for each in claims()
        ]


def test_a_seed_that_ends_costs_one_status_and_not_one_more_while_its_result_is_read():
    async def told():
        server, reader = Server(), Reader()
        reconciler = world(server, collector=reader, status_interval=0.05, seeds={"list": [7, 8]})
        jobs = reconciler.cache.of_kind(JOBS.plural)

        def becomes(job, version, **status):
            metadata = {**job["metadata"], "resourceVersion": version}
            jobs.put({**job, "metadata": metadata, "status": status})

        await reconciler.reconcile(KEY)
        for job in server.jobs():
            becomes(job, "98", ready=1)
        await asyncio.sleep(0.06)
        await reconciler.reconcile(KEY)
        await asyncio.sleep(0.06)
        before = len(server.made("write_status"))
        done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
        becomes(server.jobs()[0], "99", conditions=[done])
        wait = await reconciler.reconcile(KEY)
        while_read = len(server.made("write_status")) - before
        reader.held.set()
        await asyncio.sleep(0.06)
        await reconciler.reconcile(KEY)
        assert status(reconciler)["completedIndexes"] == "0"
        return while_read, wait

    while_read, wait = asyncio.run(told())
    assert while_read == 0
    assert 0 < wait <= 0.25


def test_an_object_of_somebody_else_is_left_alone():
    server = Server()
    first = world(server)
    steps(first, 1)
    for made in server.objects.values():
        made["metadata"]["ownerReferences"] = [{"uid": "another", "controller": True}]
    second = world(server)

    steps(second, 2)

    assert condition(second, "ChildrenScheduled") == ("False", "ChildConflict")
    assert server.made("delete") == []


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
    server = Server()
    first = world(server, seeds={"list": [7]})
    steps(first, 2)
    (job,) = server.jobs()
    job["metadata"][field][name] = value
    server.requests.clear()
    second = world(server, first.cache.experiment(KEY))

    steps(second, 20)

    made = server.made("create jobs")
    assert 0 < len(made) < 5  # on a slow machine the pause between two tries may pass
    assert server.jobs() == [job]
    assert condition(second, "ChildrenScheduled") == ("False", "ChildConflict")
    (told,) = [e for e in status(second)["conditions"] if e["type"] == "ChildrenScheduled"]
    assert "not what the operator wrote; delete it" in told["message"]


def test_a_suspended_experiment_has_its_children_deleted():
    server = Server()
    reconciler = world(server)
    steps(reconciler, 2)
    body = reconciler.cache.experiment(KEY)
    metadata = {**body["metadata"], "generation": 2, "resourceVersion": "99"}
    spec = {**body["spec"], "suspend": True}
    reconciler.cache.experiments.put({**body, "metadata": metadata, "spec": spec})

    steps(reconciler, 1)

    assert server.made("delete") == ["delete jobs", "delete jobs"]
