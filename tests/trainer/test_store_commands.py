"""`supreme store check`, `prune` and `delete`, on a folder and on a real S3 server.

check   damage that is really made: bits turned, bytes cut off, objects deleted, manifests spoilt
        what does no harm: leftovers and orphans
prune   a dry run, what goes and what stays, finished, unfinished and given-up experiments
delete  a dry run, a person who is asked, what stays for others, mistyped and unreadable experiments

What may go is a table in tests/core/store/test_housekeeping.py; here it happens to the store of a
real experiment. On S3 are those of each command that list, read and remove, a server's part of it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from io import StringIO

import pytest
from supreme_trainer.command import cli

from supreme_core.api import names
from supreme_core.errors import EXIT_INVALID
from supreme_core.store.folder import LocalStorage
from supreme_core.store.housekeeping import orphans
from supreme_core.store.inventory import read_inventory
from supreme_core.store.leases import Holder, Leases
from supreme_core.store.results import write_order, write_result
from supreme_core.store.storage import TEMPORARY
from tests.trainer.experiments import (
    COMMAND,
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    compute,
    copied,
    experiment,
    finish,
    folder_store,
    planned,
)

WHOLE = experiment(
    model=LIGHT,
    scenarios=[FULL_CLASS],
    methods=[FINETUNE],
    metrics=[{"name": "zrf"}, {"name": "accuracy"}],
)
STAGES = {
    "datasets": 1,
    "originals": 1,
    "retrained": 1,
    "predictions": 3,
    "unlearned": 1,
    "metrics": 3,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished experiment WHOLE."""
    folder = tmp_path_factory.mktemp("finished")
    finish(WHOLE, folder_store(folder))
    return folder


@pytest.fixture
def filled(store, finished):
    """A store of each kind with the finished experiment."""
    return copied(finished, store)


@pytest.fixture
def folder(finished, tmp_path):
    """A folder with the finished experiment, where it matters what lies in a store, not where."""
    return folder_store(shutil.copytree(finished, tmp_path / "store"))


@pytest.fixture
def command(monkeypatch, capsys, s3_server):
    """Run the command in this process; gives exit code, standard output, standard error."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)

    def run(name, storage, *options, below=""):
        endpoint = [] if isinstance(storage, LocalStorage) else ["--endpoint", s3_server.endpoint]
        arguments = ["supreme", "store", name, storage.uri + below, *endpoint, *options]
        monkeypatch.setattr("sys.argv", arguments)
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def check(command):
    def run(storage):
        code, out, _ = command("check", storage, "--json")
        return code, json.loads(out)

    return run


@pytest.fixture
def prune(command):
    """Return what pruning prints, whatever the age."""

    def run(storage, *options):
        code, out, err = command("prune", storage, "--json", "--older-than", "0", *options)
        assert code == 0, err
        return json.loads(out)

    return run


def key_of(storage, stage, words="", suffix=""):
    """The first object of a stage whose name begins and ends so."""
    for info in storage.list(f"objects/{stage}"):
        name = info.key.rpartition("/")[2]
        if name.startswith(words) and name.endswith(suffix):
            return info.key
    raise AssertionError(f"no {words}*{suffix} in {stage}")


def keys(storage):
    return [info.key for info in storage.list()]


def give_up(storage, document):
    """Remove an experiment's folder, as a user does."""
    for info in list(storage.list(planned(document).prefix)):
        storage.delete(info.key)


def turned(data):
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGE = {
    "a bit of weights": ("originals", "weights-", turned, "sha256"),
    "a byte less of predictions": ("unlearned", "predictions-", lambda data: data[:-1], "bytes"),
    "a bit of the dataset": ("datasets", "train_images-", turned, "sha256"),
    "no data": ("retrained", "weights-", None, "it is missing"),
    "no manifest": ("retrained", "manifest", None, "it is missing, and a result names it"),
    "half a manifest": ("metrics", "manifest", lambda data: data[:50], "is not JSON"),
    "another number": (
        "metrics",
        "manifest",
        lambda data: data.replace(b'"forget_accuracy": ', b'"forget_accuracy": 1'),
        "has been changed since it was written",
    ),
}


