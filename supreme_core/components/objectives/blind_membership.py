"""Blind membership: the attack on the loss should find nothing, once utility is kept."""

from supreme_core.registry import NoParams, objective
from supreme_core.tuning.objective_rows import KEPT_ROWS, ObjectiveRows


@objective(
    track="blind",
    rows=("mia_loss_auc", *KEPT_ROWS),
    not_for=("full_class", "subclass"),
    gamed_by="a table that reports the same attack; report another signal beside it",
    source="after the objectives that Triantafillou et al. 2024, arXiv:2406.09073, discuss",
)
def blind_membership(rows: ObjectiveRows, params: NoParams) -> float:
    """Twice the distance to 1/2 of the area of the attack on the loss, once utility is kept.

    2 |AUC(F, V_F) - 1/2|, V_F the validation samples like those to be forgotten. Utility as in
    `blind_gap`. Differences below 0.03 are noise where each side has fewer than a thousand samples.
    In [0, 3], 0 is best.
    """
    missing = rows.missing_utility()
    return 1.0 + missing if missing > 0 else 2.0 * abs(rows.value("mia_loss_auc") - 0.5) + missing
