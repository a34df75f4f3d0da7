"""`supreme validate` with --data, --plan and --json, in this process.

model  what a model of a library does not take
data   every scenario that fits, classes and shares that do not, folders and downloads that are not
       there, what a store has prepared
plan   what a run left is found; a further seed costs what the first one did
cluster what the operator refuses, asked for or implied by an image
json   its schema; errors by field, with the exit code

Which stages a forecast finds is a table in tests/core/checking/test_forecast.py.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image
from supreme_trainer.command import cli

from supreme_core.store.folder import LocalStorage
from supreme_core.system import ending
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    experiment,
    finish,
    planned,
    supreme,
    written,
)

RANDOM = {"name": "random_samples", "params": {"fraction": 0.1}}
TINY = experiment(scenarios=[FULL_CLASS], methods=[FINETUNE], metrics=[{"name": "accuracy"}])


@pytest.fixture
def validate(monkeypatch, capsys, tmp_path):
    """Write a document and run the command on it; gives exit code, standard output and error."""

    def run(document, *options, store=tmp_path / "store"):
        file = written(tmp_path / "experiment.yaml", document)
        words = ["supreme", "validate", str(file), "--store", str(store), *options]
        monkeypatch.setattr("sys.argv", words)
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def data_of(validate):
    """The part of --json about the data of a sound experiment."""

    def run(*scenarios, **changes):
        code, out, err = validate(experiment(scenarios=scenarios, **changes), "--data", "--json")
        assert code == 0, out + err
        return json.loads(out)["experiments"][0]["data"]

    return run


@pytest.fixture
def said(validate):
    """The lines of the errors of --data."""

    def run(*scenarios, **changes):
        code, _, err = validate(experiment(scenarios=scenarios, **changes), "--data")
        assert code == 2
        return [line for line in err.splitlines() if line.startswith("error: ")]

    return run


def flowers(folder, *, classes=("rose", "tulip"), images=4):
    for part in ("train", "test"):
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for number in range(images):
                pixels = np.full((8, 8, 3), number, np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return {"name": "image_folder", "params": {"path": str(folder), "size": 8}}


VIT = {"name": "timm/test_vit", "params": {"inputSize": 32, "arguments": {"patch_sise": 4}}}


class TestModel:
    def test_an_argument_that_a_librarys_model_does_not_have_is_refused(self, validate):
        code, _, err = validate(experiment(model=VIT))
        assert code == 2
        assert "experiment.yaml: spec.model.params.arguments.patch_sise: VisionTransformer" in err
        assert err.endswith("has none; did you mean 'patch_size'?\n")

    def test_without_the_library_nobody_can_tell_and_a_note_says_so(self, validate, monkeypatch):
        monkeypatch.setattr(ending, "TRAINER_MODULES", ("torch", "not_installed"))
        code, out, err = validate(experiment(model=VIT))
        assert (code, "is valid" in out) == (0, True)
        assert err.startswith(
            "note: what timm/test_vit takes is not checked here, for want of not_"
        )


class TestData:
    def test_every_scenario_has_its_samples_counted(self, data_of, tmp_path):
        found = data_of(FULL_CLASS, RANDOM, seeds=(260, 261))
        assert (found["trainSamples"], found["testSamples"], found["classes"]) == (1442, 355, 10)
        assert found["scenarios"] == {
            "full_class": {
                "named": [{"kind": "class", "number": 3, "name": "3", "role": "forgotten"}],
                "forget": [147, 147],
                "retain": [1295, 1295],
                "forgetTest": [36, 36],
                "retainTest": [319, 319],
                "validation": [0, 0],
            },
            "random_samples": {
                "named": [],
                "forget": [144, 144],
                "retain": [1298, 1298],
                "forgetTest": [0, 0],
                "retainTest": [355, 355],
                "validation": [0, 0],
            },
        }
        assert not (tmp_path / "store").exists(), "nothing is written"

    def test_what_is_set_aside_is_neither_forgotten_nor_retained(self, data_of):
        found = data_of(FULL_CLASS, training={"validation": {"fraction": 0.1}})
        cell = found["scenarios"]["full_class"]
        assert cell["validation"][0] > 0
        assert sum(cell[part][0] for part in ("forget", "retain", "validation")) == 1442

    def test_what_the_original_decides_has_no_numbers(self, data_of, validate):
        memorised = {
            "name": "memorised_samples",
            "params": {"fraction": 0.1, "memorisation": "high"},
        }
        assert data_of(memorised)["scenarios"] == {"memorised_samples": None}
        _, out, _ = validate(experiment(scenarios=[memorised]), "--data")
        assert "  memorised_samples: the original decides which samples" in out

    def test_a_rehearsal_that_does_not_fit_is_named(self, said):
        rehearsal = [FULL_CLASS | {"params": {"classes": [10]}}]
        tuning = {"objective": "tow", "trials": 1, "seeds": {"count": 1}, "rehearsal": rehearsal}
        (line,) = said(FULL_CLASS, training={"validation": {"fraction": 0.1}}, tuning=tuning)
        assert line.endswith(
            "spec.tuning.rehearsal (full_class): class 10 is out of range; the dataset has classes"
            " 0 to 9"
        )

    def test_samples_that_trials_lack_are_told_before_anything_is_computed(self, said):
        """One sample of each class is set aside, and it is what trials are compared by."""
        tuning = {"objective": "tow", "trials": 1, "seeds": {"count": 1}}
        methods = [{"name": "neg_grad", "wrappers": [{"name": "rewind"}]}]
        tiny = {"training": {"validation": {"fraction": 0.001}}, "methods": methods}
        (line,) = said(FULL_CLASS, **tiny, tuning=tuning)
        assert "spec.scenarios[0] (full_class): 'rewind' needs validation samples" in line
        assert line.endswith("sets none aside but those that trials are compared by; raise it")

    def test_all_scenarios_that_do_not_fit_are_named_at_once(self, said):
        wrong = [
            {"name": "full_class", "params": {"classes": ["three"]}},
            {"name": "full_class", "label": "tenth", "params": {"classes": [10]}},
            {"name": "random_samples", "params": {"fraction": 0.0001}},
            {"name": "subclass", "params": {"classes": [1]}},
            RANDOM | {"label": "sound"},
        ]
        first, second, third, fourth = said(*wrong)
        assert first.endswith(
            "spec.scenarios[0] (full_class): unknown class 'three'; classes of the dataset:"
            " 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
        )
        assert "spec.scenarios[1] (tenth): class 10 " in second
        assert "fraction 0.0001 of 1442 training samples selects no sample" in third
        assert "the dataset has no fine classes" in fourth

    def test_a_folder_that_is_missing_says_so(self, said, tmp_path):
        gone = {"name": "image_folder", "params": {"path": str(tmp_path / "gone")}}
        (line,) = said(FULL_CLASS, dataset=gone)
        assert "is not a folder on this machine" in line

    def test_an_own_folder_is_looked_at(self, data_of, said, tmp_path):
        dataset = flowers(tmp_path / "flowers")
        (tmp_path / "flowers/test/rose/1.heic").write_bytes(b"")
        rose = {"name": "full_class", "params": {"classes": ["rose"]}}
        found = data_of(rose, dataset=dataset)
        assert found["scenarios"]["full_class"]["forget"] == [4, 4]
        assert found["notes"] == ["passed over in test/: .heic (1)"]
        (line,) = said({"name": "full_class", "params": {"classes": ["ros"]}}, dataset=dataset)
        assert line.endswith("unknown class 'ros'; did you mean 'rose'?")

    def test_images_that_cannot_be_read_do_not_hide_what_else_is_wrong(self, said, tmp_path):
        dataset = flowers(tmp_path / "flowers")
        for part in ("train", "test"):
            (tmp_path / "flowers" / part / "tulip/1.png").write_bytes(b"no image")
        ros = {"name": "full_class", "params": {"classes": ["ros"]}}
        model, train, test, scenario = said(ros, dataset=dataset, model=VIT)
        assert "spec.model.params.arguments.patch_sise" in model
        assert "train/tulip/1.png' is not a readable image" in train
        assert "test/tulip/1.png' is not a readable image" in test
        assert scenario.endswith("unknown class 'ros'; did you mean 'rose'?")

    def test_nothing_is_downloaded(self, said, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        (line,) = said(FULL_CLASS, dataset={"name": "cifar10"})
        assert "cifar10 has not been prepared in" in line
        assert "`supreme prepare FILE` downloads and prepares it" in line
        assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished experiment TINY, of one seed."""
    folder = tmp_path_factory.mktemp("finished")
    finish(TINY, LocalStorage(folder))
    return folder


