"""DeepUnlearn's objective: three gaps of accuracy and an attack that should find nothing."""

from math import sqrt

from supreme_core.registry import NoParams, objective
from supreme_core.tuning.objective_rows import ObjectiveRows

ACCURACIES = ("forget_accuracy", "retain_accuracy", "retain_test_accuracy")


@objective(
    track="oracle",
    rows=(*ACCURACIES, "nomus"),
    gamed_by="the attack weighs three times as much as an accuracy, and is to find nothing even"
    " where it finds something of Retrained",
    source="Cadet et al. 2024, arXiv:2410.01276, and the authors' code, with validation samples",
)
def deepunlearn(rows: ObjectiveRows, params: NoParams) -> float:
    """Length of the vector of three gaps of accuracy to Retrained and a membership attack.

    The vector is (|gap of a_R| / 3, |gap of a_F| / 3, |gap of a_V| / 3, 2 |m - 1/2|). m is the
    accuracy of a cross-validated logistic attack on the loss, which tells the forget set from
    unseen samples of its classes, read from `nomus`, the mean of a_V and 1 - 2 |m - 1/2|. Where
    classes are forgotten, V is without them. In [0, 2 / sqrt 3], 0 is best.
    """
    attack = 1.0 - (2.0 * rows.value("nomus") - rows.value("retain_test_accuracy"))
    return sqrt(sum((rows.gap(row) / 3) ** 2 for row in ACCURACIES) + attack**2)
