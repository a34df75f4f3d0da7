"""`supreme run` with --set, --seeds, --replace and --quiet, on one tiny experiment.

Which paths and values --set takes is tests/core/api/test_settings.py's, which changes lose results
test_append_only.py's, and that several processes share a summary test_publish.py's there.
"""

import json
import os
import re
import signal
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supreme_trainer.command import cli, local, replacing, run
from supreme_trainer.command.seed_choice import chosen_seeds

from supreme_core.api import names
from supreme_core.errors import EXIT_INVALID, SpecError
from supreme_core.store.results import ResultReader, read_order
from tests import warm
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    SSD,
    experiment,
    finish,
    folder_of,
    folder_store,
    planned,
    results_of,
    statuses,
    summary_of,
    written,
)

SEEDS = (260, 261, 262)


def tiny(*, seeds=SEEDS, methods=(FINETUNE, SSD), **changes):
    return experiment(model=LIGHT, seeds=seeds, methods=methods, scenarios=[FULL_CLASS], **changes)


WHOLE = tiny()
LOUDER = {**FINETUNE, "params": {**FINETUNE["params"], "epochs": 2}}


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


class TestWhichSeeds:
    @pytest.mark.parametrize(
        ("text", "seeds"),
        [
            ("261", [261]),
            ("260-262", [260, 261, 262]),
            ("262,260", [260, 262]),
            ("260-261,269", [260, 261, 269]),
            (" 260 - 261 , 261 ", [260, 261]),
        ],
    )
    def test_are_those_that_are_named_in_the_order_of_the_experiment(self, text, seeds):
        assert chosen_seeds(text, range(260, 270)) == seeds

    @given(st.lists(st.integers(0, 30), min_size=1, unique=True), st.data())
    def test_are_named_one_by_one_or_by_ranges_alike(self, seeds, data):
        named = data.draw(st.lists(st.sampled_from(seeds), min_size=1))
        found = chosen_seeds(",".join(map(str, named)), seeds)
        assert found == chosen_seeds(",".join(f"{each}-{each}" for each in named), seeds)
        assert found == [seed for seed in seeds if seed in named]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "--seeds is ''; it should be like 3, 3,7 or 3-5,9"),
            ("3,,4", "--seeds is '3,,4'; it should be like"),
            ("-3", "--seeds is '-3'; it should be like"),
            ("3-", "--seeds is '3-'; it should be like"),
            ("1e3", "--seeds is '1e3'; it should be like"),
            ("٣", "--seeds is '٣'; it should be like"),
            ("5-3", "--seeds is '5-3', where 5-3 ends before it begins"),
            ("4,6", "--seeds names 4, 6, which the experiment does not have; its seeds are 3, 5"),
            ("3-5", "--seeds names 4, which the experiment does not have; its seeds are 3, 5"),
            (
                "0-4294967295",
                "--seeds names 0, 1, 2, 4, 6, ..., which the experiment does not have",
            ),
        ],
    )
    def test_that_cannot_be_are_one_line_with_those_that_there_are(self, text, words):
        with pytest.raises(SpecError) as refused:
            chosen_seeds(text, [3, 5])
        assert str(refused.value).startswith(words)


class TestSetting:
    @pytest.mark.parametrize("name", ["run", "prepare", "validate"])
    def test_a_wrong_path_is_a_line_that_names_what_is_near(self, command, tmp_path, name):
        file = written(tmp_path / "tiny.yaml", WHOLE)
        code, out, err = command(name, file, "--set", "trainig.epochs=2")
        line = "unknown field 'trainig' of spec; did you mean 'training'?"
        assert (code, out) == (EXIT_INVALID, "")
        assert err == f"error: {file}: --set trainig.epochs: {line}\n"

    def test_a_wrong_value_is_told_as_that_of_a_file(self, command, tmp_path):
        file = written(tmp_path / "tiny.yaml", WHOLE)
        code, _, err = command("validate", file, "--set", "training.epochs=two")
        assert code == EXIT_INVALID
        assert err == (
            f'error: {file} with --set: spec.training.epochs is "two"; it should be a valid'
            " integer\n"
        )

    def test_what_is_set_is_checked_and_counted(self, command, tmp_path):
        file = written(tmp_path / "tiny.yaml", WHOLE)
        code, out, _ = command(
            "validate", file, "--set", "seeds.list=[1]", "--set", "methods=[{name: ssd}]"
        )
        assert code == 0
        assert out.startswith(f"{file} with --set is valid: 1 seed x 1 scenario x 1 method, ")

    def test_a_component_that_is_set_is_looked_up(self, command, tmp_path):
        file = written(tmp_path / "tiny.yaml", WHOLE)
        code, _, err = command("validate", file, "--set", "methods[0].name=finetun")
        assert code == EXIT_INVALID
        assert "spec.methods[0].name" in err
        assert "did you mean 'finetune'?" in err


