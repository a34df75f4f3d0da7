"""Variables that a trainer starts with: those that decide bits are ours, tunables are a user's."""

import pytest

from supreme_core.system.variables import of_trainer


@pytest.mark.parametrize(
    ("given", "platform", "tunables"),
    [
        ({}, "linux", "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, "linux", "glibc.malloc.check=3"),
        ({"GLIBC_TUNABLES": ""}, "linux", ""),
        ({}, "darwin", None),
    ],
)
def test_memory_comes_in_large_pages_unless_a_user_says_otherwise(given, platform, tunables):
    assert of_trainer(given, platform).get("GLIBC_TUNABLES") == tunables


def test_what_decides_bits_is_set_whatever_was_given():
    given = {"OMP_NUM_THREADS": "8", "CUBLAS_WORKSPACE_CONFIG": ":16:8", "HOME": "/root"}
    found = of_trainer(given)
    assert (found["OMP_NUM_THREADS"], found["CUBLAS_WORKSPACE_CONFIG"]) == ("1", ":4096:8")
    assert found["HOME"] == "/root"
