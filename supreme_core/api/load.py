"""Read a file of experiments: YAML that is small, flat and says each thing once."""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from supreme_core.api.model import check_values, parse
from supreme_core.api.settings import Setting, Written, split_setting, steps_of, with_settings
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.errors import SpecError
from supreme_core.system.files import read_file

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 64
MAX_DIGITS = 400


NOTHING_WRITTEN: Written = {}
"""Spellings in an experiment that did not come from a file: none are known."""


@dataclass(frozen=True)
class Loaded:
    """source: what errors call it, the file and which of its documents."""

    experiment: UnlearningExperiment
    source: str
    written: Written


def load_experiments(path: Path, settings: Sequence[Setting] = ()) -> list[Loaded]:
    """The experiments of a file, one for each YAML document, at least one.

    settings: fields that every document gets before it is checked.
    SpecError names the file, the document where there are several, and the line or the field.
    """
    try:
        text = read_file(path, limit=MAX_BYTES, streams=True).decode()
    except OSError as error:
        too_large = f"{path} is larger than {MAX_BYTES} bytes; it is no experiment"
        unreadable = f"cannot read {path}: {error.strerror}"
        raise SpecError(too_large if error.errno == errno.EFBIG else unreadable) from None
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a UTF-8 text file") from None
    documents = load_yaml(text, source=str(path)) or [(None, {})]
    found: list[Loaded] = []
    for number, (document, written) in enumerate(documents, 1):
        source = str(path) if len(documents) == 1 else f"{path}, document {number}"
        if settings and isinstance(document, dict):
            with errors_of(source):
                document, written = with_settings(document, written, settings)
            source += " with --set"
        found.append(Loaded(_experiment(document, written, source), source, written))
    for name, sources in _by_name(found).items():
        if len(sources) > 1:
            raise SpecError(f"{sources[-1]}: metadata.name is {name!r}, as in {sources[0]}")
    return found


def loaded(document: dict[str, Any], *, source: str) -> Loaded:
    """The experiment of a mapping, which a program made; SpecError names the source and the
    field."""
    check_values(document, source)
    return Loaded(_experiment(document, NOTHING_WRITTEN, source), source, NOTHING_WRITTEN)


def load_setting(text: str) -> Setting:
    """`PATH=VALUE` of a command line, whose value is YAML as in a file; SpecError if it is none."""
    path, value = split_setting(text)
    documents = load_yaml(value, source=f"--set {path}") or [(None, {})]
    if len(documents) > 1:
        raise SpecError(f"--set {path} has {len(documents)} YAML documents for a value; give one")
    return Setting(path, steps_of(path), *documents[0])


def _experiment(document: object, written: Written, source: str) -> UnlearningExperiment:
    if not isinstance(document, dict):
        raise SpecError(f"{source} holds {_kind(document)}, not an UnlearningExperiment")
    with errors_of(source):
        others = [misread(at, text) for at, text in written.items() if _OTHER_NUMBER.match(text)]
        if others:
            raise SpecError("\n".join(others))
        return parse(UnlearningExperiment, document)


_OTHER_NUMBER = re.compile(r"[-+]?(0[0-9_]+$|[0-9][0-9_]*:)")
"""Numbers whose digits say another one than YAML reads: 010 is 8, and 1:30 is 90."""


def misread(at: str, text: str) -> str:
    """Message on a text without quotes that YAML does not read as it stands there."""
    value = yaml.load(text, Loader=_Loader)
    match value:
        case bool():
            read, instead = f"the truth value {str(value).lower()}", ""
        case int():
            read, instead = f"the number {value}", f"{value}, or "
        case float():
            read, instead = f"the number {value}", ""
        case None:
            read, instead = "no value", ""
        case _:
            read, instead = f"the date {value}", ""
    return f"{at} is written {text}, which YAML reads as {read}; write {instead}'{text}' in quotes"


@contextmanager
def errors_of(source: str) -> Iterator[None]:
    """Each line of a SpecError begins with what it is about."""
    try:
        yield
    except SpecError as error:
        lines = str(error).splitlines()
        raise SpecError("\n".join(f"{source}: {line}" for line in lines)) from None


def _by_name(found: list[Loaded]) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for each in found:
        sources.setdefault(each.experiment.metadata.name, []).append(each.source)
    return sources


def load_yaml(text: str, *, source: str) -> list[tuple[Any, Written]]:
    """The YAML documents of a text, of plain values, each with its values as they are written.

    Those that hold nothing are left out. Aliases are allowed as long as they stay small.
    """
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            _measure(node, {}, source)
        found = [each for each in _read(text) if each[0] is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context
        raise SpecError(f"{source}{place} is not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = (str(error).splitlines() or ["nested too deeply"])[0]
        raise SpecError(f"{source} is not YAML: {first}") from None
    except (LookupError, TypeError, AttributeError):  # PyYAML's own, as for `!!bool maybe`
        raise SpecError(f"{source} is not YAML: a value does not fit its !!tag") from None
    for document, _ in found:
        check_values(document, source)
    return found


def _read(text: str) -> Iterator[tuple[Any, Written]]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            document = loader.construct_document(node)
            yield document, dict(_unquoted(node, ""))
    finally:
        loader.dispose()


def _unquoted(node: yaml.Node, at: str) -> Iterator[tuple[str, str]]:
    """Path and text of values that are no texts. Constructing a node has merged its `<<` keys."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _unquoted(value, f"{at}.{key.value}" if at else str(key.value))
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _unquoted(value, f"{at}[{position}]")
    elif isinstance(node, yaml.ScalarNode) and node.style is None and node.tag != TEXT:
        yield at, node.value


TEXT = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Read a number of few digits: to base 60, which YAML knows, a long one takes minutes."""
        if len(str(node.value)) > MAX_DIGITS:
            raise yaml.MarkedYAMLError(
                problem=f"a number has more than {MAX_DIGITS} digits", problem_mark=node.start_mark
            )
        whole = node.tag == "tag:yaml.org,2002:int"
        number: float = (self.construct_yaml_int if whole else self.construct_yaml_float)(node)
        return number


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    # YAML 1.1 wants a dot in 5e-4; YAML 1.2, JSON, kubectl and people do not.
    re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], source: str) -> tuple[int, int]:
    """(values, depth) of a node with its aliases written out: a bomb is small only before that."""
    if id(node) in known:
        size, depth = known[id(node)]
        if size == 0:
            raise SpecError(f"{source} contains itself through a YAML alias")
        return size, depth
    known[id(node)] = 0, 0
    children = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    measures = [_measure(child, known, source) for child in children]
    size = 1 + sum(size for size, _ in measures)
    depth = 1 + max((depth for _, depth in measures), default=0)
    if size > MAX_NODES or depth > MAX_DEPTH:
        raise SpecError(
            f"{source} has more than {MAX_NODES} values or {MAX_DEPTH} levels once its YAML aliases"
            " are written out"
        )
    known[id(node)] = size, depth
    return size, depth


def _kind(document: object) -> str:
    return "nothing" if document is None else f"a {type(document).__name__}"
