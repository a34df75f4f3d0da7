"""AUS, the adaptive unlearning score."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="composite",
    unit="fraction",
    low=0.0,
    high=2.0,
    direction="higher",
    needs=("original",),
    default=False,
    source="Cotogni et al. 2023, arXiv:2312.02052",
)
def aus(evaluation: Evaluation, params: NoParams) -> float | None:
    """Test accuracy that is kept of Original, divided by what is left to forget.

    (1 - (a_T of Original - a_T)) / (1 + D), with accuracies a_T on the test set. Where classes are
    forgotten, T is without them and D = a_F on their test samples, which should be 0; where single
    samples are, D = |a_T - a_F| on the forget set, which should be as unknown as test samples. In
    [0, 2], above 1 only where the test accuracy rose; higher is better as published. It asks
    nothing of Retrained, whose own value says how high is right. All as in the authors' code, where
    Original's accuracy is one of a table and not of the same seed. None where no test sample of the
    forgotten classes is there.
    """
    kept = 1.0 - (
        evaluation.accuracy("original", "retain_test")
        - evaluation.accuracy("unlearned", "retain_test")
    )
    if evaluation.forgets == "samples":
        known = evaluation.accuracy("unlearned", "forget")
        return kept / (1.0 + abs(evaluation.accuracy("unlearned", "retain_test") - known))
    if "forget_test" not in evaluation.predictions["unlearned"]:
        return None
    return kept / (1.0 + evaluation.accuracy("unlearned", "forget_test"))
