"""Killed at random moments, again and again, an experiment still ends with the same bits.

Real trainers get SIGKILL, all ranks of a seed at once, and are started again on what they left. The
moments are drawn from a seeded generator and depend on no machine's speed.

    moment   so many events that are news, and up to 200 ms more, in which anything may happen
             right before so many changes of the store, in which commits consist
    kills    three in every run of the tests, twenty in the slow ones
    store    a folder | an S3 server
    ranks    1 | 1, 2 and 4 in turn

After each kill every byte is verified for which a manifest in the store vouches. What may be left
over in the end are files that were being written: no list shows them, `supreme store prune` removes
them. Left out: a power cut, and a store that is killed itself.
"""

import itertools
import random
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supreme_core.publishing.publish import publish
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.housekeeping import leftovers
from supreme_core.store.inventory import read_damage, read_inventory
from supreme_core.store.opening import open_storage
from supreme_core.store.results import write_order
from supreme_core.store.storage import Storage
from tests.cluster import s3_server as s3
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    SSD,
    artefacts_of,
    experiment,
    folder_store,
    planned,
    summary_digest,
)
from tests.trainer.trainers import ordered, trainers

WORK = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[FINETUNE, SSD],
    metrics=[{"name": "accuracy"}, {"name": "mia_loss_auc"}],
    training={"epochs": 2, "microBatches": 4},
)
MOST_NEWS, MOST_SECONDS, MOST_CHANGES = 8, 0.2, 12
IN_TURN = (1, 2, 4)


@dataclass(frozen=True)
class Place:
    """A store that holds nothing but an order, and how trainers get at it."""

    storage: Storage
    order: Path
    environment: dict

    def trainers(self, ranks, **how):
        return trainers(*[self.order] * ranks, **self.environment, **how)


def in_folder(folder):
    """A Place in a new folder."""
    storage = folder_store(folder / f"store-{time.monotonic_ns()}")
    write_order(storage, planned(WORK))
    return Place(storage, ordered(folder, WORK, store=storage.uri), {})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The store of a run that nobody killed."""
    place = in_folder(tmp_path_factory.mktemp("uninterrupted"))
    finished(place, ranks=1)
    return place.storage


@pytest.fixture
def new_folder(tmp_path):
    """Makes a Place in a folder."""
    return partial(in_folder, tmp_path)


@pytest.fixture
def new_bucket(tmp_path, s3_server):
    """Makes a Place on an S3 server."""
    keys = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
    }

    def make():
        where = {"endpoint": s3_server.endpoint}
        uri = f"s3://{s3_server.make_bucket()}"
        storage = open_storage(uri, credentials=s3_server.credentials, **where)
        write_order(storage, planned(WORK))
        return Place(storage, ordered(tmp_path, WORK, store=uri, **where), keys)

    return make


def after_news(count, *, seed):
    """Moments by what trainers tell: each a function of a Place and a number of ranks."""
    generator = random.Random(seed)
    return [
        partial(
            kill_after_news,
            generator.randint(1, MOST_NEWS),
            generator.uniform(0.0, MOST_SECONDS),
        )
        for _ in range(count)
    ]


def before_changes(count, *, seed):
    """Moments by what a trainer does to its store."""
    generator = random.Random(seed)
    return [partial(die_before, generator.randint(1, MOST_CHANGES)) for _ in range(count)]


def kill_after_news(news, seconds, place, ranks):
    """Kill a seed that leaves a checkpoint after every step.

    Gives whether it was still at work then, and the log of rank 0.
    """
    with place.trainers(ranks, SUPREME_CHECKPOINT_SECONDS="0.001") as seed:
        new = (event for event in seed.events() if event.get("status") != "reused")
        if len(list(itertools.islice(new, news))) == news:
            time.sleep(seconds)  # no event tells of what happens in between, which is the point
        seed.kill()
        return set(seed.ended()) == {-signal.SIGKILL}, seed.log(0)


def die_before(change, place, ranks):
    """Kill rank 0 of a seed before a change of the store, and return whether it died, and its
    log."""
    with place.trainers(ranks, change=change) as seed:
        return seed.ended()[0] == -signal.SIGKILL, seed.log(0)


def damage(storage):
    return read_damage(storage, read_inventory(storage, untracked), untracked)


def untracked(items, **_):
    return items


def finished(place, ranks):
    """Let the seed come to its end and publish, as the command does."""
    with place.trainers(ranks) as seed:
        assert list(seed.events())[-1]["event"] == "finished", seed.log(0)
        assert seed.ended() == [0] * ranks
    with TemporaryDirectory() as cache:
        publish(place.storage, Artefacts(place.storage, Path(cache)), planned(WORK))


def survive(new_place, uninterrupted, moments, ranks):
    """Kill a seed at each moment, and a new one where it is done before; what all logs say.

    ranks: how many there are at each start.
    """
    place, said = new_place(), []
    for kill in moments:
        is_killed = False
        while not is_killed:
            is_killed, log = kill(place, next(ranks))
            said += log
            assert damage(place.storage) == []
            if not is_killed:
                check(place, uninterrupted, next(ranks))
                place = new_place()
    check(place, uninterrupted, next(ranks))
    return said


def check(place, uninterrupted, ranks):
    """Check that this run leaves what the uninterrupted run left, and nothing else."""
    finished(place, ranks)
    assert artefacts_of(place.storage) == artefacts_of(uninterrupted)
    assert summary_digest(place.storage, WORK) == summary_digest(uninterrupted, WORK)
    assert damage(place.storage) == []
    left = leftovers(read_inventory(place.storage, untracked))
    assert [each for each in left if not each.is_temporary] == []


@pytest.mark.parametrize("moments", [after_news, before_changes], ids=["news", "changes"])
def test_three_kills_change_no_bit(new_folder, uninterrupted, moments):
    survive(new_folder, uninterrupted, moments(3, seed=1), itertools.cycle((1, 2)))


KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("new_folder", id="folder"),
        pytest.param("new_bucket", id=f"s3-{s3.kind()}"),
    ],
)


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("ranks", [(1,), IN_TURN], ids=["alone", "1, 2 and 4 ranks in turn"])
def test_twenty_kills_change_no_bit(request, uninterrupted, kind, ranks):
    new_place = request.getfixturevalue(kind)

    said = survive(new_place, uninterrupted, after_news(20, seed=260), itertools.cycle(ranks))

    assert any("going on after step" in line for line in said)


@pytest.mark.slow
@KINDS
def test_twenty_kills_in_the_middle_of_commits_change_no_bit(request, uninterrupted, kind):
    new_place = request.getfixturevalue(kind)

    survive(new_place, uninterrupted, before_changes(20, seed=260), itertools.cycle((1,)))
