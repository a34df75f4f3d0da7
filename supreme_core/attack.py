"""Who the membership attacks look at: forgotten samples against unseen samples of their classes.

An attack that compares the forget set with the whole test set also finds the difference between
classes, and one that takes its members from the retain set asks about other samples than those that
were to be forgotten. Both would report a leak for a model that never saw the forget set.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from supreme_core.evaluation import Evaluation, Floats, Integers, Outputs


@dataclass(frozen=True)
class Contest:
    """One signal of members, the forget set, and of non-members, test samples of the same classes.

    weights: (non-members,) with mean 1; so weighted, non-members have the classes of the members.
    """

    members: Floats
    non_members: Floats
    weights: Floats


def contest(evaluation: Evaluation, signal: Callable[[Outputs], Floats]) -> Contest | None:
    """What the unlearned model says of samples that were forgotten and of samples never seen.

    Non-members are forget_test where the cell has one (poisoned alike, where the forget set is), or
    test where single samples are forgotten. Each counts (share of its class among members) / (share
    among non-members): matched without drawing a subsample, so nothing is random and nothing is
    thrown away. Members of a class that has no held-out sample are left out, since nothing can be
    said of them. None where no class is left, or where a signal is not finite.
    """
    predictions = evaluation.predictions["unlearned"]
    held_out = predictions.get("forget_test")
    if held_out is None and evaluation.forgets == "samples":
        held_out = predictions["test"]
    if held_out is None:
        return None
    forget = predictions["forget"]
    classes = np.intersect1d(forget.labels, held_out.labels)
    members, non_members = np.isin(forget.labels, classes), np.isin(held_out.labels, classes)
    found = Contest(
        members=signal(forget)[members],
        non_members=signal(held_out)[non_members],
        weights=_matching(held_out.labels[non_members], forget.labels[members]),
    )
    finite = np.isfinite(found.members).all() and np.isfinite(found.non_members).all()
    return found if len(classes) and finite else None


def auc(scores: Contest) -> float:
    """P(score of a member > score of a non-member) + P(equal) / 2: the Mann-Whitney statistic."""
    order = np.argsort(scores.non_members)
    ranked = scores.non_members[order]
    weight_below = np.concatenate([[0.0], np.cumsum(scores.weights[order])])
    lower = weight_below[np.searchsorted(ranked, scores.members, side="left")]
    not_higher = weight_below[np.searchsorted(ranked, scores.members, side="right")]
    area = np.mean(lower + not_higher) / (2 * weight_below[-1])
    return float(np.clip(area, 0.0, 1.0))  # only rounding is cut off


def _matching(labels: Integers, wanted: Integers) -> Floats:
    """A weight for each of `labels` that gives them the class shares of `wanted`; mean 1."""
    size = max(labels.max(initial=-1), wanted.max(initial=-1)) + 1
    have, want = np.bincount(labels, minlength=size), np.bincount(wanted, minlength=size)
    return (want[labels] / have[labels]) * (len(labels) / max(len(wanted), 1))
