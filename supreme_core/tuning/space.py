"""The space that a method's settings are searched in: its own, or the one that a user wrote."""

from collections.abc import Collection, Iterator, Mapping
from math import floor
from sys import float_info
from typing import Any, Final, TypeAlias

from supreme_core.api.model import path_of, shown
from supreme_core.errors import mistakes, nearest_or_all, quoted
from supreme_core.registry import Choice, Epochs, Int, Interval, Listed, Log, LogToOne, Range
from supreme_core.registry.catalog import problems_of_value
from supreme_core.registry.ranges import INTERVALS, KINDS, range_of
from supreme_core.tuning.sobol import DIMENSIONS

Space: TypeAlias = Mapping[str, Range]
"""The range of each setting, in the order of their names: a document may come back in another."""

MOST_SETTINGS: Final = DIMENSIONS

LARGEST: Final = 10**9
"""The largest whole number of a range: less than the 32 bits of a point tell apart."""


def default_space(
    listed: Listed, *, given: Collection[str] = (), for_transformers: bool = False
) -> Space:
    """The method's own space; empty where it has nothing to tune.

    given: settings that an experiment gives, which stay as they are.
    for_transformers: whether the network is a vision transformer.
    """
    documents = dict(listed.facts["search"])
    if for_transformers:
        documents |= listed.facts["search_for_transformers"]
    return {name: range_of(documents[name]) for name in sorted(documents) if name not in given}


def affordable(space: Space, *, share: float, epochs: int) -> Space:
    """The space with its ranges of epochs cut to what a trial's budget pays for.

    share: of Retrained's work.  epochs: those that Retrained trains.
    """
    most = max(1, floor(share * epochs))
    return {
        setting: each.affordable(most) if isinstance(each, Epochs) else each
        for setting, each in space.items()
    }


def read_space(
    search: Mapping[str, Any],
    listed: Listed,
    *,
    given: Collection[str] = (),
    at: str = "search",
) -> Space:
    """The space that a user wrote for a method; SpecError has a line for each mistake.

    given: settings that the experiment gives, which a trial would overwrite.
    """
    wrong = mistakes(_problems(search, listed, given, at))
    if str(wrong):
        raise wrong
    return {setting: range_of(search[setting]) for setting in sorted(search)}


def _problems(
    search: Mapping[str, Any], listed: Listed, given: Collection[str], at: str
) -> Iterator[str]:
    schemas = listed.params.get("properties", {})
    if not search:
        yield f"{at} is empty; give a range for a setting, or write default or none"
    if len(search) > MOST_SETTINGS:
        yield f"{at} has {len(search)} settings; at most {MOST_SETTINGS} can be searched at once"
    for setting, written in search.items():
        path = path_of([at, str(setting)])
        if setting not in schemas:
            hint = nearest_or_all(str(setting), sorted(schemas), what="its settings")
            yield f"{at}: {listed.name} has no setting {quoted(str(setting))}{hint}"
        elif setting in given:
            yield f"{path} is given in params too; leave it out of one of them"
        elif not isinstance(written, Mapping) or len(written) != 1:
            yield (
                f"{path} is {shown(written)}; it should be one range, such as"
                " {log: [1.0e-4, 0.1]} or {choice: [1, 2]}"
            )
        else:
            [(kind, values)] = written.items()
            schema = {**schemas[setting], "$defs": listed.params.get("$defs", {})}
            yield from _problems_of_range(str(kind), values, schema, path)


def _problems_of_range(
    kind: str, values: object, schema: Mapping[str, Any], path: str
) -> Iterator[str]:
    if kind not in KINDS:
        yield f"{path}: unknown range {quoted(kind)}{nearest_or_all(kind, KINDS, what='known')}"
        return
    path = f"{path}.{kind}"
    if not isinstance(values, list | tuple):
        yield f"{path} is {shown(values)}; it should be a list"
        return
    found = [
        problem
        for place, value in enumerate(values)
        for problem in problems_of_value(schema, value, at=f"{path}[{place}]")
    ]
    if found:
        yield from found
    elif kind == Choice.kind:
        yield from _problems_of_choice(values, path)
    else:
        yield from _problems_of_interval(INTERVALS[kind], values, schema, path)


def _problems_of_choice(values: list[Any] | tuple[Any, ...], path: str) -> Iterator[str]:
    if len(values) < 2:
        yield f"{path} is {shown(values)}; it should have two values or more"
    for place, value in enumerate(values):
        if value in values[:place]:
            yield f"{path}[{place}] is {shown(value)}, which is in the list before"


def _problems_of_interval(
    of: type[Interval],
    values: list[Any] | tuple[Any, ...],
    schema: Mapping[str, Any],
    path: str,
) -> Iterator[str]:
    whole = issubclass(of, Int)
    if len(values) != 2:
        yield f"{path} is {shown(values)}; it should be two numbers, the lowest and the highest"
        return
    wrong = [place for place, value in enumerate(values) if not _is_bound(value, whole)]
    for place in wrong:
        number = f"a whole number of at most {LARGEST}" if whole else "a number"
        yield f"{path}[{place}] is {shown(values[place])}; it should be {number}"
    if wrong:
        return
    low, high = values
    if not whole and not _takes_fractions(schema):
        yield f"{path} is {shown(values)}; the setting is a whole number: write int: [...]"
    if low >= high:
        yield f"{path} is {shown(values)}; the first number should be less than the second"
    elif of is Log and low <= 0:
        yield f"{path}[0] is {shown(low)}; a logarithm needs a number above 0"
    elif of is LogToOne and high >= 1:
        yield f"{path}[1] is {shown(high)}; it should be less than 1"


def _is_bound(value: object, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if whole and not isinstance(value, int):
        return False
    return abs(value) <= (LARGEST if whole else float_info.max)


def _takes_fractions(schema: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "number" for each in (schema, *schema.get("anyOf", ())))
