"""Average gap: the mean distance to Retrained of the four numbers that papers report."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import PARTS, Evaluation
from supreme_core.scoring.fitted_membership import SvcParams, svc_efficacy


@metric(
    group="composite",
    unit="fraction",
    low=0.0,
    high=1.0,
    direction="lower",
    compares=True,
    random=True,
    default=False,
    source="Fan et al. 2024, arXiv:2310.12508",
)
def average_gap(evaluation: Evaluation, params: SvcParams) -> float | None:
    """Mean absolute gap to Retrained of three accuracies and of the attack `mia_svc_efficacy`.

    (|gap of a_F| + |gap of a_R| + |gap of a_T| + |gap of the attack|) / 4, with accuracies on
    forget, retain and test set; where classes are forgotten, T is without them. Unlearning accuracy
    is 1 - a_F and has the same gap. Fraction in [0, 1]; 0 for Retrained itself, lower is nearer. It
    gives an attack the weight of an accuracy. Two Retrained models differ as well, by how much no
    noise floor says, since the attack is fitted anew. None where the attack has no value.
    """
    attack = svc_efficacy(evaluation, "unlearned", params)
    target = svc_efficacy(evaluation, "retrained", params)
    if attack is None or target is None:
        return None
    gaps = [
        abs(evaluation.accuracy("unlearned", on) - evaluation.accuracy("retrained", on))
        for on in PARTS
    ]
    return (sum(gaps) + abs(attack - target)) / 4
