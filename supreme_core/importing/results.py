"""Read the *_eval_results.json below a folder. They are untrusted input.

.../precision_P/Ggpus/train_seed_T/unlearn_seed_U/SCENARIO/DATASET/MODEL/classes_C/TARGET/
METHOD/METHOD_eval_results.json, where METHOD begins with a capital; superclasses_C_subclasses_D for
subclasses, and batch_per_device before it all where batches grow with the GPUs. Numbers stand in a
file as

    {metric: {"test": {"unlearning_method": {name: {"final_value": number}}}}}

without "test" for metrics that have no data. Beside the metrics stand resources, whose names begin
with a capital. Links are not followed, files and folders have limits,
and whatever is not understood is skipped and said.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from supreme_core.api.model import read_json
from supreme_core.errors import SpecError, number_of, one_line
from supreme_core.importing.metrics import METRICS, NOT_READ, RowOf, row_of

MOST_BYTES: Final = 1024 * 1024
"""Largest size of one file; those of the reference have some 50 KiB."""
MOST_FILES: Final = 100_000
MOST_ENTRIES: Final = 2_000_000
MOST_LEVELS: Final = 24

SUFFIX: Final = "_eval_results.json"
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}"
PLACE: Final = re.compile(
    r"(?P<batches>batch_per_device/)?precision_(?P<precision>[A-Za-z0-9-]{1,16})"
    r"/(?P<gpus>\d{1,4})gpus/train_seed_(?P<train>\d{1,9})/unlearn_seed_(?P<unlearn>\d{1,9})"
    rf"/(?P<scenario>fullclass|subclass|random_)/(?P<dataset>{NAME})/(?P<model>{NAME})"
    r"/(?:super)?classes_(?P<classes>\d{1,6})(?:_subclasses_\d{1,6})?"
    rf"/forget_(?:class|perc)_(?P<target>{NAME})/(?P<method>{NAME})/(?P=method){SUFFIX}"
)


@dataclass(frozen=True, order=True)
class ImportedSetting:
    """Experimental setting of imported results; each has a table of its own."""

    dataset: str
    model: str
    forgets: str
    precision: str
    gpus: int
    classes: int
    batches_per_gpu: bool = False

    def __str__(self) -> str:
        return (
            f"{self.dataset}, {self.model}, forgets {self.forgets}, precision {self.precision},"
            f" {number_of(self.gpus, 'GPU')},"
            f" {number_of(self.classes, 'class', 'classes')}"
            + (", batches per GPU" if self.batches_per_gpu else "")
        )


@dataclass(frozen=True)
class ImportedResult:
    """One file.  values: by row, in the unit of ours; None where it holds no number for it."""

    setting: ImportedSetting
    scenario: str
    target: str
    method: str
    train_seed: int
    unlearn_seed: int
    values: Mapping[str, float | None]


@dataclass
class FoundResults:
    """skipped: what was not read, and why, with how often."""

    evaluations: list[ImportedResult] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, what: str) -> None:
        what = one_line(what, 200)
        if what in self.skipped or len(self.skipped) < MOST_FILES:
            self.skipped[what] = self.skipped.get(what, 0) + 1


def read_folder(folder: Path) -> FoundResults:
    """Every evaluation below a folder; SpecError where there is none or far too much."""
    try:
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise SpecError(f"cannot read {folder}: {why}") from None
    if not root.is_dir():
        raise SpecError(f"{folder} is no folder")
    found = FoundResults()
    for count, path in enumerate(_files(root, found)):
        if count == MOST_FILES:
            raise SpecError(f"{folder} has more than {MOST_FILES} results; give a folder in it")
        place = PLACE.search(path.as_posix())
        if place is None:
            found.skip(f"{path.name}: it does not lie where the reference puts results")
            continue
        try:
            found.evaluations.append(_evaluation(place.groupdict(), _read(path), found))
        except SpecError as error:
            found.skip(str(error))
    if not found.evaluations:
        skipped = "".join(f"; {what}" for what in list(found.skipped)[:1])
        raise SpecError(f"{folder} has no result of supreme-unlearning, *{SUFFIX}{skipped}")
    return found


def _files(root: Path, found: FoundResults) -> Iterator[Path]:
    """Regular files whose names fit, by name; entries of all folders count against one limit."""
    entries, waiting = 0, [(root, 0)]
    while waiting:
        folder, level = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                here: Sequence[os.DirEntry[str]] = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.skip(f"a folder cannot be read: {error.strerror}")
            continue
        entries += len(here)
        if entries > MOST_ENTRIES:
            raise SpecError(f"{root} has more than {MOST_ENTRIES} files; give a folder in it")
        for entry in here:
            is_result = entry.name.endswith(SUFFIX)
            if entry.is_symlink():
                if is_result:
                    found.skip(f"{entry.name}: it is a link")
            elif entry.is_dir(follow_symlinks=False):
                if level < MOST_LEVELS:
                    waiting.append((Path(entry.path), level + 1))
                else:
                    found.skip(f"folders below {MOST_LEVELS} levels")
            elif is_result:
                yield Path(entry.path)


def _read(path: Path) -> object:
    """The JSON of a regular file; nothing else is opened, and nobody waits for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SpecError(f"{path.name}: it is no regular file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path.name}: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise SpecError(f"{path.name}: it is larger than {MOST_BYTES} bytes")
    return read_json(data, source=path.name)


def _evaluation(place: Mapping[str, str], document: object, found: FoundResults) -> ImportedResult:
    scenario = place["scenario"]
    return ImportedResult(
        setting=ImportedSetting(
            dataset=place["dataset"],
            model=place["model"],
            forgets="samples" if scenario == "random_" else "classes",
            precision=place["precision"],
            gpus=int(place["gpus"]),
            classes=int(place["classes"]),
            batches_per_gpu=bool(place["batches"]),
        ),
        scenario=scenario,
        target=place["target"],
        method=place["method"].lower(),
        train_seed=int(place["train"]),
        unlearn_seed=int(place["unlearn"]),
        values=values_in(document, scenario, found),
    )


def values_in(document: object, scenario: str, found: FoundResults) -> dict[str, float | None]:
    """The rows of a file; whatever else stands in it is skipped and said."""
    if not isinstance(document, dict):
        raise SpecError(f"a file holds a {type(document).__name__} and no metrics")
    values: dict[str, float | None] = {}
    for metric, content in document.items():
        if metric[:1].isupper():
            continue
        if metric not in METRICS:
            found.skip(f"metric {metric!r}: the reference has none of that name")
            continue
        for name, leaf in _leaves(content).items():
            if name in NOT_READ:
                continue
            row = row_of(metric, name, scenario)
            if row is None:
                found.skip(f"{metric}.{name}: nothing of ours in scenario {scenario}")
            else:
                values[row.name] = _number(leaf, row, found)
    return values


def _leaves(content: object) -> Mapping[str, object]:
    """Values by name, wherever the metric has them; none where it has no such thing."""
    for step in ("test", "unlearning_method"):
        if isinstance(content, dict) and step in content:
            content = content[step]
        elif step == "unlearning_method":
            return {}
    return content if isinstance(content, dict) else {}


def _number(leaf: object, row: RowOf, found: FoundResults) -> float | None:
    """Return the number in our unit; None for no number, for infinity, and for what the metric
    cannot be."""
    value = leaf.get("final_value") if isinstance(leaf, dict) else leaf
    if isinstance(value, bool) or not isinstance(value, int | float):
        found.skip(f"{row.name}: it is no number")
        return None
    try:
        number = float(value) * row.factor
    except OverflowError:
        number = float("inf")
    if not row.low <= number <= row.high:  # nor is NaN
        found.skip(f"{row.name}: it is not finite or out of its range")
        return None
    return number
