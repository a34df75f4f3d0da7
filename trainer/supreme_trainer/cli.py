"""The command `supreme`."""

import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from supreme_trainer import local
from supreme_trainer.store_commands import store as store_commands
from supreme_trainer.store_commands import tracked

from supreme_core import catalog, plugins, registry
from supreme_core import recompute as scores
from supreme_core.api import names
from supreme_core.api.load import Loaded, errors_of, load_experiments
from supreme_core.api.run import ExperimentOrder, Summary
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.artefacts import Artefacts
from supreme_core.catalog import Listed
from supreme_core.errors import SpecError, SupremeError
from supreme_core.plan import plan, steps
from supreme_core.publish import publish, summarise, write_summary
from supreme_core.reference.results import read_folder
from supreme_core.reference.summary import summaries
from supreme_core.report.paste import FORMATS, OTHERS, PRIMARY, paste
from supreme_core.report.tables import Reading
from supreme_core.report.terminal import TextTable, plain_text, terminal_tables
from supreme_core.results import read_order, read_results
from supreme_core.storage import Storage, open_storage

HEADING_WIDTH = 11
CHANGES_SHOWN = 20
DEFAULT_STORE = "supreme-store"
KINDS = tuple(each.kind for each in registry.REGISTRIES)
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
EXECUTION_FIELDS = {"reuse", "data_placement"}
"""Those of spec.execution that are used here too."""


