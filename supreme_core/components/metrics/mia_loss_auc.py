"""Membership by loss: does the model find forgotten samples easier than samples it never saw?"""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.membership import auc, contest


@metric(
    group="membership",
    unit="fraction",
    low=0.0,
    high=1.0,
    margin=0.02,
    source="Yeom et al. 2018, arXiv:1709.01604; area: Hanley and McNeil 1982",
)
def mia_loss_auc(evaluation: Evaluation, params: NoParams) -> float | None:
    """Area under the ROC curve of the attack that calls samples of small loss members.

    P(loss of a forgotten sample < loss of a held-out sample) + P(equal) / 2, over all pairs; the
    held-out are test samples of the same classes, weighted to the class shares of the forget set.
    In [0, 1], two-sided: 1/2 is no leak, more says that the samples are remembered, less that they
    are conspicuously unknown (over-forgetting), which gives them away as well. The target is
    Retrained's value. None where no held-out sample has a class of the forget set.

    Nothing is fitted, so nothing can be fitted too well: the score is fixed beforehand and the area
    over all pairs is its exact and unbiased value. Cross-validation would only take pairs away. A
    monotone fitted attack on the loss has the same ROC curve or its mirror image. Ranks are taken
    from the logit confidence φ, of which the loss log(1 + exp(-φ)) is a decreasing function that
    rounds to 0 for all confident samples alike.
    """
    scores = contest(evaluation, lambda outputs: outputs.logit_confidence)
    return None if scores is None else auc(scores)
