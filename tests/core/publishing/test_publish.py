"""Several processes publish one experiment: the last summary has every result, in any interleaving.

Each process is a thread here whose calls of the store are granted one at a time, in a drawn order.
"""

import random
import re
import threading
from collections import Counter
from queue import Queue

import pytest
from rich.console import Console
from supreme_trainer.command import local

from supreme_core.api import names
from supreme_core.api.model import parse_json
from supreme_core.api.orders import work_digest
from supreme_core.api.summary import Summary
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.errors import SpecError
from supreme_core.publishing import publish as module
from supreme_core.publishing.publish import publish, publish_newest, read_published
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.checksums import edited
from supreme_core.store.inventory import read_inventory, without_digest
from supreme_core.store.results import ResultReader, read_order, write_order, write_result
from tests.core.analysis import summaries

pytestmark = pytest.mark.usefixtures("plots_once")

SEEDS = (1, 2, 3)
ORDER = summaries.question(SEEDS).order.model_copy(
    update={
        "work": summaries.work().model_copy(
            update={"metrics": [LabelledComponent(name="accuracy")]}
        )
    }
)
RESULTS = {
    each.seed: each.model_copy(update={"work_digest": work_digest(ORDER.work)})
    for each in summaries.results(SEEDS)
}


class Turns:
    """Lets one of several threads go on at a time, up to its next call of the store."""

    def __init__(self, choose):
        self._choose, self._said = choose, Queue()

    def wait(self):
        turn = threading.Semaphore(0)
        self._said.put(turn)
        turn.acquire()

    def run(self, *parts):
        """Run these functions, each in a thread, to their ends."""
        threads = [threading.Thread(target=self._part, args=(part,)) for part in parts]
        waiting, running = [], 0
        for thread in threads:
            thread.start()
            waiting.append(self._said.get())
        while waiting:
            waiting.pop(self._choose(len(waiting))).release()
            running += 1
            if turn := self._said.get():
                waiting.append(turn)
        for thread in threads:
            thread.join()

    def _part(self, part):
        try:
            self.wait()
            part()
        finally:
            self._said.put(None)


class TurnTaking:
    """A store whose every call waits for the turn of its thread."""

    def __init__(self, store, turns):
        self._store, self._turns = store, turns

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*arguments, **options):
            self._turns.wait()
            answer = found(*arguments, **options)
            return iter([*answer]) if name == "list" else answer

        return call


def published(store, order=ORDER):
    data = store.read(names.summary_key(order.prefix))
    return parse_json(Summary, data, source="summary")


def files(store):
    return {key: store.read(key) for key in names.summary_keys(ORDER.prefix)}


def seeds_of(summary):
    """Seeds that the first row has a value of."""
    return sorted(int(seed) for seed, value in summary.rows[0].values.items() if value is not None)


@pytest.mark.parametrize("drawn", range(3))
def test_the_last_summary_has_every_result_whatever_the_turns(store, tmp_path, drawn):
    write_order(store, ORDER)
    turns = Turns(random.Random(drawn).randrange)
    shared = TurnTaking(store, turns)

    def process(seed):
        def run():
            write_result(shared, RESULTS[seed])
            publish_newest(
                shared, Artefacts(shared, tmp_path / "cache"), ORDER.prefix, ResultReader(shared)
            )

        return run

    turns.run(*map(process, SEEDS))

    assert seeds_of(published(store)) == list(SEEDS)
    last = files(store)
    publish(store, Artefacts(store, tmp_path / "cache"), ORDER)
    assert files(store) == last


class Between:
    """A store on which something happens once, just before the first write of a key."""

    def __init__(self, store, key, happens):
        self._store, self._key, self._happens = store, key, happens

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, key, data):
        if key == self._key and self._happens:
            happens, self._happens = self._happens, None
            happens()
        self._store.write(key, data)


@pytest.mark.parametrize("name", [names.report_key, names.summary_key])
def test_who_read_earlier_does_not_have_the_last_word(store, tmp_path, name):
    write_order(store, ORDER)
    write_result(store, RESULTS[1])
    artefacts = Artefacts(store, tmp_path / "cache")

    def another():
        write_result(store, RESULTS[2])
        publish(store, artefacts, ORDER)

    slow = Between(store, name(ORDER.prefix), another)
    summary = publish(slow, artefacts, ORDER)

    assert seeds_of(summary) == seeds_of(published(store)) == [1, 2]
    assert summary == published(store)


