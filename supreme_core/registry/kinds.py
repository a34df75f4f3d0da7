"""The registry of each kind of component, whose call is the decorator of that kind."""

from typing import Any

from supreme_core.registry.facts import (
    DatasetFacts,
    MethodFacts,
    MetricFacts,
    ModelFacts,
    NoFacts,
    ObjectiveFacts,
    ProbeFacts,
    ScenarioFacts,
    SeedMetricFacts,
    WrapperFacts,
)
from supreme_core.registry.registry import (
    PLUGIN_FILES,
    Registry,
    installed_plugins,
    tell_unread_plugins,
)

dataset: Registry[Any, DatasetFacts] = Registry(
    "dataset", DatasetFacts, package="supreme_core.components.datasets"
)
model: Registry[Any, ModelFacts] = Registry(
    "model", ModelFacts, package="supreme_core.components.models"
)
scenario: Registry[Any, ScenarioFacts] = Registry(
    "scenario", ScenarioFacts, package="supreme_core.components.scenarios"
)
method: Registry[Any, MethodFacts] = Registry(
    "method", MethodFacts, package="supreme_core.components.methods"
)
wrapper: Registry[Any, WrapperFacts] = Registry(
    "wrapper", WrapperFacts, package="supreme_core.components.wrappers"
)
metric: Registry[Any, MetricFacts] = Registry(
    "metric", MetricFacts, package="supreme_core.components.metrics"
)
probe: Registry[Any, ProbeFacts] = Registry(
    "probe", ProbeFacts, package="supreme_core.components.probes"
)
seed_metric: Registry[Any, SeedMetricFacts] = Registry(
    "seed_metric", SeedMetricFacts, package="supreme_core.components.seed_metrics"
)
objective: Registry[Any, ObjectiveFacts] = Registry(
    "objective", ObjectiveFacts, package="supreme_core.components.objectives"
)
optimizer: Registry[Any, NoFacts] = Registry(
    "optimizer", NoFacts, package="supreme_core.components.optimizers"
)
schedule: Registry[Any, NoFacts] = Registry(
    "schedule", NoFacts, package="supreme_core.components.schedules"
)
augmentation: Registry[Any, NoFacts] = Registry(
    "augmentation", NoFacts, package="supreme_core.components.augmentations"
)


REGISTRIES: tuple[Registry[Any, Any], ...] = (
    dataset,
    model,
    scenario,
    method,
    wrapper,
    metric,
    probe,
    seed_metric,
    objective,
    optimizer,
    schedule,
    augmentation,
)


def plugins_are_there() -> bool:
    """Return whether there is more than what the bundled catalogue knows."""
    tell_unread_plugins()
    return bool(PLUGIN_FILES) or any(installed_plugins(each.group) for each in REGISTRIES)
