"""Quantised accuracy: whether rounding the weights brings back what was forgotten."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.probe_settings import QuantisationSettings


@metric(
    group="recovery",
    sets=("forget", "retain", "test", "forget_test", "retain_test"),
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    probe="quantisation",
    default=False,
    source="Zhang et al. 2024, arXiv:2410.16454",
)
def quantised_accuracy(evaluation: Evaluation, params: QuantisationSettings) -> float:
    """Share of samples that the model gets right with its weights rounded to a few bits.

    Weights of layers are rounded to `bits` bits with one scale for each tensor. Fraction in [0, 1].
    The target is Retrained's value, which is rounded alike. Small changes of the weights, by which
    some methods forget, are lost in rounding: then the forget set comes back.
    """
    return evaluation.probe(str(evaluation.on))
