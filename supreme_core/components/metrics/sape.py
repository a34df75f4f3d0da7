"""SAPE: the symmetric absolute percentage error of the accuracy."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    sets=("forget", "retain", "test", "forget_test", "retain_test"),
    unit="fraction",
    low=0.0,
    high=1.0,
    direction="lower",
    compares=True,
    default=False,
    source="Mahadevan and Mathioudakis 2021, arXiv:2106.15093",
)
def sape(evaluation: Evaluation, params: NoParams) -> float:
    """Symmetric absolute percentage error of the accuracy to Retrained's.

    |a - a'| / (a + a'); accuracies a of the unlearned model and a' of Retrained. Fraction in
    [0, 1]; 0 for equal accuracies, also where both are 0. Lower is nearer. Unsteady near 0: where
    Retrained gets nothing right, a single right answer is an error of 1, so read it together with
    the accuracies.
    """
    unlearned, retrained = evaluation.unlearned.accuracy, evaluation.retrained.accuracy
    total = unlearned + retrained
    return abs(unlearned - retrained) / total if total else 0.0
