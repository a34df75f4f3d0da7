"""Membership by entropy: the usual attack of the field, with a hold-out and matched classes.

scikit-learn is imported where it is needed: what only publishes results does without it.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supreme_core.attack import Contest, contest
from supreme_core.evaluation import Evaluation, Floats
from supreme_core.registry import Params, metric

if TYPE_CHECKING:
    from sklearn.model_selection import RepeatedStratifiedKFold

ROUNDING = float(np.finfo(np.float64).eps)
"""Nats; entropies of confident predictions differ by less and mean nothing by it."""


class MiaEntropyParams(Params):
    folds: int = Field(
        5, ge=2, le=100, description="Parts; each is judged by an attack fitted on the others."
    )
    repeats: int = Field(5, ge=1, le=100, description="Times that the parts are drawn anew.")


@metric(
    group="membership",
    unit="fraction",
    low=0.0,
    high=1.0,
    margin=0.02,
    random=True,
    source="the attack of Chundawat et al. 2023, arXiv:2205.08096, and Foster et al. 2024,"
    " arXiv:2308.07707; members, non-members and hold-out corrected",
)
def mia_entropy(evaluation: Evaluation, params: MiaEntropyParams) -> float | None:
    """Share of forgotten samples that an attack on the softmax entropy calls members.

    The attack is a logistic regression on the entropy H(p(x)), standardised, with members and
    non-members of equal total weight. Members are the forget set; non-members are test samples of
    the same classes, weighted to the class shares of the forget set. Every sample is judged by an
    attack that was fitted without it (repeated stratified k-fold). Where a side has fewer samples
    than folds there are as many folds as samples.

    Fraction in [0, 1]. The target is Retrained's value and not 0: an attack that can tell nothing
    calls about half of the samples members, and often far more or fewer, as it may cut a skewed
    distribution anywhere. False alarms do not count against it; `mia_loss_auc` has no such freedom.
    Exactly 1/2 where all entropies are equal up to rounding. None where no held-out sample has a
    class of the forget set, or where a side has a single sample.
    """
    from sklearn.model_selection import RepeatedStratifiedKFold

    signal = contest(evaluation, lambda outputs: outputs.entropy)
    if signal is None:
        return None
    folds = min(params.folds, len(signal.members), len(signal.non_members))
    if folds < 2:
        return None
    generator = evaluation.generator("mia_entropy")
    splitter = RepeatedStratifiedKFold(
        n_splits=folds,
        n_repeats=params.repeats,
        random_state=int(generator.integers(2**32)),
    )
    return _out_of_fold_share(signal, splitter, repeats=params.repeats)


def _out_of_fold_share(
    signal: Contest, splitter: "RepeatedStratifiedKFold", *, repeats: int
) -> float:
    """Share of members that are called members, each in every repeat once."""
    entropy, is_member, weights = _table(signal)
    called = 0.0
    for fit, judge in splitter.split(entropy, is_member):
        verdict = _verdict(entropy[fit], is_member[fit], weights[fit], entropy[judge])
        called += float(verdict[is_member[judge]].sum())
    return called / (repeats * len(signal.members))


def _table(signal: Contest) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Entropy, membership and weight of all samples, in an order that depends on nothing else.

    So the folds, which are drawn by position, do not depend on the order of the samples.
    """
    entropy = np.concatenate([signal.members, signal.non_members])
    is_member = np.arange(len(entropy)) < len(signal.members)
    weights = np.concatenate([np.ones(len(signal.members)), signal.weights])
    order = np.lexsort((weights, entropy, is_member))
    return entropy[order], is_member[order], weights[order]


def _verdict(
    known: Floats, is_member: NDArray[np.bool_], weights: Floats, unknown: Floats
) -> Floats:
    """For each unknown sample 1 where it is called a member, 0 where not, 1/2 for a toss-up."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = known.mean(), known.std()
    if scale < ROUNDING:
        return np.full(len(unknown), 0.5)
    balanced = weights.copy()
    for side in (is_member, ~is_member):
        balanced[side] *= len(known) / (2 * weights[side].sum())
    attack = LogisticRegression().fit(
        (known - centre)[:, None] / scale, is_member, sample_weight=balanced
    )
    decision = attack.decision_function((unknown - centre)[:, None] / scale)
    return np.asarray(np.heaviside(decision, 0.5))
