"""The queue of keys: each once, one worker for each, failures later and later."""

import asyncio

import pytest
from supreme_operator.cluster.workqueue import WorkQueue
from supreme_operator.monitoring.counters import Metrics


def run(story):
    """Run a coroutine that gets a fresh queue."""

    async def told():
        queue = WorkQueue[str](Metrics(), first_seconds=0.01)
        try:
            return await asyncio.wait_for(story(queue), 5)
        finally:
            queue.close()

    return asyncio.run(told())


def test_a_key_waits_once_however_often_it_is_added():
    async def story(queue):
        for _ in range(3):
            queue.add("a")
        queue.add("b")
        assert queue.depth == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert queue.depth == 0

    run(story)


def test_groups_have_turns_however_many_keys_one_of_them_has():
    async def story(queue):
        queue.group = lambda key: key[0]
        for key in ("a1", "a2", "a3", "a4", "b1", "c1", "b2"):
            queue.add(key)
        assert queue.depth == 7
        found = [await queue.get() for _ in range(4)]
        queue.add("d1")  # behind those that have their turn, and before their next one
        found += [await queue.get() for _ in range(4)]
        assert found == ["a1", "b1", "c1", "a2", "b2", "a3", "d1", "a4"]
        assert queue.depth == 0

    run(story)


def test_a_key_that_is_worked_on_is_not_given_to_a_second_worker():
    async def story(queue):
        queue.add("a")
        await queue.get()
        queue.add("a")
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert not second.done()
        queue.done("a")
        assert await second == "a"

    run(story)


def test_a_key_that_was_not_added_meanwhile_does_not_come_again():
    async def story(queue):
        queue.add("a")
        queue.done(await queue.get())
        assert queue.depth == 0

    run(story)


def test_a_failed_key_comes_again_later_each_time_and_at_once_after_a_success():
    async def story(queue):
        assert [queue.retry("a") for _ in range(3)] == [0.01, 0.02, 0.04]
        queue.succeeded("a")
        assert queue.retry("a") == 0.01
        assert await queue.get() == "a"

    run(story)


def test_the_pause_of_a_failing_key_has_a_limit():
    queue = WorkQueue[str](Metrics(), first_seconds=1, most_seconds=60)

    async def story():
        for _ in range(2000):
            seconds = queue.retry("a")
        queue.close()
        return seconds

    assert asyncio.run(story()) == 60


def test_of_two_alarms_the_earlier_one_counts():
    async def story(queue):
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 120)
        assert await queue.get() == "a"

    run(story)


@pytest.mark.parametrize("workers", [1, 4])
def test_many_workers_serve_many_keys_each_serially(workers):
    async def story(queue):
        at_work, served = set(), []

        async def work():
            while len(served) < 100:
                key = await queue.get()
                assert key not in at_work
                at_work.add(key)
                await asyncio.sleep(0)
                if len(served) < 100:
                    queue.add(key)
                served.append(key)
                at_work.discard(key)
                queue.done(key)
            for number in range(workers):
                queue.add(f"end {number}")

        for key in "abc":
            queue.add(key)
        await asyncio.gather(*(work() for _ in range(workers)))
        assert {served.count(key) > 20 for key in "abc"} == {True}

    run(story)


def test_the_age_of_the_oldest_work_is_known():
    times = iter(range(100))
    queue = WorkQueue[str](Metrics(), clock=lambda: next(times))

    async def story():
        queue.add("a")
        await queue.get()
        return queue.oldest_work_seconds()

    assert asyncio.run(story()) > 0


@pytest.mark.parametrize(
    ("worked", "rest"),
    [(0.0, 0.0), (0.01, 0.03), (0.05, 0.15), (0.0625, 0.1875), (0.1, 0.15), (0.25, 0.0), (9, 0.0)],
)
def test_a_key_rests_in_proportion_to_its_work_and_not_for_long(worked, rest):
    """Work that took longer than the longest rest has mostly waited, such as for writes."""
    added, begun = 0.0, 10.0
    times = iter([added, begun, begun + worked])

    async def story():
        queue = WorkQueue[str](Metrics(), clock=lambda: next(times))
        queue.add("a")
        key, time = await queue.get(), asyncio.get_running_loop().time
        before = time()
        queue.done(key)
        after = time()
        ends = [handle.when() for handle in queue._resting.values()]
        queue.close()
        return before, ends, after

    before, ends, after = asyncio.run(story())
    assert len(ends) == (1 if rest else 0)
    assert all(before + rest <= end <= after + rest + 1e-6 for end in ends)


def test_many_events_of_a_key_that_works_or_rests_cost_one_look():
    async def story():
        now = 0.0
        queue = WorkQueue[str](Metrics(), clock=lambda: now)
        queue.add("a")
        await queue.get()
        now = 0.05
        queue.add("a")
        queue.done("a")
        for _ in range(100):
            queue.add("a")
            queue.add("b")
        assert [await queue.get(), await queue.get()] == ["b", "a"]
        for key in "ab":
            queue.done(key)
        left = queue.depth, set(queue._again)
        # It did not take any time, so that it need not rest.
        queue.add("a")
        return left, queue.depth

    assert asyncio.run(story()) == ((0, set()), 1)
