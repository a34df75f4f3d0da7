"""`--set PATH=VALUE`: change single fields of an experiment's document before it is checked.

    training.epochs=2                     a field below spec, which need not be written
    metadata.name=short                   the name of the experiment
    methods[0].params.lr=0.1              an entry of a list by its place, from 0
    methods.finetune.params.lr=0.1        the same by its label, or by its name where it has none
    seeds.list=[1, 2]                     a value is YAML, as in a file

The forms are those of Helm's `--set`, except that a comma begins no second field. A dot within a
name is written `\\.`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supreme_core.api.model import annotation_at, fields_of, is_list, path_of, shown
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.errors import SpecError, nearest, number_of

PathStep = str | int
OUTERMOST = tuple(fields_of(UnlearningExperiment))
STEP = re.compile(r"((?:\\.|[^.\\\[\]])+)((?:\[[0-9]{1,9}\])*)(?:\.(?=.)|$)", re.DOTALL)
"""A name, the places in lists that follow it, and the dot before the next name."""
Written = Mapping[str, str]
"""Spelling in a document of each value that is neither a text nor in quotes, by its path."""
FORM = "it should be PATH=VALUE, as in training.epochs=2 or methods[0].params.lr=0.1"


@dataclass(frozen=True)
class Setting:
    """One field and its value.

    path: as it was given.  steps: names and places from the outermost field on.  written: of the
    value, by paths within it.
    """

    path: str
    steps: tuple[PathStep, ...]
    value: Any
    written: Written


def split_setting(text: str) -> tuple[str, str]:
    """PATH and VALUE of `PATH=VALUE`; SpecError where one is missing."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise SpecError(f"--set is {text!r}; {FORM}")
    if not value.strip():
        raise SpecError(f"--set {path.strip()} has no value; {FORM}; write null for none")
    return path.strip(), value


def steps_of(path: str) -> tuple[PathStep, ...]:
    """The parts of a path, with `spec` in front where it names no outermost field."""
    steps: list[PathStep] = []
    end = 0
    while end < len(path):
        found = STEP.match(path, end)
        if found is None:
            raise SpecError(f"--set {path} names no field; {FORM}")
        steps.append(re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL))
        steps += [int(place) for place in re.findall("[0-9]+", found[2])]
        end = found.end()
    return tuple(steps) if steps[0] in OUTERMOST else ("spec", *steps)


def with_settings(
    document: Mapping[str, Any], written: Written, settings: Sequence[Setting]
) -> tuple[dict[str, Any], Written]:
    """The document with these fields changed one after the other; it is not checked yet.

    SpecError where a path names a field or an entry that cannot be there.
    """
    changed: Any = document
    for setting in settings:
        steps = _located(changed, setting)
        changed = _replaced(changed, steps, setting.value)
        at = path_of(steps)
        kept = {path: text for path, text in written.items() if not _is_within(path, at)}
        written = kept | {_joined(at, path): text for path, text in setting.written.items()}
    return changed, written


def _located(document: Any, setting: Setting) -> tuple[PathStep, ...]:
    """The steps with places for titles."""
    node, at = document, tuple[PathStep, ...]()
    for step in setting.steps:
        if isinstance(node, list):
            place = _place(node, step, setting, at)
            node, at = node[place], (*at, place)
            continue
        is_entry = isinstance(step, int) or is_list(annotation_at(UnlearningExperiment, at))
        if node is None and is_entry:
            raise _refused(
                setting, f"{path_of(at)} is not given, so it has no entries to change; set it whole"
            )
        if isinstance(step, int) or not isinstance(node, dict | None):
            kind = "list" if isinstance(step, int) else "mapping"
            raise _refused(setting, f"{path_of(at)} is {shown(node)}, which is no {kind}")
        _check_name(step, setting, at)
        node, at = (node or {}).get(step), (*at, step)
    return at


def _replaced(node: Any, steps: Sequence[PathStep], value: Any) -> Any:
    """A copy with another value at `steps`.

    A copy, because one field was named and not all places where a YAML alias repeats it.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        return [*node[:step], _replaced(node[step], rest, value), *node[step + 1 :]]
    fields = node or {}
    return {**fields, step: _replaced(fields.get(step), rest, value)}


def _is_within(path: str, at: str) -> bool:
    return path == at or path.startswith((f"{at}.", f"{at}["))


def _joined(at: str, path: str) -> str:
    return f"{at}.{path}" if path and not path.startswith("[") else at + path


def _place(
    entries: Sequence[Any], step: PathStep, setting: Setting, at: tuple[PathStep, ...]
) -> int:
    """The place of the entry that a step names, by that or by its title."""
    if isinstance(step, int):
        if step < len(entries):
            return step
        count = number_of(len(entries), "entry", "entries")
        raise _refused(setting, f"{path_of(at)} has {count}, counted from [0]")
    titles = [_title(entry) for entry in entries]
    if step in titles:
        return titles.index(step)
    named = [title for title in titles if title]
    hint = nearest(step, named) or f"; there are: {', '.join(named)}" if named else ""
    raise _refused(
        setting, f"{path_of(at)} has no entry {step!r}{hint or '; name one by its place, as [0]'}"
    )


def _title(entry: Any) -> str:
    """Title as in `LabelledComponent.title`, of what is not checked yet; "" where there is none."""
    named = entry if isinstance(entry, dict) else {}
    return str(named.get("label") or named.get("name") or "")


def _check_name(name: str, setting: Setting, at: tuple[PathStep, ...]) -> None:
    """Refuse a name that the schema does not have there; below free settings any will do."""
    allowed = sorted(fields_of(annotation_at(UnlearningExperiment, at)))
    if allowed and name not in allowed:
        meant = (*allowed, *OUTERMOST) if at == ("spec",) else allowed
        hint = nearest(name, meant) or f"; allowed: {', '.join(allowed)}"
        raise _refused(setting, f"unknown field {name!r} of {path_of(at)}{hint}")


def _refused(setting: Setting, reason: str) -> SpecError:
    return SpecError(f"--set {setting.path}: {reason}")
