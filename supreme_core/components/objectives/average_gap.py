"""Average gap: the mean distance to Retrained of the four numbers that papers report."""

from supreme_core.registry import NoParams, objective
from supreme_core.tuning.objective_rows import ObjectiveRows

ROWS = ("forget_accuracy", "retain_accuracy", "retain_test_accuracy", "mia_svc_efficacy")


@objective(
    track="oracle",
    rows=ROWS,
    gamed_by="the attack moves with the forget accuracy, so that forgetting counts about twice",
    source="Jia et al. 2023, arXiv:2304.04934; Fan et al. 2024, arXiv:2310.12508, with validation"
    " samples in place of the test set",
)
def average_gap(rows: ObjectiveRows, params: NoParams) -> float:
    """Mean absolute gap to Retrained of three accuracies and a membership attack.

    (|gap of a_F| + |gap of a_R| + |gap of a_V| + |gap of the attack|) / 4, the attack being
    `mia_svc_efficacy`; where classes are forgotten, V is without them. In [0, 1], 0 for Retrained
    itself.
    """
    return rows.mean_gap(ROWS)
