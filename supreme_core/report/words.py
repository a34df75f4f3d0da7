"""Documents in words: settings, seeds and counts."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import yaml
from markupsafe import Markup

from supreme_core.analysis.provenance import Span
from supreme_core.api.records import Named
from supreme_core.api.v1alpha1 import Component, MethodEntry
from supreme_core.data.split import KINDS
from supreme_core.errors import escaped


def readable(value: object) -> object:
    """A text of the page as it can be read, whatever characters somebody put into a name."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(escaped, value.split("\n")))


def seed_ranges(seeds: Sequence[int]) -> str:
    """260 to 269, 300"""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)


def span(span: Span) -> str:
    return str(span.low) if span.low == span.high else f"{span.low} to {span.high}"


def spanned(found: Span, noun: str) -> str:
    return f"{span(found)} {noun if found.low == found.high == 1 else f'{noun}s'}"


def settings(params: Mapping[str, object]) -> str:
    """lr 0.1, momentum 0.9"""
    return ", ".join(f"{name} {plain(value)}" for name, value in params.items())


def component(found: Component, title: str = "") -> str:
    """name (setting 1, other 2), or label (name, setting 1)"""
    title = title or found.name
    parts = [found.name] if title != found.name else []
    parts += [settings(found.params)] if found.params else []
    return f"{title} ({', '.join(parts)})" if parts else title


def method(entry: MethodEntry, title: str = "") -> str:
    """Method as in `component`, with wrappers from the inside out: name (lr 0.1) inside rewind
    (steps 2), on augmented samples"""
    inside = " inside ".join([component(entry, title), *map(component, reversed(entry.wrappers))])
    return inside if entry.augmentation == "None" else f"{inside}, on augmented samples"


MOST_NAMED = 12
"""Classes and the like that a line names; summary.json names all."""


def forgotten(named: Sequence[Named]) -> str:
    """forget class 3 ("rose"), or nothing where a scenario names no class"""
    parts = []
    for (kind, role), group in groupby(named, key=lambda each: (each.kind, each.role)):
        found = list(group)
        texts = [f'{each.number} ("{each.name}")' for each in found[:MOST_NAMED]]
        if len(found) > MOST_NAMED:
            texts.append(f"{len(found) - MOST_NAMED} more")
        noun = kind if len(found) == 1 else KINDS[kind]
        parts.append(f"{ROLES[role]}{noun} {listed(texts)}")
    return f"forget {'; '.join(parts)}" if parts else ""


ROLES = {
    "forgotten": "",
    "confused": "the confusion of ",
    "target": "the trigger that stands for ",
}


def sees(track: str) -> str:
    """The models that an objective of tuning looks at, by its track."""
    if track == "rehearsal":
        return "saw trials that forget other samples than the experiment does (a rehearsal)"
    if track == "oracle":
        return "compares with Retrained of the tuning seeds (an oracle)"
    return "sees no retrained model (blind)"


def listed(texts: Iterable[str]) -> str:
    """a, b and c; empty for nothing"""
    *most, last = [*texts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def headline(text: str) -> str:
    return text[:1].upper() + text[1:]


def plain(value: object) -> str:
    """One line of YAML; a bare scalar ends in a document mark, which is left out."""
    return value if isinstance(value, str) else as_yaml(value, flow=True).removesuffix("\n...")


def as_yaml(value: object, *, flow: bool = False) -> str:
    text = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=10**6
    )
    return text.strip()
