"""Which test compares a component with what, as the docstrings of the tests say."""

import ast
import re
from pathlib import Path

from supreme_core import registry
from supreme_core.reference.known_errors import KNOWN_ERRORS

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "core"


def evidence_table(kind: str) -> str:
    """A line for each registered component of a kind that gives or changes numbers."""
    lines = [f"| {kind} | source | compared in its test | test |", "| --- | --- | --- | --- |"]
    for entry in getattr(registry, kind).entries():
        source = entry.facts.paper if kind in ("method", "wrapper") else entry.facts.source
        test = test_of(entry)
        about = " ".join((ast.get_docstring(ast.parse(test.read_text())) or "").split())
        link = f"[{test.name}](../{test.relative_to(ROOT)})"
        lines.append(f"| `{entry.name}` | {source} | {about.replace('|', '&#124;')} | {link} |")
    return "\n".join(lines)


def test_of(entry: registry.Entry) -> Path:
    """The file of its name; else one that imports it; else one that names it."""
    files = sorted((TESTS / f"{entry.kind}s").glob("test_*.py"))
    chosen = [path for path in files if path.stem == f"test_{entry.name}"]
    for word in (f"from {entry.module} import", f'"{entry.name}"'):
        chosen += [path for path in files if word in path.read_text()]
    return chosen[0]


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
