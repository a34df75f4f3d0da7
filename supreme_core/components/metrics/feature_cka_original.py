"""Linear CKA with Original: whether the features are still those from before unlearning."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    sets=("forget", "test"),
    unit="fraction",
    low=0.0,
    high=1.0,
    probe="feature_similarity",
    default=False,
    source="Kornblith et al. 2019, arXiv:1905.00414",
)
def feature_cka_original(evaluation: Evaluation, params: NoParams) -> float:
    """Likeness of the features to Original's, as `feature_cka` measures it to Retrained's.

    Fraction in [0, 1], 1 for Original itself. The target is Retrained's value and not 0: a model
    that never saw the forget set has much in common with Original all the same. Near 1 on the
    forget set only the head may have forgotten.
    """
    return evaluation.probe(f"{evaluation.on}/original")
