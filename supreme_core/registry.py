"""One registry for each kind of component: a decorator, discovery, and names that say what is near.

    @method(paper="arXiv:2302.09880", forgets=("classes", "samples"))
    def scrub(task: UnlearningTask, params: ScrubParams) -> None: ...

The registered name is the function's name, its settings are the type of its last argument, and the
file that holds it is found because it stands in the kind's folder, behind an entry point of the
group `supreme_bench.<kind>s`, or is given by name (see `plugins`).

A model may be a family, of which a user chooses one as FAMILY/VARIANT or FAMILY/VARIANT.WEIGHTS:
`timm/vit_base_patch16_224.mae`. Its function gets the variant as its first argument.
"""

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar, get_type_hints

from supreme_core.api.model import Document, parse
from supreme_core.api.v1alpha1 import Component
from supreme_core.errors import SpecError, nearest, one_line
from supreme_core.system.faults import raise_fault

logger = logging.getLogger(__name__)

GROUPS: Final = "supreme_bench."
"""Beginning of the entry-point groups of plug-ins; the kind follows, with an s."""
UNREAD_GROUPS: Final = "supreme."
"""Beginning of groups that the plug-ins of supreme-unlearning use, and ours once did."""

Forgets = Literal["classes", "samples"]
"""What a scenario forgets: every sample of some classes, or single samples of any class."""

Need = Literal["retain", "validation", "convolutions", "linear_head"]
"""What not everybody has. Of the data: retained samples, which an experiment always has, but not
everyone who must forget; or samples that are set aside. Of the network: convolutions whose windows
overlap, or one linear layer that gives the logits."""

SetName = Literal["forget", "retain", "test", "forget_test", "retain_test"]
"""forget and retain split the training set; forget_test and retain_test split the test set."""

MetricGroup = Literal["accuracy", "distance", "composite", "membership", "recovery", "cost"]
"""What a metric is about: how good the model is, how near to Retrained, several of these in one
number, whether the model still tells who was in the training set, how easily what was forgotten
comes back, and what it took. Tables list metrics in this order."""

Direction = Literal["retrained", "lower", "higher"]
"""Which value of a metric is the best: that of Retrained, the lowest or the highest."""

Variants = Mapping[str, Sequence[str]]
"""The variants of a family, and of each the names of the weights that are published for it."""


class Params(Document):
    """Base of a component's settings; each field has a description, which is its documentation.

    LATER: fields that came after results had been computed, with a default that changes nothing.
    """

    LATER: ClassVar[tuple[str, ...]] = ()

    def identity(self) -> dict[str, Any]:
        """What means something for a result: every setting, if a component says nothing else. One
        that came later is left out where it has its default, so that older keys stay what they are.
        """
        document = self.to_document()
        for name in self.LATER:
            field = type(self).model_fields[name]
            if getattr(self, name) == field.default:
                document.pop(field.alias or name, None)
        return document

    def needs(self) -> tuple[Need, ...]:
        """What these settings need, beside what the component always does."""
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
    margins of the training samples by the seed's original, which is then trained first."""

    forgets: Forgets
    poisons: bool = False
    needs: tuple[Literal["margins"], ...] = ()


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """paper: where the method was published.  forgets: the kinds of scenario it is defined for.
    needs: the data and the kind of network without which it cannot be.
    iterative: it trains the network that it is given, and only through `fit`, so that wrappers can
      see and end each epoch. Not so where weights are computed in one go, or the head is replaced.
    trains: it trains on samples, which can be augmented.
    for_transformers: what its settings are for a vision transformer unless an experiment gives
      them, by the names that it would give: those of the type of settings were found for ResNets.
    """

    paper: str
    forgets: tuple[Forgets, ...] = ("classes", "samples")
    needs: tuple[Need, ...] = ()
    iterative: bool = True
    trains: bool = True
    for_transformers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WrapperFacts:
    """paper: where it was published.  iterative: it goes around iterative methods only.
    needs: as a method's."""

    paper: str
    iterative: bool = False
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """What a published number needs beside it.

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
    """What a published number over seeds needs beside it.

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
class ModelFacts:
    """variants: those of a family, asked for when somebody wants one; None for a single model.
    transformers: which of these are vision transformers; of a single model True or False.
    """

    variants: Callable[[], Variants] | None = None
    transformers: Callable[[], Sequence[str]] | bool = False


