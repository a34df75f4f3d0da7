"""Input of metrics over seeds: unlearned and Retrained models of many seeds, side by side. numpy.

A metric of one run compares two models. These compare two distributions of models, so each sample
has as many numbers as there are models, and the question is whether the two groups of them differ.
A number is the logit confidence of the label, φ = log(p_y / (1 - p_y)), `phi` in formulas.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field

from supreme_core.registry import Forgets, Params, SetName
from supreme_core.scoring.evaluation import Floats, Integers
from supreme_core.scoring.membership import Contest, auc, held_out_set, rate_at

SMALLEST_DEVIATION = 1e-6
"""Smallest deviation of φ over seeds that is used: logits, of float32, tell no two models apart by
less."""


class AttackParams(Params):
    """Settings of metrics that have a true positive rate, `tpr`."""

    false_positive_rate: float = Field(
        0.01, gt=0, lt=1, description="Share of false alarms at which tpr is read."
    )


@dataclass(frozen=True)
class Ensemble:
    """Models that differ in their seed and are alike in all else; a line each.

    logit_confidence: by set, (models, samples).  accuracy: by set, (models,).
    """

    logit_confidence: Mapping[SetName, Floats]
    accuracy: Mapping[SetName, Floats]

    def take(self, models: Sequence[int]) -> Self:
        """The models at these places."""
        where = list(models)
        return type(self)(
            logit_confidence={name: phi[where] for name, phi in self.logit_confidence.items()},
            accuracy={name: accuracy[where] for name, accuracy in self.accuracy.items()},
        )


@dataclass(frozen=True)
class EnsemblePair:
    """Two ensembles that share no seed; all models forgot the same samples.

    labels: of the samples of each set.  on: the set that is asked about.
    """

    unlearned: Ensemble
    retrained: Ensemble
    labels: Mapping[SetName, Integers]
    forgets: Forgets
    on: SetName | None = None

    @property
    def logit_confidence(self) -> tuple[Floats, Floats]:
        """Logit confidence in both ensembles, (models, samples), on the set that is asked about."""
        assert self.on is not None, "a metric without sets must name the set it reads"
        return self.unlearned.logit_confidence[self.on], self.retrained.logit_confidence[self.on]

    @property
    def held_out(self) -> SetName:
        """Samples like the forgotten ones that no model was trained on."""
        return held_out_set(self.forgets, self.labels)


@dataclass(frozen=True)
class Moments:
    """Moments of φ over models: how many models, their mean, and their squared deviations summed.

    mean, squares: (1, samples), or (models, samples) where each model in turn is left out.
    """

    models: int
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, phi: Floats) -> Self:
        mean = phi.mean(axis=0, keepdims=True)
        return cls(len(phi), mean, np.square(phi - mean).sum(axis=0, keepdims=True))

    @classmethod
    def without_each(cls, phi: Floats) -> Self:
        """Line i: of all models but the i-th."""
        every = cls.of(phi)
        n, away = every.models, phi - every.mean
        return cls(
            models=n - 1,
            mean=every.mean - away / (n - 1),
            squares=np.maximum(every.squares - n / (n - 1) * np.square(away), 0.0),
        )

    def variance(self, *, strength: float) -> Floats:
        """Variance over models, drawn towards its mean over the samples.

        (strength · s̄² + Σ (φ - φ̄)²) / (strength + n - 1): few models say little about the variance
        of one sample, and all samples together say much about that of a typical one. The weight of
        the typical one is that of so many models.
        """
        assert self.models > 1
        typical = (self.squares / (self.models - 1)).mean(axis=1, keepdims=True)
        drawn = (strength * typical + self.squares) / (strength + self.models - 1)
        return np.asarray(np.maximum(drawn, SMALLEST_DEVIATION**2))


LogDensity = Callable[[Floats, Moments], Floats]
"""Log density of φ under the moments of other models."""


def told_apart(
    pair: EnsemblePair, log_density: LogDensity, *, false_positive_rate: float
) -> dict[str, float | None]:
    """Measure how well a likelihood ratio tells for each model and sample which ensemble it is of.

    Λ = log q(φ | unlearned) - log q(φ | Retrained), where q is fitted to all other models: the one
    that is judged never takes part. accuracy: with the threshold 0, both sides alike, a tie is half
    right.  auc, tpr: over all pairs of a model and a sample; tpr is None where so few of Retrained
    cannot show such a false positive rate: below 10 / rate.
    """
    unlearned, retrained = pair.logit_confidence
    of_unlearned = log_density(unlearned, Moments.without_each(unlearned)) - log_density(
        unlearned, Moments.of(retrained)
    )
    of_retrained = log_density(retrained, Moments.of(unlearned)) - log_density(
        retrained, Moments.without_each(retrained)
    )
    found = Contest(
        _sorted(of_unlearned), _sorted(of_retrained), weights=np.ones(of_retrained.size)
    )
    enough = of_retrained.size >= 10 / false_positive_rate
    return {
        "accuracy": float(
            np.heaviside(of_unlearned, 0.5).mean() + np.heaviside(-of_retrained, 0.5).mean()
        )
        / 2,
        "auc": auc(found),
        "tpr": float(rate_at(found, np.array([false_positive_rate]))[0]) if enough else None,
    }


def _sorted(scores: Floats) -> Floats:
    """Sort all of them; millions are found faster in order."""
    return np.asarray(np.sort(scores, axis=None))
