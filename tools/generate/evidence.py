"""Comparisons that the tests make of each component, as the docstrings of the tests say."""

import ast
import re
from functools import cache
from pathlib import Path

from supreme_core import registry
from supreme_core.importing.known_errors import KNOWN_ERRORS

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "core" / "components"


def evidence_table(kind: str) -> str:
    """A line for each registered component of a kind that gives or changes numbers."""
    lines = [f"| {kind} | source | compared in its test | test |", "| --- | --- | --- | --- |"]
    for entry in getattr(registry, kind).entries():
        source = entry.facts.paper if kind in ("method", "wrapper") else entry.facts.source
        test = file_of(entry)
        about = " ".join((ast.get_docstring(ast.parse(test.read_text())) or "").split())
        link = f"[{test.name}](../{test.relative_to(ROOT)})"
        lines.append(f"| `{entry.name}` | {source} | {about.replace('|', '&#124;')} | {link} |")
    return "\n".join(lines)


def file_of(entry: registry.Entry) -> Path:
    """The file of its name, else the first one that is about it; LookupError where none is.

    Files that run over the whole registry are about nothing in particular.
    """
    folder = ROOT / "tests/core/tuning" if entry.kind == "objective" else TESTS / f"{entry.kind}s"
    own = folder / f"test_{entry.name}.py"
    others = [path for path in sorted(folder.glob("test_*.py")) if "every" not in path.stem]
    for path in [own] if own.exists() else others:
        if is_about(path.read_text(), entry):
            return path
    where = own if own.exists() else folder
    raise LookupError(
        f"{where.relative_to(ROOT)}: no test here imports {entry.kind} {entry.name!r} from"
        f" {entry.module}, or has its name in what it is parametrised with"
    )


def is_about(text: str, entry: registry.Entry) -> bool:
    """Return whether a file imports a component, or has its name in a table that tests run over."""
    modules, words = _subjects(text)
    return entry.module in modules or entry.name in words


@cache
def _subjects(text: str) -> tuple[set[str], set[str]]:
    """Find what a file imports, and the words of the tables that its tests run over."""
    tree = ast.parse(text)
    tables = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    modules: set[str] = set()
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {node.module or "", *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("parametrize"):
            words |= _words(node, tables)
    return modules, words


def _words(node: ast.AST, tables: dict[str, ast.expr]) -> set[str]:
    """The strings below a node, and in the module's tables that it names."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            found.add(each.value)
        elif isinstance(each, ast.Name) and each.id in tables:
            found |= _words(tables[each.id], {k: v for k, v in tables.items() if k != each.id})
    return found


def known_errors_table() -> str:
    """A line for each known error of the reference, with the tests that keep it out."""
    lines = ["| error | what is wrong there | kept out by |", "| --- | --- | --- |"]
    tests = defect_tests()
    for error in KNOWN_ERRORS:
        links = [
            f"[{name}](../{path.relative_to(ROOT)})" for name, path in tests.get(error.number, ())
        ]
        lines.append(f"| {error.number} | {error.what} | {'; '.join(links)} |")
    return "\n".join(lines)


def defect_tests() -> dict[int, list[tuple[str, Path]]]:
    """Tests that say by their names which error they are about."""
    found: dict[int, list[tuple[str, Path]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, number in re.findall(r"def (test_defect_(\d\d)_\w+)", path.read_text()):
            found.setdefault(int(number), []).append((name, path))
    return found