@dataclass(frozen=True, kw_only=True)
class NoFacts:
    """Kinds of which nothing beyond the settings need be known."""


Function = TypeVar("Function", bound=Callable[..., Any])
Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Entry(Generic[Function, Facts]):
    """One registered component.

    version: raised when the component's numbers change.  plugin: the sha256 of the single file that
    it comes from, "" for components of packages, whose authors raise versions.
    """

    kind: str
    name: str
    function: Function
    params: type[Params]
    facts: Facts
    version: int
    summary: str
    module: str = field(compare=False)
    plugin: str = ""

    def describe(self) -> dict[str, Any]:
        """The entry as the catalogue lists it, in plain JSON values."""
        return {
            "version": self.version,
            "summary": self.summary,
            "facts": {
                name: _plain(value)
                for name, value in asdict(self.facts).items()  # type: ignore[call-overload]
            },
            "params": self.params.model_json_schema(by_alias=True),
            **({"plugin": self.plugin} if self.plugin else {}),
        }

    @property
    def variants(self) -> Variants | None:
        """Those of a family, None for anything else."""
        ask: Callable[[], Variants] | None = getattr(self.facts, "variants", None)
        return ask() if ask else None


@dataclass(frozen=True)
class Chosen(Generic[Function, Facts]):
    """A component with its settings, as an experiment asked for it.

    variant: which one of a family, "" for anything else.
    """

    entry: Entry[Function, Facts]
    params: Params
    variant: str = ""

    def identity(self) -> dict[str, Any]:
        """What means something for a result: the name, the version, and every setting; of a
        single file also its bytes."""
        return {
            "name": f"{self.entry.name}/{self.variant}" if self.variant else self.entry.name,
            "version": self.entry.version,
            "params": self.params.identity(),
            **({"plugin": self.entry.plugin} if self.entry.plugin else {}),
        }

    def __call__(self, *arguments: Any) -> Any:
        which = (self.variant,) if self.variant else ()
        return self.entry.function(*which, *arguments, self.params)


class Registry(Generic[Function, Facts]):
    """All components of one kind. Calling it gives the decorator that adds one."""

    def __init__(self, kind: str, facts: type[Facts], *, package: str) -> None:
        self.kind = kind
        self.package = package
        self.group = f"{GROUPS}{kind}s"
        self._facts = facts
        self._entries: dict[str, Entry[Function, Facts]] = {}
        self._discovered = False

    def __call__(self, *, version: int = 1, **facts: Any) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            self._add(function, version=version, facts=self._facts(**facts))
            return function

        return register

    def get(self, name: str) -> Entry[Function, Facts]:
        """The entry of that name; SpecError names the nearest where there is none."""
        self.discover()
        entry = self._entries.get(name.partition("/")[0])
        if entry is None or not is_one_of(name, entry.variants):
            asked = {each: self._entries[each].variants for each in self._entries}
            raise SpecError(unknown_component(self.kind, name, asked))
        return entry

    def resolve(self, component: Component, *, at: str) -> "Chosen[Function, Facts]":
        """The entry with its settings read; SpecError names the field under `at`."""
        try:
            entry = self.get(component.name)
        except SpecError as error:
            raise SpecError(f"{at}.name: {error}") from None
        params = parse(entry.params, component.params, at=f"{at}.params")
        return Chosen(entry, params, variant=component.name.partition("/")[2])

    def entries(self) -> list[Entry[Function, Facts]]:
        self.discover()
        return [self._entries[name] for name in sorted(self._entries)]

    def discover(self) -> None:
        """Import every module of the kind's package, then the plug-ins that are installed."""
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        tell_unread_plugins()
        for plugin in entry_points(group=self.group):
            _load(plugin)

    def _add(self, function: Function, *, version: int, facts: Facts) -> None:
        name, params = function.__name__, _params_type(function)
        if plugin := PLUGIN_FILES.get(function.__module__, ""):
            self.discover()  # a name may be that of a component which was not asked for yet
            if taken := self._entries.get(name):
                raise SpecError(
                    f"{self.kind} {name!r} is there already, in {taken.module}; take another name"
                )
        if name in self._entries:
            raise ValueError(
                f"{self.kind} {name!r} is registered twice: by {self._entries[name].module}"
                f" and by {function.__module__}"
            )
        settings = {field.alias or key for key, field in params.model_fields.items()}
        for setting in getattr(facts, "for_transformers", ()):
            if setting not in settings:
                raise TypeError(f"{name} has no setting {setting!r}, as for_transformers says")
        self._entries[name] = Entry(
            kind=self.kind,
            name=name,
            function=function,
            params=params,
            facts=facts,
            version=version,
            summary=(inspect.getdoc(function) or "").partition("\n")[0],
            module=function.__module__,
            plugin=plugin,
        )


