"""Everything that an order names, resolved through the registries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from supreme_core import registry
from supreme_core.api.run import Work
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.engine.recipe import Recipe
from supreme_core.registry import Chosen, Registry

AnyChosen = Chosen[Any, Any]


@dataclass(frozen=True)
class Components:
    """The components of an experiment by their titles; SpecError where one cannot be had."""

    dataset: AnyChosen
    model: AnyChosen
    recipe: Recipe
    scenarios: Mapping[str, AnyChosen]
    methods: Mapping[str, AnyChosen]
    metrics: Mapping[str, AnyChosen]

    @classmethod
    def of(cls, work: Work) -> "Components":
        return cls(
            dataset=registry.dataset.resolve(work.dataset, at="spec.dataset"),
            model=registry.model.resolve(work.model, at="spec.model"),
            recipe=Recipe.of(work.training),
            scenarios=_by_title(registry.scenario, work.scenarios, "spec.scenarios"),
            methods=_by_title(registry.method, work.methods, "spec.methods"),
            metrics=_by_title(registry.metric, work.metrics, "spec.metrics"),
        )

    @cached_property
    def probes(self) -> Mapping[str, AnyChosen]:
        """What metrics ask of the model itself, by the title of the metric, with its settings."""
        return {
            title: Chosen(registry.probe.get(metric.entry.facts.probe), metric.params)
            for title, metric in self.metrics.items()
            if metric.entry.facts.probe
        }


def _by_title(
    kind: Registry[Any, Any], components: Sequence[LabelledComponent], at: str
) -> Mapping[str, AnyChosen]:
    return {
        component.title: kind.resolve(component, at=f"{at}[{position}]")
        for position, component in enumerate(components)
    }