class TestCheck:
    def test_a_sound_store_is_clean(self, filled, check, command):
        code, found = check(filled)

        assert code == 0
        assert (found["stages"], found["files"]) == (sum(STAGES.values()), 4 + 1 + 1 + 3 + 1)
        assert found["bytes"] == sum(info.size for info in filled.list("objects"))
        assert [found[name] for name in ("damaged", "unreadable", "leftovers", "orphans")] == [
            []
        ] * 4
        code, out, err = command("check", filled)
        assert (code, err) == (0, "")
        assert out.endswith("\nnothing is damaged\n")

    @pytest.mark.parametrize(("stage", "words", "change", "problem"), DAMAGE.values(), ids=DAMAGE)
    def test_damage_is_named(self, folder, check, command, stage, words, change, problem):
        self.harm_and_check(folder, check, command, stage, words, change, problem)

    def test_damage_on_any_kind_of_store_is_named(self, filled, check, command):
        self.harm_and_check(filled, check, command, *DAMAGE["a bit of weights"])

    @staticmethod
    def harm_and_check(store, check, command, stage, words, change, problem):
        key = key_of(store, stage, words)
        if change:
            store.write(key, change(store.read(key)))
        else:
            store.delete(key)

        code, found = check(store)

        assert code == 1
        (damage,) = found["damaged"]
        assert (damage["stage"], damage["object"]) == (stage, key)
        assert problem in damage["problem"]
        code, out, _ = command("check", store)
        assert (code, f"  {key}: " in out) == (1, True)

    def test_results_that_cannot_be_read_are_damage(self, folder, check):
        folder.write(names.order_key(planned(WHOLE).prefix), b"{")

        code, found = check(folder)

        assert (code, found["damaged"], len(found["unreadable"])) == (1, [], 1)

    def test_leftovers_and_orphans_are_listed_and_no_damage(self, filled, check, command):
        orphan = key_of(filled, "originals", "manifest").split("/")[3]
        checkpoint = names.checkpoint_key("originals", orphan)
        filled.write(checkpoint, b"state")
        give_up(filled, WHOLE)

        code, found = check(filled)

        assert code == 0
        assert [each["object"] for each in found["leftovers"]] == [checkpoint]
        assert len(found["orphans"]) == sum(STAGES.values())
        assert sum(each["bytes"] for each in found["orphans"]) == found["bytes"]
        code, out, _ = command("check", filled)
        assert "10 orphaned stages" in out

    def test_files_of_killed_writers_are_found_in_a_folder(self, finished, check, tmp_path):
        store = LocalStorage(tmp_path)
        store.write("objects/a/b", b"")
        (tmp_path / "objects" / f"{TEMPORARY}1").write_bytes(b"12345")

        _, found = check(store)

        assert [(each["object"], each["bytes"]) for each in found["leftovers"]] == [
            (f"objects/{TEMPORARY}1", 5)
        ]

    def test_what_is_no_store_is_one_line(self, command, tmp_path):
        code, _, err = command("check", LocalStorage(tmp_path / "nothing"))

        assert code == 2
        assert err.endswith("holds neither stages nor experiments; is it a store?\n")
        assert not (tmp_path / "nothing").exists()

    def test_many_lines_are_cut(self, finished, command, tmp_path):
        store = LocalStorage(tmp_path)
        for number in range(25):
            store.write(f"objects/originals/{'0' * 2}/{number:064}/data", b"1")

        _, out, _ = command("check", store)

        assert "25 left behind, 25 bytes\n" in out
        assert "  and 5 more; --json lists all of them\n" in out
        assert out.count("\n") == 24