PLUGIN_FILES: dict[str, str] = {}
"""The sha256 of each single file that was given, by the name of the module that it has become."""


def plugins_are_there() -> bool:
    """Whether there is more than what the bundled catalogue knows."""
    tell_unread_plugins()
    return bool(PLUGIN_FILES) or any(entry_points(group=each.group) for each in REGISTRIES)


@cache
def tell_unread_plugins() -> None:
    """Warn, once in a process, of plug-ins in groups that SUPREME does not read.

    They are not imported: plug-ins of supreme-unlearning use the same names of groups.
    """
    for package in distributions():
        for plugin in package.entry_points:
            if plugin.group.startswith(UNREAD_GROUPS):
                kind = plugin.group.removeprefix(UNREAD_GROUPS)
                logger.warning(
                    "%s registers %r in the entry-point group %r, which SUPREME does not read; a"
                    " plug-in of SUPREME registers in %r",
                    one_line(package.name),
                    one_line(plugin.name),
                    one_line(plugin.group),
                    one_line(f"{GROUPS}{kind}"),
                )


def _load(plugin: EntryPoint) -> None:
    try:
        plugin.load()
    except (Exception, SystemExit) as error:  # foreign code
        raise_fault(error)
        package = f" of {plugin.dist.name}" if plugin.dist else ""
        why = one_line(f"{type(error).__name__}: {error}")
        raise SpecError(f"plug-in {plugin.value}{package} cannot be imported: {why}") from error


def is_one_of(name: str, variants: Variants | None) -> bool:
    """Whether a name chooses a component that has these variants, or none."""
    _, slash, variant = name.partition("/")
    if variants is None:
        return not slash
    architecture, dot, weights = variant.partition(".")
    return architecture in variants and (not dot or weights in variants[architecture])


def unknown(kind: str, name: str, allowed: Mapping[str, object]) -> str:
    known = f"; known: {', '.join(sorted(allowed))}" if len(allowed) <= 12 else ""
    return f"unknown {kind} {name!r}{nearest(name, allowed) or known}"


def unknown_component(kind: str, name: str, known: Mapping[str, Variants | None]) -> str:
    """What to say of a name that chooses none of the known components, by their variants."""
    if "/" not in name and (variants := known.get(name)):
        return (
            f"{kind} {name!r} is a family of {len(variants)}; write {name}/NAME, and see"
            f" `supreme list {kind} --find TEXT` for the names"
        )
    if near := nearest(name, _near(name, known)):
        return f"unknown {kind} {name!r}{near}"
    listed = [each if variants is None else f"{each}/NAME" for each, variants in known.items()]
    return unknown(kind, name, dict.fromkeys(listed))


def _near(wrong: str, known: Mapping[str, Variants | None]) -> Iterator[str]:
    """Names that a wrong one is compared with; of weights only those of its own variant."""
    architecture, dot, _ = wrong.partition("/")[2].partition(".")
    for name, variants in known.items():
        if variants is None:
            yield name
        elif dot and architecture in variants:
            yield from (f"{name}/{architecture}.{each}" for each in variants[architecture])
        else:
            yield from (f"{name}/{each}" for each in variants)


def _plain(value: object) -> object:
    """A fact as JSON has it."""
    if callable(value):
        return _plain(value())
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _params_type(function: Callable[..., Any]) -> type[Params]:
    last = next(reversed(inspect.signature(function).parameters), "")
    params = get_type_hints(function).get(last)
    if not (isinstance(params, type) and issubclass(params, Params)):
        raise TypeError(f"the last argument of {function.__name__} must be of a Params type")
    return params


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
    optimizer,
    schedule,
    augmentation,
)
