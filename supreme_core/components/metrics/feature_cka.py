"""Linear CKA with Retrained: whether the features themselves are those of a retrained model."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    sets=("forget", "test"),
    unit="fraction",
    low=0.0,
    high=1.0,
    compares=True,
    direction="higher",
    probe="feature_similarity",
    default=False,
    source="Kornblith et al. 2019, arXiv:1905.00414",
)
def feature_cka(evaluation: Evaluation, params: NoParams) -> float:
    """Likeness of the features to Retrained's: linear centred kernel alignment (CKA).

    |YᵀX|² / (|XᵀX| |YᵀY|) with Frobenius norms, of what goes into the heads of the model (X) and of
    Retrained (Y), columns centred over the set. Fraction in [0, 1]; a likeness, so it is 1 for
    Retrained itself and higher is nearer. A rotation or a scale of the features changes nothing, a
    head that was changed alone does not either. Two Retrained models do not have 1 with each other.
    """
    return evaluation.probe(f"{evaluation.on}/retrained")
