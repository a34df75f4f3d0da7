"""Changes of the published numbers' code that no test notices.

    uv pip install --python .venv/bin/python cosmic-ray coverage
    python -m benchmarks.mutation RESULTS [--sample 2000] [--only FILE ...]

cosmic-ray changes one place at a time, such as `<` to `<=`, 1 to 2 or `min` to `max`, in the code
of statistics, metrics and tuning, and the tests that reach the changed line are run against it
until one fails. RESULTS gets a line of JSON for each change and what became of it, so that a run
that was stopped goes on; beside it a file says which tests reach which line. When code or tests
have changed, give another RESULTS. At the end, changes that no test notices are shown as a table.
"""

import argparse
import ast
import contextlib
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from types import CodeType
from typing import Any

import parso
import pytest
import torch
from cosmic_ray.ast import get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from coverage import Coverage

ROOT = Path(__file__).parents[1]
WHOLE = (
    *(
        f"supreme_core/analysis/{name}.py"
        for name in (
            *("statistics", "comparison", "hypotheses", "gaps", "survivors", "spreads", "trials"),
        )
    ),
    *(f"supreme_core/tuning/{name}.py" for name in ("budget", "selection", "ranges")),
    *(f"supreme_core/tuning/{name}.py" for name in ("objective_rows", "objectives")),
)
"""All changes of these are tried, and a sample of the others'."""

SAMPLED = tuple(
    f"supreme_core/{name}.py"
    for name in (
        *("analysis/aggregate", "analysis/over_seeds", "analysis/noise_floor"),
        *("scoring/ensemble", "scoring/membership", "scoring/fitted_membership"),
        *("scoring/divergence", "components/seed_metrics/*", "components/metrics/*"),
        *("analysis/tuning", "components/objectives/*"),
    )
)
TESTS = (
    "tests/core/analysis/test_*.py",
    "tests/core/scoring/test_*.py",
    "tests/core/report/test_*.py",
    "tests/core/tuning/test_*.py",
    "tests/core/components/metrics/test_*.py",
    "tests/core/components/seed_metrics/test_*.py",
)
LONGEST = 300.0
"""CPU seconds after which a change counts as one that never ends, which is as good as noticed."""

ASLEEP = 3600
"""Seconds by the clock after which a change is taken for one that waits for ever."""

ENOUGH = 25.0
"""CPU seconds of tests, the quickest first, after which no test counts as noticing a change."""

HEAVY = (
    *("numpy", "scipy", "torch", "torchvision", "timm", "sklearn", "pandas", "matplotlib"),
    *("PIL", "pydantic", "boto3", "botocore", "jinja2", "rich", "yaml", "hypothesis"),
)
"""Packages that are imported once, in the process that all others are forked from."""

SWAPS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "mean": "median",
    "fsum": "len",
    "floor": "ceil",
    "ceil": "floor",
    "sorted": "list",
    "sort": "asarray",
    "argsort": "argmax",
    "minimum": "maximum",
    "maximum": "minimum",
    "abs": "float",
    "sqrt": "float",
    "log": "exp",
    "exp": "log",
}
DUALS = (
    *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
)
ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Mul", "Mod_Div")
OPERATORS = (
    *(f"ReplaceComparisonOperator_{dual}" for dual in DUALS),
    *(f"ReplaceBinaryOperator_{pair}" for pair in (*ARITHMETIC, "BitAnd_BitOr", "BitOr_BitAnd")),
    *("NumberReplacer", "AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceUnaryOperator_USub_UAdd"),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Invert_UAdd"),
    *("ZeroIterationForLoop", "ReplaceContinueWithBreak", "ReplaceBreakWithContinue"),
)


