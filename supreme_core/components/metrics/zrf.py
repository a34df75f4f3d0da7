"""Zero retrain forgetting (ZRF): does the model guess like one that was never trained?"""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.divergence import LN2, jensen_shannon
from supreme_core.scoring.evaluation import Evaluation


@metric(
    version=2,
    group="distance",
    sets=("forget",),
    unit="fraction",
    low=0.0,
    high=1.0,
    needs=("untrained",),
    source="Chundawat et al. 2023, arXiv:2205.08096",
)
def zrf(evaluation: Evaluation, params: NoParams) -> float:
    """One minus the mean JS divergence, in bits, to a randomly initialised model.

    1 - mean over x of JS_2(p(x), p0(x)), with p0 of a model of the same shape that was never
    trained, whose weights are random also where training starts from pretrained ones. In [0, 1]; 1
    where the predictions are those of the untrained model. The target is Retrained's value, not 1:
    a model that never saw the forget set still knows a lot about it, and one that guesses at random
    gives the forgotten samples away.
    """
    untrained = evaluation.outputs("untrained")
    divergence = jensen_shannon(evaluation.unlearned.log_probabilities, untrained.log_probabilities)
    return float(1.0 - np.mean(divergence) / LN2)
