"""Mistakes of users: each gives one clear line that names the field, and exit code 2.

Each case also shows: no traceback, and nothing half-written. Most are found before anything is
started and leave no file at all. What depends on the data is found by the process that prepares
them, and leaves the prepared data, whole. The command runs in this process; the last tests show on
real ones that nothing else is said there.
"""

import socket

import pytest
from supreme_trainer.command import cli

from tests import warm
from tests.trainer.experiments import (
    RANDOM_SAMPLES,
    damaged_artefacts,
    experiment,
    running,
    written,
)


def changed(path, value):
    """The experiment with one field of its spec set to a value."""
    document = experiment()
    *folders, last = path.split(".")
    place = document["spec"]
    for name in folders:
        place = place[int(name)] if name.isdigit() else place.setdefault(name, {})
    place[last] = value
    return document


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command in this process; gives exit code, standard output, standard error."""
    monkeypatch.setattr("sys.executable", warm.python())  # for trainers, which it starts

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["supreme", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


BOMB = """
a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
f: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]
"""

WRONG_FILES = {
    "unknown field": (
        changed("training.epoch", 3),
        "spec.training.epoch: unknown field 'epoch'; did you mean 'epochs'?",
    ),
    "unknown field of a component": (
        changed("methods.0.params", {"epoch": 3}),
        "spec.methods[0].params.epoch: unknown field 'epoch'; did you mean 'epochs'?",
    ),
    "misspelt method": (
        changed("methods", [{"name": "fintune"}]),
        "spec.methods[0].name: unknown method 'fintune'; did you mean 'finetune'?",
    ),
    "misspelt dataset": (
        changed("dataset", {"name": "digit"}),
        "spec.dataset.name: unknown dataset 'digit'; did you mean 'digits'?",
    ),
    "wrong type": (
        changed("training.epochs", "8"),
        'spec.training.epochs is "8"; it should be a valid integer',
    ),
    "wrong type in a component": (
        changed("methods.0.params", {"epochs": "8"}),
        'spec.methods[0].params.epochs is "8"; it should be',
    ),
    "no number": (
        changed("methods.0.params", {"lr": float("nan")}),
        "spec.methods[0].params.lr is NaN",
    ),
    "missing field": ({**experiment(), "metadata": {}}, "metadata.name is required"),
    "fraction out of range": (
        changed("scenarios.1.params", {"fraction": 1.5}),
        "spec.scenarios[1].params.fraction is 1.5; it should be less than 1",
    ),
    "microBatches 3": (
        changed("training.microBatches", 3),
        "spec.training.microBatches: 3 is not a power of two; use 2 or 4",
    ),
    "selection by nothing": (
        changed("training.selection", "best_validation"),
        "spec.training: selection is best_validation, but no samples are set aside to select by;"
        " give a validation.fraction",
    ),
    "wrapper without validation samples": (
        changed("methods.0.wrappers", [{"name": "rewind"}]),
        "spec.methods[0].wrappers[0].name is 'rewind', which needs validation samples, and none are"
        " set aside; give spec.training.validation a fraction",
    ),
    "misspelt wrapper": (
        changed("methods.0.wrappers", [{"name": "rewnd"}]),
        "spec.methods[0].wrappers[0].name: unknown wrapper 'rewnd'; did you mean 'rewind'?",
    ),
    "wrong setting of a wrapper": (
        changed("methods.0.wrappers", [{"name": "prune_first", "params": {"sparsity": 1}}]),
        "spec.methods[0].wrappers[0].params.sparsity is 1; it should be less than 1",
    ),
    "ddp with parts": (
        experiment(training={"reduction": "ddp", "microBatches": 2}),
        "spec.training: reduction is ddp, where each rank has one part of a batch, but microBatches"
        " is 2; use 1, or reduction tree",
    ),
    "two arithmetics of evaluations": (
        experiment(training={"precision": "fp64"}, evaluationPrecision="bf16"),
        "spec: evaluationPrecision is bf16, but training.precision is fp64, where models are"
        " evaluated in fp64 too; leave one of the two out",
    ),
    "ddp with BatchNorm over the batch": (
        experiment(training={"reduction": "ddp", "batchNorm": "batch"}),
        "spec.training: reduction is ddp, where BatchNorm sees the part of its rank, but batchNorm"
        " is batch; use micro_batch, or reduction tree",
    ),
    "matched seeds with repeats": (
        changed("seeds", {"list": [1], "protocol": "matched", "evaluationRepeats": 2}),
        "spec.seeds: protocol is matched, where one stream serves training, unlearning and"
        " evaluation, but unlearningRepeats is 1 and evaluationRepeats is 2; use 1 for both, or"
        " protocol independent",
    ),
    "gradient norm": (
        changed("training.maxGradientNorm", 0),
        "spec.training.maxGradientNorm is 0; it should be greater than 0",
    ),
    "unsir without a class": (
        experiment(scenarios=[RANDOM_SAMPLES], methods=[{"name": "unsir"}]),
        "spec.methods: no method fits a scenario: unsir forgets classes, but random_samples asks",
    ),
    "label of a reference": (
        changed("methods", [{"name": "finetune", "label": "retrained"}]),
        "spec.methods: 'retrained' is always there as a reference; leave it out",
    ),
    "label twice": (
        changed("methods", [{"name": "finetune"}, {"name": "finetune"}]),
        "spec.methods: 'finetune' stands twice; give each entry a label of its own",
    ),
    "unknown primary metric": (
        changed("primaryMetric", "forget_acuracy"),
        "spec.primaryMetric is 'forget_acuracy', which no metric gives; did you mean"
        " 'forget_accuracy'?",
    ),
    "not YAML": ("spec: [\n", "line 2, column 1 is not YAML"),
    "not a mapping": ("- spec\n", "holds a list, not an UnlearningExperiment"),
    "nothing": ("", "holds nothing, not an UnlearningExperiment"),
    "YAML bomb": (BOMB, "has more than 100000 values or 64 levels once its YAML aliases"),
    "key given twice": ("kind: a\nkind: b\n", "line 2, column 1 is not YAML: the key 'kind' is"),
    "Python in YAML": ("!!python/object/apply:os.system [ls]\n", "is not YAML"),
}


@pytest.mark.parametrize("name", ["validate", "run"])
@pytest.mark.parametrize(("document", "words"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_one_line_that_names_the_field(command, tmp_path, name, document, words):
    file = written(tmp_path / "wrong.yaml", document)
    store = ("--store", tmp_path / "store") if name == "run" else ()

    code, _, err = command(name, file, *store)

    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith(f"error: {file}")
    assert words in line
    assert not (tmp_path / "store").exists()


def test_every_mistake_has_a_line_of_its_own(command, tmp_path):
    document = changed("training.epochs", "8")
    document["spec"]["seed"] = 1
    document["kind"] = "Experiment"

    code, _, err = command("validate", written(tmp_path / "wrong.yaml", document))

    assert code == 2
    assert [line.split(": ", 2)[2].split(" is ")[0] for line in err.splitlines()] == [
        "kind",
        "spec.training.epochs",
        "spec.seed: unknown field 'seed'; did you mean 'seeds'?",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.yaml", "No such file"), ("folder", "it is a folder"), ("text", "UTF-8 text file")],
)
def test_a_file_that_cannot_be_read_is_one_line(command, tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_bytes(b"\xff\xfe\x00")

    code, _, err = command("run", tmp_path / name, "--store", tmp_path / "store")

    assert code == 2
    (line,) = err.splitlines()
    assert str(tmp_path / name) in line
    assert words in line
    assert not (tmp_path / "store").exists()


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "tiny.yaml", experiment())


@pytest.mark.parametrize(("ranks", "larger"), [(2, ", or microBatches of at least 2"), (3, "")])
def test_ranks_that_do_not_divide_micro_batches(command, tmp_path, file, ranks, larger):
    code, _, err = command("run", file, "--store", tmp_path / "store", "--ranks", ranks)

    assert code == 2
    assert err == (
        f"error: --ranks is {ranks}, which does not divide spec.training.microBatches (1);"
        f" use --ranks 1{larger}\n"
    )
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_a_file(command, tmp_path, file):
    (tmp_path / "store").write_text("somebody's own")

    code, _, err = command("run", file, "--store", tmp_path / "store")

    assert code == 2
    (line,) = err.splitlines()
    assert "a file lies where a folder is needed; name another folder" in line
    assert (tmp_path / "store").read_text() == "somebody's own"


@pytest.mark.parametrize(
    ("uri", "words"),
    [("ftp://host/x", "allowed: s3://bucket/prefix"), ("s3://B", "a bucket's name has 3 to 63")],
)
def test_a_store_of_no_known_kind(command, file, uri, words):
    code, _, err = command("run", file, "--store", uri)

    assert code == 2
    (line,) = err.splitlines()
    assert repr(uri) in line
    assert words in line


def on_s3(tmp_path, endpoint, bucket):
    storage = {"uri": f"s3://{bucket}/x", "endpoint": endpoint}
    return written(tmp_path / "s3.yaml", experiment(storage=storage))


@pytest.fixture
def identity(monkeypatch):
    """The process's credentials on S3."""

    def become(access_key, secret_key):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)

    return become


