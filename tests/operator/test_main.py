"""Errors of tasks that nobody awaits.

error                   | told
a connection was closed | in one line, a warning
any other               | with its traceback
"""

import asyncio
import gc
import logging

import aiohttp
import pytest
from supreme_operator.main import tell_unawaited


async def unawaited(error):
    """Let a task fail that nobody awaits."""

    async def fails():
        raise error

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_unawaited)
    task = loop.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert task.done()
    del task
    gc.collect()


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (aiohttp.ClientConnectionError("Connection closed"), logging.WARNING),
        (ValueError("no number"), logging.ERROR),
    ],
)
def test_an_error_that_nobody_awaits_is_told(error, level, caplog):
    asyncio.run(unawaited(error))
    (record,) = caplog.records
    assert record.levelno == level
    assert bool(record.exc_info) == (level == logging.ERROR)
