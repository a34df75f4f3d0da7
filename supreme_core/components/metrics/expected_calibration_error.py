"""Expected calibration error: whether the model is right as often as it is confident."""

import numpy as np
from pydantic import Field

from supreme_core.registry import Params, metric
from supreme_core.scoring.evaluation import Evaluation


class ExpectedCalibrationErrorParams(Params):
    bins: int = Field(15, ge=1, le=1000, description="Bins of equal width between 0 and 1.")


@metric(
    group="accuracy",
    sets=("forget", "test", "forget_test", "retain_test"),
    unit="fraction",
    low=0.0,
    high=1.0,
    default=False,
    source="Guo et al. 2017, arXiv:1706.04599; Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602",
)
def expected_calibration_error(
    evaluation: Evaluation, params: ExpectedCalibrationErrorParams
) -> float:
    """Mean distance between confidence and accuracy, over bins of confidence.

    sum over bins B of |B| / n * |accuracy(B) - mean confidence(B)|, where confidence is the largest
    softmax output; bin m of M holds the confidences in ((m - 1) / M, m / M]. Fraction in [0, 1]; 0
    where confidence tells the accuracy. The target is Retrained's value. Few samples give too high
    a value, since bins then differ by chance.
    """
    outputs = evaluation.unlearned
    confidence = np.exp(outputs.log_probabilities.max(axis=1))
    ends = np.linspace(0.0, 1.0, params.bins + 1)[1:-1]
    bins = np.digitize(confidence, ends, right=True)
    surplus = (outputs.predicted == outputs.labels) - confidence
    return float(np.sum(np.abs(np.bincount(bins, weights=surplus))) / len(outputs))
