"""Texts that are read alone say what they are about.

`kubectl explain`, # HELP of /metrics, `supreme list`, the tables of the pages and an editor show
one text without its neighbours, so none may lean on the field above or continue a name.

fields     descriptions of every model in the code, also where no CRD and no catalogue has it,
           and help of every option of a command
schemas    the CRD and the catalogue, where a description may also be put together
metrics    help of what the operator and the trainer export
panels     titles and descriptions of Grafana's dashboards
values     comments of the Helm chart's values, which its README shows as a table
docstrings of modules, classes, functions and constants, those of tests and benchmarks too

Left out: that a text is true, and that it is clear beyond its first word.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitoring.exported import operator_metrics, trainer_metrics
from tools.generate.chart import values_table
from tools.generate.crd import custom_resource_definition
from tools.generate.dashboards import DASHBOARDS

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for package in ("supreme_core", "operator/supreme_operator", "trainer/supreme_trainer", "tools")
    for path in (ROOT / package).rglob("*.py")
)

TESTS = sorted(path for part in ("tests", "benchmarks") for path in (ROOT / part).rglob("*.py"))
CATALOGUE = ROOT / "supreme_core" / "registry" / "catalog.json"

LEANING = re.compile(
    r"(As|How|It|Its|Of|So|That|Their|Them|These|They|Those|What|Whatever|Whether|Which|Who|Whoever"
    r"|Whose|Why|The same(?= (?:after|for|in|of|with)\b|[,.]))\b(?!-)|\d+\.?$"
)
"""Beginnings of a text that continues a name, or the text above it; or a number alone."""

POINTING = re.compile(
    # Wait after its second disruption.
    r"[\w-]+ (?:after|at|for|from|in|of|on|over|to|with) (?:its|their|them|these|those)\b"
    # Keys that they may set.
    r"|.*(?:\bthat|(?<!in )\bwhich,?) they\b"
)
"""A first sentence that only its neighbour can explain."""

DEMONSTRATIVE = re.compile(
    # Region of that store: its noun must stand in the text before.
    r"\b(?:after|at|for|from|in|of|on|over|to|with) (?:that|these|those) "
    r"(?!are|have|in|is|may|of|that|were|where|which|whose|with)([a-z]+)"
)
THEM = re.compile(r"\b(?:them|they)\b")
"""Pronouns that need a plural in an earlier clause."""

PLURAL = re.compile(r"\b\w+[^\Wsu]s\b|\b(?:children|data|people|each|those)\b")
CLAUSE = re.compile(r"[,.:;][^,.:;]*$")

DOCSTRING = re.compile(r'^ *"""(?=[^"\s])(.*)', re.M)
"""First line of a docstring, found without the seconds in which `ast` would read all tests."""


def leans(text: str) -> bool:
    """Return whether a text needs another one to be understood."""
    if LEANING.match(text) or POINTING.match(text):
        return True
    for found in DEMONSTRATIVE.finditer(text):
        if found[1].rstrip("s").removesuffix("e") not in text[: found.start()].lower():
            return True
    return any(
        not PLURAL.search(CLAUSE.sub("", text[: them.start()])) for them in THEM.finditer(text)
    )


def fields(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every description of a field and every help of an option."""
    for node in ast.walk(ast.parse(source)):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            text = keyword.value
            if isinstance(text, ast.JoinedStr):
                text = text.values[0]
            if keyword.arg in ("description", "help") and isinstance(text, ast.Constant):
                yield keyword.value.lineno, str(text.value)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """(line, first line) of every text that stands alone, also behind constants."""
    for found in DOCSTRING.finditer(source):
        yield source.count("\n", 0, found.start()) + 1, found[1].removesuffix('"""')


def described(schema: object) -> Iterator[str]:
    """Every description and summary in a document, however deep."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("description", "summary") and isinstance(value, str):
                yield value
            else:
                yield from described(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from described(value)


@pytest.mark.parametrize(
    "text",
    [
        "Their time.",
        "Of these, the last.",
        "What is borne.",
        "Why, for people.",
        "1.",
        "The same.",
        "Wait after its second disruption.",
        "Longest of these waits.",
        "Keys of annotations that they may set.",
        "Folders in which, and below which, they may mount volumes.",
        "Learning rate of SGD in these passes.",
        "Region of that store.",
        "Name in the registry; `supreme list` shows them.",
    ],
)
def test_a_text_that_leans_on_another_is_told(text):
    assert leans(text)


@pytest.mark.parametrize(
    "text",
    [
        "Host of it.",
        "Ofsted.",
        "95 % interval.",
        "Itself.",
        "Augmentations in the order in which they are applied.",
        "Forget all samples of some classes; the test samples of these classes are held out.",
        "Secrets with registry credentials, as in a pod, or their names.",
    ],
)
def test_a_text_with_a_noun_of_its_own_passes(text):
    assert not leans(text)


@pytest.mark.parametrize(
    ("texts", "leans", "paths", "fewest"),
    [
        pytest.param(fields, leans, SOURCES, 500, id="fields"),
        pytest.param(docstrings, LEANING.match, SOURCES, 2000, id="docstrings"),
        pytest.param(docstrings, LEANING.match, TESTS, 1500, id="docstrings of tests"),
    ],
)
def test_a_text_in_the_code_is_understood_alone(texts, leans, paths, fewest):
    found = [
        (f"{path.relative_to(ROOT)}:{line}", text)
        for path in paths
        for line, text in texts(path.read_text())
    ]
    assert len(found) > fewest
    assert [f"{place} {text}" for place, text in found if leans(text)] == []


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(custom_resource_definition(), id="crd"),
        pytest.param(json.loads(CATALOGUE.read_text()), id="catalogue"),
    ],
)
def test_a_description_is_understood_alone(document):
    texts = list(described(document))
    assert len(texts) > 100
    assert [text for text in texts if leans(text)] == []


def test_the_help_of_a_metric_is_understood_alone():
    helps = {each.name: each.documentation for each in (*operator_metrics(), *trainer_metrics())}
    assert len(helps) > 40
    assert {name: text for name, text in helps.items() if leans(text)} == {}


def test_a_value_of_the_chart_is_understood_alone():
    rows = [row.split(" | ") for row in values_table().splitlines()[2:]]
    assert len(rows) > 60
    assert [(path, about) for path, about, *_ in rows if leans(about)] == []


def test_a_panel_is_understood_alone():
    texts = [
        text
        for dashboard in DASHBOARDS.values()
        for panel in dashboard["panels"]
        for text in (panel["title"], panel.get("description", ""))
    ]
    assert len(texts) > 100
    assert [text for text in texts if leans(text)] == []
