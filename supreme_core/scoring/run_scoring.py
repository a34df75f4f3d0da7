"""The numbers of one run from what is stored: what goes into them, and what their stage means.

The trainer and `supreme recompute` both score by this module, so they give the same bits. It needs
numpy only.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from supreme_core.api.canonical import digest
from supreme_core.api.names import ORIGINAL, REFERENCES
from supreme_core.errors import CorruptArtefact, FailedBefore, GivenUp, escaped, one_line
from supreme_core.randomness.streams import Streams
from supreme_core.registry import Chosen, Forgets
from supreme_core.scoring.evaluation import (
    Cost,
    Evaluation,
    Findings,
    Model,
    ParameterDistance,
    Predictions,
)
from supreme_core.scoring.predictions import load_predictions
from supreme_core.scoring.rows import measure
from supreme_core.system.faults import fault_of

BUFFERS = ("running_mean", "running_var")

Cause = Literal["method", "metric", "infrastructure"]
StageFacts = Mapping[str, Any]
NumpyWeights = Mapping[str, NDArray[Any]]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Unlearned:
    """Predictions, distances and cost that are kept of an unlearned model; of a reference too,
    where its metrics are computed."""

    predictions: Predictions
    distances: Mapping[str, ParameterDistance]
    cost: Cost | None


class Input(Protocol[T_co]):
    """A stage's result for whoever asks: its key at once, its value when it is needed."""

    @property
    def key(self) -> str: ...

    def value(self) -> T_co: ...


