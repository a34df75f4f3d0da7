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
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib.metadata import EntryPoint, EntryPoints, distributions, entry_points
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Component
from supreme_core.errors import SpecError, nearest, nearest_or_all, one_line
from supreme_core.registry.facts import ImportanceKind, Params, Variants
from supreme_core.system.faults import raise_fault

logger = logging.getLogger(__name__)

GROUPS: Final = "supreme_bench."
"""Beginning of the entry-point groups of plug-ins; the kind follows, with an s."""
UNREAD_GROUPS: Final = "supreme."
"""Beginning of groups that the plug-ins of supreme-unlearning use, and ours once did."""


SEARCHED: Final = ("search", "search_for_transformers")
"""Facts with ranges by setting."""

Function = TypeVar("Function", bound=Callable[..., Any])
Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Listed:
    """One component without its code, as the catalogue has it; `plugin` as in Entry.

    facts: plain JSON values.  params: a JSON schema of the settings.
    """

    name: str
    version: int
    summary: str
    facts: Mapping[str, Any]
    params: Mapping[str, Any]
    plugin: str = ""

    def describe(self) -> dict[str, Any]:
        """The component as the catalogue's file has it under its name."""
        return {
            "version": self.version,
            "summary": self.summary,
            "facts": self.facts,
            "params": self.params,
            **({"plugin": self.plugin} if self.plugin else {}),
        }

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings that the component has where none are given."""
        properties = self.params.get("properties", {})
        return {
            name: each["default"]
            for name, each in properties.items()
            if each.get("default") is not None
        }

    @property
    def variants(self) -> Variants | None:
        """Variants of a family, None for anything else."""
        return self.facts.get("variants")

    def importances_with(self, params: Mapping[str, Any]) -> str | None:
        """Kind of importance that the method reads of the original with these settings."""
        unless: Mapping[str, Any] = self.facts["importances_unless"]
        if any(params.get(setting) == value for setting, value in unless.items()):
            return None
        kind: str | None = self.facts["importances"]
        return kind

    def is_transformer(self, name: str) -> bool:
        """Return whether the model of that name, this one or a variant of it, is a vision
        transformer."""
        found: bool | Sequence[str] = self.facts["transformers"]
        if isinstance(found, bool):
            return found
        return name.partition("/")[2].partition(".")[0] in found


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

    @cached_property
    def listed(self) -> Listed:
        """The entry as the catalogue lists it."""
        return Listed(
            name=self.name,
            version=self.version,
            summary=self.summary,
            facts={
                name: _plain(value)
                for name, value in asdict(self.facts).items()  # type: ignore[call-overload]
            },
            params=self.params.model_json_schema(by_alias=True),
            plugin=self.plugin,
        )

    @property
    def variants(self) -> Variants | None:
        """Variants of a family, None for anything else."""
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
        """Identity of the choice, by what means something for a result: the name, the version, and
        every setting; of a single file also its bytes."""
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
        self.import_own()
        tell_unread_plugins()
        for plugin in installed_plugins(self.group):
            _load(plugin)

    def import_own(self) -> None:
        """Import every module of the kind's package, which takes a second or two for all kinds."""
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")

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
        for fact in ("for_transformers", "importances_unless", *SEARCHED):
            for setting in getattr(facts, fact, ()):
                if setting not in settings:
                    raise TypeError(f"{name} has no setting {setting!r}, as {fact} says")
        kind = getattr(facts, "importances", None)
        if kind not in (None, *get_args(ImportanceKind)):
            known = ", ".join(get_args(ImportanceKind))
            raise TypeError(f"{name} reads importances of no known kind: {kind!r}; known: {known}")
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


def installed_plugins(group: str) -> EntryPoints:
    """The entry points of a group, of all distributions that are installed."""
    found: EntryPoints = _entry_points(tuple(sys.path)).select(group=group)
    return found


@cache
def _entry_points(path: tuple[str, ...]) -> Any:
    """All entry points, which have another type before Python 3.12; to find them reads files of
    every distribution on Python's path."""
    return entry_points()


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
    """Return whether a name chooses a component that has these variants, or none."""
    _, slash, variant = name.partition("/")
    if variants is None:
        return not slash
    architecture, dot, weights = variant.partition(".")
    return architecture in variants and (not dot or weights in variants[architecture])


def unknown(kind: str, name: str, allowed: Mapping[str, object]) -> str:
    """Message on a name that is none of those allowed."""
    return f"unknown {kind} {name!r}{nearest_or_all(name, sorted(allowed), what='known')}"


def unknown_component(kind: str, name: str, known: Mapping[str, Variants | None]) -> str:
    """Message on a name that chooses none of the known components, by their variants."""
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
