"""Looks that news of an experiment call for: news of watches, and of lists.

The cluster is a stand-in that gives pages or fails, as no real one does at the moment that a test
wants; tests/cluster has the real watches.
"""

import asyncio

import pytest
from supreme_operator.cluster.cache import Cache, Key
from supreme_operator.cluster.client import Forbidden, Page, Unavailable
from supreme_operator.cluster.resources import EXPERIMENTS, JOBS, PODS
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.monitoring.counters import Metrics
from supreme_operator.watches import Watches

from tests.operator.looks import pod

KEY = Key("research", "three")
OTHER = Key("research", "other")


def body(kind="Job", version=5, *, name="job", of="three", state="Running"):
    return {
        "kind": kind,
        "metadata": {
            "uid": f"uid-{name}",
            "name": name,
            "resourceVersion": str(version),
            "namespace": "research",
            "labels": {"supreme.dev/experiment": of},
        },
        "state": state,
    }


def experiment(version=5, name="three"):
    return body("UnlearningExperiment", version, name=name)


class Lists:
    """A cluster of which only lists are asked.

    objects: by kind; None where its list fails.  version: of all lists.  closed: namespaces in
    which nothing may be listed.
    """

    def __init__(self, **objects):
        self.objects = {"unlearningexperiments": [], "jobs": [], "pods": []} | objects
        self.version, self.closed = 99, set()

    async def serves(self, resource):
        return False

    async def list(self, resource, namespace, **_):
        found = self.objects[resource.plural]
        if found is None:
            raise Unavailable("away")
        if namespace in self.closed:
            raise Forbidden(f"{resource.plural} is forbidden")
        there = [each for each in found if namespace in (None, each["metadata"]["namespace"])]
        yield Page(there, version=self.version)


def cache_of_states():
    return Cache({"jobs": lambda body: body["state"]}, lambda body: pod(reason=body["state"]))


def queued(story, **objects):
    """Keys that wait once a story is told of watches over a cluster with these objects."""

    async def tell():
        cache = cache_of_states()
        metrics = Metrics()
        queue = WorkQueue(metrics)
        watches = Watches(Lists(**objects), cache, queue, metrics, ())
        await story(watches)
        return {key for keys in queue._waiting.values() for key in keys}

    return asyncio.run(tell())


def heard(watches, resource, body, kind="MODIFIED"):
    return watches._handler(resource)(event={"type": kind, "object": body})


@pytest.mark.parametrize(
    ("change", "looks"),
    [
        ({"version": 6, "state": "Complete"}, {KEY}),
        ({"version": 6}, set()),  # a controller wrote what nobody here reads
        ({"version": 5}, set()),
        ({"version": 4, "state": "Complete"}, set()),
    ],
    ids=["news", "nothing new", "an echo", "late"],
)
@pytest.mark.parametrize("resource", [JOBS, PODS], ids=["job", "pod"])
def test_an_event_calls_for_a_look_where_it_brings_news(resource, change, looks):
    async def story(watches):
        watches.cache.of_kind(resource.plural).put(body())
        await heard(watches, resource, body(**change))

    assert queued(story) == looks


@pytest.mark.parametrize("resource", [JOBS, PODS], ids=["job", "pod"])
def test_the_end_of_an_object_calls_for_a_look_unless_it_was_made_again(resource):
    async def story(watches):
        watches.cache.of_kind(resource.plural).put(body())
        await heard(watches, resource, body(name="job"), "DELETED")
        again = body(name="again", of="other")
        watches.cache.of_kind(resource.plural).put(again)
        before = again | {"metadata": again["metadata"] | {"uid": "before"}}
        await heard(watches, resource, before, "DELETED")

    assert queued(story) == {KEY}


def test_every_event_of_an_experiment_calls_for_a_look():
    """Also the echo of what this process wrote, which may call for more."""

    async def story(watches):
        watches.cache.experiments.put(experiment())
        await heard(watches, EXPERIMENTS, experiment())

    assert queued(story) == {KEY}