class TestPrune:
    def test_nothing_of_a_finished_experiment_goes(self, folder, prune):
        before = keys(folder)

        found = prune(folder, "--delete")

        assert (found["orphans"], found["leftovers"], found["deletedBytes"]) == ([], [], 0)
        assert keys(folder) == before

    def test_a_dry_run_says_what_would_go_and_removes_nothing(self, filled, prune, command):
        give_up(filled, WHOLE)
        before = keys(filled)

        found = prune(filled)

        assert len(found["orphans"]) == sum(STAGES.values()) - 1
        assert [each["stage"] for each in found["unusedData"]] == ["datasets"]
        _, out, _ = command("prune", filled, "--older-than", "0")
        assert out.splitlines()[-1].endswith(" would go; --delete removes them")
        assert keys(filled) == before

    def test_all_of_an_experiment_that_was_given_up_goes(self, filled, prune, command):
        give_up(filled, WHOLE)
        size = sum(info.size for info in filled.list())

        assert prune(filled, "--delete", "--data")["deletedBytes"] == size

        assert keys(filled) == []

    def test_prepared_data_stay_for_an_experiment_to_come(self, folder, prune, command):
        """The source of prepared data may need a licence, or hours."""
        give_up(folder, WHOLE)

        prune(folder, "--delete")

        assert {key.split("/")[1] for key in keys(folder)} == {"datasets"}
        _, out, _ = command("prune", folder, "--delete", "--older-than", "0")
        first, last = out.splitlines()
        assert first.startswith("1 piece of prepared data, ")
        assert last == "nothing to remove"

    def test_what_another_experiment_needs_stays(self, folder, prune, check):
        other = experiment(
            name="other",
            model=LIGHT,
            scenarios=[FULL_CLASS],
            methods=[FINETUNE],
            metrics=[{"name": "accuracy"}],
        )
        finish(other, folder)
        give_up(folder, WHOLE)

        gone = [each["stage"] for each in prune(folder, "--delete")["orphans"]]

        assert sorted(gone) == ["metrics"] * 3 + ["predictions"]
        code, found = check(folder)
        assert (code, found["damaged"], found["orphans"]) == (0, [], [])
        assert all(record.status == "reused" for record in compute(other, folder).stages)

    def test_nothing_outside_the_store_goes_through_a_link(
        self, finished, prune, command, tmp_path
    ):
        """A folder of a stage, one of stages and one of an experiment lie elsewhere."""
        store = copied(finished, LocalStorage(tmp_path / "store"))
        far = tmp_path / "far"
        far.mkdir()
        for number, place in enumerate(
            (
                (tmp_path / "store" / key_of(store, "originals")).parent,
                tmp_path / "store/objects/metrics",
                tmp_path / "store" / planned(WHOLE).prefix / "seed=260",
            )
        ):
            (far / f"{number}").mkdir()
            place.rename(far / f"{number}/folder")
            place.symlink_to(far / f"{number}/folder")
        kept = sorted(path for path in far.rglob("*") if path.is_file())

        code, _, err = command("delete", store, "--yes", below=f"/{planned(WHOLE).prefix}")
        assert (code, "lies behind a symbolic link" in err) == (EXIT_INVALID, True)

        (tmp_path / "store" / planned(WHOLE).prefix / "order.json").unlink()
        (tmp_path / "store" / planned(WHOLE).prefix / "seed=260").unlink()
        linked = prune(store, "--delete", "--data")["linked"]

        assert sorted(path for path in far.rglob("*") if path.is_file()) == kept
        assert {key.split("/")[1] for key in linked} == {"originals", "metrics"}
        _, out, _ = command("prune", store, "--delete", "--older-than", "0")
        assert "behind symbolic links, through which nothing is removed" in out

    def test_nothing_young_goes(self, filled, command):
        give_up(filled, WHOLE)
        before = keys(filled)

        code, out, _ = command("prune", filled, "--delete", "--data")

        assert (code, keys(filled)) == (0, before)
        assert out == "10 more, written in the last 24 h, stay\nnothing to remove\n"

    def test_age_is_that_of_the_objects(self, finished, command, tmp_path):
        store = LocalStorage(tmp_path)
        for info in folder_store(finished).list("objects"):
            store.write(info.key, folder_store(finished).read(info.key))
            os.utime(tmp_path / info.key, (time.time() - 25 * 3600,) * 2)

        code, _, _ = command("prune", store, "--delete", "--data")

        assert (code, keys(store)) == (0, [])

    def test_leftovers_go_and_the_stages_beside_them_stay(self, filled, prune):
        before = keys(filled)
        key = key_of(filled, "originals", "manifest").split("/")[3]
        filled.write(names.checkpoint_key("originals", key), b"state")
        filled.write(f"{names.artefact_prefix('originals', key)}/weights-0.safetensors", b"old")
        filled.write(f"{names.artefact_prefix('originals', 'f' * 64)}/weights-0.npy", b"killed")

        assert prune(filled, "--delete")["deletedBytes"] == len(b"state" + b"old" + b"killed")

        assert keys(filled) == before

    def test_damaged_stages_and_foreign_files_stay(self, folder, prune):
        give_up(folder, WHOLE)
        manifest = key_of(folder, "originals", "manifest")
        folder.write(manifest, folder.read(manifest)[:-1])
        folder.write("README", b"mine")
        folder.write("objects/notes/mine.txt", b"mine")

        prune(folder, "--delete", "--data")

        assert keys(folder) == [
            "README",
            "objects/notes/mine.txt",
            manifest,
            key_of(folder, "originals", "weights"),
        ]

    def test_no_stage_goes_while_an_experiment_cannot_be_read(self, folder, command):
        order = names.order_key(planned(WHOLE).prefix)
        give_up(folder, WHOLE)
        folder.write(order, b"{")
        before = keys(folder)

        code, _, err = command("prune", folder, "--delete", "--older-than", "0")

        assert (code, keys(folder)) == (2, before)
        assert "because an experiment cannot be read" in err
        assert order in err

    @pytest.mark.parametrize("has_ended", [False, True], ids=["at work", "killed"])
    def test_nothing_goes_of_who_is_at_work(self, filled, check, command, monkeypatch, has_ended):
        """A process that loses its lease drops what it has computed since its last checkpoint; one
        that loses the data that it is about to name leaves a damaged stage."""
        lease = Leases(filled, "experiments/one").take("originals", "f" * 64)
        begun = names.artefact_prefix("originals", "f" * 64)
        filled.write(f"{begun}/weights-0.npy", b"data")
        quick = f"{names.artefact_prefix('metrics', 'e' * 64)}/rows-0.json"
        filled.write(quick, b"data")
        monkeypatch.setattr(Holder, "has_ended", has_ended)
        before = keys(filled)

        code, found = check(filled)
        _, out, _ = command("prune", filled, "--delete", "--older-than", "0")

        assert (code, len(found["atWork"]), len(found["leftovers"])) == (
            (0, 0, 3) if has_ended else (0, 1, 1)
        )
        gone = {*before} - {*keys(filled)}
        if has_ended:
            assert gone == {f"{begun}/lease-0001", f"{begun}/weights-0.npy", quick}
        else:
            assert not gone
            assert out == (
                "1 stage being computed now, by leases that are renewed\n"
                "1 more, written in the last 1 h, stay\nnothing to remove\n"
            )
        lease.release()

    def test_files_of_killed_writers_go(self, finished, prune, tmp_path):
        store = LocalStorage(tmp_path)
        store.write("objects/a/b", b"")
        leftover = tmp_path / "objects" / f"{TEMPORARY}1"
        leftover.write_bytes(b"12345")

        assert prune(store, "--delete")["deletedBytes"] == 5

        assert not leftover.exists()
        assert keys(store) == ["objects/a/b"]


