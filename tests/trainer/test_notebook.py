"""The notebook of examples/ runs from top to bottom, as one program, in an empty folder.

Its cells hold no output, which would be that of another version.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import warm

NOTEBOOK = Path(__file__).parents[2] / "examples" / "results.ipynb"
CHECK = """
assert results.frame.groupby(["seed", "method"]).ngroups == 2 * 4
assert set(results.verdicts.method) == {"original", "finetune", "esc"}
assert numbers["original"]["forget_accuracy"] > 0.9 > 0.1 > numbers["retrained"]["forget_accuracy"]
assert numbers["ssd"]["forget_accuracy"] < numbers["original"]["forget_accuracy"]
print("done")
"""
"""Assertions on numbers that a reader sees, which hold on any machine."""


@pytest.fixture(scope="module")
def cells():
    return json.loads(NOTEBOOK.read_text())["cells"]


def test_no_cell_has_an_output(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_it_runs_from_top_to_bottom(cells, tmp_path):
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    program = tmp_path / "cells_of_the_notebook.py"
    program.write_text("\n\n".join([*code, CHECK]))

    done = subprocess.run(
        [warm.python(), "-m", program.stem],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
    assert (tmp_path / "supreme-store" / "experiments").is_dir()
