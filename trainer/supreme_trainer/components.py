"""Everything that an order names, resolved through the registries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supreme_core import registry
from supreme_core.api.run import Work
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.engine.recipe import Recipe
from supreme_core.errors import SpecError
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
        _check_revisions(work)
        return cls(
            dataset=registry.dataset.resolve(work.dataset, at="spec.dataset"),
            model=registry.model.resolve(work.model, at="spec.model"),
            recipe=Recipe.of(work.training),
            scenarios=_by_title(registry.scenario, work.scenarios, "spec.scenarios"),
            methods=_by_title(registry.method, work.methods, "spec.methods"),
            metrics=_by_title(registry.metric, work.metrics, "spec.metrics"),
        )


def _check_revisions(work: Work) -> None:
    """Nothing may be computed by other code than what the result will be taken to come from."""
    kinds = {each.kind: each for each in registry.REGISTRIES}
    for planned in work.revisions:
        entry = kinds[planned.kind].get(planned.name)
        if (entry.version, entry.plugin or None) != (planned.version, planned.plugin):
            raise SpecError(
                f"{planned.kind} {planned.name!r} is of another version or file than the order"
                " says; was it changed meanwhile? Start again"
            )


def _by_title(
    kind: Registry[Any, Any], components: Sequence[LabelledComponent], at: str
) -> Mapping[str, AnyChosen]:
    return {
        component.title: kind.resolve(component, at=f"{at}[{position}]")
        for position, component in enumerate(components)
    }
