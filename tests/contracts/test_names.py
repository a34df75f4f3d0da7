"""Names of classes and aliases: each has one meaning in the product.

Two meanings of one are met side by side in a search, a traceback and a review.

Aliases of one meaning, spelt alike, may stand in several files.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("supreme_core", "trainer/supreme_trainer", "operator/supreme_operator")


def named(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and meaning of each class, wherever it stands, and of each alias of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, f"class at line {node.lineno}"
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and is_of_a_type(target.id):
                yield target.id, ast.unparse(node.value)


def is_of_a_type(name: str) -> bool:
    """Return whether a name is written as types are; one letter is a variable of any type."""
    bare = name.lstrip("_")
    return len(bare) > 1 and bare[0].isupper() and not bare.isupper()


def clashes(sources: dict[str, str]) -> dict[str, list[str]]:
    """Places of each name, one underscore or none, that has several meanings; sources: by file."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for file, text in sources.items():
        for name, meaning in named(ast.parse(text)):
            is_class = meaning.startswith("class at line")
            place = f"{file}:{meaning.rpartition(' ')[2]}" if is_class else file
            found[name.lstrip("_")].setdefault(place if is_class else meaning, place)
    return {
        name: sorted(places.values()) for name, places in sorted(found.items()) if len(places) > 1
    }


@pytest.fixture(scope="module")
def product() -> dict[str, list[str]]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 300
    return clashes({str(file.relative_to(ROOT)): file.read_text() for file in files})


def test_each_name_has_one_meaning(product):
    assert product == {}, "give the second the field's term, or the name of what it belongs to"


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        pytest.param("class Step: ...", "class Step: ...", True, id="two classes"),
        pytest.param("class Step: ...", "class _Step: ...", True, id="one is private"),
        pytest.param("class Step: ...", "def f():\n  class Step: ...", True, id="one is nested"),
        pytest.param("class Step: ...", "Step = str | int", True, id="a class and an alias"),
        pytest.param("Step = str", "Step: TypeAlias = int", True, id="two aliases"),
        pytest.param("Name = str", "Name = TypeVar('Name')", True, id="a variable of types"),
        pytest.param("Body = dict[str, int]", "Body = dict[str, int]", False, id="one meaning"),
        pytest.param("class Step: ...", "from one import Step", False, id="an import"),
        pytest.param("STEP = 1", "STEP = 2", False, id="constants"),
        pytest.param("T = TypeVar('T')", "T = TypeVar('T', bound=int)", False, id="one letter"),
        pytest.param("class A1: ...", "def f():\n  A1 = 3", False, id="a local name"),
    ],
)
def test_two_meanings_are_found(one, other, clash):
    assert bool(clashes({"one.py": one, "other.py": other})) == clash


def test_two_meanings_within_one_file_are_found():
    found = clashes({"one.py": "def f():\n  class Step: ...\ndef g():\n  class Step: ..."})
    assert found == {"Step": ["one.py:2", "one.py:4"]}
