"""Retention deviation: how far accuracies are from Retrained's, in proportion."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import PARTS, Evaluation


@metric(
    group="composite",
    unit="ratio",
    low=0.0,
    direction="lower",
    compares=True,
    default=False,
    source="Cadet et al. 2024, arXiv:2410.01276",
)
def retention_deviation(evaluation: Evaluation, params: NoParams) -> float | None:
    """Sum over forget, retain and test set of how far the retention of accuracy is from 1.

    |a_F / a'_F - 1| + |a_R / a'_R - 1| + |a_T / a'_T - 1|; accuracies a of the unlearned model and
    a' of Retrained, whose ratio is the retention, as in the authors' code, where the sum over sets
    was not found. T is the test set, where classes are forgotten without them. From 0 without an
    upper bound; 0 for Retrained itself, lower is nearer. None where an accuracy of Retrained is 0,
    as it mostly is on a forgotten class: then there is no ratio.
    """
    retrained = {on: evaluation.accuracy("retrained", on) for on in PARTS}
    if 0.0 in retrained.values():
        return None
    return sum(abs(evaluation.accuracy("unlearned", on) / retrained[on] - 1.0) for on in PARTS)
