"""What is remembered of the cluster: the newest version of each object, whoever tells of it."""

import pytest
from supreme_operator.cache import Key, Shelf

KEY = Key("research", "three")


def body(uid="u1", version=5, namespace="research", experiment="three"):
    labels = {"supreme.dev/experiment": experiment} if experiment else {}
    return {
        "kind": "Job",
        "metadata": {
            "uid": uid,
            "resourceVersion": str(version),
            "namespace": namespace,
            "labels": labels,
        },
    }


@pytest.fixture
def shelf():
    return Shelf(lambda body: int(body["metadata"]["resourceVersion"]))


def test_a_newer_version_replaces_an_older_one_and_not_the_other_way(shelf):
    assert shelf.put(body(version=5)) == KEY
    assert shelf.put(body(version=4)) is None
    assert shelf.put(body(version=5)) is None
    assert shelf.put(body(version=6)) == KEY
    assert list(shelf.of(KEY)) == [6]


def test_an_object_of_nobody_is_not_kept(shelf):
    assert shelf.put(body(experiment=None)) is None
    assert len(shelf) == 0


def test_what_the_reader_does_not_want_is_not_kept():
    shelf = Shelf(lambda body: None)
    assert shelf.put(body()) is None
    assert len(shelf) == 0


def test_what_is_removed_is_gone_from_its_experiment(shelf):
    shelf.put(body())
    assert shelf.remove("u1") == KEY
    assert list(shelf.of(KEY)) == []
    assert shelf.known() == set()
    assert shelf.remove("u1") is None


def test_what_a_list_does_not_name_is_gone(shelf):
    for uid, version in (("same", 5), ("gone", 6), ("changed", 7)):
        shelf.put(body(uid, version))
    assert shelf.keep({"same", "changed", "of nobody"}, version=9) == {KEY}
    assert sorted(shelf.of(KEY)) == [5, 7]


def test_a_list_without_news_changes_nothing(shelf):
    shelf.put(body("same"))
    assert shelf.keep({"same"}, version=9) == set()


def test_what_is_newer_than_the_list_stays(shelf):
    shelf.put(body("made after the list", version=20))
    assert shelf.keep(set(), version=9) == set()
    assert list(shelf.of(KEY)) == [20]


def test_a_list_of_one_namespace_says_nothing_of_another(shelf):
    shelf.put(body(namespace="other"))
    assert shelf.keep(set(), version=9, namespace="research") == set()
    assert len(shelf) == 1