@pytest.fixture(scope="class")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


class TestSomeSeeds:
    """The steps of one story; each goes on with the store of the one before."""

    @pytest.fixture
    def run(self, command, shared):
        def run(*options):
            file = written(shared / "tiny.yaml", WHOLE)
            store = ("--store", shared / "store", "--device", "cpu")
            return command("run", file, *store, *options)

        return run

    def test_are_computed_and_no_others_quietly(self, run, shared):
        code, out, err = run("--seeds", "261", "--quiet")

        report = folder_of(shared / "store", WHOLE) / "report.html"
        assert (code, out, err) == (0, f"report: {report.as_uri()}\n", "")
        assert report.is_file()
        summary = summary_of(folder_store(shared / "store"), WHOLE)
        assert (summary.seeds, summary.partial) == ([*SEEDS], True)
        assert [result["seed"] for result in results_of(shared / "store", WHOLE)] == [261]
        order = read_order(folder_store(shared / "store"), planned(WHOLE).prefix)
        assert order == planned(WHOLE)

    def test_that_are_finished_are_not_computed_again_and_the_table_says_of_how_many(self, run):
        code, out, err = run("--seeds", "261")
        assert (code, err) == (0, "")
        assert "0 stages computed" in out
        assert "1 of 3" in out

    def test_that_nobody_tunes_have_no_use_for_another_choice_which_is_told(self, run):
        code, out, err = run("--seeds", "261", "--retune")
        assert (code, err) == (0, "")
        assert "only an experiment with spec.tuning is tuned; --retune is not used here" in out

    def test_a_method_that_has_results_may_not_change_whatever_seeds_are_asked_for(
        self, run, shared
    ):
        before = sorted(path for path in shared.rglob("*") if path.is_file())

        code, out, err = run("--set", "methods.finetune.params.epochs=2", "--seeds", "260")

        assert (code, out) == (EXIT_INVALID, "")
        folder = folder_of(shared / "store", WHOLE)
        assert err.splitlines() == [
            "error: spec.methods: 'finetune' changed: params.epochs was 1 and is 2 (methods are"
            " append-only: those that were there stay what they were)",
            f"error: {folder.as_uri()} has results of seeds 261, which this change would lose;"
            " give the experiment another metadata.name, or drop them by --replace: what is"
            " computed already is reused either way",
        ]
        assert sorted(path for path in shared.rglob("*") if path.is_file()) == before

    def test_with_replace_they_are_dropped_and_listed_and_their_stages_found_again(
        self, run, shared
    ):
        code, out, err = run(
            "--set", "methods.finetune.params.epochs=2", "--seeds", "261", "--replace", "--quiet"
        )

        assert (code, err) == (0, "")
        folder = folder_of(shared / "store", WHOLE)
        assert out.splitlines() == [
            f"--replace drops results of {folder.as_uri()}:",
            "  spec.methods: 'finetune' changed: params.epochs was 1 and is 2 (methods are"
            " append-only: those that were there stay what they were)",
            "dropped 1 result, of seeds 261, with tables and report; stages that are the same are"
            " found again",
            f"report: {folder.as_uri()}/report.html",
        ]
        (result,) = results_of(shared / "store", WHOLE)
        computed = {stage for stage, status in statuses(result) if status == "computed"}
        assert computed == {"unlearned", "metrics"}
        order = read_order(folder_store(shared / "store"), planned(WHOLE).prefix)
        assert order == planned(tiny(methods=[LOUDER, SSD]))

    def test_replace_drops_nothing_where_nothing_would_be_lost(self, run):
        code, out, _ = run(
            "--set", "methods.finetune.params.epochs=2", "--seeds", "261", "--replace"
        )
        assert code == 0
        assert "drop" not in out
        assert "0 stages computed" in out


class TestLosing:
    @pytest.fixture
    def store(self, tmp_path):
        """The finished experiment of one seed."""
        finish(tiny(seeds=[260]), folder_store(tmp_path / "store"))
        return tmp_path / "store"

    def test_another_name_keeps_both(self, command, store, tmp_path):
        file = written(tmp_path / "tiny.yaml", tiny(seeds=[260], methods=[LOUDER]))
        options = ("--store", store, "--device", "cpu", "--set", "metadata.name=other")
        code, _, err = command("run", file, *options, "--quiet")
        assert (code, err) == (0, "")
        assert len([*store.glob("experiments/*/*/summary.json")]) == 2


