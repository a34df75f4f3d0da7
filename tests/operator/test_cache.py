"""Memory of the cluster: the newest version of each object, whoever tells of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from supreme_operator.cluster.cache import Cache, Key, ObjectCache

from tests.operator.looks import NOW, UID, child, pod

KEY = Key("research", "three")


def body(uid="u1", version=5, namespace="research", experiment="three", name=None):
    """name: by default one for each uid."""
    labels = {"supreme.dev/experiment": experiment} if experiment else {}
    return {
        "kind": "Job",
        "metadata": {
            "uid": uid,
            "name": name or f"name-{uid}",
            "resourceVersion": str(version),
            "namespace": namespace,
            "labels": labels,
        },
    }


@pytest.fixture
def objects():
    return ObjectCache(lambda body: int(body["metadata"]["resourceVersion"]))


def test_a_newer_version_replaces_an_older_one_and_not_the_other_way(objects):
    assert objects.put(body(version=5)) == KEY
    assert objects.put(body(version=4)) is None
    assert objects.put(body(version=5)) is None
    assert objects.put(body(version=6)) == KEY
    assert list(objects.of(KEY)) == [6]


def test_a_newer_version_that_says_nothing_new_is_no_news():
    objects = ObjectCache(lambda body: body["metadata"]["name"])
    assert objects.put(body(version=5)) == KEY
    assert objects.put(body(version=8)) is None
    # It is known all the same that version 8 was seen: a list as of 6 cannot tell that it is gone.
    assert objects.keep(set(), version=6) == set()
    assert objects.put(body(version=7)) is None


@pytest.mark.parametrize("change", [{"uid": "u2"}, {"experiment": "four"}])
def test_the_same_content_of_another_object_or_owner_is_news(change):
    objects = ObjectCache(lambda body: "content")
    objects.put(body(name="one"))
    assert objects.put(body(name="one", version=6, **change)) is not None


def test_an_object_of_nobody_is_not_kept(objects):
    assert objects.put(body(experiment=None)) is None
    assert len(objects) == 0


def test_what_the_reader_does_not_want_is_not_kept():
    objects = ObjectCache(lambda body: None)
    assert objects.put(body()) is None
    assert len(objects) == 0


def test_what_somebody_has_made_unreadable_is_gone():
    """Else it would be what it was for ever, whatever becomes of it."""
    objects = ObjectCache(lambda body: body.get("content"))
    objects.put({**body(version=5), "content": "running"})
    assert objects.put(body(version=4)) is None
    assert objects.put(body(version=6)) == KEY
    assert list(objects.of(KEY)) == []
    objects.put({**body(version=7), "content": "running"})
    assert objects.put({**body(version=8, experiment=None), "content": "running"}) == KEY
    assert len(objects) == 0


def test_what_is_removed_is_gone_from_its_experiment(objects):
    objects.put(body())
    assert objects.remove(body()) == KEY
    assert list(objects.of(KEY)) == []
    assert objects.known() == set()
    assert objects.remove(body()) is None


def test_what_a_list_does_not_name_is_gone(objects):
    for uid, version in (("same", 5), ("gone", 6), ("changed", 7)):
        objects.put(body(uid, version))
    assert objects.keep({"same", "changed", "of nobody"}, version=9) == {KEY}
    assert sorted(objects.of(KEY)) == [5, 7]


def test_a_list_without_news_changes_nothing(objects):
    objects.put(body("same"))
    assert objects.keep({"same"}, version=9) == set()


def test_what_is_newer_than_the_list_stays(objects):
    objects.put(body("made after the list", version=20))
    assert objects.keep(set(), version=9) == set()
    assert list(objects.of(KEY)) == [20]


def test_a_list_of_one_namespace_says_nothing_of_another(objects):
    objects.put(body(namespace="other"))
    assert objects.keep(set(), version=9, namespace="research") == set()
    assert len(objects) == 1


class TestMadeAgainUnderItsName:
    """No watch tells of the end of the experiment before, whichever uid comes first in order."""

    @pytest.fixture(params=[("a", "b"), ("b", "a")], ids=["greater uid", "smaller uid"])
    def uids(self, request):
        return request.param

    @pytest.fixture
    def objects(self):
        return ObjectCache(lambda body: body["metadata"]["uid"])

    def test_the_newest_is_the_one(self, objects, uids):
        first, second = uids
        objects.put(body(first, 5, name="same"))
        assert objects.put(body(second, 7, name="same")) == KEY
        assert list(objects.of(KEY)) == [second]
        assert len(objects) == 1

    def test_late_news_of_the_one_before_are_none(self, objects, uids):
        first, second = uids
        objects.put(body(second, 7, name="same"))
        assert objects.put(body(first, 6, name="same")) is None
        assert objects.remove(body(first, 6, name="same")) is None
        assert list(objects.of(KEY)) == [second]

    def test_a_list_that_has_it_leaves_it_alone(self, objects, uids):
        first, second = uids
        objects.put(body(first, 5, name="same"))
        objects.put(body(second, 7, name="same"))
        assert objects.keep({second}, version=9) == set()
        assert list(objects.of(KEY)) == [second]

    def test_in_another_namespace_it_is_another(self, objects, uids):
        first, second = uids
        objects.put(body(first, 5, name="same"))
        objects.put(body(second, 7, name="same", namespace="other"))
        assert len(objects) == 2

    def test_it_may_belong_to_another_experiment(self, objects, uids):
        first, second = uids
        objects.put(body(first, 5, name="same"))
        objects.put(body(second, 7, name="same", experiment="other"))
        assert objects.known() == {Key("research", "other")}


def experiment(uid, version):
    found = body(uid, version, name="three")
    return {**found, "kind": "UnlearningExperiment"}


@pytest.mark.parametrize("uids", [("a", "b"), ("b", "a")])
def test_an_experiment_that_is_made_again_is_the_one_that_is_worked_on(uids):
    cache = Cache({}, lambda body: None)
    cache.experiments.put(experiment(uids[0], 5))
    cache.experiments.put(experiment(uids[1], 6))
    assert cache.experiment(KEY)["metadata"]["uid"] == uids[1]


class TestChildrenWithTheirPods:
    """Joined only where one of them has changed, and always as a fresh cache joins them."""

    @pytest.fixture
    def caches(self):
        """The one that is asked after each change, and one that was never asked before."""

        def cache():
            return Cache(
                {"jobs": lambda body: child(int(body["metadata"]["name"]), **body["facts"])},
                lambda body: replace(pod(), uid=body["metadata"]["uid"], **body["facts"]),
            )

        return cache(), cache

    @staticmethod
    def job(seed, version=5, **facts):
        return {**body(f"uid-s{seed}-a0", version, name=str(seed)), "facts": facts}

    @staticmethod
    def pod(name, seed, version=5, **facts):
        of_child = {"child": f"uid-s{seed}-a0", "seed": seed}
        return {**body(name, version), "facts": of_child | facts}

    def test_every_story_ends_as_in_a_cache_that_was_asked_once(self, caches):
        asked, fresh = caches
        told = [
            ("jobs", self.job(7)),
            ("jobs", self.job(8)),
            ("pods", self.pod("a", 7)),
            ("pods", self.pod("b", 7)),
            ("pods", self.pod("c", 9)),
            ("pods", self.pod("a", 7, 6, phase="Running")),
            ("jobs", self.job(8, 6, message="changed")),
            ("pods", self.pod("a", 8, 7, phase="Running")),
            ("jobs", self.job(9, 8)),
        ]
        for number in range(1, len(told) + 1):
            plural, event = told[number - 1]
            asked.of_kind(plural).put(event)
            other = fresh()
            for plural, event in told[:number]:
                other.of_kind(plural).put(event)
            assert asked.children_of(KEY, UID) == other.children_of(KEY, UID)
        asked.pods.remove(self.pod("a", 8))
        asked.children["jobs"].remove(self.job(7))
        left, orphaned = asked.children_of(KEY, UID)
        assert [(each.attempt.seed, len(each.pods)) for each in left] == [(8, 0), (9, 1)]
        assert [each.uid for each in orphaned] == ["b"]

    def test_what_has_not_changed_is_not_joined_again(self, caches):
        cache, _ = caches
        for seed in (7, 8):
            cache.children["jobs"].put(self.job(seed))
            cache.pods.put(self.pod(f"of {seed}", seed))
        before, _ = cache.children_of(KEY, UID)
        cache.pods.put(self.pod("of 8", 8, 6, phase="Running"))
        after, _ = cache.children_of(KEY, UID)
        assert [one is other for one, other in zip(before, after, strict=True)] == [True, False]

    def test_a_pod_that_was_made_again_is_only_known_as_the_last_that_was_lost(self, caches):
        cache, _ = caches
        cache.children["jobs"].put(self.job(7, survives=True))
        lost = self.pod("b", 7, index=1, phase="Failed", created_at=NOW, changed_at=NOW)
        for event in (self.pod("c", 7, index=0), lost):
            cache.pods.put(event)
        [found], _ = cache.children_of(KEY, UID)
        assert ([each.uid for each in found.pods], found.lost_pod.uid) == (["b", "c"], "b")
        cache.pods.put(self.pod("a", 7, index=1, created_at=NOW + timedelta(seconds=10)))
        [found], _ = cache.children_of(KEY, UID)
        assert ([each.uid for each in found.pods], found.lost_pod.uid) == (["a", "c"], "b")

    @pytest.mark.parametrize("how", ["watch", "list"])
    def test_a_lost_pod_is_named_after_it_is_gone(self, caches, how):
        cache, _ = caches
        cache.children["jobs"].put(self.job(7, survives=True))
        cache.children["jobs"].put(self.job(8))
        for seed, phase in ((7, "Failed"), (8, "Failed")):
            cache.pods.put(self.pod(f"of {seed}", seed, index=0, phase=phase))
            if how == "watch":
                cache.pods.remove(self.pod(f"of {seed}", seed))
        if how == "list":
            cache.pods.keep(set(), version=9)
        for _ in range(2):
            goes_on, other = cache.children_of(KEY, UID)[0]
            assert (goes_on.lost_pod.uid, goes_on.pods) == ("of 7", ())
            assert other.lost_pod is None
        cache.children["jobs"].remove(self.job(7))
        cache.children_of(KEY, UID)
        assert cache._failed == {KEY: {}}

    def test_nothing_is_kept_of_an_experiment_that_is_gone(self, caches):
        cache, _ = caches
        cache.children["jobs"].put(self.job(7))
        cache.pods.put(self.pod("a", 7, phase="Failed"))
        cache.pods.remove(self.pod("a", 7))
        cache.children_of(KEY, UID)
        cache.forget(KEY)
        cache.forget(KEY)
        assert not cache._joined
        assert not cache._failed