class NameSwap(Operator):  # type: ignore[misc]
    """A function instead of its opposite, which cosmic-ray has no operator for."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        called = isinstance(node, parso.python.tree.Name) and node.get_next_leaf().value == "("
        if called and node.value in SWAPS:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return parso.python.tree.Name(SWAPS[node.value], node.start_pos, prefix=node.prefix)

    @classmethod
    def examples(cls) -> Sequence[Any]:
        return ()


@dataclass(frozen=True)
class Mutant:
    """One change.  occurrence: which of the places where the operator could change the file."""

    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def changed(self) -> str:
        each = _operator(self.operator)
        return mutate_code((ROOT / self.file).read_text(), each, self.occurrence) or ""


def _operator(name: str) -> Operator:
    return NameSwap() if name == "NameSwap" else get_operator(f"core/{name}")()


def mutants_of(file: str) -> list[Mutant]:
    """Every change of a file that can change a value: of no annotation, message or import."""
    source = (ROOT / file).read_text()
    skipped, nodes = list(_skipped(ast.parse(source))), list(_nodes(get_ast(source)))
    found = []
    for name in (*OPERATORS, "NameSwap"):
        operator = _operator(name)
        places = [
            (0, 0) if node.parent and node.parent.type == "parameters" else start  # a lone `*`
            for node in nodes
            for start, _ in operator.mutation_positions(node)
        ]
        for occurrence, (line, column) in enumerate(places):
            place = (line, column)
            if line and not any(first <= place < last for first, last in skipped):
                found.append(Mutant(file, line, column, name, occurrence))
    return sorted(found, key=lambda each: (each.line, each.column, each.operator, each.occurrence))


def _nodes(node: Any) -> Iterator[Any]:
    """Yield the nodes in the order in which cosmic-ray walks."""
    yield node
    for child in getattr(node, "children", ()):
        yield from _nodes(child)


def _skipped(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        match node:
            case ast.arg() | ast.AnnAssign():
                parts = [node.annotation]
            case ast.FunctionDef():
                parts = [node.returns]
            case ast.Raise() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Assert():
                parts = [node]
            case ast.keyword(arg="strict" | "frozen" | "slots" | "kw_only"):  # guards
                parts = [node]
        for part in filter(None, parts):
            yield (
                (part.lineno, part.col_offset),  # type: ignore[attr-defined]
                (part.end_lineno, part.end_col_offset),  # type: ignore[attr-defined]
            )


class _Changed(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Imports one module as it was changed."""

    def __init__(self, file: str, source: str) -> None:
        self.name = file.removesuffix(".py").replace("/", ".")
        self.path, self.source = str(ROOT / file), source

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != self.name:
            return None
        loader = _Changed(name, self.path, self.source)
        return importlib.util.spec_from_file_location(name, self.path, loader=loader)


def run(*arguments: str, plugins: Sequence[object] = ()) -> int:
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:tests.measured"]
    options += ["--assert=plain"]  # nobody reads what a test says
    return int(pytest.main([*options, "--hypothesis-seed=0", *arguments], plugins=list(plugins)))


def forked(does: Callable[[], int]) -> int:
    """The process that does it, quietly."""
    if pid := os.fork():
        return pid
    status = 70
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nowhere, standard)
        status = does()
    finally:
        os._exit(status)


