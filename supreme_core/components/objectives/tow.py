"""ToW, the tug of war between forgetting, keeping and generalising."""

from math import prod

from supreme_core.registry import NoParams, objective
from supreme_core.tuning.objective_rows import ObjectiveRows

ROWS = ("forget_accuracy", "retain_accuracy", "retain_test_accuracy")


@objective(
    track="oracle",
    rows=ROWS,
    gamed_by="where few single samples are forgotten, Original itself is good by it",
    source="Zhao et al. 2024, arXiv:2406.01257, with validation samples in place of the test set",
)
def tow(rows: ObjectiveRows, params: NoParams) -> float:
    """One less the product over forget, retain and validation set of 1 less the gap of accuracy.

    1 - (1 - |gap of a_F|) (1 - |gap of a_R|) (1 - |gap of a_V|); where classes are forgotten, V is
    without them. In [0, 1], 0 for Retrained itself.
    """
    return 1.0 - prod(1.0 - rows.gap(row) for row in ROWS)
