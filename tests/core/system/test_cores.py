"""CPU cores of a process: what it is bound to, and what its container may use."""

import os

import pytest

from supreme_core.system.cores import cores

LIMITS = {
    "none": ({}, None),
    "two cores": ({"cpu.max": "200000 100000\n"}, 2),
    "a core and a half": ({"cpu.max": "150000 100000\n"}, 1),
    "half a core": ({"cpu.max": "50000 100000\n"}, 1),
    "no limit": ({"cpu.max": "max 100000\n"}, None),
    "two cores, version 1": (
        {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2,
    ),
    "no limit, version 1": (
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
}


@pytest.fixture
def many_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))


@pytest.mark.parametrize(("files", "limit"), LIMITS.values(), ids=LIMITS)
def test_a_containers_limit_counts_as_its_cores(tmp_path, many_cores, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == (limit or 64)


def test_a_limit_above_what_the_process_is_bound_to_changes_nothing(tmp_path, many_cores):
    (tmp_path / "cpu.max").write_text("9900000 100000")
    assert cores(tmp_path) == 64


def test_without_linux_all_cores_count(tmp_path, monkeypatch):
    """On macOS a process cannot be bound to cores."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert cores(tmp_path) == 10
