"""A program that ends with the process that started it, even where that is killed.

    SUPREME_PARENT=PID python -m supreme_trainer.process.bound -m MODULE ARGUMENTS

A trainer that outlived `supreme run` would keep its GPU's memory, and write beside the next one of
its seed. torchrun passes the variable on, which names torchrun by then, so its ranks end with it.
"""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Final

PARENT: Final = "SUPREME_PARENT"
"""The variable with the id of the process that starts such a program."""

PR_SET_PDEATHSIG: Final = 1
LOOK_SECONDS: Final = 1.0
EXIT_ERROR: Final = 1


def to_parent(parent: int) -> None:
    """End this process as soon as its parent has ended; call it in the main thread.

    parent: its id, since another process has its place where it has ended already. On Linux it is
    the end of the parent's thread that counts, so whoever starts trainers does it in a thread that
    lives as long as they may.
    """
    if not _signal_at_parents_end():
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:
        _end()


def _signal_at_parents_end() -> bool:
    """Return whether the system will kill this process at its parent's end, as Linux can."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    _end()


def _end() -> None:
    os._exit(EXIT_ERROR)


def main() -> None:
    option, module, *arguments = sys.argv[1:]
    if option != "-m":
        sys.exit("usage: python -m supreme_trainer.process.bound -m MODULE ARGUMENTS")
    if parent := os.environ.get(PARENT):
        to_parent(int(parent))
    os.environ[PARENT] = str(os.getpid())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
