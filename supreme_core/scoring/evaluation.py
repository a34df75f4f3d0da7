"""Input of metrics: predictions of models on the sets of one cell, costs, distances. numpy only.

Everything a metric reads is stored, so any metric can be computed again without a model or a GPU.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from supreme_core.randomness import streams
from supreme_core.registry import Forgets, SetName

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Model = Literal["unlearned", "retrained", "original", "untrained"]

PARTS: Final[tuple[SetName, ...]] = ("forget", "retain", "retain_test")
"""Sets that composite scores weigh up: the samples to forget, those to keep, and unseen ones.
Unseen samples of forgotten classes are left out, since no model is asked to know them; where single
samples are forgotten the last set is all of test."""


@dataclass(frozen=True)
class Outputs:
    """Outputs of one model for the n samples of one set, in dataset order.

    labels, predicted: (n,) class numbers.  loss: (n,) cross-entropy in nats.
    logit_confidence: (n,) logit of the label minus logsumexp of the other logits, which is
    φ = log(p_y / (1 - p_y)) of Carlini et al. 2022 (LiRA), arXiv:2112.03570.
    entropy: (n,) of the softmax, in nats.  logits: (n, C), or None where they are not kept.
    positions: (n,) where these samples stand in the set they were taken from; None for a whole set.

    A sample with a logit that is not finite has no prediction (-1, which is never right) and NaN
    for everything else, so it never passes for an answer.
    """

    labels: Integers
    predicted: Integers
    loss: Floats
    logit_confidence: Floats
    entropy: Floats
    logits: Floats | None = None
    positions: Integers | None = None

    @classmethod
    def of(cls, logits: Floats | NDArray[np.float32], labels: Integers) -> Self:
        """Everything that is derived from logits (n, C), in float64 whatever came."""
        logits = logits.astype(np.float64, order="C")  # the layout would change the last bits
        broken = ~np.isfinite(logits).all(axis=1)
        logits[broken] = np.nan
        log_probabilities = log_softmax(logits, axis=1)
        rows, others = np.arange(len(labels)), without_class(logits, labels)
        return cls(
            labels=labels,
            predicted=predicted_classes(logits),
            loss=-log_probabilities[rows, labels],
            logit_confidence=logits[rows, labels] - np.asarray(logsumexp(others, axis=1)),
            entropy=-np.sum(np.exp(log_probabilities) * log_probabilities, axis=1),
            logits=logits,
        )

    @cached_property
    def log_probabilities(self) -> Floats:
        """(n, C) log-softmax; only for sets whose logits are kept."""
        assert self.logits is not None, "a metric asked for logits of a set that keeps none"
        return np.asarray(log_softmax(self.logits, axis=1))

    @property
    def accuracy(self) -> float:
        return share_right(self.predicted, self.labels)

    def take(self, where: Integers) -> Self:
        """The samples at these positions, in the order given."""
        return replace(
            self,
            labels=self.labels[where],
            predicted=self.predicted[where],
            loss=self.loss[where],
            logit_confidence=self.logit_confidence[where],
            entropy=self.entropy[where],
            logits=None if self.logits is None else self.logits[where],
            positions=where if self.positions is None else self.positions[where],
        )

    def __len__(self) -> int:
        return len(self.labels)


def predicted_classes(logits: Floats | NDArray[np.float32]) -> Integers:
    """(n,) the class with the largest of logits (n, C), the first of equals; -1, which is never
    right, where one of them is not finite."""
    finite = np.isfinite(logits).all(axis=1)
    return np.where(finite, logits.argmax(axis=1), -1).astype(np.int64)


def share_right(predicted: Integers, labels: Integers) -> float:
    """Share of samples that are predicted right; NaN of an empty set."""
    return float(np.mean(predicted == labels)) if len(labels) else float("nan")


def without_class(logits: Floats, classes: Integers) -> Floats:
    """(n, C) logits, with minus infinity for one class of each sample."""
    others = logits.copy()
    others[np.arange(len(classes)), classes] = -np.inf
    return others


Predictions = Mapping[SetName, Outputs]
"""Outputs of one model. forget, test, forget_test and retain_test have logits, retain has not.

forget_test is what was never trained on and is like the forget set: mostly a part of test, and
retain_test is the other part. Where the forget set is poisoned it is a set of its own, poisoned in
the same way, and where nothing of test is like the forget set in particular, as with single samples
of any class, there is none; retain_test is then all of test. Labels are those of the cell: wrong
ones where it has wrong ones."""


@dataclass(frozen=True)
class Cost:
    """Cost of a method (or a training), evaluation excluded.

    wall_seconds: of the slowest rank.  device_seconds: sum over ranks of device time on CUDA and of
    CPU time elsewhere.  peak_memory_bytes: of the fullest rank, device memory on CUDA and resident
    memory elsewhere.  is_shared: the time is not that of one process by itself, because others used
    the device too or ranks of a team joined in, so metrics leave it out.
    passes: of samples through networks, over all ranks; a forward pass is one, a backward pass two.
    None where it was not counted, as in earlier versions.
    """

    wall_seconds: float
    device_seconds: float
    peak_memory_bytes: int
    is_shared: bool = False
    passes: int | None = None

    def to_facts(self) -> dict[str, Any]:
        """Numbers as manifests and checkpoints have them, with what has a default only where it
        says something."""
        facts = asdict(self)
        if not self.is_shared:
            del facts["is_shared"]
        if self.passes is None:
            del facts["passes"]
        return facts


@dataclass(frozen=True)
class ParameterDistance:
    """L2 distance of one parameter tensor to the same tensor of Retrained, and Retrained's norm."""

    distance: float
    norm: float


Findings = Mapping[str, Floats]
"""Findings of a probe on one model: numbers and small arrays by name."""


@dataclass(frozen=True)
class Evaluation:
    """All that a metric may look at for one run; `on` is the set that is asked about.

    probes: of the metric's own probe, by the model; empty for a metric that asks for none.
    """

    forgets: Forgets
    predictions: Mapping[Model, Predictions]
    distances: Mapping[str, ParameterDistance]
    cost: Cost | None
    retrained_cost: Cost | None
    seed: int
    on: SetName | None = None
    probes: Mapping[Model, Findings] = field(default_factory=dict)

    @property
    def unlearned(self) -> Outputs:
        return self.outputs("unlearned")

    @property
    def retrained(self) -> Outputs:
        return self.outputs("retrained")

    def outputs(self, model: Model, on: SetName | None = None) -> Outputs:
        """Outputs of a model on a set, by default on the set that is asked about."""
        name = on or self.on
        assert name is not None, "a metric without sets must name the set it reads"
        return self.predictions[model][name]

    def probe(self, name: str, model: Model = "unlearned") -> float:
        """A number that the metric's probe found of a model."""
        return float(self.probes[model][name])

    def accuracy(self, model: Model, on: SetName) -> float:
        """Share of samples of a set that a model predicts right; NaN of an empty set."""
        return self.outputs(model, on).accuracy

    def generator(self, *address: str) -> np.random.Generator:
        """Random numbers of the evaluation seed; the same for every method of the cell."""
        return np.random.default_rng(streams.derive(self.seed, "metrics", *address))
