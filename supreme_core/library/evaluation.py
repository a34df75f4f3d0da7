"""Metrics of experiments on networks and data of one's own."""

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from supreme_core import registry
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import SpecError, number_of
from supreme_core.library import arguments
from supreme_core.library.own_data import (
    Images,
    OwnNetwork,
    check_datasets,
    split_by_labels,
)
from supreme_core.plan import default_metrics
from supreme_core.randomness.streams import Streams
from supreme_core.registry import catalog
from supreme_core.scoring.evaluation import Evaluation, Model, ParameterDistance, Predictions
from supreme_core.scoring.predictions import Logits, split_predictions
from supreme_core.scoring.rows import ChosenMetric, measure
from supreme_core.scoring.run_scoring import NumpyWeights, distances


def evaluate(
    model: nn.Module,
    retrained: nn.Module,
    *,
    forget: Images,
    retain: Images,
    test: Images,
    original: nn.Module | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float | None]:
    """Numbers of an unlearned model beside the model that was retrained without the forget set.

    model, retrained, original: give logits (n, classes) for float images (n, channels, size,
    size). None of them is changed. `original` is the model before unlearning, which some metrics
    compare with; without it these have no rows.
    forget, retain: the two parts of the training set, as for `unlearn`.  test: data of the same
    kind that no model was trained on. Where whole classes are forgotten, their test samples are the
    set `forget_test`, and the others `retain_test`.
    metrics: names that `supreme list metric` shows; None for the default set without costs and
    without metrics that look at a model itself, for which an experiment is needed.
    seed: of metrics that draw random numbers.

    Returns values by row, in the order of the metrics and their sets, such as `forget_accuracy`, a
    fraction of 0 to 1; None where a metric is not defined. `supreme list metric` shows units and
    ranges. One model is one seed: whether a difference means anything, an experiment over many
    seeds says.

    Raises SpecError, which names the argument, where something cannot be used.
    """
    chosen = _metrics(metrics, has_original=original is not None)
    seed = arguments.seed_number(seed)
    check_datasets(forget=forget, retain=retain, test=test)
    own = OwnNetwork.of(model, forget, name="model")
    sets = _OwnSets(own, forget, retain, test)
    others: dict[Model, OwnNetwork] = {"retrained": sets.like(retrained, "retrained")}
    if original is not None:
        others["original"] = sets.like(original, "original")
    evaluation = Evaluation(
        forgets=sets.forgets,
        predictions={
            "unlearned": sets.predictions(own),
            **{name: sets.predictions(each) for name, each in others.items()},
        },
        distances=_distances(own, others["retrained"]),
        cost=None,
        retrained_cost=None,
        seed=Streams(seed, "independent").evaluation(0),
    )
    return measure(chosen, evaluation)


class _OwnSets:
    """Training and test samples as one network takes them, and their split."""

    def __init__(self, own: OwnNetwork, forget: Images, retain: Images, test: Images) -> None:
        self._own, self._images = own, forget
        self.train = own.samples(forget=forget, retain=retain)
        self.test = own.samples(test=test)
        self.split, self.forgets = split_by_labels(self.train, forget, self.test)

    def like(self, network: nn.Module, name: str) -> OwnNetwork:
        """Another network for the same images, on the same device."""
        found = OwnNetwork.of(network, self._images, name=name)
        if found.shape != self._own.shape:
            classes = number_of(found.shape.classes, "class", "classes")
            raise SpecError(
                f"{name} has {classes}, model has {self._own.shape.classes}; give models of the"
                " same classes"
            )
        found.network.to(self._own.device, self._own.dtype)
        return found

    def predictions(self, own: OwnNetwork) -> Predictions:
        split, (train, test) = self.split, (self.train, self.test)
        return split_predictions(
            self._logits(own, train),
            train.labels.cpu().numpy(),
            self._logits(own, test),
            test.labels.cpu().numpy(),
            forget=split.forget,
            retain=split.retain,
            forget_test=split.forget_test,
            retain_test=split.retain_test,
        )

    def _logits(self, own: OwnNetwork, samples: Samples) -> Logits:
        ranks = Ranks.alone(self._own.device)
        return predict(own.network, samples, classes=own.shape.classes, ranks=ranks)


def _metrics(names: Sequence[str] | None, *, has_original: bool) -> list[ChosenMetric]:
    """Metrics that can be computed without an experiment; SpecError for others that are named."""
    known = catalog.installed()
    if names is None:
        listed = default_metrics(known)
        return [each for each in map(_chosen, listed) if not _lack(each, has_original)]
    if isinstance(names, str):
        raise SpecError(f"metrics is {names!r}; allowed: a list of names, such as [{names!r}]")
    if not isinstance(names, Iterable):
        raise SpecError(f"metrics is of type {type(names).__name__}; allowed: a list of names")
    found = []
    for place, name in enumerate(names):
        arguments.text(f"metrics[{place}]", name, "a name that `supreme list metric` shows")
        try:
            metric = _chosen(LabelledComponent(name=name))
        except SpecError as error:
            raise SpecError(f"metrics[{place}]: {error}") from None
        if lack := _lack(metric, has_original):
            raise SpecError(f"metrics[{place}] is {name!r}, which needs {lack}")
        found.append(metric)
    return found


def _chosen(component: LabelledComponent) -> ChosenMetric:
    entry = registry.metric.get(component.name)
    return component.name, entry, entry.params()


def _lack(metric: ChosenMetric, has_original: bool) -> str:
    """Need of a metric that is not met here; empty where all are."""
    facts = metric[1].facts
    if facts.measured:
        return "a run that was measured, so it needs an experiment"
    if facts.probe or "untrained" in facts.needs:
        return "more than predictions of the models, so it needs an experiment"
    if "original" in facts.needs and not has_original:
        return "original, the model before unlearning"
    return ""


def _distances(own: OwnNetwork, retrained: OwnNetwork) -> Mapping[str, ParameterDistance]:
    """Distances of the weights; none where the two networks have other weights."""
    here, there = (_arrays(each.network) for each in (own, retrained))
    shapes = [{name: array.shape for name, array in each.items()} for each in (here, there)]
    return distances(here, there) if shapes[0] == shapes[1] else {}


def _arrays(network: nn.Module) -> NumpyWeights:
    state = network.state_dict()
    return {
        name: each.double().cpu().numpy()
        for name, each in state.items()
        if each.is_floating_point()
    }
