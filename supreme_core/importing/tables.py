"""Read tables of runs, CSV files as W&B's runs are exported to. They are untrusted input.

Two kinds, told apart by their columns. The reference's own export, which its notebook of tables
reads, has a file for each project with the columns

    project, model, dataset, strategy, target, method, seed, run_id, state,
    accuracy_test_unlearning_method_forget_acc, ...

where `seed` is that of unlearning. W&B's own export of a project's runs has the columns

    Name, model_name, dataset_name, unlearning_strategy, forget_class, num_gpus, precision, ...,
    accuracy.test.unlearning_method.forget_acc.final_value, ...

and both seeds in the name of a run: METHOD_tseedT_useedU, with _eseedE where an evaluation was
repeated, or METHOD_seedU.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from supreme_core.errors import SpecError, listed, nearest, one_line
from supreme_core.importing.metrics import ALLOWED, NAME
from supreme_core.importing.results import FoundResults, ImportedResult, ImportedSetting, put

MOST_TABLE_BYTES: Final = 16 * 1024 * 1024
SCENARIOS: Final = ("fullclass", "subclass", "random_")

SEED: Final = re.compile(r"(\d{1,9})(?:\.0)?", re.ASCII)
"""A whole number, as pandas writes one also in a column with gaps."""
NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
PROJECT: Final = re.compile(
    r".*_precision_(?P<precision>[A-Za-z0-9-]{1,16})(?:_(?P<spread>no_dist|dist_\w+))?"
)
RUN: Final = re.compile(
    rf"(?P<method>{NAME})_(?:tseed(?P<train>\d{{1,9}})_useed(?P<unlearn>\d{{1,9}})"
    r"(?:_eseed\d{1,15})?|seed(?P<seed>\d{1,9}))",
    re.ASCII,
)
COLUMN: Final = re.compile(
    r"(?P<metric>.+?)[._]unlearning_method[._](?P<name>.+?)(?:[._]final_value)?", re.DOTALL
)
SUCH_AS: Final = "accuracy_test_unlearning_method_forget_acc"

EXPORT: Final = ("model", "dataset", "strategy", "target", "method", "seed")
WANDB: Final = ("Name", "model_name", "dataset_name", "unlearning_strategy", "forget_class")

SEEDS_OF_A_TRAINING: Final = 1000
ASSUMED_SEEDS: Final = (
    "A table names one seed for each run. Those from 1000 on are taken for seeds of unlearning,"
    " 1000 of which belong to one training seed, as the reference's scripts number them."
)


class MetricColumn(NamedTuple):
    place: int
    metric: str
    name: str


def has_metrics(data: bytes) -> bool:
    """Return whether the first line of a CSV file names a metric of the reference."""
    return b"unlearning_method" in data.partition(b"\n")[0]


def read_table(data: bytes, source: str, found: FoundResults) -> None:
    """Every run of a table; SpecError where it is none.  source: of messages."""
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise SpecError(f"{source}: it is no text in UTF-8") from None
    except csv.Error as error:
        raise SpecError(f"{source}: it is no CSV: {error}") from None
    header = lines[0] if lines else []
    needed = max(EXPORT, WANDB, key=lambda names: len({*names} & {*header}))
    columns = list(_columns(header))
    _check_header(header, needed, columns, source)
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        try:
            if len(line) != len(header):
                raise SpecError(f"it has {len(line)} fields, the first one {len(header)}")
            found.add(
                _result(dict(zip(header, line, strict=True)), line, columns, found), source=source
            )
        except SpecError as error:
            found.skip(f"{source}, line {number}: {error}")


def _check_header(
    header: Sequence[str], needed: Sequence[str], columns: Sequence[MetricColumn], source: str
) -> None:
    for name in needed:
        if name not in header:
            hint = nearest(name, header)
            allowed = " or ".join(", ".join(names) for names in (EXPORT, WANDB))
            raise SpecError(
                f"{source}: it has no column {name!r}{hint}; a table of runs has {allowed}"
            )
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise SpecError(f"{source}: it has a column twice: {one_line(listed(twice), 200)}")
    if not columns:
        raise SpecError(f"{source}: it has no column of a metric, such as {SUCH_AS}")


def _columns(header: Sequence[str]) -> Iterator[MetricColumn]:
    for place, column in enumerate(header):
        if parts := COLUMN.fullmatch(column):
            metric, name = parts["metric"], parts["name"]
            # An own metric has its name in both places, whatever that ends with.
            yield MetricColumn(
                place, metric if metric == name else re.sub(r"[._]test$", "", metric), name
            )


def _result(
    run: Mapping[str, str],
    line: Sequence[str],
    columns: Sequence[MetricColumn],
    found: FoundResults,
) -> ImportedResult:
    ours = {*EXPORT} <= run.keys()
    scenario = _one_of(run, "strategy" if ours else "unlearning_strategy", SCENARIOS)
    project = PROJECT.fullmatch(run.get("project", ""))
    if ours:
        method = _name(run, "method")
        train, unlearn = _seeds(run["seed"], found, column="seed")
        precision = project["precision"] if project else ""
        gpus = int(bool(project and project["spread"] == "no_dist"))
    else:
        named = RUN.fullmatch(run["Name"])
        if named is None:
            raise SpecError(f"Name is {_shown(run['Name'])}; allowed: METHOD_tseedT_useedU")
        method = named["method"]
        train, unlearn = (
            _seeds(named["seed"], found, column="Name")
            if named["seed"]
            else (int(named["train"]), int(named["unlearn"]))
        )
        precision = _name(run, "precision") if run.get("precision") else ""
        counted = SEED.fullmatch(run.get("num_gpus", ""))
        gpus = int(counted[1]) if counted else 0
    target = _name(run, "target" if ours else "forget_class")
    values: dict[str, float | None] = {}
    for column in columns:
        text = line[column.place].strip()
        if text:
            number = float(text) if NUMBER.fullmatch(text) else text
            put(values, column.metric, column.name, number, scenario, found)
    if not values:
        raise SpecError(f"the run of {method} has no number")
    return ImportedResult(
        setting=ImportedSetting(
            dataset=_name(run, "dataset" if ours else "dataset_name"),
            model=_name(run, "model" if ours else "model_name"),
            forgets="samples" if scenario == "random_" else "classes",
            precision=precision,
            gpus=gpus,
            classes=0,
        ),
        scenario=scenario,
        target=target.removeprefix("samples_").removesuffix("perc"),
        method=method.lower(),
        train_seed=train,
        unlearn_seed=unlearn,
        values=values,
    )


def _seeds(text: str, found: FoundResults, *, column: str) -> tuple[int, int]:
    """Seeds of training and of unlearning, where a table has one of them."""
    whole = SEED.fullmatch(text)
    if whole is None:
        raise SpecError(f"{column} is {_shown(text)}; allowed: a whole number of up to 9 digits")
    seed = int(whole[1])
    if seed < SEEDS_OF_A_TRAINING:
        return seed, seed
    found.assumed.add(ASSUMED_SEEDS)
    return seed // SEEDS_OF_A_TRAINING, seed


def _name(run: Mapping[str, str], column: str) -> str:
    if not re.fullmatch(NAME, run[column]):
        raise SpecError(f"{column} is {_shown(run[column])}; allowed: {ALLOWED}")
    return run[column]


def _one_of(run: Mapping[str, str], column: str, allowed: Sequence[str]) -> str:
    if run[column] not in allowed:
        hint = nearest(run[column], allowed)
        raise SpecError(f"{column} is {_shown(run[column])}; allowed: {', '.join(allowed)}{hint}")
    return run[column]


def _shown(text: str) -> str:
    return repr(one_line(text, 60))
