"""Read the results of supreme-unlearning in a folder. They are untrusted input.

.../precision_P/Ggpus/train_seed_T/unlearn_seed_U/SCENARIO/DATASET/MODEL/classes_C/TARGET/
METHOD/METHOD_eval_results.json, where METHOD begins with a capital; superclasses_C_subclasses_D for
subclasses, and batch_per_device before it all where batches grow with the GPUs. Tables of runs
(*.csv) may lie anywhere; other CSV files of the reference, such as those of its class
distributions, hold no metric and are passed over. Links are not followed, and files and folders
have limits.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from supreme_core.api.model import read_json
from supreme_core.errors import SpecError
from supreme_core.importing.metrics import NAME
from supreme_core.importing.results import (
    MOST_RESULTS,
    FoundResults,
    ImportedResult,
    ImportedSetting,
    values_in,
)
from supreme_core.importing.tables import MOST_TABLE_BYTES, has_metrics, read_table

MOST_BYTES: Final = 1024 * 1024
"""Largest size of one result; those of the reference have some 50 KiB."""
MOST_ENTRIES: Final = 2_000_000
MOST_LEVELS: Final = 24

SUFFIX: Final = "_eval_results.json"
TABLE: Final = ".csv"
PLACE: Final = re.compile(
    r"(?P<batches>batch_per_device/)?precision_(?P<precision>[A-Za-z0-9-]{1,16})"
    r"/(?P<gpus>\d{1,4})gpus/train_seed_(?P<train>\d{1,9})/unlearn_seed_(?P<unlearn>\d{1,9})"
    rf"/(?P<scenario>fullclass|subclass|random_)/(?P<dataset>{NAME})/(?P<model>{NAME})"
    r"/(?:super)?classes_(?P<classes>\d{1,6})(?:_subclasses_\d{1,6})?"
    rf"/forget_(?:class|perc)_(?P<target>{NAME})/(?P<method>{NAME})/(?P=method){SUFFIX}"
)


def read_results(place: Path) -> FoundResults:
    """Every evaluation in a folder, or in one table of runs; SpecError where there is none or far
    too much."""
    try:
        root = place.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise SpecError(f"cannot read {place}: {why}") from None
    found = FoundResults()
    if root.is_file() and root.name.endswith(TABLE):
        read_table(_bytes(root, MOST_TABLE_BYTES), root.name, found)
        found.check()
    elif root.is_dir():
        for count, path in enumerate(_files(root, found)):
            if count == MOST_RESULTS:
                raise SpecError(f"{place} has more than {count} results; give a folder in it")
            try:
                _take(path, found)
            except SpecError as error:
                found.skip(str(error))
            found.check()
    else:
        raise SpecError(f"{place} is no folder and no table of runs, *{TABLE}")
    if not found.evaluations:
        skipped = "".join(f"; {what}" for what in list(found.skipped)[:1])
        wanted = f"*{SUFFIX} or a table of runs, *{TABLE}" if root.is_dir() else "in any line"
        raise SpecError(f"{place} has no result of supreme-unlearning, {wanted}{skipped}")
    return found


def _take(path: Path, found: FoundResults) -> None:
    if path.name.endswith(TABLE):
        data = _bytes(path, MOST_TABLE_BYTES)
        if has_metrics(data):
            read_table(data, path.name, found)
    elif place := PLACE.search(path.as_posix()):
        document = read_json(_bytes(path, MOST_BYTES), source=path.name)
        found.add(_evaluation(place.groupdict(), document, found), source=path.name)
    else:
        found.skip(f"{path.name}: it does not lie where the reference puts results")


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
            is_result = entry.name.endswith((SUFFIX, TABLE))
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


def _bytes(path: Path, most: int) -> bytes:
    """Bytes of a regular file; nothing else is opened, and nobody waits for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SpecError(f"{path.name}: it is no regular file")
            data = file.read(most + 1)
    except OSError as error:
        raise SpecError(f"{path.name}: {error.strerror}") from None
    if len(data) > most:
        raise SpecError(f"{path.name}: it is larger than {most} bytes")
    return data


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
