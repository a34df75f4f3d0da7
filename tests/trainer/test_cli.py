"""The command `supreme`: what each part of it prints, on a terminal and into a pipe.

Left out: mistakes (test_bad_input), signals (test_interrupt), failures (test_failures).
"""

import asyncio
import json
import os
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from supreme_operator.results.location import Location
from supreme_operator.results.reader import Collector
from supreme_trainer.command import cli

from supreme_core import DISTRIBUTION, load, registry
from supreme_core.errors import EXIT_INVALID
from supreme_core.registry import catalog
from supreme_core.store.opening import open_storage
from tests import warm
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    copied,
    experiment,
    finish,
    folder_of,
    folder_store,
    planned,
    supreme,
    written,
)

METRICS = [{"name": name} for name in ("accuracy", "loss", "zrf", "wall_seconds")]
WHOLE = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[FINETUNE],
    metrics=METRICS,
    parallelism=2,
    execution={"gpusPerNode": 0},
    failurePolicy={"maxFailedSeeds": 1},
)
PUBLISHED = (
    "order.json",
    "summary.json",
    "summary.csv",
    "over_seeds.csv",
    "report.html",
    "SHA256SUMS",
)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command in this process; gives exit code, standard output, standard error."""
    monkeypatch.setattr("sys.executable", warm.python())  # for trainers, which it starts

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["supreme", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, what was said) of a real run into a pipe, with a store named by the file."""
    folder = tmp_path_factory.mktemp("ran")
    document = {**WHOLE, "spec": {**WHOLE["spec"], "storage": {"uri": str(folder / "store")}}}
    return folder, supreme("run", written(folder / "tiny.yaml", document), "--device", "cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished experiment WHOLE."""
    folder = tmp_path_factory.mktemp("finished")
    finish(WHOLE, folder_store(folder))
    return folder


def test_version(command):
    code, out, _ = command("--version")
    assert (code, out) == (0, f"supreme, version {metadata.version(DISTRIBUTION)}\n")


def test_validate_counts_what_would_be_computed(command, tmp_path):
    file = written(tmp_path / "tiny.yaml", experiment(seeds=(1, 2, 3), metrics=METRICS))

    code, out, _ = command("validate", file)

    assert code == 0
    # dataset, original; for each scenario predictions of three models, Retrained, two methods, and
    # the metrics of two references and two methods
    counts = "3 seeds x 2 scenarios x 2 methods, 22 stages for each seed, 66 in all"
    assert out == f"{file} is valid: {counts}\n"


def test_validate_names_the_pairs_that_are_left_out(command, tmp_path):
    methods = [FINETUNE, {"name": "unsir", "label": "noise"}]
    file = written(tmp_path / "tiny.yaml", experiment(methods=methods))

    code, out, _ = command("validate", file)

    assert code == 0
    assert out.splitlines()[1:] == [
        "left out: noise in random_samples, because unsir forgets classes, but random_samples asks"
        " to forget samples"
    ]


def test_validate_writes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("validate", written(tmp_path / "tiny.yaml", experiment()))
    assert os.listdir(tmp_path) == ["tiny.yaml"]


every_kind = pytest.mark.parametrize("kind", [each.kind for each in registry.REGISTRIES])


@every_kind
def test_list_as_json_is_the_catalogue(command, kind):
    code, out, _ = command("list", kind, "--json")

    assert code == 0
    assert json.loads(out) == catalog.document(catalog.live())["components"][kind]


@every_kind
def test_list_names_every_component_with_its_settings(command, kind):
    code, out, _ = command("list", kind)

    assert code == 0
    for entry in next(each for each in registry.REGISTRIES if each.kind == kind).entries():
        assert f"{entry.name} " in out
        assert entry.summary in out
        for field in entry.params.model_fields.values():
            assert f"{field.alias}: {field.description}" in out


def test_list_names_both_defaults_where_transformers_have_another(command):
    _, out, _ = command("list", "method")
    assert "lr: Learning rate of SGD. (default 0.02; 0.001 for a vision transformer)" in out


def test_list_says_in_which_ranges_settings_are_tuned_and_where_these_come_from(command):
    _, out, _ = command("list", "method")
    out = " ".join(out.split())
    assert "; tuned in {log: [0.0001, 0.1]}; {log: [1e-05, 0.01]} for a vision transformer" in out
    assert "ranges for tuning: rates from Fan et al. 2024 (arXiv:2403.07362), appendix B.1" in out


def test_list_says_what_an_objective_sees_and_what_it_is_gamed_by(command):
    _, out, _ = command("list", "objective")
    out = " ".join(out.split())
    assert "compares with Retrained of the tuning seeds (an oracle)" in out
    assert "sees no retrained model (blind) has no meaning for subclass is gamed by: where" in out


def test_list_says_what_a_scenario_needs_in_the_words_of_the_glossary(command):
    _, out, _ = command("list", "scenario")
    assert "needs logit confidence of the training samples\n" in out
    assert "margins" not in out


def test_list_counts_the_models_of_a_family_instead_of_naming_them(command):
    _, out, _ = command("list", "model")
    count = len(registry.model.get("timm/resnet18").variants)
    assert f"{count} of them, as timm/NAME or timm/NAME.WEIGHTS: supreme list model --find" in out
    assert "vit_base_patch16_224" not in out


def test_list_finds_names_that_contain_a_text(command):
    code, out, _ = command("list", "model", "--find", "resnet18")
    found = out.splitlines()
    assert code == 0
    assert found[0] == "resnet18"
    assert {"resnet18", "timm/resnet18.a1_in1k", "torchvision/resnet18.IMAGENET1K_V1"} <= set(found)
    assert all("resnet18" in name for name in found)


def test_list_says_where_no_name_contains_the_text(command):
    code, out, err = command("list", "method", "--find", "finetoon")
    assert (code, out, err) == (2, "", "error: no method has 'finetoon' in its name\n")


def test_a_run_into_a_pipe_has_a_line_for_each_stage_with_its_count(ran):
    _, done = ran

    assert done.code == 0, done.err
    stages = [line for line in done.out.splitlines() if line.startswith("seed 260: ")]
    assert stages[0] == "seed 260: started"
    assert stages[-1] == "seed 260: done"
    assert [line.split("(")[1].split(",")[0] for line in stages[1:-1]] == [
        f"{count}/10" for count in range(1, 11)
    ]
    assert done.out.splitlines()[-1] == "10 stages computed, 0 found in the store"


def test_a_run_ends_with_as_many_stages_as_validate_counts(ran, command):
    folder, done = ran
    _, out, _ = command("validate", folder / "tiny.yaml")
    ended = sum(map(int, re.findall(r"\d+", done.out.splitlines()[-1])))
    assert out.endswith(f", {ended} in all\n")


def test_a_run_into_a_pipe_writes_no_escape_codes(ran):
    _, done = ran
    assert "\x1b" not in done.out + done.err
    assert "\r" not in done.out


def test_a_run_says_nothing_on_standard_error(ran):
    _, done = ran
    assert done.err == ""


def test_a_run_names_the_fields_that_only_a_cluster_uses(ran):
    _, done = ran
    assert "only a cluster uses spec.execution, spec.parallelism, spec.failurePolicy; not used" in (
        done.out
    )


def test_a_run_ends_with_the_table_and_where_the_report_is(ran):
    folder, done = ran
    experiment_folder = folder_of(folder / "store", WHOLE)
    assert f"experiment: {experiment_folder.as_uri()}\n" in done.out
    assert (experiment_folder / "report.html").is_file()
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith("finetune ")]


