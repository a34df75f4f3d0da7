"""Membership by a signal of choice: how well it ranks forgotten before unseen samples."""

from pydantic import Field

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.membership import Signal, SignalParams, auc, signal_contest


class MiaAucParams(SignalParams):
    signal: Signal = Field(
        "modified_entropy", description=SignalParams.model_fields["signal"].description
    )


@metric(
    group="membership",
    unit="fraction",
    low=0.0,
    high=1.0,
    margin=0.02,
    default=False,
    source="Song and Mittal 2021, arXiv:2003.10595; area: Hanley and McNeil 1982,"
    " doi:10.1148/radiology.143.1.7063747",
)
def mia_auc(evaluation: Evaluation, params: MiaAucParams) -> float | None:
    """Area under the ROC curve of the attack that calls samples of a large signal members.

    P(signal of a forgotten sample > signal of a held-out sample) + P(equal) / 2, over all pairs;
    the held-out are test samples of the same classes, weighted to the class shares of the forget
    set. The signals point towards membership: entropies count negatively. The area of the
    confidence is `mia_loss_auc`, and that of the correctness is 1/2 plus half the gap of accuracy.

    In [0, 1], two-sided: 1/2 is no leak, less says that the samples are conspicuously unknown. The
    target is Retrained's value. None where no held-out sample has a class of the forget set.
    """
    scores = signal_contest(evaluation, params.signal)
    return None if scores is None else auc(scores)
