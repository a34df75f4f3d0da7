"""`supreme compare`, on summaries of made-up results as `supreme run` publishes them.

Covered: files and output, a YAML file in place of addresses, and the line of each refusal that
needs a store. Left out: numbers and other refusals (test_across.py), the page
(test_across_report.py).
"""

import json
from pathlib import Path

import pytest
import yaml
from supreme_trainer.command.experiments import planned

from supreme_core.api import names
from supreme_core.errors import EXIT_INVALID
from supreme_core.publishing.publish import write_summary
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import write_order
from tests.core.analysis.summaries import published, question, summary
from tests.trainer.experiments import experiment

pytestmark = pytest.mark.usefixtures("plots_once")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two experiments that can be compared, and one that has an order and no result."""
    storage = LocalStorage(tmp_path_factory.mktemp("store"))
    for name, model in (("one-01234567", "resnet18"), ("two-01234567", "vit")):
        summary = published(name, model=model, seeds=range(3)).summary
        write_summary(storage, f"experiments/local/{name}", summary)
    write_order(storage, question(range(3)).order)
    return storage


@pytest.fixture
def command(store, supreme_here):
    """`supreme compare` of experiments by their names: (exit status, output, error)."""

    def run(*arguments):
        uris = [
            f"{store.uri}/experiments/local/{each}-01234567" if each.isalpha() else each
            for each in arguments
        ]
        return supreme_here("compare", *uris)

    return run


def test_it_prints_a_table_for_each_metric_and_says_how_many_blocks_are_missing(command):
    status, output, error = command("one", "two")
    assert (status, error) == (0, "")
    assert output.startswith("1 method over 2 blocks of 2 experiments")
    for title in ("Forget accuracy, gap to Retrained", "Wall seconds", "resnet18: full_class"):
        assert title in output


def test_it_writes_the_page_and_the_tables_beside_it(command, tmp_path):
    status, output, _ = command("one", "two", "--output", str(tmp_path / "new" / "folder"))
    assert status == 0
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"compare.{kind}" for kind in ("csv", "html", "json", "tex")
    ]
    found = json.loads((folder / "compare.json").read_text())
    assert [block["model"] for block in found["blocks"]] == ["resnet18", "vit"]
    assert output.endswith(f"report: {folder.as_uri()}/compare.html\n")


def test_a_file_stands_for_all_of_its_experiments(command, tmp_path):
    path, storage = tmp_path / "two.yaml", LocalStorage(tmp_path / "other")
    documents = [experiment() | {"metadata": {"name": name}} for name in ("first", "second")]
    path.write_text(yaml.safe_dump_all(documents))
    for (_, order), model in zip(planned(path, ()), ("resnet18", "vit"), strict=True):
        summary = published(model=model, seeds=range(3)).summary
        write_summary(storage, order.prefix, summary)

    status, output, _ = command(str(path), "--store", storage.uri)

    assert status == 0
    assert output.startswith("1 method over 2 blocks of 2 experiments")


PINS = Path(__file__).parents[2] / "examples" / "presets" / "pins.yaml"


def test_the_grid_of_a_paper_is_one_file_whose_settings_differ_by_block(command, tmp_path):
    """Two networks, classes and samples; by their addresses the four experiments are refused."""
    storage, uris = LocalStorage(tmp_path / "pins"), []
    for loaded, order in planned(PINS, ()):
        work = order.work
        made = summary(
            range(2),
            scenarios=[each.title for each in work.scenarios],
            methods=[each.title for each in work.methods],
        )
        provenance = made.provenance | {"work": work.to_document() | {"metrics": []}}
        name = loaded.experiment.metadata.name
        named = made.experiment.model_copy(update={"name": name})
        changed = {"provenance": provenance, "experiment": named}
        write_summary(storage, order.prefix, made.model_copy(update=changed))
        uris.append(f"{storage.uri}/{order.prefix}")

    status, output, _ = command(str(PINS), "--store", storage.uri)
    assert status == 0
    assert output.startswith("6 methods over 12 blocks of 4 experiments")
    assert "4 blocks of the 6 that tests need, so 2 blocks are missing" in output
    told = "alpha 50 in pins-resnet18-classes, pins-vit-classes; 10 in pins-resnet18-samples"
    assert f"Settings of ssd differ: {told}" in output

    status, _, error = command(*uris)
    assert status == EXIT_INVALID
    assert "alpha is 50 in pins-resnet18-classes and 10 in pins-resnet18-samples" in error
    assert "'finetune'" not in error  # a transformer has settings of its own
    assert command(*uris, "--other-settings") == (0, output, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["one"], "one experiment alone has nothing to be compared with"),
        (["one", "tiny"], "tiny-01234567: experiments/local/tiny-01234567/summary.json is not"),
        (["one", "twoo"], "did you mean 'local/two-01234567'?"),
        (["one", "one"], "the block digits, resnet18, full_class is there twice"),
        (["one", "two", "--metric", "forget_acuracy"], "did you mean 'forget_accuracy'?"),
        (["one", "no/experiment"], "'no/experiment' is no experiment; it should look like"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(command, arguments, line):
    status, output, error = command(*arguments)
    assert (status, output) == (EXIT_INVALID, "")
    assert line in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("what", "change", "line"),
    [
        ("summary_key", lambda data: data + b" ", "it has been changed since it was published"),
        ("checksums_key", lambda _: b"", "has no digest in SHA256SUMS"),
    ],
)
def test_an_edited_summary_is_refused(command, store, what, change, line):
    key = getattr(names, what)("experiments/local/two-01234567")
    before = store.read(key)
    store.write(key, change(before))
    try:
        status, _, error = command("one", "two")
    finally:
        store.write(key, before)
    assert status == EXIT_INVALID
    assert line in error
    assert "supreme report EXPERIMENT-URI" in error