def test_a_run_keeps_the_log_of_each_seed(ran):
    folder, _ = ran
    log = folder_of(folder / "store", WHOLE) / "seed=260/attempt=0/run.log"
    lines = [line.split(" INFO ")[1] for line in log.read_text().splitlines()]
    assert [line for line in lines if f"torch {metadata.version('torch')}" in line]
    assert [line for line in lines if "device cpu" in line]
    assert "finetune · full_class started" in lines
    assert [line for line in lines if re.fullmatch(r"original computed in \d+\.\d s", line)]


def test_the_operator_publishes_of_a_run_what_the_run_did(ran, s3_server):
    folder, _ = ran
    where = Location(
        uri=f"s3://{s3_server.make_bucket()}/benchmarks",
        endpoint=s3_server.endpoint,
        credentials=s3_server.credentials,
    )
    order = planned(WHOLE)
    store = copied(folder / "store", where.open())
    files = {name: store.read(f"{order.prefix}/{name}") for name in PUBLISHED}
    for name in files:
        store.delete(f"{order.prefix}/{name}")

    published = asyncio.run(Collector().publish(order, where))

    assert {name: store.read(f"{order.prefix}/{name}") for name in PUBLISHED} == files
    assert published.seeds == order.seeds


def test_of_a_file_of_several_experiments_one_that_fails_does_not_stop_the_next(
    command, finished, tmp_path
):
    lost = {"name": "image_folder", "params": {"path": str(tmp_path / "none"), "size": 8}}
    broken = {"metadata": {"name": "lost"}, "spec": {**WHOLE["spec"], "dataset": lost}}
    path = tmp_path / "two.yaml"
    path.write_text("---\n".join(json.dumps(each) + "\n" for each in (WHOLE | broken, WHOLE)))

    code, out, err = command("run", path, "--store", finished, "--device", "cpu")

    assert code == EXIT_INVALID
    (error,) = err.splitlines()
    assert error.startswith("error: spec.dataset.params.path: ")
    lines = out.splitlines()
    assert [line for line in lines if line.endswith(" of 2)")] == ["lost (1 of 2)", "tiny (2 of 2)"]
    assert lines[-1] == "0 stages computed, every seed was finished"


