"""Turns at places for which namespaces wait: by whom a free one is taken, and whose turn ends.

Time is told by a test, but for the waiting itself, which is cut short.
"""

import asyncio
from contextlib import suppress

import pytest
from supreme_operator.results.turns import Turns, WaitLimits


class World:
    """Turns of which a test decides how long they take."""

    def __init__(self, places, *, others=5, own=10):
        self.now, self.order = 0.0, []
        self.turns = Turns(places, WaitLimits(others, own), clock=lambda: self.now)
        self.tasks, self.held = {}, {}

    async def ask(self, name):
        """a1 is the first of namespace a."""
        ends = asyncio.Event()

        async def take():
            async with self.turns.take(name[0]) as turn:
                turn.stop = ends.set
                self.order.append(name)
                self.held[name] = turn, ends
                await ends.wait()

        self.tasks[name] = asyncio.create_task(take())
        await self.settle()

    async def end(self, name):
        self.held[name][1].set()
        await self.settle()

    async def passes(self, seconds):
        """Let time pass for waiting turns too, which are asked at once whether they are late."""
        self.now += seconds
        for waiting in list(self.turns._waiting):
            self.turns._end_one_for(waiting)
        await self.settle()

    async def settle(self):
        for _ in range(10):
            await asyncio.sleep(0)

    async def close(self):
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def told(story, **settings):
    """The order of the turns in a story of a world."""

    async def tell():
        world = World(**settings)
        try:
            await story(world)
        finally:
            await world.close()
        return world.order

    return asyncio.run(tell())


def test_a_free_place_goes_to_who_has_used_the_least():
    async def story(world):
        for name in ("a1", "a2", "a3", "b1", "c1"):
            await world.ask(name)
        await world.passes(2)
        await world.end("a1")
        await world.passes(1)
        await world.end("b1")
        await world.end("c1")

    assert told(story, places=1) == ["a1", "b1", "c1", "a2"]


def test_without_others_one_namespace_has_all_places():
    async def story(world):
        for name in ("a1", "a2"):
            await world.ask(name)
        await world.passes(1000)

    assert told(story, places=2) == ["a1", "a2"]


def test_a_turn_that_waits_for_long_ends_for_another_namespace():
    async def story(world):
        for name in ("a1", "b1", "c1"):
            await world.ask(name)
            await world.passes(1)
        await world.passes(1)
        assert world.order == ["a1", "b1"]
        await world.passes(1)
        assert world.held["a1"][0].is_over
        assert not world.held["b1"][0].is_over

    assert told(story, places=2) == ["a1", "b1", "c1"]


def test_a_turn_that_computes_goes_on():
    async def story(world):
        await world.ask("a1")
        world.held["a1"][0].busy = lambda: world.now - 4
        await world.ask("b1")
        await world.passes(1000)
        world.held["a1"][0].busy = lambda: world.now - 5
        await world.passes(1)

    assert told(story, places=1) == ["a1", "b1"]


def test_in_ones_own_namespace_it_takes_longer():
    async def story(world):
        await world.ask("a1")
        await world.ask("a2")
        await world.passes(9)
        assert world.order == ["a1"]
        await world.passes(1)

    assert told(story, places=1) == ["a1", "a2"]


def test_who_has_used_more_ends_no_turn_of_others():
    async def story(world):
        await world.ask("a1")
        await world.passes(100)
        await world.end("a1")
        await world.ask("b1")
        await world.ask("a2")
        await world.passes(80)
        assert world.order == ["a1", "b1"]

    told(story, places=1)


def test_what_was_used_long_ago_is_forgotten():
    async def story(world):
        await world.ask("a1")
        await world.passes(100)
        await world.end("a1")
        await world.passes(100_000)
        await world.ask("b1")
        await world.passes(4)
        await world.end("b1")
        assert list(world.turns._used) == ["b1"[0]]

    told(story, places=1)


@pytest.mark.parametrize("at", ["waiting", "granted"])
def test_nothing_is_left_of_who_does_not_wait_any_more(at):
    async def story(world):
        await world.ask("a1")
        await world.ask("b1")
        if at == "granted":
            world.held["a1"][1].set()
            await asyncio.sleep(0)
        world.tasks["b1"].cancel()
        with suppress(asyncio.CancelledError):
            await world.tasks["b1"]
        await world.end("a1")
        await world.ask("c1")
        assert [turn.namespace for turn in world.turns._running] == ["c"]
        assert world.turns._waiting == []

    assert told(story, places=1)[-1] == "c1"


def test_who_waits_asks_again_by_itself():
    async def story(world):
        world.turns.waits = WaitLimits(0.001, 0.001)
        await world.ask("a1")
        world.now += 1
        await world.ask("b1")
        while "b1" not in world.order:
            await asyncio.sleep(0.001)

    assert told(story, places=1) == ["a1", "b1"]
