"""The command `supreme`: its options and their help.

What a command does is in `supreme_trainer.command`, and is imported when it is called, so that
`--help`, `--version` and the shell's completion answer at once. So nothing here imports more than
click and names; a test holds this module to it.
"""

import os
import sys
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

import click
from supreme_trainer.command.errors import tell, tell_usage
from supreme_trainer.command.help_page import ToldGroup
from supreme_trainer.command.machine import check_system
from supreme_trainer.process.spelling import spell_output

from supreme_core import DISTRIBUTION
from supreme_core.api import names
from supreme_core.errors import EXIT_INTERRUPTED, nearest_or_all
from supreme_core.report.choices import COLUMNS, FORMATS, OTHERS, PICTURES, PRIMARY
from supreme_core.system.ending import ending, need_trainer

TRACKERS = ("tensorboard", "mlflow", "wandb-offline")

Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> None:
    """Entry point: every error that a user can cause is a line on standard error, no traceback."""
    check_system(sys.platform)
    spell_output()
    with ending(tell):
        try:
            cli.main(standalone_mode=False)
        except click.ClickException as error:
            tell_usage(error)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(EXIT_INTERRUPTED)


def _load_plugins(
    context: click.Context, option: click.Parameter, files: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Load plug-ins here, and by a variable in every process that this one starts."""
    if files:
        from supreme_core.registry import plugins

        plugins.load(files)
        os.environ[names.PLUGINS_VARIABLE] = plugins.as_variable(files)
    return files


with_plugins = click.option(
    "--plugin",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    envvar=names.PLUGINS_VARIABLE,
    callback=_load_plugins,
    expose_value=False,
    help="A Python file with components of your own; may be repeated.",
)
with_settings = click.option(
    "--set",
    "settings",
    metavar="PATH=VALUE",
    multiple=True,
    help="A field of the experiment instead of what FILE says: training.epochs=2,"
    " methods.finetune.params.lr=0.1; may be repeated.",
)
with_store = click.option(
    "--store", metavar="URI", help="Folder or s3://bucket/prefix; over spec.storage.uri."
)


def with_server(command: Command) -> Command:
    """The options that say how to reach an S3-compatible server."""
    command = click.option("--region", help="Region of the bucket.")(command)
    return click.option("--endpoint", help="Endpoint of an S3-compatible server.")(command)


class Hours(click.FloatRange):
    """A number of hours, which NaN is not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        hours = float(super().convert(value, param, ctx))
        if isnan(hours):
            self.fail(f"{value!r} is not a number of hours", param, ctx)
        return abs(hours)  # of -0 too


class Kind(click.Choice[str]):
    """A kind of component; the error names the nearest one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return f"there is no kind {value!r}{nearest_or_all(value, self.choices, what='kinds')}"


@click.group(
    cls=ToldGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name=DISTRIBUTION)
def cli() -> None:
    """Evaluate image-unlearning methods over many seeds, each against retraining."""


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_plugins
@with_settings
@with_store
@click.option(
    "--seeds",
    metavar="SEEDS",
    help="Compute only these of the experiment's seeds, as 3, 3,7 or 3-5,9.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Drop the results that a change of FILE would lose, and say which.",
)
@click.option(
    "--retune",
    is_flag=True,
    help="Choose settings anew that tuning has chosen before; every table says so.",
)
@click.option(
    "--workers",
    "--parallel",
    "workers",
    type=click.IntRange(min=1),
    help="Trainers at a time, which share out seeds and their stages; default: all cores, or GPUs.",
)
@click.option(
    "--per-gpu",
    type=click.IntRange(min=1),
    default=1,
    help="Trainers that share each GPU of NVIDIA; their costs are marked and left out of tables.",
)
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    help="Processes of each trainer, which split every batch.",
)
@click.option(
    "--device",
    type=click.Choice(names.DEVICES),
    default="auto",
    show_default=True,
    help="Kind of device; auto: a GPU of NVIDIA where there is one, else the CPU.",
)
@click.option(
    "--quiet", is_flag=True, help="Say only what is wrong, what is dropped and where the report is."
)
def run(
    file: Path,
    settings: tuple[str, ...],
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
    """Compute the experiment of FILE on this machine.

    What is done already is not done again. A file of several YAML documents has as many
    experiments. They are computed one after the other, and one that fails does not stop the next.
    """
    need_trainer()
    from supreme_trainer.command.run import compute_experiments

    compute_experiments(
        file,
        settings=settings,
        store=store,
        seeds=seeds,
        replace=replace,
        retune=retune,
        ranks=ranks,
        workers=workers,
        per_gpu=per_gpu,
        device=device,
        quiet=quiet,
    )


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="Folder that holds the dataset's files, over its own params.",
)
@click.option(
    "--weights",
    metavar="PATH",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="File of the model's pretrained weights, where they cannot be downloaded.",
)
@with_store
@with_settings
@with_plugins
def prepare(
    file: Path,
    source: str | None,
    weights: str | None,
    store: str | None,
    settings: tuple[str, ...],
) -> None:
    """Put data and pretrained weights of FILE into the store.

    Later runs need no files and no network. The weights are a .safetensors or .pth file, as the
    error of a failed download names it. Of a file of several experiments those get them that start
    from such.
    """
    need_trainer()
    from supreme_trainer.command.prepare import prepare_experiments

    prepare_experiments(file, source=source, weights=weights, store=store, settings=settings)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", "with_data", is_flag=True, help="Look at the data: classes, shares, files.")
@click.option("--plan", "with_plan", is_flag=True, help="Say what a run takes: time and space.")
@click.option(
    "--cluster", "for_cluster", is_flag=True, help="Say also what only a cluster refuses."
)
@click.option("--json", "as_json", is_flag=True, help="Print all that was found, as JSON.")
@with_settings
@with_store
@with_plugins
def validate(
    file: Path,
    settings: tuple[str, ...],
    for_cluster: bool,
    with_data: bool,
    with_plan: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Check FILE and say what it would compute.

    Nothing is computed, downloaded or written. --data makes the split of every scenario for
    every seed, from what the store has prepared or else from the dataset's own files. --plan counts
    what is to be trained and predicted, and what the store has of it; it takes time and space from
    seeds of the same recipe that are finished there. --cluster is implied where the experiment
    names an image, and checks what the operator does; --store stands for the store of its settings.
    With --json errors are on standard output too; the exit code is the same.
    """
    from supreme_trainer.command.validate import validate_experiments

    validate_experiments(
        file,
        settings=settings,
        store=store,
        for_cluster=for_cluster,
        with_data=with_data,
        with_plan=with_plan,
        as_json=as_json,
    )


@cli.command(
    "list",
    help="List the components of a kind, with their settings.\n\n"
    f"KIND is {', '.join(names.KINDS[:-1])} or {names.KINDS[-1]}.",
)
@click.argument("kind", metavar="KIND", type=Kind(names.KINDS))
@click.option("--find", "text", metavar="TEXT", help="List only names that contain TEXT, in full.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known, as JSON.")
@with_plugins
def list_(kind: str, text: str | None, as_json: bool) -> None:
    from supreme_trainer.command.listing import list_components

    list_components(kind, text=text, as_json=as_json)


@cli.command()
@click.argument("uri", metavar="EXPERIMENT-URI")
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, *PICTURES]),
    help="Print a table to paste instead, or a figure as a file.",
)
@click.option(
    "--table",
    metavar="NAME",
    help=f"Table: {PRIMARY} (default), {', '.join(OTHERS)}, or a group of metrics like cost.",
)
@click.option(
    "--figure",
    metavar="NAME",
    help="Figure: the primary metric (default), another row of summary.csv, front-METRIC, ranks or"
    " trainings.",
)
@click.option("--scenario", metavar="NAME", help="Scenario of the figure, where there are several.")
@click.option(
    "--columns",
    type=click.Choice([str(each) for each in COLUMNS]),
    help="Columns of the paper that a LaTeX table spans: 1 (default), or 2 with table*.",
)
@click.option(
    "--width",
    metavar="LENGTH",
    help="Shrink wider LaTeX tables to this, such as 3.25in; by default to their columns.",
)
@with_server
@with_plugins
def report(
    uri: str,
    form: str | None,
    columns: str | None,
    endpoint: str | None,
    region: str | None,
    **wanted: str | None,
) -> None:
    """Write summary and report of an experiment again.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it. The results
    that it has there are aggregated. With --format nothing is written, and standard output is the
    table or the figure alone, for a file or a pipe.
    """
    from supreme_trainer.command.report import pasted, report_experiment

    found = pasted(form, columns=int(columns) if columns else None, **wanted)
    report_experiment(uri, found, endpoint=endpoint, region=region)


