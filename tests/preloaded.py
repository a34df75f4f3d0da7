"""Processes that need no seconds to import torch: forked from one that has imported it."""

import multiprocessing
from functools import cache

MODULES = (
    "supreme_trainer.command.run",
    "supreme_trainer.order",
    "torch._inductor.config",  # by torch.use_deterministic_algorithms, and by each optimiser
    "sklearn.datasets",
    "sklearn.linear_model",
    "timm",
    "tests.trainer.trainers",
    "tests.real_ranks",
)
"""What takes a process seconds; one that is not there costs them again, and nothing else."""


@cache
def context():
    """For multiprocessing. All of a test process fork from one, which starts with the first."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(MODULES))
    return found
