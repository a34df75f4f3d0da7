"""Every table of benchmarks/coverage.py is made from the code of today, of two experiments a line.

What the tables say, of thousands of experiments, stands in docs/statistics.md.
"""

import pytest

from benchmarks import coverage

COLUMNS = {"intervals": 5, "shares": 5, "tests": 7, "verdicts": 11, "margins": 6, "separations": 5}


@pytest.mark.parametrize("table", coverage.TABLES)
def test_a_table_has_a_number_in_every_column(table, monkeypatch, capsys):
    for name in ("REPETITIONS", "BOOTSTRAPS", "JOINTLY"):
        monkeypatch.setattr(coverage, name, 2)
    for name in ("SEEDS", "MANY_SEEDS"):
        monkeypatch.setattr(coverage, name, (10,))
    coverage.main([table])
    _, _, *lines = capsys.readouterr().out.strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows
    assert all(len(row) == COLUMNS[table] and all(row) for row in rows)
