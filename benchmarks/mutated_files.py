"""Mutated experiment files and documents of a store: what is refused, and what is accepted.

    python -m benchmarks.mutated_files [--cases 20000] [--of experiment ...]     ten minutes each
    python -m benchmarks.mutated_files --show order:17                           one case

Each case is drawn from its own name, so it is the same on every machine. An experiment goes through
everything before the first trainer: it is loaded, planned and checked for a cluster. A document of
a store goes through everything that reads it, half of them with digests that somebody put right
after the change: a result is published, an order gives its stages, a manifest its costs and seeds,
a selection the settings of methods and a part of the report.

Whatever is raised must be an error of SUPREME, within 2 seconds of processor time, and what is
accepted must make sense. At the end a table shows which changes are accepted.
"""

import argparse
import json
import logging
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from supreme_core import registry
from supreme_core.analysis.aggregate import Question, aggregate
from supreme_core.analysis.files import summary_csv, summary_json
from supreme_core.analysis.provenance import row_facts
from supreme_core.analysis.tuning import FinalSeeds, tuning_summary
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.load import load_experiments, load_yaml
from supreme_core.api.orders import ExperimentOrder, work_digest
from supreme_core.api.records import DatasetRecord, RunRecord, RunResult
from supreme_core.checking.cluster_spec import check_cluster_spec
from supreme_core.errors import SpecError, StorageError, SupremeError, one_line
from supreme_core.plan import plan, steps
from supreme_core.registry import catalog
from supreme_core.report.tuning import section
from supreme_core.scoring.run_scoring import read_cost
from supreme_core.store.artefacts import Artefacts, manifest_key, read_manifest
from supreme_core.store.folder import LocalStorage
from supreme_core.store.housekeeping import Inventory as Store
from supreme_core.store.housekeeping import Piece, orphans
from supreme_core.store.results import (
    check_origin,
    parse_order,
    parse_result,
    read_sealed_order,
)
from supreme_core.store.sealed import SEAL, sealed_json
from supreme_core.store.selections import read_selection
from supreme_core.tuning.entries import entries_of
from supreme_core.tuning.order import with_choices
from supreme_core.tuning.selection import missing, select

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(
    [*(ROOT / "examples").glob("*.yaml"), *(ROOT / "examples/presets").glob("*.yaml")]
)
LONGEST = 2.0
"""Seconds of processor time that any case may take."""

SMALL = """
apiVersion: supreme.dev/v1alpha1
kind: UnlearningExperiment
metadata: {name: small}
spec:
  seeds: {list: [1, 2, 3]}
  dataset: {name: digits, params: {size: 8}}
  model: {name: resnet18, params: {width: 2}}
  training: {epochs: 1, validation: {fraction: 0.1}}
  scenarios:
  - {name: full_class, params: {classes: [3]}}
  - {name: random_samples, params: {fraction: 0.1}}
  methods: [{name: finetune}, {name: scrub, label: long, params: {epochs: 5}}]
  metrics: [{name: accuracy}, {name: js_divergence}, {name: wall_seconds}]
  margins: {forget_accuracy: 0.02}
"""
"""The experiment whose order, results and manifests are mutated."""