def test_no_torch_is_needed(tmp_path):
    """A process of its own has imported nothing before."""
    file = written(tmp_path / "tiny.yaml", TINY)
    code = (
        "import sys; from supreme_trainer.command.cli import cli\n"
        f"words = ['validate', {str(file)!r}, '--data', '--plan', '--store', {str(tmp_path)!r}]\n"
        "cli.main(words, standalone_mode=False); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr


class TestStore:
    def test_data_that_are_prepared_are_read_from_there(self, validate, finished):
        code, out, _ = validate(TINY, "--data", store=finished)
        assert (code, f"as prepared in {finished.as_uri()}\n" in out) == (0, True)

    def test_a_finished_experiment_is_all_found(self, validate, finished):
        _, out, _ = validate(TINY, "--plan", "--json", store=finished)
        plan = json.loads(out)["experiments"][0]["plan"]
        assert (plan["finishedSeeds"], plan["passes"]) == (1, 0)
        assert all(each["total"] == each["found"] for each in plan["stages"].values())
        assert (plan["seconds"]["value"], plan["bytes"]["value"]) == (0, 0)

    def test_a_further_seed_is_said_to_cost_what_the_first_did(self, validate, finished):
        one = sum(info.size for info in LocalStorage(finished).list("objects"))
        data = sum(info.size for info in LocalStorage(finished).list("objects/datasets"))
        two = experiment(
            seeds=(260, 261),
            scenarios=[FULL_CLASS],
            methods=[FINETUNE],
            metrics=[{"name": "accuracy"}],
        )
        _, out, _ = validate(two, "--plan", "--json", store=finished)

        plan = json.loads(out)["experiments"][0]["plan"]

        assert plan["stages"]["original"] == {"total": 2, "found": 1}
        assert plan["stages"]["dataset"] == {"total": 2, "found": 2}
        assert plan["bytes"] == {"value": pytest.approx(one - data, rel=0.01), "unknownStages": {}}
        assert plan["seconds"]["value"] > 0
        assert plan["devices"] == ["cpu"]
        _, out, _ = validate(two, "--plan", store=finished)
        assert "1 original and 1 retrained model to train, 1 unlearning run, 3 passes" in out

    def test_an_empty_store_tells_no_cost(self, validate):
        _, out, _ = validate(TINY, "--plan")
        assert out.count("unknown: no seed of this recipe has been finished in ") == 2


class TestJson:
    def test_a_sound_experiment(self, validate, tmp_path):
        code, out, err = validate(TINY, "--json")
        document = json.loads(out)
        (found,) = document.pop("experiments")
        assert (code, err) == (0, "")
        assert document == {
            "schemaVersion": 1,
            "file": str(tmp_path / "experiment.yaml"),
            "valid": True,
            "errors": [],
        }
        assert found == {
            "source": str(tmp_path / "experiment.yaml"),
            "name": "tiny",
            "uri": f"{(tmp_path / 'store').as_uri()}/{planned(TINY).prefix}",
            "seeds": [260],
            "scenarios": ["full_class"],
            "methods": ["finetune"],
            "stagesPerSeed": 9,
            "excluded": [],
        }

    def test_several_documents_are_several_experiments(self, validate):
        text = yaml.safe_dump_all([TINY, experiment(name="second")])
        _, out, _ = validate(text, "--json")
        assert [each["name"] for each in json.loads(out)["experiments"]] == ["tiny", "second"]

    @pytest.mark.parametrize(
        ("document", "options", "field"),
        [
            (experiment(epochs=3), (), "spec.epochs"),
            (experiment(methods=[{"name": "finetun"}]), (), "spec.methods[0].name"),
            (
                experiment(methods=[{"name": "finetune", "params": {"epochs": "x"}}]),
                (),
                "spec.methods[0].params.epochs",
            ),
            (
                experiment(scenarios=[{"name": "full_class", "params": {"classes": ["x"]}}]),
                ("--data",),
                "spec.scenarios[0]",
            ),
            (
                experiment(dataset={"name": "image_folder", "params": {"path": "/gone"}}),
                ("--data",),
                "spec.dataset.params.path",
            ),
            (experiment(name="Tiny"), (), "metadata.name"),
            (TINY, ("--set", "training.epochs=two"), "spec.training.epochs"),
            ("{", (), None),
        ],
        ids=["unknown field", "method", "setting", "class", "folder", "name", "--set", "no YAML"],
    )
    def test_an_error_names_its_field_and_the_exit_code_is_2(
        self, validate, document, options, field
    ):
        code, out, _ = validate(document, "--json", *options)
        found = json.loads(out)
        (error,) = found["errors"]
        assert (code, found["valid"], error["field"]) == (2, False, field)
        assert error["message"]

    def test_one_wrong_document_leaves_the_others_checked(self, validate):
        wrong = experiment(name="wrong", scenarios=[FULL_CLASS | {"params": {"classes": [99]}}])
        _, out, _ = validate(yaml.safe_dump_all([wrong, TINY]), "--data", "--json")
        found = json.loads(out)
        assert [each["name"] for each in found["experiments"]] == ["tiny"]
        assert found["errors"][0]["source"].endswith("experiment.yaml, document 1")

    def test_what_is_wrong_with_an_option_is_told_once_for_all_experiments(self, validate):
        documents = yaml.safe_dump_all([experiment(name="other"), TINY])
        _, out, _ = validate(documents, "--json", store="gs://bucket")
        (error,) = json.loads(out)["errors"]
        assert error["message"].startswith("the store's URI is 'gs://bucket'; allowed: ")


ON_A_CLUSTER = {"execution": {"image": "trainer:1"}, "storage": {"uri": "s3://bucket/prefix"}}


def for_cluster(*, execution=(), storage=(), **changes):
    """An experiment that the operator takes on, but for what is changed."""
    sections = {"execution": dict(execution), "storage": dict(storage)}
    merged = {name: {**ON_A_CLUSTER[name], **given} for name, given in sections.items()}
    return experiment(**merged, **changes)


class TestCluster:
    @pytest.mark.parametrize(
        ("document", "message"),
        [
            (
                for_cluster(storage={"uri": "results"}),
                "spec.storage.uri is 'results'; on a cluster",
            ),
            (
                for_cluster(execution={"nodes": 3, "distribution": "Data"}),
                "which the 3 ranks of spec.execution do not",
            ),
            (
                for_cluster(execution={"template": {"env": [{"name": "RANK", "value": "0"}]}}),
                "spec.execution.template.env[0].name is RANK",
            ),
            (
                for_cluster(execution={"template": {"volumes": [{"name": "a", "hostPath": {}}]}}),
                "spec.execution.template.volumes[0].hostPath: unknown field 'hostPath'",
            ),
        ],
        ids=["folder", "ranks", "environment", "volume"],
    )
    def test_what_the_operator_refuses_is_refused_where_an_image_is_named(
        self, validate, document, message
    ):
        code, _, err = validate(document)
        assert code == 2
        assert message in err

    def test_a_component_that_only_this_machine_knows_is_refused(self, tmp_path):
        """A process of its own keeps the plug-in in its registry."""
        plugin = written(tmp_path / "mine.py", MINE)
        document = for_cluster(training={"schedule": {"name": "only_here"}})
        file = written(tmp_path / "experiment.yaml", document)
        done = supreme("validate", file, "--plugin", plugin)
        assert done.code == 2
        assert "spec.training.schedule.name: unknown schedule 'only_here'" in done.err

    def test_what_a_cluster_needs_is_asked_for_by_name_alone(self, validate):
        assert validate(TINY)[0] == 0
        code, _, err = validate(TINY, "--cluster", store="folder")
        assert code == 2
        assert "spec.execution.image is missing" in err
        assert "spec.storage.uri is 'folder'; on a cluster it must be s3://bucket/prefix" in err

    def test_an_address_that_is_of_no_store_is_told_once(self, validate):
        options = ("--cluster", "--set", "execution.image=trainer:1")
        code, _, err = validate(TINY, *options, store="gs://bucket")
        assert (code, err.count("error: ")) == (2, 1)
        assert (
            "spec.storage.uri is 'gs://bucket'; on a cluster it must be s3://bucket/prefix" in err
        )
        code, _, err = validate(for_cluster(), "--data", store="gs://bucket")
        assert (code, err.count("error: ")) == (2, 1)
        assert "the store's URI is 'gs://bucket'; allowed: " in err

    def test_what_only_some_installations_allow_is_said_and_no_mistake(self, validate):
        template = {"env": [{"name": "LD_PRELOAD", "value": "x.so"}]}
        code, _, err = validate(for_cluster(execution={"template": template}))
        assert code == 0
        assert "an operator with default settings refuses" in err
        assert "'LD_PRELOAD', which the operator's allowedEnv does not have" in err

    def test_options_stand_for_the_settings_of_the_operator(self, validate):
        options = ("--cluster", "--set", "execution.image=trainer:1")
        assert validate(TINY, *options, store="s3://bucket/prefix")[0] == 0


MINE = """
from supreme_core.registry import NoParams, schedule


@schedule()
def only_here(epoch, epochs, params: NoParams):
    \"\"\"The full rate.\"\"\"
    return 1.0
"""
