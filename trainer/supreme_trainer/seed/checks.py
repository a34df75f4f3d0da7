"""Checks before anything is trained: that the model is one for the data, and that methods and
metrics find in both what they need."""

from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data
from torch import nn

from supreme_core.api.v1alpha1 import EvaluationPrecision
from supreme_core.engine.toolbox.requirements import asks_of_network, missing
from supreme_core.engine.training.precision import check_precision
from supreme_core.errors import SpecError


def refuse_unfit(context: SeedContext, data: Data) -> None:
    """SpecError names what does not fit, and what lacks."""
    check_precision(
        context.evaluation_precision,
        context.ranks.device,
        field="evaluationPrecision",
        allowed=EvaluationPrecision,
    )
    if context.components.model.variant:
        context.architecture.try_out(data.shape, context.ranks.device)
    _refuse_unfit_methods(context, data)
    _refuse_unfit_metrics(context, data)


def _refuse_unfit_methods(context: SeedContext, data: Data) -> None:
    unlearners = list(context.components.methods.values())
    needs = [unlearner.method.entry.facts.needs for unlearner in unlearners]
    is_asked = any(map(asks_of_network, needs))
    network = context.networks(data.shape).built(0) if is_asked else nn.Module()
    for position, unlearner in enumerate(unlearners):
        if lacking := missing(network, needs[position]):
            raise SpecError(
                f"spec.methods[{position}].name is {unlearner.method.entry.name!r}, which needs"
                f" {lacking}, and spec.model has none; leave it out"
            )
        part = unlearner.needs("validation")
        if part and context.components.recipe.training.validation is None:
            raise SpecError(
                f"spec.methods[{position}]: {part!r} needs validation samples, and none are"
                " set aside; give spec.training.validation a fraction"
            )


def _refuse_unfit_metrics(context: SeedContext, data: Data) -> None:
    """Refuse a metric whose probe needs what the model does not have."""
    components = context.components
    network = context.networks(data.shape).built(0) if components.probes else None
    for position, (title, metric) in enumerate(components.metrics.items()):
        if network and title in components.probes:
            needs = components.probes[title].entry.facts.needs
            if lacking := missing(network, needs):
                raise SpecError(
                    f"spec.metrics[{position}].name is {metric.entry.name!r}, which needs"
                    f" {lacking}, and spec.model has none; leave it out"
                )