def test_seeds_that_another_process_adds_meanwhile_are_asked_for_in_the_end(store, tmp_path):
    write_order(store, ORDER)
    write_result(store, RESULTS[1])
    grown = ORDER.model_copy(update={"seeds": [*SEEDS, 4]})
    slow = Between(store, names.summary_key(ORDER.prefix), lambda: write_order(store, grown))

    order, summary = publish_newest(
        slow, Artefacts(store, tmp_path / "cache"), ORDER.prefix, ResultReader(slow)
    )

    assert order == grown == read_order(store, ORDER.prefix)
    assert summary.seeds == published(store).seeds == [*SEEDS, 4]


class Counting:
    """A store that counts how often each result is read."""

    def __init__(self, store):
        self._store, self.reads = store, Counter()

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read(self, key, **how):
        if key.endswith("/result.json"):
            self.reads[key] += 1
        return self._store.read(key, **how)


def test_each_result_is_read_once_whoever_looks_at_it_and_again_when_it_changes(store, tmp_path):
    write_result(store, RESULTS[1])
    counting = Counting(store)
    results = ResultReader(counting)
    artefacts = Artefacts(counting, tmp_path / "cache")
    added = Between(
        counting, names.summary_key(ORDER.prefix), lambda: write_result(store, RESULTS[2])
    )
    assert [*results.of(ORDER)] == [1]
    publish(added, artefacts, ORDER, results=results)
    assert [*counting.reads.values()] == [1, 1]

    longer = RESULTS[1].model_copy(update={"runs": RESULTS[1].runs[:0]})
    write_result(store, longer)
    assert results.of(ORDER)[1] == longer
    assert sorted(counting.reads.values()) == [1, 2]


def test_a_run_of_which_all_is_done_reads_each_result_once(store, tmp_path):
    write_order(store, ORDER)
    for seed in SEEDS:
        write_result(store, RESULTS[seed])
    counting = Counting(store)
    options = local.Options(device="cpu", ranks=1, workers=1, endpoint=None, region=None)
    outcome = local.run(ORDER, counting, options, Console(quiet=True))
    assert (outcome.exit_code, outcome.seeds) == (0, 0)
    assert [*counting.reads.values()] == [1] * len(SEEDS)


def test_who_is_killed_while_publishing_leaves_files_without_digests_and_none_that_seem_edited(
    store, tmp_path
):
    artefacts = Artefacts(store, tmp_path / "cache")
    write_order(store, ORDER)
    write_result(store, RESULTS[1])
    publish(store, artefacts, ORDER)
    write_result(store, RESULTS[2])

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(Between(store, names.summary_key(ORDER.prefix), killed), artefacts, ORDER)

    assert [*edited(store, ORDER.prefix)] == []
    inventory = read_inventory(store, lambda items, **_: items)
    assert without_digest(store, inventory) == [names.summary_key(ORDER.prefix)]
    publish(store, artefacts, ORDER)
    assert without_digest(store, inventory) == []


def test_every_link_of_the_page_leads_to_a_file(store, tmp_path):
    write_order(store, ORDER)
    for result in RESULTS.values():
        write_result(store, result)
    publish(store, Artefacts(store, tmp_path), ORDER)
    page = store.read(names.report_key(ORDER.prefix)).decode()
    links = set(re.findall(r'href="([^"#][^"]*)"', page))
    assert {f"seed={seed}/attempt=0/result.json" for seed in SEEDS} < links
    for link in links:
        assert store.stat(f"{ORDER.prefix}/{link}"), link


def test_a_summary_of_some_seeds_says_which_are_missing(store, tmp_path):
    write_result(store, RESULTS[2])
    summary = publish(store, Artefacts(store, tmp_path / "cache"), ORDER)
    assert (summary.seeds, summary.partial) == (list(SEEDS), True)
    assert [each.seed for each in summary.failures if each.kind == "pending"] == [1, 3]


def test_a_summary_that_is_too_large_to_be_read_again_is_told_and_whole(
    store, tmp_path, monkeypatch, caplog
):
    artefacts = Artefacts(store, tmp_path / "cache")
    for seed in SEEDS:
        write_result(store, RESULTS[seed])
    publish(store, artefacts, ORDER)
    before, key = files(store), names.summary_key(ORDER.prefix)
    size = len(before[key])
    monkeypatch.setattr(module, "SUMMARY_BYTES", size)
    publish(store, artefacts, ORDER)
    assert "bytes" not in caplog.text
    monkeypatch.setattr(module, "SUMMARY_BYTES", size - 1)
    caplog.clear()
    publish(store, artefacts, ORDER)
    said = [message for message in caplog.messages if key in message]
    assert [message.split(", but")[0] for message in said] == [
        f"{key} is written whole and has {size} bytes"
    ]
    assert files(store) == before
    with pytest.raises(SpecError, match=f"more than the {size - 1} bytes that are read"):
        read_published(store, ORDER.prefix)
