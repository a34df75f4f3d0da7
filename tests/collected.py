"""Import of what a run of tests collects, once for all of its processes.

Whoever imports this module imports every module that the run of COLLECTED would collect, as pytest
does it: asserts explain themselves. A process that is forked afterwards finds them imported when it
collects. No test is made, and what cannot be imported is left to that process, which says why.
"""

import json
import os
import sys
from contextlib import contextmanager, suppress

import pytest
from supreme_trainer.process.warm import LOOKS_ONLY

from tests.preloaded import COLLECTED


class NoItems:
    """Plug-in that makes no test of what a module holds."""

    def pytest_pycollect_makeitem(self):
        return []


def import_all(arguments):
    with quiet(), suppress(BaseException):
        pytest.main([*arguments, "-n0", "--collect-only"], plugins=[NoItems()])


@contextmanager
def quiet():
    kept = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "wb") as nothing:
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)
    try:
        yield
    finally:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            os.dup2(kept[number - 1], number)
            os.close(kept[number - 1])


os.environ.update(LOOKS_ONLY)
import_all(json.loads(os.environ.get(COLLECTED, "[]")))