def main() -> None:
    """Entry point: every error that a user can cause is a line on standard error, no traceback."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(names.EXIT_INTERRUPTED)
    except SupremeError as error:
        sys.exit(_tell(error))


def _tell(error: SupremeError) -> int:
    """Gives the exit status."""
    for line in str(error).splitlines():
        click.echo(f"error: {line}", err=True)
    return error.exit_code


def _load_plugins(
    context: click.Context, option: click.Parameter, files: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Here, and by a variable in every process that this one starts."""
    plugins.load(files)
    if files:
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="supreme")
def cli() -> None:
    """Evaluate image-unlearning methods over many seeds, each against retraining."""


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_plugins
@click.option("--store", metavar="URI", help="Folder or s3://bucket/prefix; over spec.storage.uri.")
@click.option("--ranks", type=click.IntRange(min=1), default=1, help="Processes for each seed.")
@click.option("--parallel", type=click.IntRange(min=1), help="Seeds at a time; default: all cores.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def run(file: Path, store: str | None, ranks: int, parallel: int | None, device: str) -> None:
    """Compute the experiment of FILE on this machine; what is done already is not done again.

    A file of several YAML documents has as many experiments. They are computed one after the other,
    and one that fails does not stop the next.
    """
    console = Console()
    codes = []
    for spec, order in _in_turn(_planned(file), console):
        options = local.Options(
            device=device,
            ranks=ranks,
            parallel=parallel,
            endpoint=spec.storage.endpoint,
            region=spec.storage.region,
        )
        try:
            codes.append(_compute(spec, order, store, options, console))
        except SupremeError as error:
            codes.append(_tell(error))
    sys.exit(next(filter(None, codes), names.EXIT_OK))


def _compute(
    spec: ExperimentSpec,
    order: ExperimentOrder,
    store: str | None,
    options: local.Options,
    console: Console,
) -> int:
    """One experiment to its end; gives the exit status."""
    storage = _storage(spec, store)
    _tell_unused(spec, console)
    try:
        outcome = local.run(order, storage, options, console)
    except local.Stopped as stopped:
        console.print(
            f"\nstopped; every finished stage is in {storage.uri}\n"
            f"to go on: {_command(sys.argv[1:])}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise SystemExit(stopped.code) from None
    if outcome.summary:
        _show(outcome.summary, console)
        _tell_where(storage.uri, order, console)
    stages = outcome.stages
    found = f"{stages['reused']} found in the store" if outcome.seeds else "every seed was finished"
    console.print(f"{stages['computed']} stages computed, {found}", highlight=False)
    for failure in outcome.failures:
        click.echo(f"error: {failure}", err=True)
    return outcome.exit_code


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
@click.option("--store", metavar="URI", help="Folder or s3://bucket/prefix; over spec.storage.uri.")
@with_plugins
def prepare(file: Path, source: str | None, weights: str | None, store: str | None) -> None:
    """Put data and pretrained weights of FILE into the store; later runs need no files, no network.

    The weights are a .safetensors or .pth file, as the error of a failed download names it. Of a
    file of several experiments those get them that start from such.
    """
    console = Console()
    found = _planned(file)
    for spec, order in _in_turn(found, console):
        storage = _storage(spec, store)
        options = local.Options(
            device="cpu",
            ranks=1,
            parallel=1,
            endpoint=spec.storage.endpoint,
            region=spec.storage.region,
        )
        takes_weights = len(found) == 1 or spec.model.params.get("pretrained")
        prepared = local.prepare(
            order,
            storage,
            options,
            console,
            source=source or "",
            weights=weights if weights and takes_weights else "",
        )
        for line in _prepared(prepared, storage.uri):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_plugins
def validate(file: Path) -> None:
    """Check FILE and say what it would compute; nothing is computed or written."""
    for loaded, order in _planned(file):
        work, each = order.work, steps(order.work, order.excluded, catalog.installed())
        click.echo(
            f"{loaded.source} is valid: {len(order.seeds)} seeds x {len(work.scenarios)} scenarios"
            f" x {len(work.methods)} methods, {len(each)} stages for each seed"
        )
        for pair in order.excluded:
            click.echo(f"left out: {pair.method} in {pair.scenario}, because {pair.reason}")


@cli.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--find", "text", metavar="TEXT", help="Only the names that contain TEXT, in full.")
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, as JSON.")
@with_plugins
def list_(kind: str, text: str | None, as_json: bool) -> None:
    """List the components of a KIND: methods, metrics, datasets and so on."""
    listed = catalog.installed().components[kind]
    if as_json:
        document = catalog.document(catalog.installed())["components"][kind]
        click.echo(json.dumps(document, indent=1, sort_keys=True))
        return
    if text is not None:
        found = [name for name in _names(listed) if text in name]
        if not found:
            raise SpecError(f"no {kind} has {text!r} in its name")
        click.echo("\n".join(found))
        return
    width = max(map(len, listed), default=0)
    for name, component in sorted(listed.items()):
        click.echo(f"{name:{width}}  {component.summary}")
        if needs := component.facts.get("needs"):
            click.echo(f"{'':{width}}    needs {', '.join(map(_in_words, needs))}")
        if component.variants:
            click.echo(
                f"{'':{width}}    {len(component.variants)} of them, as {name}/NAME or"
                f" {name}/NAME.WEIGHTS: supreme list {kind} --find TEXT"
            )
        for setting, schema in component.params.get("properties", {}).items():
            of_transformers = component.facts.get("for_transformers", {}).get(setting)
            click.echo(f"{'':{width}}    {_setting(setting, schema, of_transformers)}")


@cli.command()
@click.argument("uri", metavar="EXPERIMENT-URI")
@click.option(
    "--format", "form", type=click.Choice(tuple(FORMATS)), help="Print a table to paste instead."
)
@click.option(
    "--table",
    "choice",
    metavar="NAME",
    help=f"Which one: {PRIMARY} (default), {', '.join(OTHERS)}, or a group of metrics like cost.",
)
@click.option("--endpoint", help="Endpoint of an S3-compatible server.")
@click.option("--region", help="Region of the bucket.")
@with_plugins
def report(
    uri: str, form: str | None, choice: str | None, endpoint: str | None, region: str | None
) -> None:
    """Aggregate the results of an experiment again and write its report.

    EXPERIMENT-URI is STORE/experiments/NAMESPACE/NAME-UID, as `supreme run` prints it. With
    --format nothing is written, and standard output is the table alone, for a file or a pipe.
    """
    if choice and not form:
        raise SpecError(f"--table needs --format, which is one of {', '.join(FORMATS)}")
    console = Console()
    store, prefix = _split_experiment(uri)
    storage = open_storage(store, endpoint=endpoint, region=region)
    order = read_order(storage, prefix)  # before the check, which would make a mistyped folder
    if not form:
        local.check_store(storage)
    if not read_results(storage, order):
        raise SpecError(f"{uri} has no finished seed yet, so there is nothing to report")
    with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
        artefacts = Artefacts(storage, Path(cache))
        if form:
            summary = summarise(storage, artefacts, order)
            click.echo(paste(Reading(summary), choice or PRIMARY, form), nl=False)
            return
        summary = publish(storage, artefacts, order)
    _show(summary, console)
    _tell_where(storage.uri, order, console)


@cli.command()
@click.argument("uri", metavar="EXPERIMENT-URI")
@click.option(
    "--metric", "more", metavar="NAME", multiple=True, help="A further metric; may be repeated."
)
@click.option("--endpoint", help="Endpoint of an S3-compatible server.")
@click.option("--region", help="Region of the bucket.")
@with_plugins
def recompute(uri: str, more: tuple[str, ...], endpoint: str | None, region: str | None) -> None:
    """Compute the metrics of an experiment again, from stored predictions.

    Needs no GPU and no torch. The numbers become a new attempt of each seed, then the table and the
    report are written. A further metric stays with the experiment in the store; add it to its file
    too, or the next run leaves it out again.
    """
    console = Console()
    store, prefix = _split_experiment(uri)
    storage = open_storage(store, endpoint=endpoint, region=region)
    order = read_order(storage, prefix)
    local.check_store(storage)
    with tempfile.TemporaryDirectory(prefix="supreme-") as cache:
        done = scores.recompute(storage, Artefacts(storage, Path(cache)), order, tracked, more=more)
    _show(done.summary, console)
    _tell_where(storage.uri, order, console)
    _tell_changes(done, console)


@cli.command("import-reference")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--store", metavar="URI", default=DEFAULT_STORE, help="Folder or s3://bucket/prefix.")
@click.option("--name", default="reference", show_default=True, help="First word of the names.")
@click.option("--endpoint", help="Endpoint of an S3-compatible server.")
@click.option("--region", help="Region of the bucket.")
def import_reference(
    folder: Path, store: str, name: str, endpoint: str | None, region: str | None
) -> None:
    """Make tables and reports of the results of supreme-unlearning that lie below DIR.

    One for each dataset, model and kind of scenario, with the statistics of SUPREME over training
    seeds. The report says which known errors of that package touch which rows.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", name):
        raise SpecError(f"--name is {name!r}; it should be at most 40 letters, digits and hyphens")
    console = Console()
    found = read_folder(folder)
    storage = open_storage(store, endpoint=endpoint, region=region)
    local.check_store(storage)
    for title, setting, summary in summaries(found, name):
        prefix = names.import_prefix(title)
        write_summary(storage, prefix, summary)
        console.print(f"\n{setting}", markup=False, highlight=False, soft_wrap=True)
        _show(summary, console)
        report = f"{storage.uri.rstrip('/')}/{names.report_key(prefix)}"
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)


cli.add_command(store_commands)


def _prepared(prepared: Mapping[str, Mapping[str, Any]], store: str) -> Iterator[str]:
    """What `supreme prepare` says of the data and the weights, as the trainer told it."""
    dataset = prepared["dataset"]
    shape = " x ".join(map(str, dataset["shape"]))
    yield (
        f"dataset: {dataset['name']}, {dataset['trainSamples']} training and"
        f" {dataset['testSamples']} test images of {dataset['classes']} classes, {shape}"
    )
    yield from _stored(dataset, store)
    if "weights" in prepared:
        yield f"weights: {prepared['weights']['name']}"
        yield from _stored(prepared["weights"], store)


def _stored(told: Mapping[str, Any], store: str) -> Iterator[str]:
    found = "" if told["status"] == "computed" else ", which was there already"
    yield f"digest:  {told['digest']}"
    yield f"stored:  {store.rstrip('/')}/{told['place']} ({told['bytes'] / 1e6:.1f} MB){found}"


def _planned(file: Path) -> list[tuple[Loaded, ExperimentOrder]]:
    """The experiments of a file: nothing is computed before all of them can be."""
    return [(loaded, _plan(loaded)) for loaded in load_experiments(file)]


def _plan(loaded: Loaded) -> ExperimentOrder:
    with errors_of(loaded.source):
        return plan(loaded.experiment, catalog.installed(), namespace=names.LOCAL_NAMESPACE)


def _in_turn(
    found: Sequence[tuple[Loaded, ExperimentOrder]], console: Console
) -> Iterator[tuple[ExperimentSpec, ExperimentOrder]]:
    """One experiment after the other, each below its title where there are several."""
    for place, (loaded, order) in enumerate(found, 1):
        if len(found) > 1:
            title = f"{loaded.experiment.metadata.name} ({place} of {len(found)})"
            console.print(title, style="bold", highlight=False)
        yield loaded.experiment.spec, order


def _storage(spec: ExperimentSpec, store: str | None) -> Storage:
    """store: what the command line says, over the experiment."""
    location = spec.storage
    uri = store or location.uri or DEFAULT_STORE
    return open_storage(uri, endpoint=location.endpoint, region=location.region)


def _tell_unused(spec: ExperimentSpec, console: Console) -> None:
    unused = [name for name in CLUSTER_FIELDS if name in spec.model_fields_set]
    if "execution" in unused and spec.execution.model_fields_set <= EXECUTION_FIELDS:
        unused.remove("execution")
    if unused:
        aliases = [ExperimentSpec.model_fields[name].alias or name for name in unused]
        fields = ", ".join(f"spec.{alias}" for alias in aliases)
        text = f"only a cluster uses {fields}; not used here"
        console.print(text, highlight=False, soft_wrap=True)


def _show(summary: Summary, console: Console) -> None:
    for text_table in terminal_tables(summary):
        console.print()
        if console.is_terminal:
            console.print(_rich(text_table))
            for note in text_table.notes:
                console.print(note, style="dim", markup=False, highlight=False)
        else:
            console.print(plain_text(text_table), markup=False, highlight=False, soft_wrap=True)
    console.print()


def _rich(text_table: TextTable) -> Table:
    table = Table(
        title=Text(text_table.title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=0,
    )
    # An interval stands on a line of its own and is never broken; headings may be.
    rows = [[cell.replace(" [", "\n[") for cell in row] for row in text_table.rows]
    for position, column in enumerate(text_table.columns):
        width = max((len(line) for row in rows for line in row[position].splitlines()), default=0)
        table.add_column(
            Text(column),
            justify="right" if position else "left",
            min_width=width,
            max_width=max(width, HEADING_WIDTH),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _tell_where(store: str, order: ExperimentOrder, console: Console) -> None:
    experiment = f"{store.rstrip('/')}/{order.prefix}"
    console.print(f"experiment: {experiment}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"report:     {experiment}/report.html", markup=False, highlight=False, soft_wrap=True
    )


def _tell_changes(done: scores.Recomputed, console: Console) -> None:
    same = "as they were" if not done.changes else f"{len(done.changes)} of them are others now"
    lines = [f"{done.runs} runs scored again; {done.numbers} numbers were known, {same}"]
    for change in done.changes[:CHANGES_SHOWN]:
        where = f"seed {change.seed}, {change.run.method} in {change.run.scenario}"
        lines.append(f"  {where}: {change.row} was {change.before}, is {change.after}")
    if len(done.changes) > CHANGES_SHOWN:
        lines.append(f"  and {len(done.changes) - CHANGES_SHOWN} more")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _split_experiment(uri: str) -> tuple[str, str]:
    store, separator, rest = uri.rstrip("/").rpartition("/experiments/")
    if not separator:
        raise SpecError(
            f"{uri!r} is no experiment; it should look like STORE/experiments/NAMESPACE/NAME-UID"
        )
    return store, f"experiments/{rest}"


def _names(listed: Mapping[str, Listed]) -> Iterator[str]:
    """Whatever can be chosen, those of families with the names of their weights."""
    for name, component in sorted(listed.items()):
        if component.variants is None:
            yield name
        for variant, weights in sorted((component.variants or {}).items()):
            yield f"{name}/{variant}"
            yield from (f"{name}/{variant}.{each}" for each in weights)


def _in_words(need: str) -> str:
    return {"retain": "retain samples", "validation": "validation samples"}.get(
        need, need.replace("_", " ")
    )


def _setting(name: str, schema: Mapping[str, Any], of_transformers: object) -> str:
    default = f"default {json.dumps(schema['default'])}" if "default" in schema else "required"
    if of_transformers is not None:
        default += f"; {json.dumps(of_transformers)} for a vision transformer"
    return f"{name}: {schema.get('description', '')} ({default})"


def _command(arguments: list[str]) -> str:
    return shlex.join(["supreme", *arguments])


if __name__ == "__main__":
    main()
