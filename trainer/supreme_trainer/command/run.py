"""`supreme run`."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from supreme_trainer.command import local
from supreme_trainer.command.data import tell_elsewhere
from supreme_trainer.command.errors import tell, tell_line
from supreme_trainer.command.experiments import in_turn, planned, storage_of
from supreme_trainer.command.seed_choice import chosen_seeds
from supreme_trainer.command.sentences import say
from supreme_trainer.command.terminal import report_of, tell_where

from supreme_core.api.load import Loaded, errors_of
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.errors import EXIT_OK, SupremeError

CLUSTER_FIELDS = (
    "execution",
    "parallelism",
    "failure_policy",
    "suspend",
    "active_deadline_seconds",
    "seed_active_deadline_seconds",
    "scheduling_deadline_seconds",
    "ttl_seconds_after_finished",
    "child_ttl_seconds_after_finished",
    "managed_by",
)
"""Parts of the spec that say how a cluster runs an experiment; no number depends on them."""
EXECUTION_FIELDS = {"reuse", "data_placement", "distribution"}
"""Fields of spec.execution that are used here too."""


def compute_experiments(
    file: Path,
    *,
    settings: Sequence[str],
    store: str | None,
    seeds: str | None,
    replace: bool,
    retune: bool,
    ranks: int,
    workers: int | None,
    per_gpu: int,
    device: str,
    quiet: bool,
) -> None:
    """Compute the experiments of a file, one after the other, and end the process."""
    console = Console(quiet=quiet)
    codes = []
    found = planned(file, settings)
    chosen = _chosen(found, seeds)
    for spec, order in in_turn(found, console):
        tell_elsewhere(spec, file, console)
        options = local.Options(
            device=device,
            ranks=ranks,
            workers=workers,
            per_gpu=per_gpu,
            endpoint=spec.storage.endpoint,
            region=spec.storage.region,
            seeds=chosen.get(order.prefix),
            replace=replace,
            retune=retune,
            forms_teams=spec.execution.forms_teams(spec.training),
        )
        try:
            codes.append(_compute(spec, order, store, options, console))
        except SupremeError as error:
            codes.append(tell(error))
    sys.exit(next(filter(None, codes), EXIT_OK))


def _compute(
    spec: ExperimentSpec,
    order: ExperimentOrder,
    store: str | None,
    options: local.Options,
    console: Console,
) -> int:
    """One experiment to its end; gives the exit status."""
    storage = storage_of(spec, store)
    _tell_unused(spec, options.ranks, console)
    try:
        outcome = local.run(order, storage, options, console)
    except local.Stopped as stopped:
        say(console, f"\nstopped; every finished stage is in {storage.uri}")
        # Never wrapped, because it is there to be pasted.
        go_on = f"to go on: {_again(*sys.argv)}"
        console.print(go_on, markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(stopped.code) from None
    if outcome.summary:
        from supreme_trainer.command.screen import show

        show(outcome.summary, console)
        tell_where(storage.uri, order, console)
    say(console, local.counted(outcome, options))
    for failure in outcome.failures:
        tell_line(failure)
    if console.quiet and outcome.summary:
        click.echo(f"report: {report_of(storage.uri, order)}")
    return outcome.exit_code


def _chosen(
    found: Sequence[tuple[Loaded, ExperimentOrder]], seeds: str | None
) -> dict[str, list[int]]:
    """The seeds to compute of each experiment, by its folder; empty where all are."""
    chosen: dict[str, list[int]] = {}
    if seeds is None:
        return chosen
    for loaded, order in found:
        with errors_of(loaded.source):
            chosen[order.prefix] = chosen_seeds(seeds, order.seeds)
    return chosen


def _tell_unused(spec: ExperimentSpec, ranks: int, console: Console) -> None:
    unused = [name for name in CLUSTER_FIELDS if name in spec.model_fields_set]
    if "execution" in unused and spec.execution.model_fields_set <= EXECUTION_FIELDS:
        unused.remove("execution")
    if unused:
        aliases = [ExperimentSpec.model_fields[name].alias or name for name in unused]
        fields = ", ".join(f"spec.{alias}" for alias in aliases)
        say(console, f"only a cluster uses {fields}; not used here")
    if spec.execution.distribution == "Data" and ranks == 1:
        say(
            console,
            "spec.execution.distribution is Data; here batches are split by --ranks, and without it"
            " each worker takes whole stages",
        )


def _again(called: str, *arguments: str) -> str:
    """The command to give again, by its path where the shell would not find it."""
    is_found = Path(called).name != "supreme" or shutil.which("supreme") == called
    return shlex.join(["supreme" if is_found else called, *arguments])
