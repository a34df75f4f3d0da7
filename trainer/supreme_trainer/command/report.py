"""`supreme report`."""

import tempfile
from pathlib import Path

import click
from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.screen import show
from supreme_trainer.command.terminal import tell_where

from supreme_core.errors import SpecError
from supreme_core.publishing.publish import publish, summarise, tell_edits
from supreme_core.report.choices import FORMATS, PRIMARY
from supreme_core.report.paste import Layout, paste
from supreme_core.report.tables import IndexedSummary
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_experiment
from supreme_core.store.results import Results, read_order


def report_experiment(
    uri: str,
    *,
    form: str | None,
    choice: str | None,
    columns: int | None,
    width: str | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Write the report of an experiment, or print one of its tables in the given format."""
    if choice and not form:
        raise SpecError(f"--table needs --format, which is one of {', '.join(FORMATS)}")
    layout = Layout(columns or 1, width) if form == "latex" else None
    if (columns or width) and not layout:
        raise SpecError("--columns and --width need --format latex")
    console = Console()
    storage, prefix = open_experiment(uri, endpoint=endpoint, region=region)
    order = read_order(storage, prefix)  # before the check, which would make a mistyped folder
    if not form:
        local.check_store(storage)
    results = Results(storage)
    if not results.of(order):
        raise SpecError(f"{uri} has no finished seed yet, so there is nothing to report")
    with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
        artefacts = Artefacts(storage, Path(cache))
        if form:
            tell_edits(storage, prefix)
            summary = summarise(storage, artefacts, order, results)
            click.echo(
                paste(IndexedSummary(summary), choice or PRIMARY, form, layout=layout), nl=False
            )
            return
        summary = publish(storage, artefacts, order, results=results)
    show(summary, console)
    tell_where(storage.uri, order, console)