class TrainedModel(Protocol):
    """A trained reference: its weights, and what training it took."""

    @property
    def arrays(self) -> NumpyWeights: ...

    @property
    def cost(self) -> Cost: ...


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Original or a replica of Retrained, which runs are compared with."""

    name: str
    training: Input[TrainedModel]
    predictions: Input[Predictions]


@dataclass(frozen=True)
class ReferenceRun:
    """A reference as a run beside those of the methods: training it is no unlearning."""

    reference: Reference
    retrained: Reference | None

    @property
    def key(self) -> str:
        return self.reference.predictions.key

    def value(self) -> Unlearned:
        training = self.reference.training.value()
        retrained = self.retrained.training.value() if self.retrained else None
        return Unlearned(
            self.reference.predictions.value(),
            distances(training.arrays, retrained.arrays) if retrained else {},
            cost=None if self.reference.name == ORIGINAL else training.cost,
        )


@dataclass(frozen=True)
class PredictionsAlone:
    """Predictions of a model that no method has made, as a run."""

    predictions: Input[Predictions]

    @property
    def key(self) -> str:
        return self.predictions.key

    def value(self) -> Unlearned:
        return Unlearned(self.predictions.value(), {}, cost=None)


@dataclass(frozen=True)
class ReadInputs:
    """Inputs of one run as they were read.  probes: by the model and by `probe_title`."""

    own: Unlearned
    predictions: Mapping[Model, Predictions]
    retrained_cost: Cost | None
    probes: Mapping[Model, Mapping[str, Findings]]


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """Everything that the numbers of one run are made from. The trainer gives what it computes, and
    `supreme recompute` what a trainer stored.

    method: whose numbers they are.  repeat: of unlearning, or which replica.
    own: of the run's own model, also where that is a reference.
    retrained: None in trials that are compared without it.
    untrained: None where no metric compares with it.
    probes: what probes found, by the model and by `probe_title`.
    """

    method: str
    repeat: int
    own: Input[Unlearned]
    original: Reference
    retrained: Reference | None
    untrained: Input[Predictions] | None = None
    probes: Mapping[Model, Mapping[str, Input[Findings]]] = field(default_factory=dict)

    @property
    def models(self) -> dict[Model, Input[Predictions]]:
        """Predictions of the models beside the run's own."""
        found: dict[Model, Input[Predictions]] = {"original": self.original.predictions}
        if self.retrained:
            found["retrained"] = self.retrained.predictions
        if self.untrained:
            found["untrained"] = self.untrained
        return found

    def compared(self) -> dict[str, Any]:
        """Keys of all predictions and probes, as the record of the run has them."""
        others = {model: predictions.key for model, predictions in self.models.items()}
        return {
            "predictions": {"unlearned": self.own.key, **others},
            "probes": {
                model: {title: found.key for title, found in probes.items()}
                for model, probes in self.probes.items()
            },
        }

    def read(self) -> ReadInputs:
        return ReadInputs(
            predictions={model: each.value() for model, each in self.models.items()},
            own=self.own.value(),
            retrained_cost=self.retrained.training.value().cost if self.retrained else None,
            probes={
                model: {title: found.value() for title, found in probes.items()}
                for model, probes in self.probes.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Choice of numbers: the metrics, and what they are made from.

    repeats: of metrics that draw.
    """

    metrics: Mapping[str, Chosen[Any, Any]]
    inputs: RunInputs
    forgets: Forgets
    streams: Streams
    repeats: int

    @property
    def reference(self) -> Literal["original", "retrained"] | None:
        """Reference that the run is, if it is one; some metrics have no value for a reference."""
        method = self.inputs.method
        return method if method in REFERENCES else None  # type: ignore[return-value]

    def meaning(self) -> dict[str, Any]:
        """Everything that the numbers depend on."""
        compared = self.inputs.compared()
        return {
            **({"probes": compared["probes"]} if compared["probes"] else {}),
            "predictions": compared["predictions"],
            "reference": self.reference,
            "metrics": {title: metric.identity() for title, metric in self.metrics.items()},
            "seed": self.streams.seed,
            "repeats": self.repeats,
            **(self._stream_meaning() if self._draws else {}),
        }

    @property
    def _draws(self) -> bool:
        return any(metric.entry.facts.random for metric in self.metrics.values())

    @property
    def _unlearning_repeat(self) -> int:
        """Replicas of Retrained are compared, so they are scored with the same random numbers."""
        return 0 if self.reference else self.inputs.repeat

    def _stream_meaning(self) -> dict[str, Any]:
        """Meaning of random numbers that are not those of the first repeat of an independent
        seed."""
        if self.streams.protocol == "matched":
            return {"protocol": "matched"}
        return {"unlearningRepeat": self._unlearning_repeat} if self._unlearning_repeat else {}

    def values(self, read: ReadInputs) -> dict[str, float | None]:
        """The numbers by row, from what `inputs` read."""
        evaluation = Evaluation(
            forgets=self.forgets,
            predictions={"unlearned": read.own.predictions, **read.predictions},
            distances=read.own.distances,
            cost=_by_itself(read.own.cost),
            retrained_cost=_by_itself(read.retrained_cost),
            seed=self.streams.evaluation(self._unlearning_repeat),
        )
        values: dict[str, float | None] = {}
        for title, metric in self.metrics.items():
            found = {}
            if metric.entry.facts.probe:
                title_of_probe = probe_title(metric)
                found = {model: each[title_of_probe] for model, each in read.probes.items()}
            values |= measure(
                [(title, metric.entry, metric.params)],
                replace(evaluation, probes=found),
                repeats=self.repeats,
                reference=self.reference,
            )
        return values


def _by_itself(cost: Cost | None) -> Cost | None:
    """A cost that can be compared with others; None where the device or the work was shared."""
    return None if cost is None or cost.is_shared else cost


def probe_title(metric: Chosen[Any, Any]) -> str:
    """Name and settings of the probe that a metric reads; for metrics that have a probe."""
    assert metric.entry.facts.probe
    return f"{metric.entry.facts.probe}-{digest(metric.params.identity())[:12]}"


def needs_untrained(metrics: Mapping[str, Chosen[Any, Any]]) -> bool:
    """Return whether a metric compares with the predictions of a network that was never trained."""
    return any("untrained" in metric.entry.facts.needs for metric in metrics.values())


def distances(here: NumpyWeights, retrained: NumpyWeights) -> dict[str, ParameterDistance]:
    """L2 distance of each tensor to Retrained's, in float64; buffers are no parameters."""
    found = {}
    for name in sorted(here):
        if np.issubdtype(here[name].dtype, np.floating) and not name.endswith(BUFFERS):
            there = retrained[name].astype(np.float64)
            found[name] = ParameterDistance(
                distance=_norm(here[name].astype(np.float64) - there), norm=_norm(there)
            )
    return found


def read_unlearned(facts: StageFacts, predictions: Path) -> Unlearned:
    found = _fact(facts, "distances")
    return Unlearned(
        predictions=load_predictions(predictions),
        distances={name: _numbers(ParameterDistance, found[name], name) for name in found},
        cost=read_cost(facts),
    )


def read_cost(facts: StageFacts) -> Cost:
    found = dict(_fact(facts, "cost"))
    is_shared = found.pop("is_shared", False)
    if not isinstance(is_shared, bool):
        raise _unlike("cost")
    return replace(_numbers(Cost, found, "cost"), is_shared=is_shared)


def read_metrics(facts: StageFacts) -> dict[str, float | None]:
    """The numbers of a stage of metrics, by row."""
    found = _fact(facts, "metrics")
    for row, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise _unlike(row)
    return dict(found)


N = TypeVar("N", Cost, ParameterDistance)


def _fact(facts: StageFacts, name: str) -> Mapping[str, Any]:
    found = facts.get(name)
    if not isinstance(found, Mapping):
        raise _unlike(name)
    return found


def _numbers(kind: type[N], values: object, name: str) -> N:
    """A record of numbers, none of which is below 0; one that has a default may be missing."""
    known = {part.name for part in fields(kind)}
    wanted = {part.name for part in fields(kind) if part.default is MISSING}
    if not isinstance(values, Mapping) or not wanted <= values.keys() <= known:
        raise _unlike(name)
    for value in values.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise _unlike(name)
    return kind(**values)


def _unlike(name: str) -> CorruptArtefact:
    return CorruptArtefact(f"the facts of a manifest have no {name!r} such as SUPREME writes")


def reason(error: Exception, *, during: str = "") -> str:
    """A failure in foreign code, as the record of its run tells it."""
    if isinstance(error, FailedBefore):
        return one_line(error, 1000)
    where = f"{during}: " if during else ""
    out = "out of memory: " if fault_of(error) == "memory" else ""
    return escaped(f"{where}{out}{type(error).__name__}: {error}".splitlines()[0][:1000])[:1000]


def cause_of(error: Exception, *, during: str = "") -> Cause:
    """Cause of a failure: the machine, a metric (`during`), or the method."""
    if isinstance(error, GivenUp) or fault_of(error):
        return "infrastructure"
    return "metric" if during else "method"


def _norm(tensor: NDArray[np.float64]) -> float:
    # Not numpy.linalg.norm: BLAS adds in an order that depends on its number of threads.
    return float(np.sqrt(np.sum(np.square(tensor.ravel()))))
