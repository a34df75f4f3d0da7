"""Restore the experiment that was accepted, from what its children were told. Pure.

The API server guards what was accepted by the status, which can be lost or patched. Then the orders
that children have, in ConfigMaps that nobody can change, are what is left to tell.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from supreme_core.api.guarded import FIXED
from supreme_core.api.orders import ExperimentOrder, SharedOrder, work_digest
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.checking.differences import differences
from supreme_operator.deciding.facts import Child

WHOLE: Final = ("dataset", "model", "training", "scenarios")
REPEATS: Final = [name.removeprefix("seeds.") for name in FIXED if name.startswith("seeds.")]
ADVICE: Final = "it was accepted, so put it back, or make another experiment"


def orders_of(children: Sequence[Child]) -> set[str]:
    """The ConfigMaps with the orders of the newest children: earlier ones had fewer methods."""
    newest = max((child.created_at for child in children), default=None)
    return {child.order for child in children if child.order and child.created_at == newest}


def methods_of(orders: Iterable[SharedOrder]) -> list[str]:
    """Titles of the methods of all these orders."""
    return list(dict.fromkeys(method.title for order in orders for method in order.work.methods))


def is_the_same(order: ExperimentOrder, children: Iterable[Child]) -> bool:
    """Return whether all children were told this work, so that there is nothing to compare."""
    work = work_digest(order.work)
    return all(child.work == work for child in children)


def other_seeds(order: ExperimentOrder, children: Iterable[Child]) -> Iterator[str]:
    """A line for each seed with a child in whose place stands another one now."""
    there = {child.attempt.index: child.attempt.seed for child in children}
    for index, seed in sorted(there.items()):
        if order.seeds[index : index + 1] != [seed]:
            now = order.seeds[index] if index < len(order.seeds) else "left out"
            yield f"spec.seeds: number {index + 1} of them was {seed} and is {now}; {ADVICE}"


def changes(
    accepted: SharedOrder, order: ExperimentOrder, spec: ExperimentSpec, given: Mapping[str, Any]
) -> Iterator[str]:
    """A line for each thing that is not what the children were told.

    given: spec.storage as it is written, without what the operator's settings add. What is left out
    of a method is its default, which another version of the operator may have filled in otherwise;
    so are metrics where none are named.
    """
    before, now = accepted.work.to_document(), order.work.to_document()
    whole = [*WHOLE, *(["metrics"] if spec.metrics else [])]
    lines = differences(_only(before, whole), _only(now, whole), "spec")
    lines += differences(_only(before, REPEATS), _only(now, REPEATS), "spec.seeds")
    there = {method.title: method.to_document() for method in spec.methods}
    for method in accepted.work.methods:
        was, at = method.to_document(), f"spec.methods: {method.title!r}"
        if method.title not in there:
            lines.append(f"{at} was there and is left out")
        lines += differences(was, _filled(there.get(method.title, was), was), at)
    for name, place in (
        ("uri", accepted.store),
        ("endpoint", accepted.endpoint),
        ("region", accepted.region),
    ):
        if given.get(name) not in (None, place):
            lines += differences(place, given[name], f"spec.storage.{name}")
    return (f"{line}; {ADVICE}" for line in lines)


def _only(document: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in names}


def _filled(now: Any, before: Any) -> Any:
    """Fill what is left out now with what was accepted."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {**before, **{name: _filled(now[name], before.get(name)) for name in now}}
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return [_filled(*pair) for pair in zip(now, before, strict=True)]
    return now