def test_of_a_file_of_several_experiments_nothing_is_computed_before_all_can_be(command, tmp_path):
    wrong = {"metadata": {"name": "wrong"}, "spec": {**WHOLE["spec"], "methods": [{"name": "sdd"}]}}
    path = tmp_path / "two.yaml"
    path.write_text("---\n".join(json.dumps(each) + "\n" for each in (WHOLE, WHOLE | wrong)))

    code, out, err = command("run", path, "--store", tmp_path / "store")

    assert (code, out) == (EXIT_INVALID, "")
    assert err.startswith(f"error: {path}, document 2: spec.methods[0].name")
    assert not (tmp_path / "store").exists()


def test_report_writes_the_same_bytes_again(command, finished, tmp_path):
    store = shutil.copytree(finished, tmp_path / "store")
    folder = folder_of(store, WHOLE)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name in ("summary.json", "summary.csv", "report.html"):
        (folder / name).unlink()

    code, out, _ = command("report", folder)

    assert code == 0
    assert "finetune" in out
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        pytest.param(("csv",), "scenario,method,n,", id="csv"),
        pytest.param(
            ("latex", "--table", "verdicts"), "% in the preamble: \\usepackage{booktabs", id="latex"
        ),
        pytest.param(
            ("latex", "--columns", "2", "--width", "5in"), "% in the preamble", id="two columns"
        ),
        pytest.param(
            ("markdown", "--table", "cost"),
            "digits (size 8), timm/test\\_vit (inputSize 8, arguments",
            id="markdown",
        ),
    ],
)
def test_report_prints_a_table_to_paste_and_nothing_else(
    command, finished, tmp_path, arguments, start
):
    store = shutil.copytree(finished, tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}

    code, out, err = command("report", folder_of(store, WHOLE), "--format", *arguments)

    assert (code, err) == (0, "")
    assert out.startswith(start)
    assert "finetune" in out
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--table", "primary"), "--table needs --format"),
        (("--format", "csv", "--table", "verdict"), "did you mean 'verdicts'?"),
        (("--format", "csv", "--columns", "2"), "--columns and --width need --format latex"),
        (("--width", "3in"), "--width needs --format"),
        (("--figure", "ranks"), "--figure needs --format, which is one of pdf, svg, png"),
        (("--format", "csv", "--figure", "ranks"), "--figure needs --format, which is one of pdf"),
        (("--format", "pdf", "--table", "cost"), "--table needs --format, which is one of latex"),
        (("--format", "pdf", "--figure", "forget_acuracy"), "did you mean 'forget_accuracy'?"),
        (("--format", "pdf", "--figure", ""), "unknown figure ''"),
        (("--format", "csv", "--table", ""), "unknown table ''"),
        (("--scenario", ""), "--scenario needs --format, which is one of pdf, svg, png"),
        (("--format", "latex", "--width", "wide"), "it is a length of LaTeX, such as 3.25in"),
    ],
    ids=[
        *("no format", "no such table", "columns of csv", "width of a page", "figure of a page"),
        *("figure of csv", "table of a picture", "no such figure", "empty figure"),
        *("empty table", "empty scenario", "no width"),
    ],
)
def test_report_explains_a_wrong_table_in_one_line(command, finished, arguments, words):
    code, out, err = command("report", folder_of(finished, WHOLE), *arguments)

    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert words in line


