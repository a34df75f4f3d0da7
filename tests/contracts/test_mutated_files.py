"""A small slice of benchmarks/mutated_files.py: nothing but our errors, nothing slow, no nonsense.

All of it takes minutes: `python -m benchmarks.mutated_files`.
"""

import pytest

from benchmarks.mutated_files import READERS, run

CASES = 60


@pytest.mark.parametrize("kind", READERS)
def test_mutated_files_are_refused_by_an_error_of_ours_or_make_sense(kind):
    found = run([kind], CASES)[kind]
    assert found.wrong == []
    assert found.refused > CASES / 2
    assert found.refused + found.unchanged < CASES, "some changes are no mistakes"