TUNED = """
apiVersion: supreme.dev/v1alpha1
kind: UnlearningExperiment
metadata: {name: tuned}
spec:
  seeds: {list: [1, 2, 3]}
  dataset: {name: digits, params: {size: 8}}
  model: {name: resnet18, params: {width: 2}}
  training: {epochs: 4, validation: {fraction: 0.1}}
  scenarios: [{name: full_class, params: {classes: [3]}}]
  methods:
  - name: scrub
    search: {lr: {log: [1.0e-5, 1.0e-2]}, alpha: {uniform: [0, 1]}, epochs: {int: [1, 4]}}
  - {name: neg_grad_plus, search: {beta: {logToOne: [0.5, 0.9999]}}}
  - {name: finetune}
  - {name: ssd, search: none}
  metrics: [{name: accuracy}]
  tuning:
    trials: 4
    seeds: {start: 9000, count: 2}
    objective: {forget_accuracy: 1, retain_accuracy: 2}
    budget: {share: 0.5}
    sampler: sobol
"""
"""The experiment whose selection is mutated; it is mutated itself as the examples are."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 7, 64, 10_000, 2**31, 2**53 + 1, 2**63, 10**30),
    *(-0.0, 0.5, 1.0, -0.5, 1e-320, 1e-9, 1e9, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "x", "X", "1", "true", "null", "NaN", "3", "digits", "full_class", "finetune"),
    *("a\u202eb", "\x1b[2J", "a\x00b", "\ud800", "é", "a" * 64, "x" * 10_000, "../../etc/passwd"),
    *(
        "s3://bucket/prefix",
        "file:///etc",
        "http://[::1",
        "0x10",
        "1:30",
        "=cmd()",
        "{{x}}",
        "$(id)",
    ),
    *([], {}, [[]], [None], [1, 1], [3, 3.0], list(range(3000)), {"": 1}, {"name": "x"}),
    *({"name": "digits", "params": {"size": 8}}, {"list": [1, 1]}, {"start": -1, "count": 10**9}),
)
TOKENS = (
    *("\t", "&a [*a]", "*a", "!!python/object/apply:os.system [id]", "!!binary x", "!!bool maybe"),
    *("0x10", "0o17", "010", "1_0", "1:30", "1e400", ".nan", "-.inf", "~", "yes", "2020-01-01"),
    *("<<: {a: 1}", "? ", "- ", "---\n", "...\n", "%YAML 9.9\n", '"\\ud800"', '"\\u202e"', "\x1b"),
    *("\x00", "\ufeff", "\u2028", "9" * 5000, "9" * 400, "[" * 200, "{" * 2000, "'", '"', "#", ":"),
)


@dataclass(frozen=True)
class Case:
    """One file.  kind: of which it is.  operation: how it was changed.  sealed: its digests fit."""

    kind: str
    number: int
    operation: str
    data: bytes
    base: object
    sealed: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.number}"


@dataclass
class Found:
    """Outcomes of the cases of one kind.

    accepted, examples: changes that passed, how often, and a case of each.  slowest: seconds, case.
    """

    refused: int = 0
    unchanged: int = 0
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    wrong: list[str] = field(default_factory=list)


class Mutations:
    """Changes of a document, drawn from the name of a case."""

    def __init__(self, name: str) -> None:
        self._random = random.Random(name)

    def text(self, text: str) -> tuple[str, str]:
        """Operation and result, of characters and lines."""
        operation = self._random.choice(
            [self._flip, self._cut, self._insert, self._line, self._end]
        )
        return operation.__name__.strip("_"), operation(text)

    def tree(self, document: Any) -> tuple[str, Any]:
        """Operation and result, of values and fields."""
        operation, result = "", deepcopy(document)
        for _ in range(self._random.choice([1, 1, 1, 2, 3])):
            parent, key = self._random.choice([*places(result)])
            operation = self._change(parent, key)
        return operation, result

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    def choice(self, items: Sequence[Any]) -> Any:
        return self._random.choice(items)

    def _flip(self, text: str) -> str:
        place = self._random.randrange(len(text))
        other = chr(ord(text[place]) ^ (1 << self._random.randrange(7)))
        return text[:place] + other + text[place + 1 :]

    def _cut(self, text: str) -> str:
        place = self._random.randrange(len(text))
        return text[:place] + text[place + self._random.randint(1, 40) :]

    def _insert(self, text: str) -> str:
        place = self._random.randrange(len(text))
        return text[:place] + self._random.choice(TOKENS) + text[place:]

    def _end(self, text: str) -> str:
        return text[: self._random.randrange(len(text))]

    def _line(self, text: str) -> str:
        lines = text.splitlines(keepends=True)
        one, other = (self._random.randrange(len(lines)) for _ in range(2))
        lines.insert(other, self._random.choice([lines[one], f"  {lines[one]}", lines.pop(one)]))
        return "".join(lines)

    def _change(self, parent: Any, key: Any) -> str:
        kind = self._random.choice(["value"] * 6 + ["scale", "drop", "copy", "rename", "wrap"])
        value = parent[key]
        match kind:
            case "scale" if isinstance(value, int | float) and not isinstance(value, bool):
                parent[key] = value * self._random.choice([-1, 0, 2, 10, 1e6, 1e300])
            case "drop":
                del parent[key]
            case "copy" if isinstance(parent, list):
                parent.insert(0, deepcopy(value))
            case "rename" if isinstance(parent, dict):
                parent[self._random.choice([key[:-1], f"{key}s", key.upper(), "x"])] = parent.pop(
                    key
                )
            case "wrap":
                parent[key] = self._random.choice([[value], {"name": value}, {key: value}])
            case _:
                kind = "value"
                parent[key] = deepcopy(self._random.choice(VALUES))
        return kind


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each value of a document, by what it lies in and its key there."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in [*items]:
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


class Files:
    """Everything that the cases are made from, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known = catalog.installed()
        texts = [text for path in EXAMPLES for text in path.read_text().split("\n---\n")]
        texts.append(TUNED)
        self.examples = [(text, load_yaml(text, source="")[0][0]) for text in texts]
        (folder / "small.yaml").write_text(SMALL)
        (loaded,) = load_experiments(folder / "small.yaml")
        self.order = plan(loaded.experiment, self.known, namespace="local", written=loaded.written)
        self.results = [result_of(self.order, seed) for seed in self.order.seeds]
        metrics = [
            (each.title, registry.metric.resolve(each, at="")) for each in self.order.work.metrics
        ]
        self.question = Question(
            order=self.order,
            work_digest=work_digest(self.order.work),
            metrics=row_facts((title, chosen.entry.listed) for title, chosen in metrics),
            floors={},
            versions={},
        )
        (folder / "tuned.yaml").write_text(TUNED)
        (tuned,) = load_experiments(folder / "tuned.yaml")
        self.tuned = plan(tuned.experiment, self.known, namespace="local", written=tuned.written)
        assert self.tuned.trials
        self.selection = select(
            self.tuned,
            {seed: result_of(self.tuned.trials, seed) for seed in self.tuned.trials.seeds},
            self.known,
        )
        self.storage = LocalStorage(folder / "store")
        self.manifest = self._manifest()

    def _manifest(self) -> dict[str, Any]:
        meaning = {"seed": 1, "dataset": "d" * 64, "recipe": {"epochs": 1, "lr": 0.1}}
        key = digest(meaning)
        Artefacts(self.storage, self.folder).commit(
            "originals",
            key,
            meaning=meaning,
            files={"weights.safetensors": b"12345"},
            facts={"cost": {"wall_seconds": 1.5, "device_seconds": 1.5, "peak_memory_bytes": 10}},
            environment={"device": "cpu", "threads": 1},
            inputs={"d" * 64: {"train_images.npy": "e" * 64}},
        )
        found: dict[str, Any] = json.loads(self.storage.read(manifest_key("originals", key)))
        return found

    def document(self, kind: str) -> dict[str, Any]:
        if kind == "manifest":
            return self.manifest
        documents = {"order": self.order, "result": self.results[0], "selection": self.selection}
        return documents[kind].to_document()


