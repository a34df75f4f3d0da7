"""Count of samples whose mean logit confidence differs by more than chance explains."""

import numpy as np
from scipy.special import ndtri, stdtr

from supreme_core.registry import NoParams, seed_metric
from supreme_core.scoring.ensemble import SMALLEST_DEVIATION, EnsemblePair, Moments
from supreme_core.scoring.evaluation import Floats


@seed_metric(
    unit="fraction",
    best="null",
    fewest=2,
    sets=("forget", "test"),
    low=0.0,
    high=1.0,
    source="two-sample t test, Student 1908, Biometrika 6",
)
def calibration(pair: EnsemblePair, params: NoParams) -> dict[str, float | None]:
    """Share of samples whose mean logit confidence is over 2 standard errors from Retrained's.

    z of each sample is the t of its mean φ over the unlearned models against that over the
    Retrained ones, with a common variance, as the normal deviate of the same probability; so that
    0.0455 of the samples have |z| > 2 by chance, however few models there are. Fraction in [0, 1].

    More than the null says that the method shifts what models say of these samples. The samples
    of one set move together, so the null spreads about the nominal share far more than independent
    samples would: compare with it and not with 0.0455.
    """
    return {"": float(np.mean(np.abs(deviates(*pair.logit_confidence)) > 2))}


def deviates(unlearned: Floats, retrained: Floats) -> Floats:
    """z of each sample."""
    u, r = Moments.of(unlearned), Moments.of(retrained)
    degrees = u.models + r.models - 2
    variance = np.maximum((u.squares + r.squares) / degrees, SMALLEST_DEVIATION**2)
    t = (u.mean - r.mean)[0] / np.sqrt(variance[0] * (1 / u.models + 1 / r.models))
    return np.asarray(-np.sign(t) * ndtri(stdtr(degrees, -np.abs(t))))
