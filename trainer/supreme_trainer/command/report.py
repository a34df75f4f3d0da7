"""`supreme report`."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.screen import show
from supreme_trainer.command.terminal import tell_where

from supreme_core.errors import SpecError
from supreme_core.publishing.publish import publish, summarise, tell_edits
from supreme_core.report.choices import FORMATS, PICTURES, PRIMARY
from supreme_core.report.figures import figure
from supreme_core.report.paste import Layout, paste
from supreme_core.report.plots import picture
from supreme_core.report.tables import IndexedSummary
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.opening import open_experiment
from supreme_core.store.results import ResultReader, read_order


@dataclass(frozen=True)
class Pasted:
    """One table or figure of a report, in place of the report.  form: of either.

    scenario: that of the figure.  columns, width: of a LaTeX table.
    """

    form: str
    table: str | None = None
    figure: str | None = None
    scenario: str | None = None
    columns: int | None = None
    width: str | None = None

    def __post_init__(self) -> None:
        if self.form in PICTURES and self.table is not None:
            raise SpecError(f"--table needs --format, which is one of {', '.join(FORMATS)}")
        if self.form in FORMATS and not (self.figure is None and self.scenario is None):
            which = "--scenario" if self.figure is None else "--figure"
            raise SpecError(f"{which} needs --format, which is one of {', '.join(PICTURES)}")
        if not (self.columns is None and self.width is None) and self.form != "latex":
            raise SpecError("--columns and --width need --format latex")
        _ = self.layout  # a length that is none is told before the results are read

    @property
    def layout(self) -> Layout:
        """Room of a LaTeX table."""
        return Layout(self.columns or 1, self.width)

    def of(self, indexed: IndexedSummary) -> str | bytes:
        """The table as text, or the figure as the bytes of a file."""
        if self.form in PICTURES:
            name = indexed.primary if self.figure is None else self.figure
            return picture(figure(indexed, name, scenario=self.scenario), self.form)
        layout = self.layout if self.form == "latex" else None
        table = PRIMARY if self.table is None else self.table
        return paste(indexed, table, self.form, layout=layout)


def pasted(form: str | None, **options: Any) -> Pasted | None:
    """The table or figure in place of the report; None without a format, which the others need."""
    if form:
        return Pasted(form, **options)
    if given := [name for name, value in options.items() if value is not None]:
        forms = PICTURES if given[0] in ("figure", "scenario") else FORMATS
        raise SpecError(f"--{given[0]} needs --format, which is one of {', '.join(forms)}")
    return None


def report_experiment(
    uri: str, wanted: Pasted | None, *, endpoint: str | None, region: str | None
) -> None:
    """Write the report of an experiment, or print the table or the figure that is wanted."""
    if wanted and wanted.form in PICTURES and sys.stdout.isatty():
        raise SpecError(f"a figure is no text; send it to a file: > figure.{wanted.form}")
    console = Console()
    storage, prefix = open_experiment(uri, endpoint=endpoint, region=region)
    order = read_order(storage, prefix)  # before the check, which would make a mistyped folder
    if not wanted:
        local.check_store(storage)
    results = ResultReader(storage)
    if not results.of(order):
        raise SpecError(f"{uri} has no finished seed yet, so there is nothing to report")
    with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
        artefacts = Artefacts(storage, Path(cache))
        if wanted:
            tell_edits(storage, prefix)
            summary = summarise(storage, artefacts, order, results)
            click.echo(wanted.of(IndexedSummary(summary)), nl=False)
            return
        summary = publish(storage, artefacts, order, results=results)
    show(summary, console)
    tell_where(storage.uri, order, console)