def result_of(order: ExperimentOrder, seed: int) -> RunResult:
    """A whole result with made-up numbers."""
    rows = ("forget_accuracy", "test_accuracy", "retain_accuracy", "forget_js_divergence")
    draw = random.Random(seed)
    methods = [
        names.ORIGINAL,
        names.RETRAINED,
        *entries_of(order.work, order.work.scenarios[0].title),
    ]
    runs = [
        RunRecord(
            scenario=scenario.title,
            method=method,
            status="ok",
            metrics={**{row: draw.random() for row in rows}, "wall_seconds": 1 + draw.random()},
            predictions={"unlearned": digest({"of": method, "seed": seed})},
        )
        for scenario in order.work.scenarios
        for method in methods
    ]
    return RunResult(
        experiment=order.experiment,
        work_digest=work_digest(order.work),
        seed=seed,
        attempt=0,
        dataset=DatasetRecord(
            name="digits", digest="d" * 64, train_samples=1437, test_samples=360, classes=10
        ),
        cells=[],
        runs=runs,
        stages=[],
        environments={"e" * 64: {"device": "cpu"}},
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:10:00+00:00",
    )


def case_of(files: Files, kind: str, number: int) -> Case:
    mutations = Mutations(f"{kind}:{number}")
    if kind == "experiment":
        text, base = mutations.choice(files.examples)
        if mutations.chance(0.4):
            operation, changed = mutations.text(text)
        else:
            operation, document = mutations.tree(base)
            changed = yaml.safe_dump(document, sort_keys=False)
        return Case(kind, number, operation, changed.encode("utf-8", "surrogatepass"), base)
    document = files.document(kind)
    sound = sealed_json({name: value for name, value in document.items() if name != SEAL})
    if mutations.chance(0.3):
        operation, changed = mutations.text(sound.decode())
        return Case(kind, number, operation, changed.encode("utf-8", "surrogatepass"), document)
    unsealed = {name: value for name, value in json.loads(sound).items() if name != SEAL}
    operation, changed = mutations.tree(unsealed)
    seal = mutations.chance(0.7)
    if kind == "manifest" and seal and isinstance(changed.get("meaning"), dict):
        with suppress(ValueError):
            changed["key"] = digest(changed["meaning"])
    sealed = {**changed, SEAL: json.loads(sound)[SEAL]}
    if seal:
        with suppress(ValueError):
            sealed[SEAL] = digest(changed)
    return Case(kind, number, operation, json.dumps(sealed).encode(), document, seal)


