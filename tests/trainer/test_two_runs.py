"""Two runs on one store at the same time: each ends with what it gives alone.

One goes through from start to end at the moment at which the other has computed a stage and is
about to publish it, which is when both have computed the same.

Left out: turns within the publishing of results (core/test_publish.py) and writes of one object by
several processes (core/store/test_artefacts.py, core/store/test_storage.py).
"""

import pytest

from supreme_core.api import names
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_LABELS,
    artefacts_of,
    damaged_artefacts,
    experiment,
    finish,
    folder_store,
    leftovers,
    summary_digest,
)


def of(name, method):
    metrics = [{"name": "accuracy"}]
    return experiment(
        name=name,
        model=LIGHT,
        scenarios=[FULL_CLASS],
        methods=[method],
        metrics=metrics,
        training={"batchSize": 256},
    )


ONE = of("one", FINETUNE)
SAME_RECIPE = of("other", RANDOM_LABELS)


class BeforeManifest:
    """A store on which something happens once, just before a stage of this name is published."""

    def __init__(self, store, stage, happens):
        self._store, self._stage, self._happens = store, stage, happens

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write_if_absent(self, key, data):
        is_it = key.startswith(f"objects/{self._stage}/") and key.endswith(names.MANIFEST)
        if is_it and self._happens:
            happens, self._happens = self._happens, None
            happens()
        return self._store.write_if_absent(key, data)

    @property
    def has_happened(self):
        return self._happens is None


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Experiment to the store in which it was computed by itself."""

    def computed(document):
        store = folder_store(tmp_path_factory.mktemp("alone"))
        finish(document, store)
        return store

    return {each["metadata"]["name"]: computed(each) for each in (ONE, SAME_RECIPE)}


@pytest.mark.parametrize(
    ("stage", "other"),
    [("originals", ONE), ("originals", SAME_RECIPE), ("unlearned", ONE)],
    ids=["the same from the start", "another of the same recipe", "the same later"],
)
def test_each_of_two_runs_ends_with_what_it_gives_alone(alone, tmp_path, stage, other):
    store = folder_store(tmp_path)
    slow = BeforeManifest(store, stage, lambda: finish(other, store))
    finish(ONE, slow)

    assert slow.has_happened
    whole = {}
    for document in (ONE, other):
        by_itself = alone[document["metadata"]["name"]]
        assert summary_digest(store, document) == summary_digest(by_itself, document)
        whole |= artefacts_of(by_itself)
    assert artefacts_of(store) == whole
    assert (damaged_artefacts(tmp_path), leftovers(tmp_path)) == ([], [])
