"""`supreme import-reference`."""

import re
from pathlib import Path

from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.screen import ELSEWHERE, show
from supreme_trainer.command.sentences import say

from supreme_core.api import names
from supreme_core.errors import SpecError
from supreme_core.importing.folder import read_results
from supreme_core.importing.summary import summaries
from supreme_core.publishing.publish import write_summary
from supreme_core.store.opening import open_storage


def import_results(
    place: Path, *, store: str, name: str, endpoint: str | None, region: str | None
) -> None:
    """Make tables and reports of the reference's results in a folder or in a table of runs."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", name):
        raise SpecError(f"--name is {name!r}; it should be at most 40 letters, digits and hyphens")
    console = Console()
    found = read_results(place)
    storage = open_storage(store, endpoint=endpoint, region=region)
    local.check_store(storage)
    for title, setting, summary in summaries(found, name):
        prefix = names.import_prefix(title)
        write_summary(storage, prefix, summary)
        say(console, f"\n{setting}")
        show(summary, console, elsewhere=ELSEWHERE)
        report = f"{storage.uri.rstrip('/')}/{names.report_key(prefix)}"
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