def test_news_of_a_list_call_for_a_look_although_the_next_list_fails():
    """The watch's event of the same version comes after, and brings no news any more."""
    done = body(version=6, state="Complete")

    async def story(watches):
        watches.cache.children["jobs"].put(body())
        with pytest.raises(Unavailable):
            await watches.resync()
        await heard(watches, JOBS, done)

    assert queued(story, jobs=[done], pods=None) == {KEY}


def test_an_experiment_whose_end_only_a_list_tells_is_looked_at():
    """Nothing is kept of it then; a list of all that is known would not name it."""

    async def story(watches):
        watches.cache.experiments.put(experiment())
        watches.cache.experiments.put(experiment(name="other"))
        await watches.resync()

    there = [experiment(name="other")]
    assert queued(story, unlearningexperiments=there) == {KEY, OTHER}


def closed_in_turn(*namespaces, closed):
    """Experiments that are known after one list of these namespaces for each set of closed ones."""

    async def tell():
        cache = cache_of_states()
        metrics, cluster, found = Metrics(), Lists(), []
        cluster.objects["unlearningexperiments"] = [experiment()]
        watches = Watches(cluster, cache, WorkQueue(metrics), metrics, namespaces)
        for cluster.closed in closed:
            await watches.resync()
            found.append(cache.known())
        return found

    return asyncio.run(tell())


def test_a_namespace_that_is_closed_holds_up_no_other_and_counts_once_it_is_open():
    """A tenant who may delete a namespace, and so the Role in it, stops no other team."""
    assert closed_in_turn("gone", "research", closed=[{"gone"}]) == [{KEY}]
    assert closed_in_turn("research", "other", closed=[{"research"}, set()]) == [set(), {KEY}]


@pytest.mark.parametrize("namespaces", [("research", "gone"), ("research",), ()])
def test_where_all_is_closed_nothing_counts_as_seen(namespaces):
    with pytest.raises(Forbidden):
        closed_in_turn(*namespaces, closed=[{*namespaces} or {None}])


def test_after_a_backup_was_restored_lists_count_although_their_versions_are_older():
    """etcd counts on from the backup, so what comes is older than what is known, for hours."""
    known = body(version=500, state="Complete"), body(version=501, name="made-since")

    async def story(watches):
        jobs = watches.cache.children["jobs"]
        for each in known:
            jobs.put(each)
        await watches.resync()
        assert list(jobs.of(KEY)) == ["Running"]
        await heard(watches, JOBS, body(version=101, state="Failed"))
        assert list(jobs.of(KEY)) == ["Failed"]

    assert queued(story, jobs=[body(version=90)]) == {KEY}


def silences(*steps):
    """Kinds whose watches count as silent after each step: a list of jobs, or an event of one."""

    async def tell():
        cache = cache_of_states()
        metrics, cluster, found = Metrics(), Lists(), []
        watches = Watches(cluster, cache, WorkQueue(metrics), metrics, ())
        await watches.resync()
        for step in steps:
            if isinstance(step, list):
                cluster.objects["jobs"] = step
                await watches.resync()
            else:
                await heard(watches, JOBS, step)
            found.append(watches.silent())
        return found

    return asyncio.run(tell())


NEWS = [[body(version=version, state=f"{version}")] for version in range(5, 9)]


def test_a_watch_is_silent_when_only_lists_bring_news():
    first, second = NEWS[:2]
    assert silences(first, second) == [[], ["jobs"]]


def test_a_list_without_news_between_those_changes_nothing():
    first, second = NEWS[:2]
    assert silences(first, first, first, second) == [[], [], [], ["jobs"]]


def test_a_watch_that_tells_something_is_not_silent_any_more():
    first, second, third, fourth = NEWS
    late = first[0]
    assert silences(first, late, second, third) == [[], [], [], []]
    assert silences(first, second, late, third, fourth)[1:] == [["jobs"], ["jobs"], [], []]


def test_a_cluster_in_which_nothing_happens_has_no_silent_watch():
    assert silences(*[NEWS[0]] * 5) == [[]] * 5