def test_a_bucket_that_does_not_exist(command, tmp_path, s3_server, identity):
    identity(s3_server.access_key, s3_server.secret_key)

    code, _, err = command("run", on_s3(tmp_path, s3_server.endpoint, "no-such-bucket"))

    assert code == 2
    (line,) = err.splitlines()
    assert "the bucket does not exist; create it or correct the URI" in line


def test_wrong_credentials(command, tmp_path, s3_server, identity):
    if s3_server.kind == "moto":
        pytest.skip("moto takes any credentials")
    bucket = s3_server.make_bucket()
    identity(s3_server.access_key, "not the secret")

    code, _, err = command("run", on_s3(tmp_path, s3_server.endpoint, bucket))

    assert code == 2
    (line,) = err.splitlines()
    assert "the credentials are refused" in line
    assert "not the secret" not in line


def test_an_endpoint_that_is_down(command, tmp_path, identity):
    identity("key", "secret")
    with socket.socket() as taken:  # bound but not listening: nobody answers, nobody else takes it
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"

        code, _, err = command("run", on_s3(tmp_path, endpoint, "bucket"))

    assert code == 2
    (line,) = err.splitlines()
    assert endpoint in line
    assert "check the address and that the server runs" in line


WRONG_FOR_THE_DATA = {
    "class out of range": (
        experiment(scenarios=[{"name": "full_class", "params": {"classes": [10]}}]),
        "spec.scenarios[0] (full_class): class 10 is out of range; the dataset has classes 0 to 9",
    ),
    "fraction that selects no sample": (
        changed("scenarios.1.params", {"fraction": 0.0001}),
        "spec.scenarios[1] (random_samples): fraction 0.0001 of 1442 training samples selects no"
        " sample; the smallest that does is 0.000694",
    ),
    "method for other models": (
        experiment(model={"name": "timm/test_vit"}, methods=[{"name": "finetune"}, {"name": "ct"}]),
        "spec.methods[1].name is 'ct', which needs convolutions whose windows overlap, and"
        " spec.model has none; leave it out",
    ),
    "wrapper whose settings need validation samples": (
        changed("methods.0.wrappers", [{"name": "early_stop"}]),
        "spec.methods[0]: 'early_stop' needs validation samples, and none are set aside; give"
        " spec.training.validation a fraction",
    ),
    "folder of images that is not there": (
        changed("dataset", {"name": "image_folder", "params": {"path": "no/such/folder"}}),
        "spec.dataset.params.path: 'no/such/folder' is not a folder on this machine",
    ),
}


