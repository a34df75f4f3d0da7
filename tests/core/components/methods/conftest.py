"""Fixtures that tests of methods share."""

import pytest
import torch

from supreme_core.engine.evaluation.reproducibility import THREADS


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, as ranks do: the number is part of the numerics."""
    torch.set_num_threads(THREADS)
