"""k-NN recovery: whether the features still tell the classes of what was forgotten."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.probe_settings import NeighbourSettings


@metric(
    group="recovery",
    sets=("forget", "forget_test"),
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    probe="nearest_neighbours",
    default=False,
    source="Kim et al. 2025, arXiv:2503.06991",
)
def knn_recovery(evaluation: Evaluation, params: NeighbourSettings) -> float:
    """Accuracy on the forgotten samples of a vote of the nearest training samples.

    The k nearest of all training samples, forgotten ones included with their labels, by cosine
    similarity of what goes into the head; a forgotten training sample is not its own neighbour.
    Fraction in [0, 1]. The target is Retrained's value and not 0: good features tell classes apart
    that were never seen. Above it, features keep what the head does not show.
    """
    return evaluation.probe(str(evaluation.on))
