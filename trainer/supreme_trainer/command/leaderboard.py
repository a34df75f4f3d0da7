"""`supreme leaderboard`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from supreme_core.analysis.across import PublishedExperiment
from supreme_core.analysis.leaderboard import leaderboards
from supreme_core.errors import SpecError, mistakes
from supreme_core.publishing.verify import verified_summary
from supreme_core.report.leaderboard import leaderboard_page
from supreme_core.store.opening import open_experiment, open_storage
from supreme_core.store.results import EXPERIMENTS, experiments_in
from supreme_core.store.storage import Storage


def write_leaderboard(
    sources: Sequence[str],
    *,
    metric: str | None,
    output: Path | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Print the page, or write it to a file."""
    opened = [
        each for source in sources for each in _opened(source, endpoint=endpoint, region=region)
    ]
    page = leaderboard_page(leaderboards(_verified(opened), metric))
    if output is None:
        click.echo(page, nl=False)
        return
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"--output {output}: {error.strerror}") from None
    click.echo(f"leaderboard: {output}")


def _opened(
    source: str, *, endpoint: str | None, region: str | None
) -> Iterator[tuple[Storage, str]]:
    """The store and the folder of an experiment, or of each experiment of a store."""
    if f"/{EXPERIMENTS}/" in source:
        yield open_experiment(source, endpoint=endpoint, region=region)
        return
    storage = open_storage(source, endpoint=endpoint, region=region)
    there = experiments_in(storage)
    if not there:
        raise SpecError(f"{source!r} has no experiments; give a store, or an experiment of one")
    yield from ((storage, f"{EXPERIMENTS}/{each}") for each in there)


def _verified(opened: Sequence[tuple[Storage, str]]) -> list[PublishedExperiment]:
    """Experiments whose seals and plans fit; SpecError with a line for each other one."""
    found, lines = list[PublishedExperiment](), list[str]()
    for storage, prefix in opened:
        source = f"{storage.uri.rstrip('/')}/{prefix}"
        try:
            found.append(PublishedExperiment(source, verified_summary(storage, prefix)))
        except SpecError as error:
            lines.append(f"{source}: {error}")
    if lines:
        raise mistakes(lines)
    return found
