"""Linear-probe recovery: what a new head on the same features knows of what was forgotten."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.probe_settings import ReadoutSettings


@metric(
    group="recovery",
    sets=("forget", "forget_test"),
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    probe="linear_readout",
    default=False,
    source="Alain and Bengio 2016, arXiv:1610.01644",
)
def linear_recovery(evaluation: Evaluation, params: ReadoutSettings) -> float:
    """Accuracy on the forgotten samples of a new linear classifier on the model's features.

    A ridge regression from what goes into the head to the labels of all training samples, forgotten
    ones included; each forgotten training sample is judged by the fit without it. Fraction in
    [0, 1]. The target is Retrained's value and not 0: good features tell classes apart that were
    never seen. Above it, a new head brings back what was forgotten.
    """
    return evaluation.probe(str(evaluation.on))
