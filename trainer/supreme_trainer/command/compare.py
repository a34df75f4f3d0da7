"""`supreme compare`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from supreme_trainer.command.experiments import planned, storage_of
from supreme_trainer.command.screen import show_tables
from supreme_trainer.command.sentences import say

from supreme_core.analysis.across import Across, PublishedExperiment, compare
from supreme_core.analysis.files import as_json
from supreme_core.api import names
from supreme_core.errors import SpecError, mistakes
from supreme_core.publishing.publish import read_published
from supreme_core.registry.catalog import installed
from supreme_core.report.across import (
    comparison_csv,
    comparison_latex,
    comparison_tables,
    render_comparison,
    title,
)
from supreme_core.store.opening import open_experiment, open_storage
from supreme_core.store.results import no_experiment
from supreme_core.store.storage import Storage

ELSEWHERE = "the files that --output FOLDER writes"


def compare_experiments(
    sources: Sequence[str],
    *,
    metrics: Sequence[str],
    settings_may_differ: bool,
    output: str | None,
    store: str | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Print the tables of several experiments together, and write files of them."""
    opened = [
        each
        for source in sources
        for each in _opened(source, store=store, endpoint=endpoint, region=region)
    ]
    is_one_file = len(sources) == 1  # whose author gave each block its settings
    across = compare(
        _published(opened),
        metrics,
        settings_may_differ=settings_may_differ or is_one_file,
        catalog=installed(),
    )
    console = Console()
    say(console, title(across))
    if output is None:
        show_tables(comparison_tables(across), console, elsewhere=ELSEWHERE)
        return
    folder = open_storage(output, endpoint=endpoint, region=region)
    for name, data in _files(across).items():
        folder.write(name, data)
    show_tables(comparison_tables(across), console, elsewhere=f"the files in {output}")
    page = f"{folder.uri.rstrip('/')}/compare.html"
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)


def _opened(
    source: str, *, store: str | None, endpoint: str | None, region: str | None
) -> Iterator[tuple[Storage, str]]:
    """The store and the folder of each experiment that a source names."""
    if not os.path.isfile(source):  # which is False also where a path cannot be
        yield open_experiment(source, endpoint=endpoint, region=region)
        return
    for loaded, order in planned(Path(source), ()):
        yield storage_of(loaded.experiment.spec, store), order.prefix


def _published(opened: Sequence[tuple[Storage, str]]) -> list[PublishedExperiment]:
    """Summaries of the experiments; SpecError with a line for each that cannot be read."""
    found, lines = list[PublishedExperiment](), list[str]()
    for storage, prefix in opened:
        source = f"{storage.uri.rstrip('/')}/{prefix}"
        there = map(storage.stat, (names.summary_key(prefix), names.order_key(prefix)))
        try:
            if not any(there):
                raise no_experiment(storage, prefix)
            found.append(PublishedExperiment(source, read_published(storage, prefix)))
        except SpecError as error:
            lines.append(f"{source}: {error}")
    if lines:
        raise mistakes(lines)
    return found


def _files(across: Across) -> dict[str, bytes]:
    """The page last: who sees it has the others."""
    return {
        "compare.csv": comparison_csv(across),
        "compare.json": as_json(across),
        "compare.tex": comparison_latex(across).encode(),
        "compare.html": render_comparison(across),
    }
