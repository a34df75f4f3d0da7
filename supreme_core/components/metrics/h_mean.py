"""H-mean: the harmonic mean of what was kept and of what was forgotten, for classes."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="composite",
    unit="fraction",
    low=0.0,
    high=1.0,
    direction="higher",
    forgets=("classes",),
    needs=("original",),
    default=False,
    source="Zhou et al. 2025, arXiv:2503.23751",
)
def h_mean(evaluation: Evaluation, params: NoParams) -> float | None:
    """Harmonic mean of the accuracy on test samples of kept classes and its drop on forgotten ones.

    2 a d / (a + d), with the accuracy a on test samples of the classes that are kept and the drop
    d = a_F of Original - a_F on test samples of the forgotten classes. In [0, 1]; 0 where nothing
    was lost or nothing kept, higher is better as published. A drop below 0 counts as 0. It asks
    nothing of Retrained, whose own value says how high is right. Only where classes are forgotten:
    single samples are to be forgotten without any drop. In the authors' code only the accuracies
    were found, and not this mean. None where no test sample of the forgotten classes is there.
    """
    if "forget_test" not in evaluation.predictions["unlearned"]:
        return None
    kept = evaluation.accuracy("unlearned", "retain_test")
    drop = evaluation.accuracy("original", "forget_test") - evaluation.accuracy(
        "unlearned", "forget_test"
    )
    return 2.0 * kept * drop / (kept + drop) if kept > 0.0 and drop > 0.0 else 0.0
