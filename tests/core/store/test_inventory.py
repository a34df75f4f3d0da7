"""Reading and pruning a store that is far away, and one at which somebody is working.

Left out: what is damaged and what may go (test_housekeeping), and the commands with real stages
(tests/trainer/test_store_commands.py).
"""

from datetime import UTC, datetime
from hashlib import sha256

import pytest

from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.orders import work_digest
from supreme_core.api.records import StageRecord
from supreme_core.errors import StoreUnavailable
from supreme_core.store import inventory as module
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.housekeeping import damage_in, prunable, removal
from supreme_core.store.inventory import (
    delete,
    read_damage,
    read_inventory,
    read_needs_again,
    remove_experiment,
)
from supreme_core.store.results import read_order, write_order, write_result
from tests.core.analysis import summaries


class Unsteady(LocalStorage):
    """A store whose connection is lost after the first bytes, a number of times."""

    def __init__(self, folder, *, losses):
        super().__init__(folder)
        self.losses = losses

    def chunks(self, key):
        yield from super().chunks(key)
        if self.losses:
            self.losses -= 1
            raise StoreUnavailable("the connection was lost")


def untracked(items, **_):
    return items


def commit(storage, seed, *, replace=False):
    meaning = {"seed": seed}
    return Artefacts(storage, "unused").commit(
        "originals",
        digest(meaning),
        meaning=meaning,
        files={"data.npy": b"12345"},
        facts={"replaced": replace},
        environment={},
        replace=replace,
    )


def all_of_it(storage):
    return prunable(read_inventory(storage, untracked), before=datetime.max.replace(tzinfo=UTC))


def test_a_lost_connection_does_not_end_hours_of_reading(tmp_path):
    storage = Unsteady(tmp_path, losses=2)
    commit(storage, 1)

    assert read_damage(storage, read_inventory(storage, untracked), untracked) == []


def test_a_damaged_checkpoint_with_which_a_training_would_go_on_is_damage(tmp_path):
    storage = LocalStorage(tmp_path)
    key = names.checkpoint_key("originals", "a" * 64)
    before = sha256(b"origin").digest() + sha256(b"state").digest()
    storage.write(key, before + b"state")
    assert read_damage(storage, read_inventory(storage, untracked), untracked) == []

    storage.write(key, before + b"State")

    (damage,) = read_damage(storage, read_inventory(storage, untracked), untracked)
    assert (damage.stage, damage.object) == ("originals", key)


def test_a_store_that_stays_away_is_no_damage(tmp_path):
    storage = Unsteady(tmp_path, losses=99)
    commit(storage, 1)

    with pytest.raises(StoreUnavailable):
        read_damage(storage, read_inventory(storage, untracked), untracked)


def test_what_is_written_after_the_listing_stays(tmp_path):
    storage = LocalStorage(tmp_path)
    commit(storage, 1)
    commit(storage, 2)
    found = all_of_it(storage)
    again = commit(storage, 1, replace=True)

    delete(storage, found)

    assert Artefacts(storage, tmp_path).find("originals", digest({"seed": 1})) == again
    assert Artefacts(storage, tmp_path).find("originals", digest({"seed": 2})) is None


def test_a_manifest_goes_before_the_data_that_it_names(tmp_path, monkeypatch):
    """A reader in the meantime finds nothing, or everything."""
    storage, gone = LocalStorage(tmp_path), []
    commit(storage, 1)
    monkeypatch.setattr(storage, "delete", gone.append)

    delete(storage, all_of_it(storage))

    assert [key.rpartition("/")[2].partition("-")[0] for key in gone] == ["manifest.json", "data"]


ORDER = summaries.question([7, 8]).order


def with_experiment(storage):
    """Two seeds with a result, which name a stage each, and a summary of them."""
    write_order(storage, ORDER)
    for seed in ORDER.seeds:
        record = StageRecord(
            stage="originals",
            key=commit(storage, seed).key,
            status="computed",
            wall_seconds=1,
            environment=summaries.digest("cpu"),
        )
        fields = {"work_digest": work_digest(ORDER.work), "stages": [record]}
        write_result(storage, summaries.result(seed, [summaries.run("scrub")], **fields))
    storage.write(f"{ORDER.prefix}/summary.json", b"{}")


def of_experiment(storage):
    documents = list(storage.list(ORDER.prefix))
    return removal(read_inventory(storage, untracked), ORDER.prefix, documents)


class Killed(LocalStorage):
    """A store whose user is killed before one of its deletions."""

    def __init__(self, folder, *, deletions):
        super().__init__(folder)
        self.deletions = deletions

    def delete(self, key):
        if not self.deletions:
            raise KeyboardInterrupt
        self.deletions -= 1
        super().delete(key)


@pytest.mark.parametrize("deletions", range(8))
def test_an_experiment_that_is_half_removed_is_sound_and_the_same_call_goes_on(tmp_path, deletions):
    """Two results, two stages of two objects, the summary and the order: eight deletions."""
    storage = LocalStorage(tmp_path)
    with_experiment(storage)
    killed = Killed(tmp_path, deletions=deletions)

    with pytest.raises(KeyboardInterrupt):
        remove_experiment(killed, of_experiment(storage))

    assert [each.problem for each in damage_in(read_inventory(storage, untracked))] == []
    assert read_order(storage, ORDER.prefix) == ORDER
    remove_experiment(storage, of_experiment(storage))
    left = list(storage.list())
    assert [info.key.rpartition("/")[2].partition("-")[0] for info in left] in ([], ["data"])
    assert bool(left) == (deletions in (3, 5)), "only data whose manifest went last, for prune"


def test_an_experiment_that_begins_meanwhile_keeps_what_it_needs(tmp_path):
    storage = LocalStorage(tmp_path)
    with_experiment(storage)
    found = read_inventory(storage, untracked)
    other = ORDER.model_copy(
        update={"experiment": ORDER.experiment.model_copy(update={"name": "other"})}
    )
    write_order(storage, other)

    again = read_needs_again(storage, found, untracked)

    documents = list(storage.list(ORDER.prefix))
    assert len(removal(found, ORDER.prefix, documents).stages) == 2
    assert removal(again, ORDER.prefix, documents).stages == []


def test_no_request_is_made_for_the_rest_once_one_has_failed(tmp_path, monkeypatch):
    storage = Unsteady(tmp_path, losses=10_000)
    for seed in range(200):
        commit(storage, seed)
    found = read_inventory(storage, untracked)
    asked = []
    monkeypatch.setattr(
        module, "measured", lambda storage, key: asked.append(key) or fail("the store is away")
    )

    with pytest.raises(StoreUnavailable):
        read_damage(storage, found, untracked)

    assert len(asked) < 200


def fail(words):
    raise StoreUnavailable(words)
