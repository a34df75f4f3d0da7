"""`supreme prepare`: a dataset comes into the store once, and later runs need its source no more.

The real command in processes of its own, a few seconds each: only these show that the next one
finds what the last one left.
"""

import json
import logging
import os
import re
import shutil
import subprocess
from io import StringIO

import pytest
import yaml
from supreme_trainer.seed.telemetry import Telemetry, noted

from supreme_core.data.cifar_files import CIFAR100
from tests import warm
from tests.core.data import public_sets

SUBCLASS = {"name": "subclass", "params": {"classes": ["rocket", 2]}}
RANDOM_SAMPLES = {"name": "random_samples", "params": {"fraction": 0.1}}


@pytest.fixture
def supreme(tmp_path):
    """Run the command without a cache of downloads; gives (exit code, output, errors)."""

    def run(*arguments):
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            [warm.python(), "-m", "supreme_trainer.command.cli", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def written(path, *, dataset, scenario=RANDOM_SAMPLES):
    document = {
        "apiVersion": "supreme.dev/v1alpha1",
        "kind": "UnlearningExperiment",
        "metadata": {"name": "small"},
        "spec": {
            "seeds": {"list": [260]},
            "dataset": dataset,
            "model": {"name": "resnet18", "params": {"width": 2}},
            "training": {
                "epochs": 1,
                "batchSize": 64,
                "augmentation": [{"name": "rotation"}],
            },
            "scenarios": [scenario],
            "methods": [
                {"name": "random_labels", "params": {"epochs": 1}},
                {"name": "unsir", "params": {"noiseSteps": 2, "copies": 2, "retainPerClass": 2}},
            ],
            "metrics": [{"name": "accuracy"}],
        },
    }
    path.write_text(yaml.safe_dump(document))
    return path


def manifests(store):
    return sorted((store / "objects" / "datasets").rglob("manifest.json"))


def test_a_prepared_dataset_needs_no_source_in_later_runs(supreme, tmp_path):
    """CIFAR-20 from an unpacked folder, then a part of two classes forgotten by two methods."""
    source, store = tmp_path / "source", tmp_path / "store"
    source.mkdir()
    contents, _ = public_sets.cifar_contents(CIFAR100, public_sets.fine_and_coarse, count=200)
    public_sets.unpacked(source, CIFAR100, contents)
    file = written(tmp_path / "small.yaml", dataset={"name": "cifar20"}, scenario=SUBCLASS)

    code, out, err = supreme("prepare", file, "--from", source, "--store", store)
    assert (code, err) == (0, "")
    (manifest,) = manifests(store)
    first, dataset, classes, digest, stored = out.splitlines()
    assert first == "preparing the dataset (loading torch)"
    assert dataset == (
        "dataset: cifar20, 200 training and 200 test images of 20 classes, 3 x 32 x 32"
    )
    assert classes == "classes: 10 training and 10 test images of each"
    assert re.fullmatch("digest:  [0-9a-f]{64}", digest)
    assert stored == f"stored:  {manifest.parent.as_uri()} (1.2 MB)"
    assert "source" not in json.loads(manifest.read_text())["meaning"]["dataset"]["params"]
    assert str(tmp_path) not in manifest.read_text()

    shutil.rmtree(source)
    code, out, err = supreme("run", file, "--store", store, "--device", "cpu")
    assert (code, err) == (0, "")
    assert manifests(store) == [manifest]
    (result,) = store.rglob("result.json")
    found = json.loads(result.read_text())
    assert found["dataset"]["digest"] == digest.split()[1]
    assert {run["method"]: run["status"] for run in found["runs"]} == dict.fromkeys(
        ("original", "retrained", "random_labels", "unsir"), "ok"
    )
    (cell,) = found["cells"]
    assert (cell["forgetSamples"], cell["forgetTestSamples"]) == (4, 4)


def test_ones_own_images_can_be_prepared_from_another_place(supreme, tmp_path):
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    for part in ("train", "test"):
        public_sets.class_folders(elsewhere / part, ["cat", "dog"], images=10)
    dataset = {"name": "image_folder", "params": {"path": "/where/it/will/be", "size": 8}}
    file = written(tmp_path / "small.yaml", dataset=dataset)

    code, out, _ = supreme("prepare", file, "--from", elsewhere, "--store", store)
    assert code == 0
    shutil.rmtree(elsewhere)
    again = supreme("prepare", file, "--store", store)

    (manifest,) = manifests(store)
    meaning = json.loads(manifest.read_text())["meaning"]
    assert meaning["dataset"]["params"]["path"] == "/where/it/will/be"
    assert again == (0, f"{out.rstrip()}, which was there already\n", "")


def test_another_set_of_files_is_not_taken_for_the_one_that_was_prepared(supreme, tmp_path):
    for name, images in {"one": 2, "other": 3}.items():
        public_sets.pins_folder(tmp_path / name, images=images)
    store = tmp_path / "store"
    file = written(tmp_path / "small.yaml", dataset={"name": "pins", "params": {"size": 8}})

    assert supreme("prepare", file, "--from", tmp_path / "one", "--store", store)[0] == 0
    code, _, err = supreme("prepare", file, "--from", tmp_path / "other", "--store", store)

    assert code == 2
    assert err == (
        "error: spec.dataset: the source has changed since its images were prepared in this store;"
        " use another store for them, or take spec.dataset.params.source away to use what is"
        " there\n"
    )


def test_without_its_files_a_dataset_says_how_to_lay_them_out(supreme, tmp_path):
    file = written(tmp_path / "small.yaml", dataset={"name": "pins"})
    code, _, err = supreme("run", file, "--store", tmp_path / "store")
    assert code == 2
    assert "error:     DIR/105_classes_pins_dataset/pins_<Name>/<image>.jpg\n" in err


def test_a_dataset_without_files_is_not_read_from_a_folder(supreme, tmp_path):
    file = written(tmp_path / "small.yaml", dataset={"name": "digits"})
    code, _, err = supreme("prepare", file, "--from", tmp_path, "--store", tmp_path / "store")
    assert (code, err) == (2, "error: --from: dataset 'digits' is not read from a folder\n")


def test_a_folder_that_is_not_there_is_refused_before_anything_starts(supreme, tmp_path):
    code, _, err = supreme("prepare", tmp_path / "small.yaml", "--from", tmp_path / "none")
    assert code == 2
    assert "does not exist" in err


def test_how_far_a_download_is_reaches_whoever_waits():
    stream = StringIO()
    log = logging.Logger("downloads")
    with noted(log, Telemetry(stream=stream)):
        log.info("downloading %s: %s", "a.bin", "1.0 MB of 2.0 MB")
    log.info("nobody waits any more")
    assert json.loads(stream.getvalue()) == {
        "event": "note",
        "message": "downloading a.bin: 1.0 MB of 2.0 MB",
    }
