"""`supreme export`: models as runs of trackers, read back by the trackers' own readers.

tensorboard    its event accumulator: numbers, epochs, settings
mlflow         its client, from a folder
wandb-offline  its messages, in the log of an offline run
again          nothing is doubled; what is new is added, what has changed replaced
names          of a hostile store stay in the folder
errors         a line each: a library that is not installed, an experiment without a seed

The store is made up: no model is trained. Left out: servers of the trackers, and uploads.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from supreme_core.api.canonical import digest
from supreme_core.errors import EXIT_INTERRUPTED, EXIT_INVALID
from supreme_core.library.tracked import tracked_models
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from supreme_core.store.results import ResultReader, write_order, write_result
from supreme_core.system import ending
from tests.core.analysis import summaries
from tests.core.publishing.test_publish import ORDER, RESULTS

SEED = 1
LOSSES = {"original": [2.0, 1.0, 0.5], "retrained": [2.5, 1.25, None], "scrub": [0.75, 0.25]}
TITLE = f"{ORDER.experiment.namespace}/{ORDER.experiment.name}-{ORDER.experiment.uid}"
NAMES = [f"full_class/{method}/seed-{SEED}" for method in LOSSES]


def stored(storage, *, seed=SEED, failed=(), names=None):
    """Write a result of made-up numbers, with the stages that its runs name."""
    artefacts = Artefacts(storage, Path("unused"))
    runs = []
    for run in RESULTS[seed].runs:
        if run.method in failed:
            runs.append(summaries.failed(run.method, "it diverged"))
            continue
        losses = LOSSES[run.method]
        curve = {
            "name": "training" if run.method in ("original", "retrained") else "repair",
            "epoch": [*range(1, len(losses) + 1)],
            "rate": [0.1] * len(losses),
            "loss": losses,
            "accuracy": [0.5] * len(losses),
        }
        facts = {"curves": [curve]}
        meaning = {"seed": seed, "method": run.method}
        key = commit(artefacts, STAGES[run.method], meaning, facts)
        if run.method != "scrub":
            key = commit(artefacts, "predictions", {"model": key}, {})
        run = run.model_copy(update={"predictions": {"unlearned": key}})
        runs.append(run.model_copy(update={"method": (names or {}).get(run.method, run.method)}))
    write_result(storage, RESULTS[seed].model_copy(update={"runs": runs}))


STAGES = {"original": "originals", "retrained": "retrained", "scrub": "unlearned"}


def commit(artefacts, stage, meaning, facts):
    key = digest(meaning)
    artefacts.commit(stage, key, meaning=meaning, files={}, facts=facts, environment={})
    return key


@pytest.fixture
def storage(tmp_path):
    storage = LocalStorage(tmp_path / "store")
    write_order(storage, ORDER)
    stored(storage)
    return storage


@pytest.fixture
def export(storage, tmp_path, monkeypatch, supreme_here):
    """`supreme export` into the folder `out`: (exit status, output, error). It leaves nothing in
    the folder of temporary files, however it ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(to, *options, uri=f"{storage.uri}/{ORDER.prefix}"):
        found = supreme_here("export", uri, "--to", to, *options)
        assert not [*(tmp_path / "temporary").glob("supreme-*")]
        return found

    return run


def models(storage):
    with tempfile.TemporaryDirectory() as cache:
        found = tracked_models(Artefacts(storage, cache), ORDER, ResultReader(storage))
        return {each.name: each for each in found}


