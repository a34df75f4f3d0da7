"""Tests of real GPUs, which are skipped where there is none; `--on cpu` tries them without."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption(
        "--on", choices=("cuda", "cpu"), default="cuda", help="device of the tests in tests/gpu"
    )


@pytest.fixture(scope="session")
def device(request):
    """Kind of device that trainers are started for."""
    asked = request.config.getoption("on", "cuda")  # unknown in a run of all tests
    if asked == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    return asked
