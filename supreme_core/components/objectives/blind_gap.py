"""Blind gap: forgetting as far as it can be judged without any retrained model."""

from math import isnan

from supreme_core.registry import NoParams, objective
from supreme_core.tuning.objective_rows import KEPT_ROWS, ObjectiveRows


@objective(
    track="blind",
    rows=("forget_accuracy", "forget_test_accuracy", *KEPT_ROWS),
    not_for=("subclass",),
    gamed_by="where single samples are forgotten, a model that was damaged on all sets alike within"
    " 0.02; where classes are, a model that answers otherwise than one that never saw them",
    source="after the objectives that Triantafillou et al. 2024, arXiv:2406.09073, discuss",
)
def blind_gap(rows: ObjectiveRows, params: NoParams) -> float:
    """Gap of the forget accuracy to that of unseen samples like it, once utility is kept.

    Where single samples are forgotten |a_F - a_VF|, V_F the validation samples like those to be
    forgotten, or all where none are in particular; where classes are, a_F itself. Accuracy on
    retained and on validation samples must not fall below Original's by more than 0.02: who
    fails has 1 and what is missing, which is worse than any gap. In [0, 3], 0 is best.
    """
    missing = rows.missing_utility()
    if missing > 0:
        return 1.0 + missing
    return abs(rows.value("forget_accuracy") - _target(rows)) + missing


def _target(rows: ObjectiveRows) -> float:
    if rows.forgets == "classes":
        return 0.0
    like = rows.value("forget_test_accuracy")
    return rows.value("retain_test_accuracy") if isnan(like) else like