def test_a_model_has_its_settings_numbers_curves_and_tags(storage):
    found = models(storage)
    assert [*found] == NAMES
    scrub = found[NAMES[2]]
    assert scrub.params["method.epochs"] == 10
    assert scrub.params["method.forgetBatchSize"] == "null"
    assert scrub.params["training.optimizer.name"] == "sgd"
    assert (scrub.params["dataset.name"], scrub.params["scenario.name"]) == ("digits", "full_class")
    assert not [name for name in found[NAMES[0]].params if name.startswith("method.")]
    run = next(each for each in RESULTS[SEED].runs if each.method == "scrub")
    assert scrub.metrics == {row: value for row, value in run.metrics.items() if value is not None}
    assert [*scrub.points()][:2] == [("repair/loss", 1, 0.75), ("repair/loss", 2, 0.25)]
    name = ORDER.experiment
    assert scrub.tags["supreme.experiment"] == f"{name.namespace}/{name.name}"
    assert scrub.tags["supreme.uid"] == name.uid
    assert scrub.tags["supreme.work_digest"] == RESULTS[SEED].work_digest
    # an epoch without a number is no point
    assert [n for t, _, n in found[NAMES[1]].points() if t == "training/loss"] == [2.5, 1.25]


def test_models_differ_in_their_identity_and_the_same_has_the_same_content(storage):
    found, again = models(storage), models(storage)
    assert len({each.identity for each in found.values()}) == 3
    assert [each.content for each in found.values()] == [each.content for each in again.values()]
    assert len({each.content for each in found.values()}) == 3


class TestTensorBoard:
    def read(self, folder):
        from tensorboard.backend.event_processing import event_accumulator

        found = event_accumulator.EventAccumulator(str(folder))
        found.Reload()
        return found

    def test_its_reader_gets_every_number(self, export, tmp_path, storage):
        status, output, error = export("tensorboard")
        assert (status, error) == (0, "")
        assert "3 runs written" in output
        top = tmp_path / "supreme-export" / "tensorboard"
        folders = [path.parent for path in sorted(top.rglob("*tfevents*"))]
        assert [str(each).removeprefix(f"{top}/").partition("/full")[2] for each in folders] == [
            name.partition("full")[2] for name in NAMES
        ]
        for folder, model in zip(folders, models(storage).values(), strict=True):
            read = self.read(folder)
            wanted = {}
            for name, epoch, number in model.points():
                wanted.setdefault(name, []).append((epoch, pytest.approx(number)))
            for row, value in model.metrics.items():
                wanted[f"metrics/{row}"] = [(0, pytest.approx(value))]
            assert {*read.Tags()["scalars"]} == {*wanted}
            for name, points in wanted.items():
                assert [(each.step, each.value) for each in read.Scalars(name)] == points

    def test_settings_and_tags_are_hyperparameters(self, export, tmp_path):
        from tensorboard.plugins.hparams import plugin_data_pb2

        export("tensorboard", "--output", str(tmp_path / "out"))
        (folder,) = (path.parent for path in (tmp_path / "out").rglob("scrub/**/*tfevents*"))
        metadata = self.read(folder).summary_metadata["_hparams_/session_start_info"]
        content = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
        hparams = content.session_start_info.hparams
        assert hparams["method.epochs"].number_value == 10
        assert hparams["supreme.uid"].string_value == ORDER.experiment.uid
        # sorted, because the order of a map would differ in the next process
        assert metadata.plugin_data.content == content.SerializeToString(deterministic=True)

    def test_again_it_writes_what_has_changed_and_nothing_twice(self, export, tmp_path, storage):
        export("tensorboard", "--output", str(tmp_path / "out"))
        before = self.written(tmp_path)
        theirs = next(iter(before)).with_name("events.out.tfevents.theirs")
        theirs.write_text("")
        _, output, _ = export("tensorboard", "--output", str(tmp_path / "out"))
        assert "0 runs written, 3 runs there already" in output
        assert {path: self.written(tmp_path)[path] for path in before} == before
        stored(storage, seed=2)
        stored(storage, failed=("scrub",))
        _, output, _ = export("tensorboard", "--output", str(tmp_path / "out"))
        assert "4 runs written, 2 runs there already" in output
        assert len([*(tmp_path / "out").rglob("*supreme")]) == 6
        assert theirs.exists()

    def written(self, tmp_path):
        """Files of events with the time of their last change; to read one changes other times."""
        files = (tmp_path / "out").rglob("*tfevents*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.filterwarnings("ignore:.*noload.*")  # of SQLAlchemy, to MLflow
class TestMLflow:
    def runs(self, uri):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(uri)
        found = client.get_experiment_by_name(TITLE)
        runs = client.search_runs([found.experiment_id])
        return client, {run.info.run_name: run for run in runs}

    def test_its_client_gets_every_number_once(self, export, tmp_path, storage, monkeypatch):
        """One test, because a new database takes seconds."""
        from supreme_trainer.command import export_mlflow

        with monkeypatch.context() as broken:  # interrupted in the first run
            broken.setattr(export_mlflow, "RunTag", interrupt)
            assert export("mlflow", "--output", "out")[0] == EXIT_INTERRUPTED
        _, output, _ = export("mlflow", "--output", "out")
        assert "3 runs written" in output
        uri = f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}"
        client, before = self.runs(uri)
        assert sorted(before) == sorted(NAMES)
        for name, model in models(storage).items():
            run = before[name]
            assert run.info.status == "FINISHED"
            assert run.data.params == {key: str(value) for key, value in model.params.items()}
            assert run.data.tags.items() >= model.tags.items()
            assert run.data.metrics.items() >= model.metrics.items()
            history = client.get_metric_history(run.info.run_id, "training/loss")
            losses = [n for t, _, n in model.points() if t == "training/loss"]
            assert [(each.step, each.value) for each in history] == [*enumerate(losses, 1)]

        _, output, _ = export("mlflow", "--output", "out")
        assert "0 runs written, 3 runs there already" in output
        stored(storage, seed=2)
        stored(storage, failed=("scrub",))
        _, output, _ = export("mlflow", "--output", "out")
        assert "4 runs written, 2 runs there already" in output
        _, after = self.runs(uri)
        assert len(after) == 6
        assert after[NAMES[0]].info.run_id == before[NAMES[0]].info.run_id
        failed = after[NAMES[2]]
        assert failed.info.status == "FAILED"
        assert failed.data.tags["supreme.reason"] == "it diverged"

        client.delete_experiment(failed.info.experiment_id)
        status, _, error = export("mlflow", "--output", "out")
        assert status == EXIT_INVALID
        assert f"MLflow's experiment '{TITLE}' was deleted" in error

    def test_the_environment_names_the_server(self, export, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "theirs").as_uri())
        assert export("mlflow")[0] == 0
        assert sorted(self.runs((tmp_path / "theirs").as_uri())[1]) == sorted(NAMES)

    def test_an_address_of_no_server_is_told(self, export):
        status, _, error = export("mlflow", "--output", "foo://x")
        assert status == EXIT_INVALID
        assert error.startswith(
            "error: 'foo://x' is no address of MLflow; allowed: that of a server"
        )


