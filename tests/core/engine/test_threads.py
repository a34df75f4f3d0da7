"""A trainer adds up with one thread, whatever the machine and its variables would give it."""

import pytest
import torch

from tests.trainer.experiments import as_configured


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_on_a_processor_there_is_one_thread(three_threads):
    with as_configured():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
