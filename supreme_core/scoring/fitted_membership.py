"""Membership attacks that are fitted: logistic regressions and support vector machines.

scikit-learn is imported where it is needed: what only publishes results does without it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from supreme_core.registry import Params
from supreme_core.scoring.evaluation import Evaluation, Floats, Model, Outputs
from supreme_core.scoring.membership import Contest, contest

ROUNDING = float(np.finfo(np.float64).eps)
"""Signals of confident predictions differ by less and mean nothing by it."""

PENALTY = 3.0
"""C of the support vector machine, as OPTML's code has it."""


class HoldOutParams(Params):
    folds: int = Field(
        5,
        ge=2,
        le=100,
        description="Parts of the samples; each is judged by an attack fitted on the others.",
    )
    repeats: int = Field(5, ge=1, le=100, description="Times that the samples are parted anew.")


class SvcParams(Params):
    samples: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="Members at most that the attack is fitted on, and as many non-members; drawn"
        " at random where there are more. Its time grows with the square.",
    )


@dataclass(frozen=True)
class Judged:
    """Answers of an attack on samples that it was not fitted on: members where decision > 0."""

    decision: Floats
    is_member: NDArray[np.bool_]
    weights: Floats

    @property
    def verdict(self) -> Floats:
        """1 where a sample is called a member, 0 where not, 1/2 for a toss-up."""
        return np.asarray(np.heaviside(self.decision, 0.5))


def held_out_judgements(
    evaluation: Evaluation,
    signals: Callable[[Outputs], Floats],
    params: HoldOutParams,
    *,
    address: str,
) -> list[Judged] | None:
    """Judgements of a logistic regression on the signals, each by one fitted without the sample.

    The signals are standardised, and members and non-members have equal total weight. A judgement
    for each fold of each repeat (repeated stratified k-fold). Where a side has fewer samples than
    folds there are as many folds as samples. None without a contest, or where a side has a single
    sample.  address: of the random numbers that draw the folds.
    """
    from sklearn.model_selection import RepeatedStratifiedKFold

    found = contest(evaluation, signals)
    if found is None:
        return None
    folds = min(params.folds, len(found.members), len(found.non_members))
    if folds < 2:
        return None
    splitter = RepeatedStratifiedKFold(
        n_splits=folds,
        n_repeats=params.repeats,
        random_state=int(evaluation.generator(address).integers(2**32)),
    )
    values, is_member, weights = _table(found)
    return [
        Judged(
            _decision(values[fit], is_member[fit], weights[fit], values[judge]),
            is_member[judge],
            weights[judge],
        )
        for fit, judge in splitter.split(values, is_member)
    ]


def svc_efficacy(evaluation: Evaluation, model: Model, params: SvcParams) -> float | None:
    """Share of forgotten samples that a support vector machine on confidences calls unseen.

    It is fitted on the confidences in the label of retained samples, as members, and of as many
    test samples, of forgotten classes none. None where one of them is not finite, or where there
    are none.
    """
    from sklearn.svm import SVC

    sets = evaluation.predictions[model]
    forget, retain, test = (
        np.sort(expit(sets[on].logit_confidence)) for on in ("forget", "retain", "retain_test")
    )
    size = min(params.samples, len(retain), len(test))
    if not size or not np.isfinite(np.concatenate([forget, retain, test])).all():
        return None
    generator = evaluation.generator("svc")
    known = [np.sort(generator.choice(side, size, replace=False)) for side in (retain, test)]
    attack = SVC(kernel="rbf", C=PENALTY, gamma="auto")
    attack.fit(np.concatenate(known)[:, None], np.repeat([1, 0], size))
    return float(np.mean(attack.predict(forget[:, None]) == 0))


def _table(found: Contest) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Signals (n, k), membership and weight of all samples, in an order of the values alone.

    So the folds, which are drawn by position, do not depend on the order of the samples.
    """
    values = np.concatenate([found.members, found.non_members])
    values = values.reshape(len(values), -1)
    is_member = np.arange(len(values)) < len(found.members)
    weights = np.concatenate([np.ones(len(found.members)), found.weights])
    order = np.lexsort((weights, *values.T, is_member))
    return values[order], is_member[order], weights[order]


def _decision(
    known: Floats, is_member: NDArray[np.bool_], weights: Floats, unknown: Floats
) -> Floats:
    """Log-odds of membership of unknown samples; 0 for all where nothing can be told."""
    from sklearn.linear_model import LogisticRegression

    scales = list(_scales(known))
    if not scales:
        return np.zeros(len(unknown))
    balanced = weights.copy()
    for side in (is_member, ~is_member):
        balanced[side] *= len(known) / (2 * weights[side].sum())
    attack = LogisticRegression(max_iter=1000).fit(
        _standardised(known, scales), is_member, sample_weight=balanced
    )
    return np.asarray(attack.decision_function(_standardised(unknown, scales)))


def _scales(known: Floats) -> Iterator[tuple[int, float, float]]:
    """Column, mean and standard deviation of each signal that differs between samples."""
    for column, values in enumerate(known.T):
        if (scale := values.std()) >= ROUNDING:
            yield column, values.mean(), scale


def _standardised(values: Floats, scales: list[tuple[int, float, float]]) -> Floats:
    columns = [(values[:, column] - centre) / scale for column, centre, scale in scales]
    return np.stack(columns, axis=1)
