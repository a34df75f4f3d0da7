"""What tests of methods share."""

import pytest
import torch

from supreme_core.engine.evaluation.reproducibility import THREADS


@pytest.fixture(autouse=True)
def one_thread():
    """As a rank has them: the number is part of the numerics."""
    torch.set_num_threads(THREADS)
