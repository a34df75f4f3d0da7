"""Spaces of settings: as an experiment gives them, as a method declares them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from supreme_core.api.model import shown
from supreme_core.api.v1alpha1 import Component, MethodEntry
from supreme_core.errors import SpecError, nearest_or_all
from supreme_core.registry import Listed
from supreme_core.registry.catalog import Catalog
from supreme_core.tuning.ranges import GIVEN_KINDS, Range, Space

MOST_SETTINGS: Final = 8
"""Settings of one method that may be searched together."""
MOST_CHOICES: Final = 64
LARGEST: Final = 1_000_000_000
"""Largest bound of a range; between greater whole numbers a Sobol sequence would leave gaps."""


def space_of(document: Mapping[str, Any]) -> Space:
    """The space that a plan has, which was checked when it was made."""
    return {
        setting: Range(kind, tuple(values))
        for setting, each in document.items()
        for kind, values in each.items()
    }


def document_of(space: Space) -> dict[str, Any]:
    """The space as an experiment gives it."""
    return {setting: each.to_document() for setting, each in space.items()}


def default_space(listed: Listed, *, is_transformer: bool, epochs: int) -> Space:
    """The space that a method declares; empty where it has nothing to search.

    is_transformer: of the model.  epochs: the most that the budget of a trial allows.
    """
    declared = {**listed.facts["search"]}
    if is_transformer:
        declared |= listed.facts["search_for_transformers"]
    return {setting: _within(each, epochs) for setting, each in sorted(space_of(declared).items())}


def read_space(entry: MethodEntry, *, at: str, catalog: Catalog) -> Space:
    """The space that an experiment gives for a method.

    at: path of the method.  SpecError, a line for each mistake, where it is none.
    """
    document, path = entry.search, f"{at}.search"
    assert isinstance(document, dict)
    if not document:
        raise SpecError(f"{path} is empty; give ranges by setting, default or none")
    if len(document) > MOST_SETTINGS:
        raise SpecError(
            f"{path} has {len(document)} settings; search at most {MOST_SETTINGS} of a method"
        )
    listed = catalog.find("method", entry.name)
    problems, space = [], dict[str, Range]()
    for setting, given in document.items():
        found = [*_problems(setting, given, f"{path}.{setting}", listed)]
        if not found:
            space |= space_of({setting: given})
            found = [*_unfit(entry, setting, space[setting], at, catalog)]
        problems += found
    if problems:
        raise SpecError("\n".join(problems))
    return dict(sorted(space.items()))


def _within(declared: Range, epochs: int) -> Range:
    if declared.kind != "epochs":
        return declared
    low, high = declared.values
    return Range("int", (low, max(low, min(high, epochs))))


def _problems(setting: str, given: object, at: str, listed: Listed | None) -> Iterator[str]:
    """Yield what is wrong with a range, whatever it is a range of."""
    settings = listed.params.get("properties", {}) if listed else {setting: {}}
    if setting not in settings:
        yield f"{at}: unknown setting{nearest_or_all(setting, settings, what='settings')}"
        return
    form = (
        "it should be one of {log: [LOW, HIGH]}, {logToOne: [LOW, HIGH]}, {uniform: [LOW, HIGH]},"
    )
    form += " {int: [LOW, HIGH]} and {choice: [VALUE, ...]}"
    if not isinstance(given, dict) or len(given) != 1:
        yield f"{at} is {shown(given)}; {form}"
        return
    kind, values = next(iter(given.items()))
    if kind not in GIVEN_KINDS:
        known = nearest_or_all(str(kind), GIVEN_KINDS, what="kinds")
        yield f"{at}: unknown kind of range {shown(kind)}{known}"
    elif not isinstance(values, list):
        yield f"{at}.{kind} is {shown(values)}; it should be a list"
    elif kind == "choice":
        yield from _wrong_choice(values, f"{at}.choice")
    else:
        yield from _wrong_bounds(kind, values, f"{at}.{kind}")


def _wrong_choice(values: list[Any], at: str) -> Iterator[str]:
    if not 2 <= len(values) <= MOST_CHOICES:
        yield f"{at} has {len(values)} values; give 2 to {MOST_CHOICES}"
    elif twice := [value for place, value in enumerate(values) if value in values[:place]]:
        yield f"{at} has {shown(twice[0])} twice"


def _wrong_bounds(kind: str, values: list[Any], at: str) -> Iterator[str]:
    wanted = (int,) if kind == "int" else (int, float)
    what = "whole numbers" if kind == "int" else "numbers"
    wrong = [
        each
        for each in values
        if isinstance(each, bool) or not isinstance(each, wanted) or not abs(each) <= LARGEST
    ]
    if len(values) != 2 or wrong:
        yield f"{at} is {shown(values)}; it should be [LOW, HIGH], two {what} up to {LARGEST:,}"
        return
    low, high = values
    if low >= high:
        yield f"{at} is {shown(values)}; the first number should be less than the second"
    elif kind == "log" and low <= 0:
        yield f"{at} is {shown(values)}; a logarithm has no place for {shown(low)}; begin above 0"
    elif kind == "logToOne" and high >= 1:
        yield (
            f"{at} is {shown(values)}; a logarithm has no place for what {shown(high)} lacks to 1;"
            " end below 1"
        )


def _unfit(
    entry: MethodEntry, setting: str, found: Range, at: str, catalog: Catalog
) -> Iterator[str]:
    """Yield why the setting cannot have the values of the range."""
    if catalog.find("method", entry.name) is None:
        return  # of an image: its trainers check the settings of each trial
    ends = found.values if found.kind in ("int", "choice") else tuple(map(float, found.values))
    for value in ends:
        component = Component(name=entry.name, params={setting: value})
        problems = catalog.problems("method", component, at=at)
        if problems:
            yield problems[0].replace(f"{at}.params.", f"{at}.search.")
            return