def interrupt(*_):
    raise KeyboardInterrupt


def log_records(data):
    """Records of a log of LevelDB, behind the seven bytes that are wandb's own.

    Blocks of 32 KiB have pieces of records, each with checksum, length and kind: whole, first,
    middle or last. The reader of wandb is in its core, which is no Python.
    """
    assert data[:4] == b":W&B"
    at, record = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # no room for a piece at the end of a block
            at += BLOCK - at % BLOCK
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield record
            record = b""


BLOCK = 32 * 1024


class TestWandb:
    def read(self, folder):
        """Records of an offline run, by kind."""
        from wandb.proto import wandb_internal_pb2

        (file,) = folder.glob("*.wandb")
        found = {}
        for data in log_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            found.setdefault(kind, []).append(getattr(record, kind))
        return found

    def test_its_reader_gets_every_number(self, export, tmp_path, storage):
        status, _, error = export("wandb-offline", "--output", "out")
        assert (status, error) == (0, "")
        folders = {
            each.name[-16:]: each for each in (tmp_path / "out" / "wandb").glob("offline-run-*")
        }
        assert len(folders) == 3
        for model in models(storage).values():
            found = self.read(folders[model.identity[:16]])
            (run,) = found["run"]
            config = {each.key: json.loads(each.value_json) for each in run.config.update}
            assert config.items() >= {**model.params, **model.tags}.items()
            assert (run.display_name, run.run_group, run.job_type) == (
                *(model.name, model.scenario, model.method),
            )
            rows = [
                {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in row.item
                }
                for row in found["history"]
            ]
            points = {
                (name, row["/".join([name.partition("/")[0], "epoch"])]): row[name]
                for row in rows
                for name in row
                if not name.startswith("_") and not name.endswith("/epoch")
            }
            assert points == {(name, epoch): number for name, epoch, number in model.points()}
            summary = {
                item.key: json.loads(item.value_json)
                for each in found["summary"]
                for item in each.update
            }
            assert summary.items() >= model.metrics.items()

    def test_again_it_writes_what_has_changed_and_nothing_twice(self, export, tmp_path, storage):
        export("wandb-offline", "--output", "out")
        before = self.digests(tmp_path)
        _, output, _ = export("wandb-offline", "--output", "out")
        assert "0 runs written, 3 runs there already" in output
        stored(storage, failed=("scrub",))
        _, output, _ = export("wandb-offline", "--output", "out")
        assert "1 run written, 2 runs there already" in output
        after = self.digests(tmp_path)
        assert after.keys() == before.keys()
        assert sum(after[each] == before[each] for each in after) == 2

    def digests(self, tmp_path):
        """Digest of what each run was told, by its id; a folder's name has seconds in it, too."""
        folders = [*(tmp_path / "out" / "wandb").glob("offline-run-*")]
        found = {each.name[-16:]: (each / "supreme-digest").read_text() for each in folders}
        assert len(found) == len(folders)
        return found


