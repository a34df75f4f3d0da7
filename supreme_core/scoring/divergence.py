"""Divergences of predictions, from log-probabilities. Never take log(0)."""

import numpy as np

from supreme_core.scoring.evaluation import Floats

LN2 = float(np.log(2.0))


def jensen_shannon(log_p: Floats, log_q: Floats) -> Floats:
    """(n,) divergences in nats of the rows of two (n, C) arrays of log-probabilities.

    JS = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2. With d = log q - log p the logarithms
    are log(p / m) = ln 2 - log(1 + exp(d)) and log(q / m) = ln 2 - log(1 + exp(-d)). They are at
    most ln 2, exactly 0 where p = q, and finite where a probability underflows to 0, which then
    weighs nothing.
    """
    d = log_q - log_p
    towards_p = np.exp(log_p) * (LN2 - np.logaddexp(0.0, d))
    towards_q = np.exp(log_q) * (LN2 - np.logaddexp(0.0, -d))
    js = 0.5 * np.sum(towards_p + towards_q, axis=1)
    return np.asarray(np.clip(js, 0.0, LN2))  # only rounding is cut off


def kullback_leibler(log_p: Floats, log_q: Floats) -> Floats:
    """(n,) divergences KL(p || q) in nats of the rows of two (n, C) arrays of log-probabilities.

    Finite where a probability underflows to 0: the logarithms come from logits and stay finite.
    """
    kl = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    return np.asarray(np.maximum(kl, 0.0))  # only rounding is cut off
