"""Budgets of test files: what is measured of a process and its children, and who warns or fails."""

import json
import subprocess
import sys

import pytest

from tests import measured
from tests.measured import (
    DEFAULT,
    SHARED,
    Budgets,
    Stopwatch,
    Used,
    budgets_of,
    excused,
    times_of,
    used_here,
)

BURNS = """
import time
while time.process_time() < 0.3:
    pass
"""


@pytest.fixture
def budgets():
    """Budgets on a machine that is twice as slow as the one that they were measured on."""
    return Budgets({"large.py": 100.0}, scale=2.0)


def test_what_children_used_counts_also_before_anybody_waited_for_them():
    before = used_here()
    with subprocess.Popen(
        [sys.executable, "-c", BURNS + "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        child.stdout.readline()
        alive = used_here() - before
        child.communicate(b"\n")
    ended = used_here() - before
    assert alive >= 0.25
    assert ended >= alive - 0.02  # whole ticks


def test_a_build_for_all_checkouts_counts_for_no_file():
    stopwatch, before = Stopwatch(), used_here()
    stopwatch.begin("a.py")
    subprocess.run([sys.executable, "-c", BURNS], check=True)
    counted = used_here() - before
    with excused():
        subprocess.run([sys.executable, "-c", BURNS], check=True)
    stopwatch.begin(None)
    assert counted >= 0.25
    assert abs(stopwatch.measured.files["a.py"].cpu - counted) < 0.1


@pytest.mark.parametrize(
    ("file", "cpu", "warns", "fails"),
    [
        ("large.py", 200 + 2 * SHARED, False, False),
        ("large.py", 310 + 2 * SHARED, True, False),
        ("large.py", 610 + 2 * SHARED, False, True),
        ("new.py", 2 * DEFAULT + 2 * SHARED, False, False),
        ("new.py", 7 * DEFAULT + 2 * SHARED, False, True),
    ],
)
def test_beyond_one_and_a_half_budgets_a_file_warns_and_beyond_three_it_fails(
    budgets, file, cpu, warns, fails
):
    warnings, failures = budgets.verdicts({file: Used(cpu=cpu)})
    assert ([file in line for line in warnings], [file in line for line in failures]) == (
        [True] * warns,
        [True] * fails,
    )


def test_budgets_are_written_of_files_that_use_more_than_the_default():
    used = {"b.py": Used(cpu=20.4), "a.py": Used(cpu=31.0), "small.py": Used(cpu=DEFAULT)}
    assert json.loads(budgets_of(used, 0.01)) == {
        "loop": 0.01,
        "files": {"a.py": 31, "b.py": 20},
    }


def test_a_run_of_other_marks_leaves_a_file_of_its_own():
    names = {marks: times_of(marks).name for marks in ("not slow and not e2e", "", "e2e")}
    assert [*names.values()] == [".test-times.json", ".test-times.json", ".test-times-e2e.json"]


def test_every_budget_is_of_a_file_that_exists():
    files = json.loads(measured.BUDGETS.read_text())["files"]
    assert [name for name in files if not (measured.ROOT / name).exists()] == []