@pytest.mark.parametrize(("document", "words"), WRONG_FOR_THE_DATA.values(), ids=WRONG_FOR_THE_DATA)
def test_what_does_not_fit_the_data_is_found_before_anything_is_trained(
    command, tmp_path, document, words
):
    """Takes a process: the data are prepared outside the command."""
    file = written(tmp_path / "wrong.yaml", document)

    code, out, err = command("run", file, "--store", tmp_path / "store", "--device", "cpu")

    assert code == 2, out + err
    (line,) = err.splitlines()
    assert words in line
    assert {path.parts[-4] for path in files_in(tmp_path / "store")} <= {"datasets"}
    assert damaged_artefacts(tmp_path / "store") == []


def test_an_arithmetic_that_the_device_does_not_have_is_found_before_anything_is_trained(
    command, tmp_path
):
    """The trainer of the seed finds it, since it knows its device; data may be prepared on any."""
    file = written(tmp_path / "wrong.yaml", changed("training.precision", "tf32"))

    code, out, err = command("run", file, "--store", tmp_path / "store", "--device", "cpu")

    assert code == 2, out + err
    (line,) = err.splitlines()
    assert (
        "spec.training.precision is 'tf32', which only GPUs compute in, and this is a cpu" in line
    )
    assert [path.name for path in (tmp_path / "store" / "objects").iterdir()] == ["datasets"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument 'FILE'"),
        (["run", "x.yaml", "--stor", "y"], "No such option"),
        (["run", "x.yaml", "--ranks", "0"], "--ranks"),
        (["list", "methods"], "there is no kind 'methods'; did you mean 'method'?"),
        (["list", "q"], "there is no kind 'q'; kinds: dataset, model, scenario"),
        (["list"], "dataset,\n    model,\n"),
        (["go"], "No such command 'go'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_told_with_its_usage(command, arguments, words):
    code, _, err = command(*arguments)

    assert code == 2
    assert words in err
    assert "Usage: " in err


REAL = {
    "misspelt method": (["validate"], WRONG_FILES["misspelt method"]),
    "YAML bomb": (["run"], WRONG_FILES["YAML bomb"]),
    "selection by nothing": (["run"], WRONG_FILES["selection by nothing"]),
}


@pytest.mark.parametrize(("arguments", "mistake"), REAL.values(), ids=REAL)
def test_the_real_process_says_nothing_but_that_line(tmp_path, arguments, mistake):
    document, words = mistake
    file = written(tmp_path / "wrong.yaml", document)

    with running(*arguments, file) as process:
        done = process.wait()

    assert done.code == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert words in line