@cli.command()
@click.argument("uri", metavar="EXPERIMENT-URI")
@click.option(
    "--to",
    type=click.Choice(TRACKERS),
    required=True,
    help="Tracker of experiments; each needs the extra of its name.",
)
@click.option(
    "--output",
    metavar="FOLDER",
    help="Folder of the runs, by default supreme-export/TRACKER. For mlflow also the address of a"
    " server; by default MLFLOW_TRACKING_URI, where it is set.",
)
@with_server
@with_plugins
def export(uri: str, to: str, output: str | None, endpoint: str | None, region: str | None) -> None:
    """Write every model of an experiment as a run of a tracker.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it. Each model
    of each seed, scenario and repeat is a run: its settings are parameters, its numbers in the
    table metrics, and its trainings curves by epoch. Given again, the command writes only what is
    new or has changed.
    """
    from supreme_trainer.command.export import export_experiment

    export_experiment(uri, to=to, output=output, endpoint=endpoint, region=region)


@cli.command()
@click.argument("sources", metavar="EXPERIMENT-URI...", nargs=-1, required=True)
@click.option(
    "--metric",
    "metrics",
    metavar="ROW",
    multiple=True,
    help="Row of the tables to compare, such as forget_accuracy; may be repeated. Default: the"
    " primary metric, utility, membership and cost.",
)
@click.option(
    "--other-settings",
    "settings_may_differ",
    is_flag=True,
    help="Compare methods that have other settings in other experiments, as those of one file may;"
    " a note under the tables says which.",
)
@click.option(
    "--output",
    metavar="FOLDER",
    help="Write compare.html, compare.csv, compare.json and compare.tex there.",
)
@with_store
@with_server
@with_plugins
def compare(
    sources: tuple[str, ...],
    metrics: tuple[str, ...],
    settings_may_differ: bool,
    output: str | None,
    store: str | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Compare methods over several experiments.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it, or a YAML
    file: all of its experiments, in --store or the store that they name. Their published summaries
    are read. Every scenario on a model of a dataset is a block. From six blocks ranks are tested.
    Experiments that cannot be compared are refused, with a line for each reason.
    """
    from supreme_trainer.command.compare import compare_experiments

    compare_experiments(
        sources,
        metrics=metrics,
        settings_may_differ=settings_may_differ,
        output=output,
        store=store,
        endpoint=endpoint,
        region=region,
    )


@cli.command()
@click.argument("sources", metavar="EXPERIMENT-URI|STORE...", nargs=-1, required=True)
@click.option(
    "--metric",
    metavar="ROW",
    help="Row of the tables that ranks, such as average_gap; by default the primary metric.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the page there, in place of standard output.",
)
@with_server
def leaderboard(
    sources: tuple[str, ...],
    metric: str | None,
    output: Path | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Rank methods of published experiments, in Markdown.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it; of a STORE
    all experiments count. A folder with an edited file, with results of another plan, or whose
    numbers are not those of its results is refused, with a line for each. Methods are ranked among
    those of the same data, network, recipe, scenario, seeds and metric; tuned ones by themselves.
    """
    from supreme_trainer.command.leaderboard import write_leaderboard

    write_leaderboard(sources, metric=metric, output=output, endpoint=endpoint, region=region)


@cli.command()
@click.argument("uri", metavar="EXPERIMENT-URI")
@click.option(
    "--metric", "more", metavar="NAME", multiple=True, help="A further metric; may be repeated."
)
@with_server
@with_plugins
def recompute(uri: str, more: tuple[str, ...], endpoint: str | None, region: str | None) -> None:
    """Compute metrics again, from stored predictions.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it. No GPU and
    no torch is needed. The numbers become a new attempt of each seed, then the table and the report
    are written. A further metric stays with the experiment in the store; add it to its file too, or
    the next run is refused because it would lose it.
    """
    from supreme_trainer.command.recompute import recompute_experiment

    recompute_experiment(uri, more=more, endpoint=endpoint, region=region)


@cli.command("import-reference")
@click.argument("place", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--store", metavar="URI", default=names.DEFAULT_STORE, help="Folder or s3://bucket/prefix."
)
@click.option("--name", default="reference", show_default=True, help="First word of the names.")
@with_server
def import_reference(
    place: Path, store: str, name: str, endpoint: str | None, region: str | None
) -> None:
    """Report the results of supreme-unlearning at PATH.

    PATH is a folder with the package's logs or with CSV files of its runs on W&B, or such a file.
    There are a table and a report for each dataset, model and kind of scenario, with the statistics
    of SUPREME over training seeds. The report says which known errors of that package touch which
    rows.
    """
    from supreme_trainer.command.import_reference import import_results

    import_results(place, store=store, name=name, endpoint=endpoint, region=region)


@cli.group()
def store() -> None:
    """Verify a store and remove what no experiment needs."""


with_json = click.option(
    "--json", "as_json", is_flag=True, help="Print all that was found, as JSON."
)


@store.command()
@click.argument("uri")
@with_server
@with_json
def check(uri: str, endpoint: str | None, region: str | None, as_json: bool) -> None:
    """Read the store at URI and compare it with its manifests.

    The exit code is 1 where something is damaged. What is left behind or orphaned does no harm
    but takes space; `supreme store prune` removes it.
    """
    from supreme_trainer.command.store import check_store

    check_store(uri, endpoint=endpoint, region=region, as_json=as_json)


@store.command()
@click.argument("uri")
@click.option(
    "--delete",
    "really",
    is_flag=True,
    help="Remove what was found; without, only say what would go.",
)
@click.option(
    "--older-than",
    "hours",
    metavar="HOURS",
    type=Hours(min=0, max=1_000_000),
    default=24.0,
    show_default=True,
    help="Leave what was written in the last HOURS, of which there is 1 while a run is at work.",
)
@click.option(
    "--data", "with_data", is_flag=True, help="Remove prepared data that nobody uses, too."
)
@with_server
@with_json
def prune(
    uri: str,
    really: bool,
    hours: float,
    with_data: bool,
    endpoint: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Find what no experiment needs, and remove it with --delete.

    Needed in the store at URI is what the result of an experiment names, and while an experiment is
    unfinished all that its unfinished seeds could use. Damaged stages stay, and prepared data
    without --data. `supreme store delete` gives an experiment up.
    """
    from supreme_trainer.command.store import prune_store

    prune_store(
        uri,
        really=really,
        hours=hours,
        with_data=with_data,
        endpoint=endpoint,
        region=region,
        as_json=as_json,
    )


@store.command("delete")
@click.argument("uri", metavar="EXPERIMENT-URI")
@click.option("--yes", is_flag=True, help="Remove the experiment without asking.")
@click.option(
    "--data", "with_data", is_flag=True, help="Remove prepared data that nobody uses, too."
)
@with_server
@with_json
def delete_(
    uri: str,
    yes: bool,
    with_data: bool,
    endpoint: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Remove an experiment and what only it needs.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it. What another
    experiment needs stays. The command says what goes, and asks on a terminal; elsewhere it removes
    nothing without --yes. Stop the experiment's run before. Who stops this command half-way gives
    it again.
    """
    from supreme_trainer.command.delete import delete_experiment

    delete_experiment(
        uri, yes=yes, with_data=with_data, endpoint=endpoint, region=region, as_json=as_json
    )


if __name__ == "__main__":
    main()
