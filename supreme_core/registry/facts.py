"""Facts that a component states beside its function, and the base of its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from supreme_core.api.model import Document

Forgets = Literal["classes", "samples"]
"""Kinds of forgetting: every sample of some classes, or single samples of any class."""


Need = Literal["retain", "validation", "convolutions", "linear_head"]
"""Needs that not everybody meets. Of the data: retained samples, which an experiment always has,
but not everyone who must forget; or samples that are set aside. Of the network: convolutions whose
windows overlap, or one linear layer that gives the logits."""


SetName = Literal["forget", "retain", "test", "forget_test", "retain_test"]
"""forget and retain split the training set; forget_test and retain_test split the test set."""


TrainingPart = Literal["forget", "retain"]
"""Parts of the training set, sums over which add up to those over all of it."""


ImportanceKind = Literal["squared_loss", "absolute_output"]
"""Powers of gradients that methods share: (∂L/∂θ)², L the cross-entropy of a sample, and
|∂‖f(x)‖₂²/∂θ|."""


MetricGroup = Literal["accuracy", "distance", "composite", "membership", "recovery", "cost"]
"""Groups of metrics: how good the model is, how near to Retrained, several of these in one
number, whether the model still tells who was in the training set, how easily what was forgotten
comes back, and what it took. Tables list metrics in this order."""


Direction = Literal["retrained", "lower", "higher"]
"""Best value of a metric: that of Retrained, the lowest or the highest."""


Variants = Mapping[str, Sequence[str]]
"""The variants of a family, and of each the names of the weights that are published for it."""


class Params(Document):
    """Base of a component's settings; each field has a description, which is its documentation.

    LATER: fields that came after results had been computed, with a default that changes nothing.
    """

    LATER: ClassVar[tuple[str, ...]] = ()

    def identity(self) -> dict[str, Any]:
        """Settings that mean something for a result: every one, if a component says nothing else.
        One that came later is left out where it has its default, so that older keys stay what they
        are.
        """
        document = self.to_document()
        for name in self.LATER:
            field = type(self).model_fields[name]
            if getattr(self, name) == field.default:
                document.pop(field.alias or name, None)
        return document

    def needs(self) -> tuple[Need, ...]:
        """Needs of these settings, beside what the component always does."""
        return ()


class NoParams(Params):
    """A component without settings."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """classes: number of classes where the name fixes it, None where the data decides."""

    classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScenarioFacts:
    """poisons: the forget set is spoilt data that are nowhere else, so the cell has an original of
    its own, which is trained on them.  needs: what the split is made from beside the labels:
    `margins` are logit confidences of the training samples by the seed's original, which is then
    trained first.  alike: unseen samples can be like those to be forgotten, as those of a class
    are."""

    forgets: Forgets
    poisons: bool = False
    alike: bool = True
    needs: tuple[Literal["margins"], ...] = ()


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """paper: where the method was published.  forgets: the kinds of scenario it is defined for.
    needs: the data and the kind of network without which it cannot be.
    iterative: it trains the network that it is given, and only through `fit`, so that wrappers can
      see and end each epoch. Not so where weights are computed in one go, or the head is replaced.
    trains: it trains on samples, which can be augmented.
    importances: the kind of importance that it reads, of the original and of both parts of the
      training set, before it changes a weight. It is computed once for all methods that read it.
    importances_unless: settings with any of which it reads none.
    for_transformers: what its settings are for a vision transformer unless an experiment gives
      them, by the names that it would give: those of the type of settings were found for ResNets.
    search: the space that is searched where an experiment says no other: ranges by setting as it
      would give them, or {"epochs": [LOW, HIGH]} for whole numbers that the budget of a trial may
      cut. Empty where there is nothing to search.  search_for_transformers: ranges that are others
      for a vision transformer.  search_source: where the ranges are from.
    """

    paper: str
    forgets: tuple[Forgets, ...] = ("classes", "samples")
    needs: tuple[Need, ...] = ()
    iterative: bool = True
    trains: bool = True
    importances: ImportanceKind | None = None
    importances_unless: Mapping[str, Any] = field(default_factory=dict)
    for_transformers: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    search_for_transformers: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    search_source: str = ""


@dataclass(frozen=True, kw_only=True)
class WrapperFacts:
    """paper: where it was published.  iterative: it goes around iterative methods only.
    needs: as a method's."""

    paper: str
    iterative: bool = False
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """Facts that a published number needs beside it.

    sets: the sets on which it is defined, one row each, or () for one number of the whole run.
    unit: fraction, nats, seconds, ...  low, high: its range, None where unbounded.
    share: it is a share of the samples of its set, or of the forget set where it has no sets: a
      multiple of one over their number.
    group: what it is about; tables list the groups in the order of the type.
    direction: which value is the best. What a model says is best as Retrained says it; only
      nearness to Retrained, costs and scores that are published that way have a best end.
    compares: it measures the distance or the likeness to Retrained, so it has no gap: Retrained
      itself has the best value, which is `low` for a distance and `high` for a likeness.
    forgets: the kinds of scenario it is defined for.
    needs: models beside unlearned and retrained whose predictions it reads.
    probe: the probe whose results it reads, "" for none; its settings are then those of the probe.
    measured: it is a time or a size of this machine, so it differs from run to run.
    random: it draws random numbers from `evaluation.generator()`.
    references: the references it has a value for; Original has no run time, for example.
    default: it belongs to the default set.
    margin: the largest gap to Retrained that is of no account, in `unit`; None where nobody has
      said one, so that only the noise between Retrained models gives a margin.
    """

    unit: str
    group: MetricGroup
    sets: tuple[SetName, ...] = ()
    low: float | None = None
    high: float | None = None
    share: bool = False
    direction: Direction = "retrained"
    compares: bool = False
    forgets: tuple[Forgets, ...] = ("classes", "samples")
    needs: tuple[Literal["original", "untrained"], ...] = ()
    probe: str = ""
    measured: bool = False
    random: bool = False
    references: tuple[Literal["original", "retrained"], ...] = ("original", "retrained")
    default: bool = True
    margin: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbeFacts:
    """source: where the question was asked first.  needs: what a network must have for it."""

    source: str
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeedMetricFacts:
    """Facts that a published number over seeds needs beside it.

    numbers: what the metric gives, a row for each on each set; "" is named like the metric itself.
    sets: the sets on which it is defined, or () where it reads several for one number.
    unit, low, high, source: as of a metric.
    best: the value of perfect unlearning: the lowest, the highest, or that of Retrained against
      Retrained, which is its null.
    fewest: models that it needs on either side, so seeds twice as many.
    default: it belongs to the default set.
    """

    unit: str
    best: Literal["lowest", "highest", "null"]
    fewest: int
    numbers: tuple[str, ...] = ("",)
    sets: tuple[SetName, ...] = ()
    low: float | None = None
    high: float | None = None
    default: bool = True
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ObjectiveFacts:
    """Facts by which a reader judges a choice of settings.

    track: oracle compares with models that were retrained without the forget set; blind does
      without, as whoever unlearns because retraining is too expensive must.
    rows: rows of the table that it reads, of the trial, of Original and, of an oracle, of
      Retrained. All are of validation samples where their names say test.
    not_for: scenarios whose models should answer otherwise than it asks for.
    gamed_by: what looks good by it and is not.  source: as of a metric.
    """

    track: Literal["oracle", "blind"]
    rows: tuple[str, ...]
    not_for: tuple[str, ...] = ()
    gamed_by: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """variants: those of a family, asked for when somebody wants one; None for a single model.
    transformers: which of these are vision transformers; of a single model True or False.
    """

    variants: Callable[[], Variants] | None = None
    transformers: Callable[[], Sequence[str]] | bool = False


@dataclass(frozen=True, kw_only=True)
class NoFacts:
    """Kinds of which nothing beyond the settings need be known."""