def experiment(files: Files, case: Case) -> object:
    path = files.folder / "mutated.yaml"
    path.write_bytes(case.data)
    documents = []
    for loaded in load_experiments(path):
        order = plan(loaded.experiment, files.known, namespace="local", written=loaded.written)
        require_sense(order)
        steps(order.work, order.excluded, files.known)
        with suppress(SpecError):  # a cluster refuses more, by an error of ours
            check_cluster_spec(loaded.experiment.spec)
        documents.append(loaded.experiment.to_document(exclude_unset=True))
    return documents[0] if len(documents) == 1 else documents


def order(files: Files, case: Case) -> object:
    folder = files.order.prefix
    files.storage.write(names.order_key(folder), case.data)
    found, _ = read_sealed_order(files.storage, folder)
    require_sense(found)
    steps(found.work, found.excluded, files.known)
    return found.to_document()


def result(files: Files, case: Case) -> object:
    found = parse_result(case.data, "result.json")
    check_origin(found, files.order, 1, 0)
    if found.work_digest != files.question.work_digest:
        raise SpecError("it answers other work")
    summary = aggregate([found, *files.results[1:]], files.question)
    summary_json(summary)
    summary_csv(summary)
    require_finite(summary.to_document())
    for row in summary.rows:
        facts = files.question.metrics[row.metric]
        low, high = (end if end is not None else row.mean for end in (facts.low, facts.high))
        if row.mean is not None and not low <= row.mean <= high:
            raise Nonsense(f"the mean of {row.metric} is {row.mean}")
    return found.to_document()


def manifest(files: Files, case: Case) -> object:
    key = files.manifest["key"]
    with suppress(ValueError, TypeError, RecursionError):
        named = json.loads(case.data)
        key = named["key"] if case.sealed and isinstance(named.get("key"), str) else key
    try:
        name = manifest_key("originals", key)
        files.storage.write(name, case.data)
        found = read_manifest(files.storage, "originals", key)
    except ValueError as error:  # no key of a store, which nothing lists
        raise SpecError(str(error)) from None
    assert found is not None
    info = files.storage.stat(name)
    assert info is not None
    files.storage.delete(name)
    orphans(Store([Piece("originals", key, (info,), found)], (), (), {}))
    read_cost(found.facts)
    return found.to_document()


def selection(files: Files, case: Case) -> object:
    folder = files.tuned.prefix
    files.storage.write(names.selection_key(folder), case.data)
    found = read_selection(files.storage, folder)
    assert found is not None
    assert files.tuned.tuning is not None
    missing(files.tuned, found)
    chosen = with_choices(files.tuned, found.choices)
    require_finite(chosen.to_document())
    summary = tuning_summary(
        files.tuned.tuning,
        found,
        FinalSeeds(found.objective, {}, {}, asked=0),
        defaults={},
        catalog=files.known,
    )
    require_finite(summary.to_document())
    section(summary)
    return found.to_document()


READERS: dict[str, Callable[[Files, Case], object]] = {
    "experiment": experiment,
    "result": result,
    "manifest": manifest,
    "order": order,
    "selection": selection,
}


SEALED = ("result", "manifest", "order", "selection")
"""Kinds whose digest tells an edit."""


class Nonsense(Exception):
    """A document that no reader should have accepted."""


def require_sense(order: ExperimentOrder) -> None:
    """Require finite numbers, seeds and methods of an order that was planned or read."""
    require_finite(order.to_document())
    if len(set(order.seeds)) < len(order.seeds) or min(order.seeds) < 0:
        raise Nonsense(f"seeds are {order.seeds[:5]}")
    if any(margin <= 0 for margin in order.margins.values()):
        raise Nonsense(f"margins are {order.margins}")
    titles = [each.title for each in order.work.methods]
    if len(set(titles)) < len(titles):
        raise Nonsense(f"methods are {titles}")
    again, _ = parse_order(sealed_json(order.to_document()), "order.json")
    if again != order:
        raise Nonsense("it is not read back as it was")


def require_finite(document: object) -> None:
    for path, value in leaves(document):
        if isinstance(value, float) and not math.isfinite(value):
            raise Nonsense(f"{path} is {value}")