TWO = experiment(
    name="two",
    model=LIGHT,
    seeds=(260, 261),
    scenarios=[FULL_CLASS],
    methods=[FINETUNE],
    metrics=[{"name": "zrf"}, {"name": "accuracy"}],
)


@pytest.fixture(scope="module")
def unfinished(finished, tmp_path_factory):
    """A folder where seed 260 of TWO is finished, and seed 261 is killed before it has a result."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("unfinished") / "store")
    storage = folder_store(folder)
    give_up(storage, WHOLE)
    write_order(storage, planned(TWO))
    write_result(storage, compute(TWO, storage, seed=260))
    compute(TWO, storage, seed=261)
    return folder


@pytest.fixture(scope="module")
def with_a_third(unfinished, tmp_path_factory):
    """The same folder with the stages of a seed that no experiment has."""
    folder = shutil.copytree(unfinished, tmp_path_factory.mktemp("third") / "store")
    compute({**TWO, "metadata": {"name": "third"}}, folder_store(folder), seed=262)
    return folder


class TestUnfinished:
    """Stages of a run that was killed are named by nobody, and are worth hours."""

    @pytest.fixture
    def killed(self, unfinished, tmp_path):
        return folder_store(shutil.copytree(unfinished, tmp_path / "store"))

    def test_its_stages_stay(self, killed, prune):
        checkpoint = names.checkpoint_key("originals", "f" * 64)
        killed.write(checkpoint, b"state")
        before = keys(killed)

        prune(killed, "--delete")

        assert keys(killed) == before
        assert all(record.status == "reused" for record in compute(TWO, killed, seed=261).stages)

    def test_stages_of_a_seed_that_it_does_not_have_go(
        self, unfinished, with_a_third, store, prune
    ):
        before = keys(folder_store(unfinished))
        assert len(keys(copied(with_a_third, store))) > len(before)

        prune(store, "--delete")

        assert keys(store) == before

    def test_they_go_once_it_is_finished_without_them(self, killed, prune):
        """The seeds of an experiment may not shrink; here its order is written with one seed
        only."""
        one = planned(TWO).model_copy(update={"seeds": [260]})
        write_order(killed, one)

        gone = prune(killed, "--delete", "--data")["orphans"]

        stages = [each["stage"] for each in gone]
        assert sorted(set(stages)) == [
            "metrics",
            "originals",
            "predictions",
            "retrained",
            "unlearned",
        ]
        assert "datasets" not in stages


class TestDelete:
    """Delete for real; which objects go is a table in tests/core/store/test_housekeeping.py."""

    PREFIX = planned(WHOLE).prefix

    @pytest.fixture
    def delete(self, command):
        def run(storage, *options, prefix=self.PREFIX):
            return command("delete", storage, *options, below=f"/{prefix}")

        return run

    def test_without_yes_it_says_what_would_go_and_removes_nothing(self, folder, delete):
        before = keys(folder)

        code, out, err = delete(folder)

        assert (code, err, keys(folder)) == (0, "", before)
        assert "stages that only it needs: 9, " in out
        assert "prepared data that nobody else uses, kept without --data: " in out
        assert out.endswith(" would go; --yes removes them\n")

    def test_an_experiment_alone_leaves_its_prepared_data(self, filled, delete):
        code, out, _ = delete(filled, "--yes")

        assert (code, out.splitlines()[-1].endswith(" removed")) == (0, True)
        assert {key.split("/")[1] for key in keys(filled)} == {"datasets"}

    def test_and_nothing_where_that_is_said(self, filled, delete):
        size = sum(info.size for info in filled.list())

        _, out, _ = delete(filled, "--yes", "--data", "--json")

        assert (json.loads(out)["deletedBytes"], keys(filled)) == (size, [])

    def test_what_another_experiment_needs_stays(self, folder, delete, check):
        other = experiment(
            name="other",
            model=LIGHT,
            scenarios=[FULL_CLASS],
            methods=[FINETUNE],
            metrics=[{"name": "accuracy"}],
        )
        finish(other, folder)

        _, out, _ = delete(folder, "--yes", "--json")

        gone = [each["stage"] for each in json.loads(out)["stages"]]
        assert sorted(gone) == ["metrics"] * 3 + ["predictions"]
        code, found = check(folder)
        assert (code, found["damaged"], found["orphans"]) == (0, [], [])
        assert all(record.status == "reused" for record in compute(other, folder).stages)

    def test_a_mistyped_experiment_is_told_the_nearest(self, folder, delete):
        before = keys(folder)

        code, _, err = delete(folder, "--yes", prefix="experiments/local/tinny-12345678")

        assert (code, keys(folder)) == (2, before)
        assert f"did you mean '{self.PREFIX.removeprefix('experiments/')}'?" in err

    @pytest.mark.parametrize(
        "prefix",
        [
            "experiments/local",
            "experiments",
            "objects",
            f"{PREFIX}/seed=260",
            "experiments/local/..",
            "experiments//local",
            "experiments/local/a\0b",
        ],
        ids=repr,
    )
    def test_what_is_more_or_less_than_one_experiment_is_refused(self, finished, delete, prefix):
        before = keys(folder_store(finished))

        code, _, err = delete(folder_store(finished), "--yes", "--data", prefix=prefix)

        assert (code, keys(folder_store(finished))) == (2, before)
        assert "it should look like STORE/experiments/NAMESPACE/NAME-UID" in err

    def test_nothing_goes_while_another_experiment_cannot_be_read(self, folder, delete):
        folder.write("experiments/local/other-1/order.json", b"{")
        before = keys(folder)

        code, _, err = delete(folder, "--yes")

        assert (code, keys(folder)) == (2, before)
        assert "another experiment cannot be read" in err
        assert "experiments/local/other-1/order.json" in err

    def test_an_experiment_that_cannot_be_read_goes(self, folder, delete):
        folder.write(f"{self.PREFIX}/order.json", b"{")

        code, _, _ = delete(folder, "--yes")

        assert (code, list(folder.list(self.PREFIX))) == (0, [])

    @pytest.mark.parametrize(("answer", "goes"), [("y", True), ("n", False), ("", False)])
    def test_a_person_is_asked(self, finished, delete, monkeypatch, tmp_path, answer, goes):
        store = copied(finished, LocalStorage(tmp_path))
        monkeypatch.setattr("supreme_trainer.command.delete._is_watched", lambda: True)
        monkeypatch.setattr("sys.stdin", StringIO(f"{answer}\n"))

        code, out, _ = delete(store)

        assert (code, "remove this? [y/N]" in out) == (0, True)
        assert (list(store.list(self.PREFIX)) == []) == goes
        assert out.splitlines()[-1].endswith(" removed" if goes else "nothing was removed")


def test_every_stage_of_the_trainer_has_its_seed(finished):
    """Prepared data have none; a stage without one would be kept while anything is unfinished."""
    inventory = read_inventory(folder_store(finished), lambda items, **_: items)
    others = inventory.__class__(
        inventory.pieces,
        (),
        [inventory.needs[0].__class__("other", frozenset(), frozenset([999]))],
        {},
    )
    kept = {piece.stage for piece in inventory.pieces} - {piece.stage for piece in orphans(others)}
    assert kept == {"datasets"}


def test_commands_in_a_process_of_their_own(finished):
    """A real one, as no torch has to be imported."""
    arguments = [sys.executable, *COMMAND, "store", "check", str(finished)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing is damaged"
