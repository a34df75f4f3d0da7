"""Samples of the membership attacks: forgotten ones against unseen ones of their classes.

An attack that compares the forget set with the whole test set also finds the difference between
classes, and one that takes its members from the retain set asks about other samples than those that
were to be forgotten. Both would report a leak for a model that never saw the forget set.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, log_expit, logsumexp

from supreme_core.registry import Forgets, Params, SetName
from supreme_core.scoring.evaluation import Evaluation, Floats, Integers, Outputs, without_class

Signal = Literal["confidence", "entropy", "modified_entropy", "max_margin", "correctness"]


class SignalParams(Params):
    signal: Signal = Field(
        "confidence",
        description="Signal that tells members: the confidence in the label, which ranks as the"
        " loss does; the entropy; the modified entropy of Song and Mittal; max_margin, the"
        " label's logit less the largest other; or correctness of the predicted class.",
    )


@dataclass(frozen=True)
class Contest:
    """Signals of members, the forget set, and of non-members, test samples of the same classes.

    members, non_members: (samples,) or (samples, signals).
    weights: (non-members,) with mean 1; so weighted, non-members have the classes of the members.
    """

    members: Floats
    non_members: Floats
    weights: Floats


def contest(evaluation: Evaluation, signal: Callable[[Outputs], Floats]) -> Contest | None:
    """Contest of a signal of the unlearned model on samples that were forgotten and on unseen ones.

    Non-members are those of `held_out_set`. Each counts (share of its class among members) / (share
    among non-members): matched without drawing a subsample, so nothing is random and nothing is
    thrown away. Members of a class that has no held-out sample are left out, since nothing can be
    said of them. None where no class is left, or where a signal is not finite.
    """
    predictions = evaluation.predictions["unlearned"]
    held_out = predictions.get(held_out_set(evaluation.forgets, predictions))
    if held_out is None:
        return None
    forget = predictions["forget"]
    return matched(signal(forget), forget.labels, signal(held_out), held_out.labels)


def held_out_set(forgets: Forgets, there: Container[SetName]) -> SetName:
    """Name the set of unseen samples like the forgotten ones: forget_test if the cell has one
    (poisoned alike, where the forget set is), else test where single samples are forgotten.

    Where classes are forgotten it is forget_test even if the cell has none: then nothing is like
    them.
    """
    return "test" if forgets == "samples" and "forget_test" not in there else "forget_test"


def matched(
    members: Floats, member_labels: Integers, non_members: Floats, non_member_labels: Integers
) -> Contest | None:
    """The contest of two sides with these signals and classes, as `contest` has it."""
    inside, outside, weights = common(member_labels, non_member_labels)
    found = Contest(members[inside], non_members[outside], weights)
    finite = np.isfinite(found.members).all() and np.isfinite(found.non_members).all()
    return found if len(weights) and finite else None


def common(
    member_labels: Integers, non_member_labels: Integers
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Floats]:
    """Masks of the samples of either side whose class both have, and weights of the latter ones."""
    classes = np.intersect1d(member_labels, non_member_labels)
    inside, outside = np.isin(member_labels, classes), np.isin(non_member_labels, classes)
    return inside, outside, _matching(non_member_labels[outside], member_labels[inside])


def signal_contest(evaluation: Evaluation, signal: Signal) -> Contest | None:
    """The contest of one of the usual signals, which are larger for samples that look like members;
    None as for `contest`."""
    return contest(evaluation, SIGNALS[signal])


def auc(scores: Contest) -> float:
    """P(score of a member > score of a non-member) + P(equal) / 2: the Mann-Whitney statistic."""
    order = np.argsort(scores.non_members)
    ranked = scores.non_members[order]
    weight_below = np.concatenate([[0.0], np.cumsum(scores.weights[order])])
    lower = weight_below[np.searchsorted(ranked, scores.members, side="left")]
    not_higher = weight_below[np.searchsorted(ranked, scores.members, side="right")]
    area = np.mean(lower + not_higher) / (2 * weight_below[-1])
    return float(np.clip(area, 0.0, 1.0))  # only rounding is cut off


def operating_points(scores: Contest) -> tuple[Floats, Floats]:
    """False and true positive rates of the attacks that call samples from some score on members.

    One attack for each score that occurs, highest first, after one that calls nobody a member.
    """
    thresholds = np.unique(np.concatenate([scores.members, scores.non_members]))[::-1]
    found = np.searchsorted(np.sort(-scores.members), -thresholds, side="right")
    order = np.argsort(-scores.non_members)
    alarms = np.concatenate([[0.0], np.cumsum(scores.weights[order])])
    raised = np.searchsorted(-scores.non_members[order], -thresholds, side="right")
    true = np.concatenate([[0.0], found / len(scores.members)])
    false = np.concatenate([[0.0], alarms[raised] / alarms[-1]])
    return false, true


def rate_at(scores: Contest, false_positive_rates: Floats) -> Floats:
    """The ROC curve: share of members that are found at these shares of false alarms.

    Its corners are the `operating_points`, and an attack that tosses a coin between two thresholds
    has what lies between their corners on a line; so the area under the curve is `auc`. Where the
    curve rises straight up its upper end counts.
    """
    false, true = operating_points(scores)
    last = np.searchsorted(false, false_positive_rates, side="right") - 1
    following = np.minimum(last + 1, len(false) - 1)
    width = false[following] - false[last]
    part = np.divide(
        false_positive_rates - false[last], width, out=np.zeros_like(width), where=width > 0
    )
    return np.asarray(true[last] + part * (true[following] - true[last]))


def modified_entropy(outputs: Outputs) -> Floats:
    """(n,) -(1 - p_y) log p_y - sum over c != y of p_c log(1 - p_c), in nats, from 0.

    Small for certainty in the label only, where the entropy is small for certainty in any class
    (Song and Mittal 2021). log(1 - p) of the likeliest class would be lost in rounding; with its
    log-odds m it is -log(1 + exp(m)). All other classes have p <= 1/2.
    """
    assert outputs.logits is not None, "the modified entropy needs logits"
    rows, top = np.arange(len(outputs)), outputs.logits.argmax(axis=1)
    p = np.exp(outputs.log_probabilities)
    unlikely = p.copy()
    unlikely[rows, top] = 0.0
    log_complement = np.log1p(-unlikely)
    log_complement[rows, top] = log_expit(-_log_odds(outputs.logits, top))
    terms = -p * log_complement
    terms[rows, outputs.labels] = -expit(-outputs.logit_confidence) * log_expit(
        outputs.logit_confidence
    )
    return np.asarray(np.sum(terms, axis=1))


def max_margin(outputs: Outputs) -> Floats:
    """(n,) logit of the label less the largest other logit."""
    assert outputs.logits is not None, "the lead over the next class needs logits"
    others = without_class(outputs.logits, outputs.labels)
    own = outputs.logits[np.arange(len(outputs)), outputs.labels]
    return np.asarray(own - others.max(axis=1))


SIGNALS: Final[Mapping[Signal, Callable[[Outputs], Floats]]] = {
    # The confidence rounds to 1 and the loss to 0 for all sure samples; its logit ranks them.
    "confidence": lambda outputs: outputs.logit_confidence,
    "entropy": lambda outputs: -outputs.entropy,
    "modified_entropy": lambda outputs: -modified_entropy(outputs),
    "max_margin": max_margin,
    "correctness": lambda outputs: (outputs.predicted == outputs.labels).astype(np.float64),
}
"""Larger for samples that look like members."""


def _log_odds(logits: Floats, classes: Integers) -> Floats:
    """(n,) logits of one class of each sample less the logsumexp of its other logits."""
    others = np.asarray(logsumexp(without_class(logits, classes), axis=1))
    return np.asarray(logits[np.arange(len(logits)), classes] - others)


def _matching(labels: Integers, wanted: Integers) -> Floats:
    """A weight for each of `labels` that gives them the class shares of `wanted`; mean 1.

    Both have the same classes.
    """
    have, want = np.bincount(labels), np.bincount(wanted)
    return (want[labels] / have[labels]) * (len(labels) / max(len(wanted), 1))