def test_of_several_experiments_each_must_have_the_seeds(command, tmp_path):
    file = tmp_path / "two.yaml"
    other = tiny(name="other", seeds=[1, 2])
    file.write_text("---\n".join(json.dumps(each) + "\n" for each in (WHOLE, other)))

    code, out, err = command("run", file, "--store", tmp_path / "store", "--seeds", "260")

    assert (code, out) == (EXIT_INVALID, "")
    assert err == (
        f"error: {file}, document 2: --seeds names 260, which the experiment does not have; its"
        " seeds are 1 to 2\n"
    )
    assert os.listdir(tmp_path) == ["two.yaml"]


def test_quiet_tells_errors_all_the_same(command, tmp_path):
    lost = {"name": "image_folder", "params": {"path": str(tmp_path / "none"), "size": 8}}
    file = written(tmp_path / "tiny.yaml", tiny(dataset=lost, execution={"gpusPerNode": 0}))

    code, out, err = command(
        "run", file, "--store", tmp_path / "store", "--device", "cpu", "--quiet"
    )

    assert (code, out) == (EXIT_INVALID, "")
    assert re.fullmatch("error: spec.dataset.params.path: .*\n", err)


def test_a_signal_that_an_import_swallows_stops_the_run(command, tmp_path, monkeypatch):
    def swallow():
        with suppress(local.Stopped):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(local, "import_the_rest", swallow)
    monkeypatch.setattr(local.Runner, "_warm_server", lambda self: nullcontext())
    file = written(tmp_path / "tiny.yaml", tiny(execution={"distribution": "Data"}))

    code, out, _ = command("run", file, "--store", tmp_path / "store", "--device", "cpu")

    assert code == 128 + signal.SIGINT
    assert local.PREPARING not in out
    assert "spec.execution.distribution is Data; here batches are split by --ranks" in out


class TestTheOrder:
    """Several processes write the same order in the store."""

    def settle(self, store, document, *, results=None, replace=False):
        results = results or ResultReader(store)
        return [*replacing.settle_order(store, planned(document), results, replace=replace)]

    def test_is_written_once(self, tmp_path):
        store = folder_store(tmp_path)
        self.settle(store, WHOLE)
        info = store.stat(names.order_key(planned(WHOLE).prefix))
        self.settle(store, WHOLE)
        assert store.stat(names.order_key(planned(WHOLE).prefix)) == info

    def test_grows_by_what_is_appended(self, tmp_path):
        store = folder_store(tmp_path)
        self.settle(store, WHOLE)
        grown = tiny(seeds=(*SEEDS, 7), methods=(FINETUNE, SSD, {"name": "lfssd"}))
        assert self.settle(store, grown) == []
        assert read_order(store, planned(WHOLE).prefix) == planned(grown)

    def test_of_an_experiment_without_results_may_become_any_other(self, tmp_path):
        store = folder_store(tmp_path)
        self.settle(store, WHOLE)
        assert self.settle(store, tiny(methods=[LOUDER])) == []
        assert read_order(store, planned(WHOLE).prefix) == planned(tiny(methods=[LOUDER]))

    def test_that_is_damaged_is_told_once_and_written_anew(self, tmp_path, caplog):
        store, order = folder_store(tmp_path), planned(WHOLE)
        store.write(names.order_key(order.prefix), b"{")
        results = ResultReader(store)
        replacing.check_order(store, order, results, replace=False)
        self.settle(store, WHOLE, results=results)
        (message,) = caplog.messages
        assert message.startswith(f"an order counts as absent: {names.order_key(order.prefix)}")
        assert read_order(store, order.prefix) == order

    def test_that_another_process_has_replaced_meanwhile_is_told(self):
        newest = planned(tiny(methods=[LOUDER, SSD]))
        said = replacing.changed_meanwhile(planned(WHOLE), newest, [260])
        assert said.startswith(
            "another process has changed this experiment meanwhile: spec.methods: 'finetune'"
            " changed: params.epochs was 1 and is 2"
        )
        assert replacing.changed_meanwhile(planned(WHOLE), planned(WHOLE), [260]) is None


@pytest.mark.parametrize(
    ("called", "told"),
    [
        ("{bin}/supreme", "supreme run 'my file.yaml'"),  # as a shell calls what it finds on PATH
        (".venv/bin/supreme", ".venv/bin/supreme run 'my file.yaml'"),
        ("/here/cli.py", "supreme run 'my file.yaml'"),  # python -m
    ],
)
def test_the_command_to_go_on_with_is_one_that_the_shell_finds(called, told, tmp_path, monkeypatch):
    installed = tmp_path / "supreme"
    installed.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run._again(called.format(bin=tmp_path), "run", "my file.yaml") == told