def leaves(document: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Each value by its path, in which places of lists are []; 1.0 is 1, as digests have it."""
    if isinstance(document, Mapping) and document:
        for key, value in document.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(document, list | tuple) and document:
        for value in document:
            yield from leaves(value, f"{path}[]")
    else:
        is_whole = isinstance(document, float) and document.is_integer()
        yield path, int(document) if is_whole else document  # type: ignore[call-overload]


def changes(before: object, after: object) -> list[tuple[str, str]]:
    """Paths of what is other than it was, with the kind of what stands there now."""
    old, new = (
        Counter((path, repr(value)) for path, value in leaves(each)) for each in (before, after)
    )
    values = {(path, repr(value)): value for path, value in leaves(after)}
    found = [(path, kind_of(values[path, text])) for path, text in new - old]
    gone = {path for path, _ in old - new} - {path for path, _ in found}
    return found + [(path, "absent") for path in sorted(gone)]


def kind_of(value: object) -> str:
    match value:
        case None | bool() | [] | {}:
            return str(value)
        case int() | float():
            sign = "-" if value < 0 else ""
            if value and not 1e-6 <= abs(value) <= 1e6:
                return f"{sign}1e{math.log10(abs(value)):.0f}"
            return f"{sign}{'integer' if float(value).is_integer() and value else value or 0}"
        case str() if len(value) > 40:
            return f"a text of {len(value)}"
        case str():
            return "a text" if value.isascii() and value.strip() else repr(value)
    return type(value).__name__


def tried(files: Files, case: Case, found: Found) -> None:
    started = time.process_time()
    try:
        accepted = READERS[case.kind](files, case)
    except SupremeError:
        found.refused += 1
    except StorageError:
        found.refused += 1
    except Nonsense as error:
        found.wrong.append(f"{case.name} ({case.operation}): accepted, and {error}")
    except Exception as error:
        found.wrong.append(
            f"{case.name} ({case.operation}): {type(error).__name__}: {one_line(error, 200)}"
        )
    else:
        told = changes(case.base, accepted)
        found.unchanged += not told
        if not case.sealed and told and case.kind in SEALED:
            found.wrong.append(f"{case.name} ({case.operation}): an edit was accepted: {told[:2]}")
        for change in told:
            found.accepted[change] += 1
            found.examples.setdefault(change, case.name)
    seconds = time.process_time() - started
    found.slowest = max(found.slowest, (seconds, case.name))
    if seconds > LONGEST:
        found.wrong.append(f"{case.name} ({case.operation}): {seconds:.1f} s of processor time")


def run(kinds: Sequence[str], cases: int) -> dict[str, Found]:
    """Try so many cases of each kind."""
    logging.disable(logging.WARNING)
    found = {kind: Found() for kind in kinds}
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = Files(Path(folder))
            for kind in kinds:
                for number in range(cases):
                    tried(files, case_of(files, kind, number), found[kind])
    finally:
        logging.disable(logging.NOTSET)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="of each kind")
    parser.add_argument("--of", nargs="*", choices=READERS, default=[*READERS], help="kinds")
    parser.add_argument(
        "--show", metavar="KIND:NUMBER", help="print one case and what becomes of it"
    )
    options = parser.parse_args()
    if options.show:
        return show(*options.show.split(":"))
    found = run(options.of, options.cases)
    print("| file | cases | refused | accepted as it was | accepted otherwise | slowest, CPU s |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind, each in found.items():
        otherwise = options.cases - each.refused - each.unchanged
        row = (kind, options.cases, each.refused, each.unchanged, otherwise)
        print(f"| {' | '.join(map(str, row))} | {each.slowest[0]:.2f} ({each.slowest[1]}) |")
    for kind, each in found.items():
        print(f"\n{kind}: {len(each.accepted)} kinds of changes are accepted")
        for change, count in each.accepted.most_common():
            print(f"  {count:6}  {change[0]}: {change[1]}  ({each.examples[change]})")
    wrong = [line for each in found.values() for line in each.wrong]
    print(f"\n{len(wrong)} wrong", *wrong[:200], sep="\n")
    sys.exit(bool(wrong))


def show(kind: str, number: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        case = case_of(files, kind, int(number))
        print(case.operation, case.data.decode("utf-8", "backslashreplace"), sep="\n")
        print(json.dumps(READERS[kind](files, case), indent=1, default=str))


if __name__ == "__main__":
    main()
