"""`supreme validate`."""

from pathlib import Path

import click
from supreme_trainer.command.experiments import planned

from supreme_core import catalog
from supreme_core.plan import steps


def validate_experiments(file: Path) -> None:
    """Say what the experiments of a file would compute."""
    for loaded, order in planned(file):
        work, each = order.work, steps(order.work, order.excluded, catalog.installed())
        click.echo(
            f"{loaded.source} is valid: {len(order.seeds)} seeds x {len(work.scenarios)} scenarios"
            f" x {len(work.methods)} methods, {len(each)} stages for each seed"
        )
        for pair in order.excluded:
            click.echo(f"left out: {pair.method} in {pair.scenario}, because {pair.reason}")
