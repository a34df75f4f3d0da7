"""Everything that an order names, resolved through the registries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from supreme_core import registry
from supreme_core.api.orders import Work
from supreme_core.api.v1alpha1 import LabelledComponent, MethodAugmentation, MethodEntry
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import SpecError
from supreme_core.registry import Chosen, Need, Registry
from supreme_core.tuning.entries import entries_of

AnyChosen = Chosen[Any, Any]


@dataclass(frozen=True)
class Unlearner:
    """A method with the wrappers around it, the outermost first."""

    method: AnyChosen
    wrappers: tuple[AnyChosen, ...] = ()
    augmentation: MethodAugmentation = "None"

    def __call__(self, task: UnlearningTask) -> None:
        run: Callable[[UnlearningTask], None] = self.method
        for wrapper in reversed(self.wrappers):
            run = partial(wrapper, run)
        run(task)

    def meaning(self) -> dict[str, Any]:
        """Settings that mean something for a result; wrappers and augmentation only where there are
        any, so that what was computed before they could be asked for keeps its key. Which
        augmentation the original says, whose key stands beside this."""
        meaning: dict[str, Any] = {"method": self.method.identity()}
        if self.wrappers:
            meaning["wrappers"] = [wrapper.identity() for wrapper in self.wrappers]
        if self.augmentation != "None":
            meaning["augmentation"] = self.augmentation
        return meaning

    @property
    def importances(self) -> str | None:
        """Kind of importance that it reads of the original, as `plan.importances_read` says."""
        if self.wrappers:
            return None
        return self.method.entry.listed.importances_with(self.method.params.to_document())

    def needs(self, need: Need) -> str | None:
        """The name of the first part that needs it."""
        return next(
            (
                part.entry.name
                for part in (self.method, *self.wrappers)
                if need in part.entry.facts.needs + part.params.needs()
            ),
            None,
        )


@dataclass(frozen=True)
class Components:
    """The components of an experiment by their titles; SpecError where one cannot be had.

    methods: with the settings that the experiment gives.  runs: what is run in each scenario, where
    settings are tried, or were chosen for it.
    """

    dataset: AnyChosen
    model: AnyChosen
    recipe: Recipe
    scenarios: Mapping[str, AnyChosen]
    methods: Mapping[str, Unlearner]
    metrics: Mapping[str, AnyChosen]
    runs: Mapping[str, Mapping[str, Unlearner]]

    @classmethod
    def of(cls, work: Work) -> "Components":
        _check_revisions(work)
        return cls(
            dataset=registry.dataset.resolve(work.dataset, at="spec.dataset"),
            model=registry.model.resolve(work.model, at="spec.model"),
            recipe=Recipe.of(work.training),
            scenarios=_by_title(registry.scenario, work.scenarios, "spec.scenarios"),
            methods=_unlearners({each.title: each for each in work.methods}),
            metrics=_by_title(registry.metric, work.metrics, "spec.metrics"),
            runs={each.title: _unlearners(entries_of(work, each.title)) for each in work.scenarios},
        )

    @cached_property
    def probes(self) -> Mapping[str, AnyChosen]:
        """Probes that metrics ask of the model itself, by the title of the metric, with their
        settings."""
        return {
            title: Chosen(registry.probe.get(metric.entry.facts.probe), metric.params)
            for title, metric in self.metrics.items()
            if metric.entry.facts.probe
        }


def _unlearners(entries: Mapping[str, MethodEntry]) -> Mapping[str, Unlearner]:
    return {
        title: Unlearner(
            registry.method.resolve(entry, at=f"spec.methods[{position}]"),
            tuple(
                registry.wrapper.resolve(wrapper, at=f"spec.methods[{position}].wrappers[{place}]")
                for place, wrapper in enumerate(entry.wrappers)
            ),
            entry.augmentation,
        )
        for position, (title, entry) in enumerate(entries.items())
    }


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
