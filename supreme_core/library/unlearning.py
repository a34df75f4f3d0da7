"""Unlearning on a network and data of one's own, with any method that experiments have."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.requirements import missing
from supreme_core.engine.toolbox.unlearning import UnlearningProblem, refuse_nonfinite
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.errors import SpecError
from supreme_core.library import arguments
from supreme_core.library.own_data import (
    Images,
    OwnNetwork,
    check_datasets,
    refuse_other_weights,
    refuse_untrainable,
    split_by_labels,
)
from supreme_core.registry import Chosen, Forgets

NewModel = Callable[[], nn.Module]


def unlearn(
    model: nn.Module,
    forget: Images,
    retain: Images,
    method: str = "ssd",
    *,
    seed: int = 0,
    new_model: NewModel | None = None,
    **settings: Any,
) -> nn.Module:
    """A copy of a trained model that has forgotten some of its training samples.

    model: gives logits (n, classes) for float images (n, channels, size, size). It is not changed,
    and the copy is made and left on its device, in eval mode.
    forget, retain: the two parts of its training set: data sets of pairs (image, label), where an
    image is a float tensor (channels, size, size) as the model sees it, already normalised, and a
    label an int from 0. An image is read each time that it is used, so leave random augmentation
    out. Where no class of `forget` is in `retain`, these classes are forgotten; otherwise single
    samples are, and every label stays a right one.
    method: a name that `supreme list method` shows.  settings: those of the method, which it shows
    too, as `batch_size=64` or `batchSize`; `lambda_` for lambda. Defaults are those that were found
    for ResNets, also for a vision transformer. At least one parameter has to require a gradient.
    seed: of every random draw, 0 to 2**32 - 1. The same seed gives the same model where torch
    computes the same bits, see `torch.use_deterministic_algorithms`.
    new_model: makes an untrained network of the same kind, which a few methods need. By default
    every layer of a copy is reset, which is refused where a parameter stands in no layer of torch.

    Raises SpecError, which names the argument, where something cannot be used, and MethodFailed
    where the method diverged.
    """
    chosen = _chosen(method, settings)
    seed = arguments.seed_number(seed)
    if new_model is not None and not callable(new_model):
        raise SpecError(f"new_model is of type {type(new_model).__name__}; allowed: a function")
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        check_datasets(forget=forget, retain=retain)
        own = OwnNetwork.of(model, forget, name="model")
        refuse_untrainable(own.network)
        samples = own.samples(forget=forget, retain=retain)
        split, forgets = split_by_labels(samples, forget)
        _refuse_other_needs(chosen, forgets, own.network, method)
        problem = UnlearningProblem(
            networks=NetworkFactory(
                architecture=Architecture(build=lambda shape: _fresh(model, new_model, method)),
                shape=own.shape,
                device=own.device,
            ),
            train=samples,
            split=split,
            forgets=forgets,
            numerics=NumericsPolicy(Reduction(Ranks.alone(own.device), 1)),
        )
        unlearned = problem.unlearn(chosen, own.network, seed=seed)
        refuse_nonfinite(unlearned)
        return unlearned


def _chosen(method: str, settings: dict[str, Any]) -> Chosen[Any, Any]:
    """The method with its settings, by their names in Python or in an experiment."""
    allowed = "a name that `supreme list method` shows"
    entry = registry.method.get(arguments.text("method", method, allowed))
    aliases = {name: field.alias or name for name, field in entry.params.model_fields.items()}
    given = {aliases.get(name, name): arguments.plain(value) for name, value in settings.items()}
    if len(given) < len(settings):
        twice = next(
            name
            for name, alias in aliases.items()
            if name != alias and {name, alias} <= {*settings}
        )
        raise SpecError(
            f"settings has {twice} and {aliases[twice]}, which are one; give one of them"
        )
    return Chosen(entry, parse(entry.params, given, at="settings"))


def _refuse_other_needs(
    chosen: Chosen[Any, Any], forgets: Forgets, network: nn.Module, method: str
) -> None:
    """Refuse a method that forgets other things, or needs what the network does not have."""
    facts = chosen.entry.facts
    if forgets not in facts.forgets:
        raise SpecError(
            f"method is {method!r}, which forgets whole {facts.forgets[0]}, and retain has"
            " samples of every class of forget"
        )
    if lacking := missing(network, facts.needs):
        raise SpecError(f"method is {method!r}, which needs {lacking}, and model has none")


def _fresh(model: nn.Module, new_model: NewModel | None, method: str) -> nn.Module:
    """An untrained network of the same kind."""
    if new_model is not None:
        network = deepcopy(new_model())  # which may be a network that others use
        refuse_other_weights(network, model, name="new_model")
        return network
    network = deepcopy(model)
    for name, module in network.named_modules():
        # What an attention of torch calls it, whose parameters are no layer's.
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        own = [each for each, _ in module.named_parameters(name, recurse=False)]
        if reset is not None:
            with torch.no_grad():
                reset()
        elif own:
            raise SpecError(
                f"method is {method!r}, which needs an untrained model, and {own[0]!r} of model"
                " cannot be reset; give new_model, a function that makes one"
            )
    return network