class Reached:
    """Tests that reach a line and the CPU seconds that each took, by file and line."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            self._measure(path)
        facts = json.loads(path.read_text())
        self.seconds: dict[str, float] = facts["seconds"]
        self.tests: dict[str, dict[str, list[int]]] = facts["tests"]
        self.names = list(self.seconds)
        for module in facts["modules"]:  # once, that no process has to
            with contextlib.suppress(Exception):
                importlib.import_module(module)

    def by(self, mutant: Mutant) -> list[list[str]]:
        """Tests of the likeliest file, and then all others, the quickest first.

        Of a line that is run by an import: all that reach the file.
        """
        lines = self.tests.get(mutant.file, {})
        found = set(lines.get(str(mutant.line), ()))
        if not found:
            found = {test for tests in lines.values() for test in tests}
        named = sorted((self.names[index] for index in found), key=self.seconds.__getitem__)
        until = accumulate(map(self.seconds.__getitem__, named))
        named = [name for name, seconds in zip(named, until, strict=True) if seconds < ENOUGH]
        likely = self._likely(mutant.file, Counter(name.split("::")[0] for name in named))
        parts = [
            [name for name in named if (name.split("::")[0] == likely) == first]
            for first in (True, False)
        ]
        return [part for part in parts if part]

    def _likely(self, file: str, reaching: Counter[str]) -> str:
        """The test file of that name, or else the one with most tests a second."""
        own = f"test_{Path(file).stem}.py"
        found = [test for test in reaching if test.endswith(f"/{own}")]
        return max(found or reaching, key=reaching.__getitem__, default="")

    def _measure(self, path: Path) -> None:
        def measure() -> int:
            watcher = _Watcher()
            files = [str(each) for pattern in TESTS for each in sorted(ROOT.glob(pattern))]
            status = run(*files, plugins=[watcher])
            if status == 0:
                watcher.write(path)
            return status

        _, status = os.waitpid(forked(measure), 0)
        if status:
            sys.exit(f"the tests fail without any change: exit {os.waitstatus_to_exitcode(status)}")


class _Watcher:
    def __init__(self) -> None:
        files = [str(each) for pattern in (*WHOLE, *SAMPLED) for each in ROOT.glob(pattern)]
        self.coverage = Coverage(data_file=None, include=files)
        self.coverage.start()
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()  # of the clock's seconds, others would take some
        yield
        self.seconds[item.nodeid] = round(time.process_time() - start, 3)
        self.coverage.switch_context("")

    def write(self, path: Path) -> None:
        self.coverage.stop()
        data, places = self.coverage.get_data(), {name: i for i, name in enumerate(self.seconds)}
        tests = {
            str(Path(file).relative_to(ROOT)): {
                line: sorted(places[name] for name in names if name in places)
                for line, names in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        modules = [name for name in sys.modules if name.split(".")[0] in HEAVY]
        facts = {"seconds": self.seconds, "tests": tests, "modules": modules}
        path.write_text(json.dumps(facts))


OUTCOMES = {0: "survived", 5: "ran no test", 70: "could not be tried"}
OUTCOMES |= {-signal.SIGPROF: "killed by time", -signal.SIGALRM: "killed by time"}
"""Outcome by exit code; with any other code the tests have failed."""


def tried(mutant: Mutant, parts: Sequence[Sequence[str]], seconds: float) -> int:
    signal.setitimer(signal.ITIMER_PROF, min(LONGEST, 30 + 10 * seconds))
    signal.alarm(ASLEEP)
    sys.meta_path.insert(0, _Finder(mutant.file, mutant.changed))  # type: ignore[arg-type]
    return next(filter(None, (run(*part) for part in parts)), 0)


def outcomes(
    mutants: Sequence[Mutant], reached: Reached, processes: int
) -> Iterator[tuple[Mutant, str, float]]:
    running: dict[int, tuple[Mutant, float]] = {}
    waiting = list(reversed(mutants))
    while waiting or running:
        while waiting and len(running) < processes:
            mutant = waiting.pop()
            if parts := reached.by(mutant):
                seconds = sum(reached.seconds[test] for part in parts for test in part)
                pid = forked(partial(tried, mutant, parts, seconds))
                running[pid] = mutant, time.perf_counter()
            else:
                yield mutant, "reached by no test", 0.0
        if running:
            pid, status = os.wait()
            mutant, start = running.pop(pid)
            outcome = OUTCOMES.get(os.waitstatus_to_exitcode(status), "killed")
            yield mutant, outcome, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--sample", type=int, default=1500, help="changes that are tried at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=(), help="try changes of these files alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(ROOT)

    files = [str(file.relative_to(ROOT)) for each in SAMPLED for file in sorted(ROOT.glob(each))]
    chosen = [mutant for file in WHOLE for mutant in mutants_of(file)]
    others = [mutant for file in files for mutant in mutants_of(file)]
    more = min(len(others), max(0, options.sample - len(chosen)))
    chosen += random.Random(options.seed).sample(others, more)
    print(
        f"{len(chosen)} changes: all of {len(WHOLE)} files, {more} of {len(others)} of the others"
    )

    found = {}
    if options.results.exists():
        for line in options.results.read_text().splitlines():
            facts = json.loads(line)
            outcome = facts.pop("outcome")
            found[Mutant(**facts)] = outcome
    reached = Reached(options.results.with_suffix(".reached.json"))
    if options.only:
        chosen = [mutant for mutant in chosen if mutant.file in options.only]
    left = [mutant for mutant in chosen if mutant not in found]
    with options.results.open("a") as results:
        for done, (mutant, outcome, seconds) in enumerate(
            outcomes(left, reached, options.processes)
        ):
            found[mutant] = outcome
            results.write(json.dumps(asdict(mutant) | {"outcome": outcome}) + "\n")
            results.flush()
            where = f"{mutant.file}:{mutant.line}:{mutant.column}"
            print(f"{done + 1}/{len(left)} {outcome} {where} {mutant.operator} {seconds:.1f} s")
    tell({mutant: found[mutant] for mutant in chosen})


def tell(found: dict[Mutant, str]) -> None:
    """A table of how many were noticed, and one of those that were not."""
    by_file = defaultdict(Counter)
    for mutant, outcome in found.items():
        by_file[mutant.file]["killed" if outcome.startswith("killed") else "not"] += 1
    print("\n| file | changes | noticed | % |\n|---|---:|---:|---:|")
    for file, count in by_file.items():
        total = count.total()
        print(f"| {file} | {total} | {count['killed']} | {100 * count['killed'] / total:.1f} |")
    print("\n| where | was | is | outcome |\n|---|---|---|---|")
    for mutant, outcome in sorted(found.items(), key=lambda each: (each[0].file, each[0].line)):
        if not outcome.startswith("killed"):
            was = (ROOT / mutant.file).read_text().splitlines()
            now = mutant.changed.splitlines()
            pairs = zip(was, now, strict=False)
            line, (old, new) = next(
                (i, both) for i, both in enumerate(pairs, 1) if len(set(both)) > 1
            )
            where = f"{mutant.file}:{line}"
            print(f"| {where} | `{old.strip()}` | `{new.strip()}` | {outcome} |")


if __name__ == "__main__":
    main()
