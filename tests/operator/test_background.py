"""Results that are read in the background: from a real S3 server, by a real worker process.

Covered: what is known afterwards, and what is told of errors; that there is one task at a time.
Left out: what a verdict or a publication says (test_reader.py), and what the operator makes of an
error (tests/cluster/test_operator.py).
"""

import asyncio
from contextlib import nullcontext

from supreme_operator.results.background import ReadResults
from supreme_operator.results.reader import Collector

from supreme_core.errors import StoreUnavailable
from supreme_core.store.results import write_result
from tests.operator.test_reader import ORDER, canned, claims, located, result


class Asking:
    """Requester of results: notes how tasks ended, and waits for that."""

    def __init__(self, collector):
        self.measured, self.endings, self.told = [], [], asyncio.Event()
        self.results = ReadResults(
            collector=collector, measured=self._measure, ended=self._note_the_end
        )

    def _measure(self, task):
        self.measured.append(task)
        return nullcontext()

    def _note_the_end(self, error):
        self.endings.append(error)
        self.told.set()

    async def verify(self, locate, *seeds):
        self.told.clear()
        self.results.verify(ORDER, locate, claims(*seeds))
        await self.told.wait()
        return self.endings[-1]


def at(location):
    async def locate():
        return location

    return locate


async def nowhere():
    raise KeyError("a mistake of ours")


def test_what_is_read_stays_known_and_how_it_ended_is_told(s3_server):
    place = located(s3_server)
    write_result(place.open(), result(0))

    async def asked():
        collector = Collector()
        asking = Asking(collector)
        try:
            assert await asking.verify(at(place), 0, 1) is None
            assert isinstance(
                await asking.verify(at(canned("http://127.0.0.1:1")), 2), StoreUnavailable
            )
            assert isinstance(await asking.verify(nowhere, 3), KeyError)
            assert await asking.verify(at(place), 4) is None
        finally:
            await collector.close()
        return asking

    asking = asyncio.run(asked())
    assert {key: each.state for key, each in asking.results.checks.items()} == {
        (0, 0): "valid",
        (1, 0): "missing",
        (4, 0): "missing",
    }
    assert asking.measured == ["verify"] * 4


def test_there_is_one_task_at_a_time_and_one_that_is_ended_tells_nobody(s3_server):
    """A task that waits takes along what is claimed meanwhile, unless that is of another order."""
    place = located(s3_server)

    async def asked():
        collector, held = Collector(), asyncio.Event()
        asking = Asking(collector)

        async def late():
            await held.wait()
            return place

        try:
            asking.results.verify(ORDER, late, claims(0))
            await asyncio.sleep(0)
            asking.results.verify(ORDER, nowhere, claims(1))
            asking.results.verify(ORDER.model_copy(update={"seeds": [7]}), nowhere, claims(2))
            asking.results.publish(ORDER, nowhere, frozenset())
            assert asking.results.is_reading
            held.set()
            await asking.told.wait()
            assert (asking.endings, [*asking.results.checks]) == ([None], [(1, 0)])
            assert not asking.results.is_reading

            held.clear()
            asking.results.verify(ORDER, late, claims(2))
            await asyncio.sleep(0)
            await asking.results.close()
            assert asking.endings == [None]
        finally:
            await collector.close()

    asyncio.run(asked())
