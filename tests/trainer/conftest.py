"""Fixtures of all tests of this folder."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def pages(plots_once):
    """Have the same plot drawn once, whatever is published in this process."""
