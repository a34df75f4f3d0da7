"""MIA efficacy: the membership attack by support vector machine that unlearning papers report."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.fitted_membership import SvcParams, svc_efficacy


@metric(
    group="membership",
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    margin=0.02,
    random=True,
    default=False,
    source="Jia et al. 2023, arXiv:2304.04934; Fan et al. 2024, arXiv:2310.12508",
)
def mia_svc_efficacy(evaluation: Evaluation, params: SvcParams) -> float | None:
    """Share of forgotten samples that a support vector machine calls non-members.

    The attack sees the confidence p_y in the label (radial kernel, gamma 1, C = 3). It is fitted on
    retained samples as members and on as many test samples as non-members; where classes are
    forgotten, test samples are those of the other classes. Fraction in [0, 1], as published: the
    target is Retrained's value and not 1. It says how the forget set lies between retain and test
    set, not whether it can be told from unseen samples like it; `mia_loss_auc` does. None where a
    confidence is not a number.
    """
    return svc_efficacy(evaluation, "unlearned", params)
