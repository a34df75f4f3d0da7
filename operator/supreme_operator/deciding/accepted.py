"""Restore the experiment that was accepted, from what its children were told. Pure.

The API server guards what was accepted by the status, which can be lost or patched. Then the orders
that children have, in ConfigMaps that nobody can change, are what is left to tell.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from supreme_core.api import names
from supreme_core.api.guarded import FIXED
from supreme_core.api.orders import ExperimentOrder, SharedOrder, work_digest
from supreme_core.api.v1alpha1 import ExperimentSpec, MethodEntry
from supreme_core.checking.differences import differences
from supreme_operator.deciding.facts import Child

WHOLE: Final = ("dataset", "model", "training", "scenarios")
REPEATS: Final = [name.removeprefix("seeds.") for name in FIXED if name.startswith("seeds.")]
ADVICE: Final = "it was accepted, so put it back, or make another experiment"


def orders_of(children: Sequence[Child]) -> set[str]:
    """The ConfigMaps with the orders of the newest children of each part: earlier ones had fewer
    methods."""
    newest: dict[bool, datetime] = {}
    for child in sorted(children, key=lambda each: each.created_at):
        newest[child.attempt.is_tuning] = child.created_at
    return {
        child.order
        for child in children
        if child.order and child.created_at == newest[child.attempt.is_tuning]
    }


def methods_of(orders: Iterable[SharedOrder]) -> list[str]:
    """Titles of the methods of all these orders, each tuned one once."""
    titles = dict.fromkeys(method.title for order in orders for method in order.work.methods)
    again = {names.as_given_title(title) for title in titles}
    return [title for title in titles if title not in again]


def is_the_same(order: ExperimentOrder, children: Iterable[Child]) -> bool:
    """Return whether all children were told this work, so that there is nothing to compare.

    Of settings that were chosen by trials the order does not know.
    """
    works = {work_digest(part.work) for part in order.parts}
    return all(child.work in works for child in children)


def other_seeds(order: ExperimentOrder, children: Iterable[Child]) -> Iterator[str]:
    """A line for each seed with a child in whose place stands another one now."""
    tuning = order.tuning.seeds if order.tuning else []
    for field, seeds, is_tuning in (
        ("spec.tuning.seeds", tuning, True),
        ("spec.seeds", order.seeds, False),
    ):
        there = {
            child.attempt.index: child.attempt.seed
            for child in children
            if child.attempt.is_tuning == is_tuning
        }
        for index, seed in sorted(there.items()):
            if seeds[index : index + 1] != [seed]:
                now = seeds[index] if index < len(seeds) else "left out"
                yield f"{field}: number {index + 1} of them was {seed} and is {now}; {ADVICE}"


def changes(
    accepted: SharedOrder, order: ExperimentOrder, spec: ExperimentSpec, given: Mapping[str, Any]
) -> Iterator[str]:
    """A line for each thing that is not what the children were told.

    given: spec.storage as it is written, without what the operator's settings add. What is left out
    of a method is its default, which another version of the operator may have filled in otherwise;
    so are metrics where none are named.
    """
    trials = accepted.work.tuning
    before, now = accepted.work.to_document(), order.work.to_document()
    whole = [*WHOLE, *(["metrics"] if spec.metrics and not trials else [])]
    lines = differences(_only(before, whole), _only(now, whole), "spec")
    if trials:
        asked = order.tuning.work.tuning if order.tuning else None
        every = trials.model_copy(update={"listed": []})  # those of a round follow from others
        lines += differences(
            every.to_document(), asked.to_document() if asked else {}, "spec.tuning"
        )
    else:
        lines += differences(_only(before, REPEATS), _only(now, REPEATS), "spec.seeds")
    searched = {
        method.title: method.search for method in spec.methods if isinstance(method.search, dict)
    }
    there = {method.title: _without_search(method) for method in spec.methods}
    for title in methods_of([accepted]):
        method = next(each for each in accepted.work.methods if each.title == title)
        was, at = _without_search(method), f"spec.methods: {title!r}"
        if title not in there:
            lines.append(f"{at} was there and is left out")
        lines += differences(was, _filled(there.get(title, was), was), at)
        # A space of the method's own may be another in another version.
        if trials and title in searched:
            lines += differences(method.search, searched[title], f"{at}.search")
    for name, place in (
        ("uri", accepted.store),
        ("endpoint", accepted.endpoint),
        ("region", accepted.region),
    ):
        if given.get(name) not in (None, place):
            lines += differences(place, given[name], f"spec.storage.{name}")
    return (f"{line}; {ADVICE}" for line in lines)


def _without_search(method: MethodEntry) -> dict[str, Any]:
    """The method as it is given, whatever is tried of it."""
    document = method.to_document()
    document.pop("search", None)
    return document


def _only(document: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in names}


def _filled(now: Any, before: Any) -> Any:
    """Fill what is left out now with what was accepted."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {**before, **{name: _filled(now[name], before.get(name)) for name in now}}
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return [_filled(*pair) for pair in zip(now, before, strict=True)]
    return now