def test_report_takes_the_address_that_a_run_prints_on_s3_too(
    command, finished, tmp_path, s3_server, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    store = f"s3://{s3_server.make_bucket()}/some/prefix"
    copied(finished, open_storage(store, endpoint=s3_server.endpoint))

    code, out, err = command(
        "report", f"{store}/{planned(WHOLE).prefix}", "--endpoint", s3_server.endpoint
    )

    assert code == 0, err
    assert f"report:     {store}/{planned(WHOLE).prefix}/report.html" in out


def test_curves_of_a_store_on_s3_are_those_of_a_folder(
    command, finished, tmp_path, s3_server, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    store = f"s3://{s3_server.make_bucket()}"
    copied(finished, open_storage(store, endpoint=s3_server.endpoint))
    uris = f"{store}/{planned(WHOLE).prefix}", folder_of(finished, WHOLE)

    of_bucket, of_folder = (load(uri, endpoint=s3_server.endpoint).frame for uri in uris)
    assert of_bucket.equals(of_folder)
    assert {*of_bucket.dropna(subset="epoch").method} >= {"original", "retrained", "finetune"}

    exported = []
    for place, uri in enumerate(uris):
        arguments = ("--to", "tensorboard", "--endpoint", s3_server.endpoint)
        output = tmp_path / str(place)
        code, _, err = command("export", uri, *arguments, "--output", output)
        assert code == 0, err
        exported.append(
            {path.relative_to(output): path.read_bytes() for path in output.rglob("*tfevents*")}
        )
    assert exported[0] == exported[1] != {}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("{store}", "such as {store}/experiments/local/tiny-"),
        ("{store}/experiments", "such as {store}/experiments/local/tiny-"),
        ("{store}/experiments/local/", "such as {store}/experiments/local/tiny-"),
        ("{store}/experiments/local/tiny/seed=0", "such as {store}/experiments/local/tiny-"),
        ("{store}x", "is no experiment; it should look like STORE/experiments/NAMESPACE/NAME-UID"),
        ("s3:/{store}", "is no experiment; it should look like STORE/experiments/NAMESPACE/NAME-"),
        ("{store}/experiments/local/other-12345678", "there is no experiment at"),
        ("{store}x/experiments/local/tiny-12345678", "there is no experiment at"),
    ],
    ids=[
        "a store",
        "its experiments",
        "a namespace",
        "a seed",
        "no store",
        "no URI of a store",
        "another experiment",
        "another store",
    ],
)
def test_report_on_a_wrong_address_is_one_line_and_makes_nothing(
    command, finished, tmp_path, uri, words
):
    store = shutil.copytree(finished, tmp_path / "store")
    before = sorted(tmp_path.rglob("*"))

    code, _, err = command("report", uri.format(store=store))

    assert code == 2
    (line,) = err.splitlines()
    assert words.format(store=store.as_uri()) in line
    assert sorted(tmp_path.rglob("*")) == before


def test_report_on_a_store_names_its_experiments(command, finished, tmp_path):
    store = shutil.copytree(finished, tmp_path / "store")
    (ours,) = (store / "experiments" / "local").iterdir()
    shutil.copytree(ours, ours.with_name("second-12345678"))

    _, _, err = command("report", store)

    there = f"local/second-12345678, local/{ours.name}"
    first = f"{store.as_uri()}/experiments/local/second-12345678"
    assert f"such as {first}; experiments there: {there}" in err


def test_report_on_an_experiment_without_results_is_one_line(command, finished, tmp_path):
    folder = folder_of(shutil.copytree(finished, tmp_path / "store"), WHOLE)
    for result in folder.glob("seed=*/attempt=*/result.json"):
        result.unlink()

    code, _, err = command("report", folder)

    assert code == 2
    assert err.endswith("has no finished seed yet, so there is nothing to report\n")


def test_report_tells_of_a_result_that_is_damaged(command, finished, tmp_path, caplog):
    folder = folder_of(shutil.copytree(finished, tmp_path / "store"), WHOLE)
    (result,) = folder.glob("seed=*/attempt=*/result.json")
    result.write_bytes(result.read_bytes()[:-100])

    code, _, _ = command("report", folder)

    assert code == 2
    assert "a result counts as absent" in caplog.text


