"""Membership by entropy as it was published, for comparison with the numbers of papers.

scikit-learn is imported where it is needed: what only publishes results does without it.
"""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation

PENALTY = 2.0
"""C of a binary regression that is the published multinomial one with C = 1: that one has a weight
w for members and -w for non-members, so it penalises w^2 where the log-odds have the weight 2w."""

TOLERANCE = 1e-4
"""Largest component of the gradient at which the published fit ends. The scikit-learn of its time
added up the losses of samples, where today's takes their mean."""


@metric(
    version=2,
    group="membership",
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    margin=0.02,
    default=False,
    source="Chundawat et al. 2023, arXiv:2205.08096; Foster et al. 2024, arXiv:2308.07707",
)
def mia_entropy_published(evaluation: Evaluation, params: NoParams) -> float | None:
    """Share of forgotten samples that the published attack on the entropy calls members.

    A logistic regression on the entropy H(p(x)), with equal total weight of both sides. Members are
    the retain set and non-members the whole test set, with the test samples of forgotten classes.
    Fraction in [0, 1], as published; the target is Retrained's value and not 0. It asks whether the
    forget set looks more like the retain or the test set, so a class that is harder than others
    looks forgotten without any unlearning; `mia_entropy` corrects who is compared with whom. None
    where an entropy is not a number.
    """
    from sklearn.linear_model import LogisticRegression

    sets = evaluation.predictions["unlearned"]
    forget, retain, test = (np.sort(sets[on].entropy) for on in ("forget", "retain", "test"))
    known = np.concatenate([retain, test])
    if not len(retain) or not len(test) or not np.isfinite([*known, *forget]).all():
        return None
    attack = LogisticRegression(class_weight="balanced", C=PENALTY, tol=TOLERANCE / len(known))
    attack.fit(known[:, None], np.repeat([1, 0], [len(retain), len(test)]))
    return float(np.mean(attack.predict(forget[:, None])))
