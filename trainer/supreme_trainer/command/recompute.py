"""`supreme recompute`."""

import tempfile
from pathlib import Path

from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.screen import show
from supreme_trainer.command.terminal import say_found, tell_where, tracked

from supreme_core.errors import number_of
from supreme_core.publishing import recompute as scores
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_experiment
from supreme_core.store.results import read_order

CHANGES_SHOWN = 20


def recompute_experiment(
    uri: str, *, more: tuple[str, ...], endpoint: str | None, region: str | None
) -> None:
    """Compute the metrics of an experiment again and say what changed."""
    console = Console()
    storage, prefix = open_experiment(uri, endpoint=endpoint, region=region)
    order = read_order(storage, prefix)
    local.check_store(storage)
    with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
        done = scores.recompute(storage, Artefacts(storage, Path(cache)), order, tracked, more=more)
    show(done.summary, console)
    tell_where(storage.uri, order, console)
    _tell_changes(done)


def _tell_changes(done: scores.Recomputed) -> None:
    same = "as they were" if not done.changes else f"{len(done.changes)} of them changed"
    lines = [f"{number_of(done.runs, 'run')} scored again; {done.numbers} known before, {same}"]
    for change in done.changes[:CHANGES_SHOWN]:
        where = f"seed {change.seed}, {change.run.method} in {change.run.scenario}"
        lines.append(f"  {where}: {change.row} was {change.before}, is {change.after}")
    if len(done.changes) > CHANGES_SHOWN:
        lines.append(f"  and {len(done.changes) - CHANGES_SHOWN} more")
    for line in lines:
        say_found(line)
