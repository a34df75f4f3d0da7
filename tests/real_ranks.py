"""Run a function on real ranks (gloo), as torchrun would, and hand back what each returned."""

import os
from concurrent.futures import ProcessPoolExecutor, wait
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.ranks.ranks import Ranks
from tests import preloaded

LONGEST_WAIT = timedelta(minutes=5)
"""Limit of the wait for the other rank, which may import torch on a busy machine: no test comes
near it."""


def on_two_ranks(function, *arguments):
    return on_ranks(2, function, *arguments)


def on_ranks(count, function, *arguments):
    """[what `function(ranks, *arguments)` returned on rank 0, on rank 1, ...]

    function: of a module's top level; arguments and what it returns can be pickled.
    """
    with TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        futures = [
            _pool(count).submit(_on_rank, rank, count, meeting, function, arguments)
            for rank in range(count)
        ]
        # A rank that fails leaves the other at work: what comes next must not queue up behind it.
        wait(futures)
        return [future.result() for future in futures]


@cache
def _pool(count):
    """Processes that stay until the tests end, as what they import for one test serves others."""
    return ProcessPoolExecutor(count, mp_context=preloaded.context())


def _on_rank(rank, count, meeting, function, arguments):
    torch.set_num_threads(THREADS)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # no question to a name server
    dist.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=count, timeout=LONGEST_WAIT
    )
    try:
        return function(Ranks(rank, count, torch.device("cpu")), *arguments)
    finally:
        dist.destroy_process_group()