EDITS = {
    "order.json": lambda text: text.replace('"seeds": [\n', '"seeds": [\n  7,\n', 1),
    "summary.json": lambda text: text.replace('"mean": ', '"mean": 1', 1),
    "summary.csv": lambda text: text.replace(",0.", ",1.", 1),
    "over_seeds.csv": lambda text: f"{text[:-2]}9\n",
    "report.html": lambda text: text.replace("0.", "1.", 1),
    "SHA256SUMS": lambda text: text.replace(text[:5], "00000"),
    "seed=260/attempt=0/result.json": lambda text: text.replace(
        '"forget_accuracy": ', '"forget_accuracy": 1', 1
    ),
}
"""One edit of a published or stored number, as `sed -i` makes it, by the file."""


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_number_is_noticed_and_never_published_again(
    command, finished, tmp_path, caplog, name
):
    def run(*arguments):
        """Exit code, standard output, and what was said beside it."""
        caplog.clear()
        (folder / name).write_text(EDITS[name](text))
        code, out, err = command(*arguments)
        return code, out, err + caplog.text

    store = shutil.copytree(finished, tmp_path / "store")
    folder = folder_of(store, WHOLE)
    files = [path for path in folder.iterdir() if path.is_file()]
    before = {path.name: path.read_bytes() for path in files}
    text = (folder / name).read_text()
    assert EDITS[name](text) != text

    code, out, _ = run("store", "check", store)
    assert (code, name.removeprefix("seed=260/") in out) == (1, True), out

    code, _, said = run("report", folder)
    assert name in said
    if name == "order.json":
        assert code == EXIT_INVALID
        assert "has been changed since it was written; `supreme run FILE` writes it anew" in said
    if name.startswith("seed="):
        return  # such a seed is computed again, which other tests show

    code, _, said = run("recompute", folder)
    assert (code == 0, name in said) == (name != "order.json", True)
    shutil.rmtree(store)  # with the result that was scored again, to which the report has a link
    shutil.copytree(finished, store)

    code, _, said = run("run", written(tmp_path / "tiny.yaml", WHOLE), "--store", store)
    assert (code, name in said) == (0, True)
    for path in files:
        assert path.read_bytes() == before[path.name], path.name
    assert command("store", "check", store)[0] == 0


def test_results_of_the_reference_become_a_table_and_a_report(command, tmp_path):
    runs = Path(__file__).parents[1] / "core" / "importing" / "fixture" / "wandb.csv"
    store = tmp_path / "store"
    code, out, err = command("import-reference", runs, "--store", store, "--name", "old")
    assert (code, err) == (0, "")
    assert "Digits, ResNet18, forgets classes, precision 32-true, 1 GPU" in out
    report = store / "imports" / "old-digits-resnet18-classes" / "report.html"
    assert f"report: {report.as_uri()}" in out
    assert report.is_file()

    code, out, err = command("import-reference", __file__, "--store", store)
    assert (code, out) == (EXIT_INVALID, "")
    assert err == f"error: {__file__} is no folder and no table of runs, *.csv\n"


def test_a_store_of_an_older_version_is_read_with_a_word_that_its_edits_pass(
    command, finished, tmp_path, caplog
):
    store = shutil.copytree(finished, tmp_path / "store")
    folder = folder_of(store, WHOLE)
    order = json.loads((folder / "order.json").read_text())
    sealed = order.pop("sha256")
    (folder / "order.json").write_text(json.dumps(order, indent=1))
    (folder / "SHA256SUMS").unlink()

    code, out, _ = command("store", "check", store)
    assert (code, "2 documents without a digest" in out) == (0, True), out

    code, _, _ = command("report", folder)
    assert code == 0
    assert "order.json is of an older version and has no digest" in caplog.text
    assert "sha256" not in json.loads((folder / "order.json").read_text())

    code, _, _ = command("run", written(tmp_path / "tiny.yaml", WHOLE), "--store", store)
    assert code == 0
    assert json.loads((folder / "order.json").read_text())["sha256"] == sealed
    code, out, _ = command("store", "check", store)
    assert (code, "without a digest" in out) == (0, False)
