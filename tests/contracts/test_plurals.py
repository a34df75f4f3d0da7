"""Messages do not say "1 seeds": whatever may be one is counted by `errors.number_of`.

Found in the code are numbers right before such a noun in an f-string. Left out: nouns that stand
further away from their number, and whatever else a sentence would change for one.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from supreme_core.errors import number_of

ROOT = Path(__file__).parents[2]
PACKAGES = ("supreme_core", "trainer/supreme_trainer", "operator/supreme_operator")

NOUN = re.compile(
    r" (?:(?:different|finished|more|other|retrained|test|training|unlearning) )*"
    r"(?:attempts|channels|classes|entries|experiments|files|GPUs|images|methods|numbers|passes"
    r"|probes|runs|samples|scenarios|seeds|stages|times)\b"
)
CONSTANT = re.compile(r"[A-Z_.a-z]*\b[A-Z][A-Z_]+")

SEVERAL = {
    "'all' if same else 'the'",
    "cell.forget_sets",  # no line where it is 1
    "exact",
    "few",
    "fewest",
    "found.seeds",  # of a bootstrap
    "least",
    "len(done)",  # another sentence where it is 1
    "len(seeds)",
    "len(standings)",  # some are done, some failed
    "p.methods",  # that a correction is for
    "seed['progress']",
    "seeds",
    "tuple(right.shape[1:])",
    "wanted",
}
"""Numbers that are never one, or words."""


def bare(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each number that stands before a noun in the plural, whatever it is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    number = ast.unparse(value.value)
                    noun = NOUN.match(after.value)
                    is_counted = number in SEVERAL or CONSTANT.fullmatch(number)
                    if noun and not is_counted and not number.startswith("number_of("):
                        yield value.lineno, f"{{{number}}}{noun[0]}"


def test_whatever_may_be_one_is_counted_by_one_function():
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 300
    assert [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in files
        for line, text in bare(path.read_text())
    ] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("f'{len(seeds) - 1} seeds'", ["{len(seeds) - 1} seeds"]),
        ("f'all {n} test images of it'", ["{n} test images"]),
        ("f'{names.MOST_FILES} files'", []),
        ("f'{n} of them'", []),
        ("f'{number_of(n, \"seed\")} of 3 seeds'", []),
    ],
)
def test_a_number_before_a_noun_in_the_plural_is_found(code, found):
    assert [text for _, text in bare(code)] == found


@pytest.mark.parametrize(
    ("counted", "text"),
    [
        (number_of(0, "seed"), "0 seeds"),
        (number_of(1, "seed"), "1 seed"),
        (number_of(2, "seed"), "2 seeds"),
        (number_of(1, "pass", "passes"), "1 pass"),
        (number_of(2, "pass", "passes"), "2 passes"),
        (number_of(10000, "test image", form=","), "10,000 test images"),
    ],
)
def test_a_number_has_its_noun(counted, text):
    assert counted == text
