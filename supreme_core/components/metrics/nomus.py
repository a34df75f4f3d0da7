"""NoMUS, the normalised machine unlearning score."""

import numpy as np

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.fitted_membership import HoldOutParams, held_out_judgements


@metric(
    group="composite",
    unit="fraction",
    low=0.0,
    high=1.0,
    direction="higher",
    random=True,
    default=False,
    source="Choi and Na 2023, arXiv:2311.02240",
)
def nomus(evaluation: Evaluation, params: HoldOutParams) -> float | None:
    """Mean of the test accuracy and of how little a membership attack on the loss finds out.

    a_T / 2 + (1 - 2 |m - 1/2|) / 2, with the accuracy a_T on the test set, where classes are
    forgotten without them, and the accuracy m of a logistic regression on the loss that tells the
    forget set from test samples of the same classes, each side counted half. Every sample is judged
    by an attack that was fitted without it (repeated stratified k-fold; where a side has fewer
    samples than folds there are as many folds as samples).

    In [0, 1]; higher is better as published, and weighed as there: the authors' tables, which give
    |m - 1/2| for m, follow from it. It asks nothing of Retrained, whose own value says how high is
    right. None where no held-out sample has a class of the forget set, or where a side has a single
    sample.
    """
    judged = held_out_judgements(evaluation, lambda outputs: outputs.loss, params, address="nomus")
    if judged is None:
        return None
    is_member = np.concatenate([fold.is_member for fold in judged])
    verdict = np.concatenate([fold.verdict for fold in judged])
    weights = np.concatenate([fold.weights for fold in judged])
    found = np.mean(verdict[is_member])
    refused = np.average(1.0 - verdict[~is_member], weights=weights[~is_member])
    attack = (found + refused) / 2
    accuracy = evaluation.accuracy("unlearned", "retain_test")
    return weighed(accuracy, float(attack))


def weighed(accuracy: float, attack: float) -> float:
    return accuracy / 2 + (1.0 - 2.0 * abs(attack - 0.5)) / 2
