"""RMIA: does a model know forgotten samples better, beside unseen ones, than other models do?"""

import numpy as np
from pydantic import Field

from supreme_core.analysis.statistics import average
from supreme_core.registry import seed_metric
from supreme_core.scoring.ensemble import AttackParams, EnsemblePair
from supreme_core.scoring.evaluation import Floats
from supreme_core.scoring.membership import Contest, auc, common, rate_at


class RmiaParams(AttackParams):
    gamma: float = Field(
        1.0,
        gt=0,
        le=100,
        description="γ: a sample beats another if its likelihood ratio is at least γ times the"
        " other's.",
    )
    scale: float = Field(
        0.3,
        gt=0,
        le=1,
        description="a of p(x) = ((1 + a) q(x) + (1 - a)) / 2, which guesses from references that"
        " never saw x what those give that did.",
    )


@seed_metric(
    unit="fraction",
    best="null",
    fewest=1,
    numbers=("auc", "tpr"),
    sets=("forget",),
    low=0.0,
    high=1.0,
    source="Zarifzadeh et al. 2024, arXiv:2312.03262 (offline)",
)
def rmia(pair: EnsemblePair, params: RmiaParams) -> dict[str, float | None]:
    """Power of likelihood ratios to models of other seeds to tell forgotten from unseen samples.

    A sample x is worth the share of held-out samples z with (p(x) / q(x)) / (p(z) / q(z)) ≥ γ,
    where p is the probability that the unlearned model gives the label, and q the mean one of the
    Retrained models, which never saw x, as their reference. Forgotten samples against held-out ones
    of the same classes, as in `mia_loss_auc`; auc and tpr are means over the unlearned models.

    Fractions in [0, 1]. 1/2 of auc is no leak; more says that the model remembers more than
    retraining explains, less that it is conspicuously ignorant. None where no held-out sample has a
    class of the forget set. The references put away what is easy or hard for every model, which
    attacks on the loss alone take for memory.

    The authors' experiments have γ = 2, and a = 0.3 on CIFAR-10 but 0.6 on CIFAR-100, with a Taylor
    softmax and augmented queries; their later tool has γ = 1 and the softmax, as here, and searches
    a with a model whose training set it knows. Both want a ratio above γ, where ties are nothing.
    """
    held_out = pair.held_out
    if held_out not in pair.labels:
        return {"auc": None, "tpr": None}
    ratios, others = (
        log_ratios(
            pair.unlearned.logit_confidence[name],
            pair.retrained.logit_confidence[name],
            params.scale,
        )
        for name in ("forget", held_out)
    )
    inside, outside, weights = common(pair.labels["forget"], pair.labels[held_out])
    if not len(weights):
        return {"auc": None, "tpr": None}
    contests = [
        Contest(member, other, weights)
        for member, other in zip(ratios[:, inside], others[:, outside], strict=True)
    ]
    scores = [in_population(each, params.gamma) for each in contests]
    rate = params.false_positive_rate
    return {
        "auc": average(map(auc, scores)),
        "tpr": average(
            float(rate_at(each, np.array([rate]))[0])
            for each in scores
            if len(each.non_members) >= 10 / rate
        ),
    }


def log_ratios(phi: Floats, references: Floats, scale: float) -> Floats:
    """log p(x) / q(x), (models, samples): of each model to all references together."""
    mean = np.exp(_log_probability(references)).mean(axis=0)
    reference = np.log(((1 + scale) * mean + (1 - scale)) / 2)
    return np.asarray(_log_probability(phi) - reference)


def in_population(ratios: Contest, gamma: float) -> Contest:
    """The share of held-out samples that each sample beats; no sample is compared with itself.

    In the order of the ratios: numbers that stand in order are searched for several times faster.
    """
    order = np.argsort(ratios.non_members)
    members, ranked, weights = (
        np.sort(ratios.members),
        ratios.non_members[order],
        ratios.weights[order],
    )
    weight_below = np.concatenate([[0.0], np.cumsum(weights)])
    total = weight_below[-1]

    def beaten(of: Floats) -> Floats:
        below = np.searchsorted(ranked, of - np.log(gamma), side="right")
        return np.asarray(weight_below[below])

    itself = weights if gamma <= 1 else np.zeros_like(weights)
    others = total - weights
    alone = others <= 0
    return Contest(
        members=beaten(members) / total,
        non_members=np.where(alone, 0.5, (beaten(ranked) - itself) / np.where(alone, 1.0, others)),
        weights=weights,
    )


def _log_probability(phi: Floats) -> Floats:
    """log p_y from log(p_y / (1 - p_y))."""
    return np.asarray(-np.logaddexp(0.0, -phi))
