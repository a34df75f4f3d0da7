"""Variables that a trainer starts with: those that decide bits are ours, tunables are a user's."""

import pytest

from supreme_core.system.variables import of_torchrun, of_trainer


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


def test_a_trainer_is_no_rank_of_those_among_which_it_is_started():
    """The notebook of a PyTorchJob has such variables, and the others would never come."""
    of_others = {
        name: "2"
        for name in (
            *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_NAME"),
            *("MASTER_ADDR", "MASTER_PORT", "PET_NNODES", "TORCHELASTIC_RUN_ID"),
        )
    }
    given = {**of_others, "HOME": "/root", "MY_RANK": "1"}
    assert of_trainer(given).items() >= {"HOME": "/root", "MY_RANK": "1"}.items()
    assert not of_trainer(given).keys() & of_others.keys()
    assert of_torchrun(given) == {"PET_NNODES": "2"}
