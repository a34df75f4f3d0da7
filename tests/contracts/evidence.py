"""Which test compares a component with what, as the docstrings of the tests say."""

import ast
from pathlib import Path

from supreme_core import registry

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "core"


def evidence_table(kind: str) -> str:
    """A line for each registered method, metric or probe."""
    lines = [f"| {kind} | source | compared in its test | test |", "| --- | --- | --- | --- |"]
    for entry in getattr(registry, kind).entries():
        source = entry.facts.paper if kind == "method" else entry.facts.source
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
