"""ToW, the tug of war between forgetting, keeping and generalising."""

import math

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import PARTS, Evaluation


@metric(
    group="composite",
    unit="fraction",
    low=0.0,
    high=1.0,
    direction="higher",
    compares=True,
    source="Zhao et al. 2024, arXiv:2406.01257",
)
def tow(evaluation: Evaluation, params: NoParams) -> float:
    """Product over forget, retain and test set of 1 less the absolute gap of accuracy.

    (1 - |a_F - a'_F|) (1 - |a_R - a'_R|) (1 - |a_T - a'_T|); accuracies a of the unlearned model
    and a' of Retrained. T is the test set, where classes are forgotten without them. Fraction in
    [0, 1]; a likeness, so it is 1 for Retrained itself and higher is nearer. One accuracy that is
    far off cannot be made up for by the others. Two Retrained models differ as well: compare with
    the noise floor.
    """
    return math.prod(
        1.0 - abs(evaluation.accuracy("unlearned", on) - evaluation.accuracy("retrained", on))
        for on in PARTS
    )