def test_names_from_a_store_stay_in_the_folder(export, storage, tmp_path):
    stored(storage, names={"scrub": "../../../../evil"})
    assert export("tensorboard", "--output", "out")[0] == 0
    written = [path for path in tmp_path.rglob("*tfevents*")]
    assert len(written) == 3
    assert all((tmp_path / "out") in path.parents for path in written)


def test_a_model_whose_stage_is_gone_is_exported_without_curves(storage, caplog):
    shutil.rmtree(Path(storage.uri.removeprefix("file://")) / "objects")
    scrub = models(storage)[NAMES[2]]
    assert not scrub.curves
    assert scrub.metrics
    (record,) = caplog.records
    told = "curves of 3 models are left out; the first is original in full_class: predictions"
    assert told in record.message


@pytest.mark.parametrize("to", ["tensorboard", "mlflow", "wandb-offline"])
def test_a_library_that_is_not_installed_is_named(export, monkeypatch, to):
    extra = to.removesuffix("-offline")
    monkeypatch.setitem(ending.EXTRAS, extra, ("not_installed",))
    status, output, error = export(to)
    assert (status, output) == (EXIT_INVALID, "")
    assert error.count("\n") == 1
    assert ending.install_command(extra) in error


@pytest.mark.parametrize("to", ["tensorboard", "mlflow", "wandb-offline"])
def test_a_file_in_the_place_of_the_folder_is_told(export, tmp_path, to):
    (tmp_path / "file").write_text("")
    status, out, error = export(to, "--output", "file")
    assert (status, out) == (EXIT_INVALID, "")
    (line,) = error.splitlines()
    assert line.startswith("error: --output file: ")


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_folder_that_mlflow_would_not_find_is_refused_before_it_is_made(export, tmp_path, name):
    status, _, error = export("mlflow", "--output", name)
    assert status == EXIT_INVALID
    assert f"MLflow finds no folder with {'?' if '?' in name else '%'} in its path" in error
    assert not (tmp_path / name).exists()


def test_an_experiment_without_a_seed_is_told(export, storage):
    for item in [*storage.list(f"{ORDER.prefix}/seed={SEED}")]:
        storage.delete(item.key)
    status, _, error = export("tensorboard")
    assert status == EXIT_INVALID
    assert "nothing to export" in error


def test_a_tracker_that_is_none_names_those_there_are(export):
    status, _, error = export("tensorbord")
    assert status == EXIT_INVALID
    assert "tensorboard" in error
