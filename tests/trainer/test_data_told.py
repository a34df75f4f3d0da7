"""Messages to users about their images, and when images count as others than the prepared ones."""

import json
import os
import shutil
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image
from supreme_trainer.command.data import class_lines, elsewhere
from supreme_trainer.seed.prepare import prepare_seed
from supreme_trainer.seed.stage import Stages
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core import registry
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse
from supreme_core.api.orders import RunOrder
from supreme_core.api.v1alpha1 import Component, UnlearningExperiment
from supreme_core.engine.evaluation.reproducibility import environment
from supreme_core.engine.ranks.interruption import Interruption
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import EXIT_TERMINATED, SpecError
from supreme_core.store.artefacts import Artefacts
from supreme_core.store.folder import LocalStorage
from tests.trainer.experiments import compute, experiment, planned

QUARTER = {"name": "random_samples", "params": {"fraction": 0.25}}


@pytest.fixture
def photos(tmp_path):
    """Two classes to learn, one of which is never tested, and a file that is no image."""
    random = np.random.default_rng(7)
    for place in ("train/cat", "train/dog", "test/cat"):
        folder = tmp_path / "photos" / place
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "photos/train/dog/4.heic").write_bytes(b"")
    return tmp_path / "photos"


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path / "store")


def document(photos, **params):
    dataset = {"name": "image_folder", "params": {"path": str(photos), "size": 8, **params}}
    return experiment(dataset=dataset, scenarios=[QUARTER])


def prepared(document, storage):
    """Return the events of stage zero, in this process."""
    whole, stream = planned(document), StringIO()
    order = RunOrder(
        experiment=whole.experiment, work=whole.work, seed=260, attempt=0, store=storage.uri
    )
    ranks, telemetry = Ranks.alone(torch.device("cpu")), Telemetry(stream=stream)
    with TemporaryDirectory() as cache:
        stages = Stages(
            Artefacts(storage, Path(cache)),
            ranks=ranks,
            environment=environment(ranks, reduction="tree"),
            telemetry=telemetry,
            interruption=Interruption(EXIT_TERMINATED),
        )
        prepare_seed(order, stages, ranks=ranks, telemetry=telemetry)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def notes(events):
    return [event["message"] for event in events if event["event"] == "note"]


OF_PHOTOS = ["dataset: passed over in train/: .heic (1)", "dataset: no test image of class 'dog'"]


class TestNotes:
    def test_they_are_said_whenever_data_are_prepared_and_found(self, photos, storage):
        first, again = (prepared(document(photos), storage) for _ in range(2))
        assert notes(first) == notes(again) == OF_PHOTOS
        (dataset,) = (event for event in first if event["event"] == "dataset")
        assert dataset["perClass"] == [["cat", 4, 4], ["dog", 4, 0]]

    def test_the_store_keeps_them_without_the_place_of_the_files(self, photos, storage):
        prepared(document(photos), storage)
        (key,) = (item.key for item in storage.list() if item.key.endswith("/manifest.json"))
        facts = json.loads(storage.read(key))["facts"]
        assert facts["notes"] == ["passed over in train/: .heic (1)"]
        assert str(photos.parent) not in json.dumps(facts)

    def test_a_pod_that_prepares_the_data_itself_says_them_once(self, photos, storage):
        streams = StringIO(), StringIO()
        for stream in streams:
            compute(document(photos), storage, stream=stream)
        first, again = (
            notes(json.loads(line) for line in stream.getvalue().splitlines()) for stream in streams
        )
        assert (first, again) == (OF_PHOTOS, [])


class TestChangedFiles:
    def test_touched_and_copied_files_with_the_same_bytes_go_on(self, photos, storage):
        digests = [prepared(document(photos), storage)[-1]["digest"]]
        for file in photos.rglob("*.png"):
            os.utime(file, ns=(1, 1))
        digests.append(prepared(document(photos), storage)[-1]["digest"])
        shutil.copytree(photos, photos.parent / "copy", copy_function=shutil.copyfile)
        shutil.rmtree(photos)
        (photos.parent / "copy").rename(photos)
        digests.append(prepared(document(photos), storage)[-1]["digest"])
        assert len(set(digests)) == 1

    def test_other_bytes_of_the_same_size_stop_the_run(self, photos, storage):
        prepared(document(photos), storage)
        file = photos / "train/cat/0.png"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(SpecError, match=r"the source has changed .*revision a new value"):
            prepared(document(photos), storage)


class TestOlderVersion:
    @pytest.mark.parametrize(
        ("is_same", "end"),
        [
            (True, "which gives the same arrays, so what was computed from them is found"),
            (False, "which gives other arrays, so what was computed from them is computed again"),
        ],
    )
    def test_what_an_older_version_left_in_the_store_is_said_once(
        self, photos, storage, tmp_path, is_same, end
    ):
        chosen = registry.dataset.resolve(Component(**document(photos)["spec"]["dataset"]), at="")
        images = chosen()
        if not is_same:
            images.train_images[0] ^= 1
        meaning = {"dataset": {**chosen.identity(), "version": 1}}
        Artefacts(storage, tmp_path).commit(
            "datasets",
            digest(meaning),
            meaning=meaning,
            files=images.write(tmp_path),
            facts=images.facts(),
            environment={},
        )
        first, again = (notes(prepared(document(photos), storage)) for _ in range(2))
        assert first == [
            *OF_PHOTOS,
            "dataset: this store has the images as version 1 of image_folder read them; they were"
            f" read again by version 2, {end}",
        ]
        assert again == OF_PHOTOS


class TestClassLines:
    def test_few_classes_have_a_line_each(self):
        assert list(class_lines([["cat", 4000, 4], ["a dog", 12, 0]])) == [
            "  cat      4,000 training        4 test",
            "  a dog       12 training        0 test",
        ]

    def test_classes_that_are_alike_have_one_line(self):
        lines = class_lines([[str(number), 500, 100] for number in range(1000)])
        assert list(lines) == ["classes: 500 training and 100 test images of each"]

    def test_of_many_classes_the_smallest_are_named(self):
        first, *rest = class_lines([[f"c{n}", 1300 - n, 50] for n in range(1000)])
        assert first == "classes: 301 to 1,300 training and 50 test images; the smallest are"
        assert len(rest) == 10
        assert rest[0] == "  c999      301 training       50 test"

    def test_a_name_is_one_short_line(self):
        (line, _) = class_lines([["a\n\x1b[31m" + "b" * 99, 1, 1], ["c", 2, 2]])
        assert line == "  a ?[31m" + "b" * 30 + "...        1 training        1 test"


class TestElsewhere:
    @pytest.fixture
    def place(self, tmp_path, monkeypatch):
        """A command that runs in one folder, and a file in another."""
        for name in ("here", "there/photos"):
            (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "here")
        return tmp_path

    def said(self, place, path, file="there/file.yaml"):
        spec = parse(UnlearningExperiment, document(path)).spec
        return elsewhere(spec, place / file).removeprefix("spec.dataset.params.path: ")

    def test_a_folder_beside_the_file_is_not_what_is_read(self, place):
        assert self.said(place, "photos") == (
            f"'photos' is '{place}/here/photos' from where the command runs, which is not there;"
            f" it is not '{place}/there/photos', beside the file"
        )

    def test_also_where_there_is_one_of_that_name_here(self, place):
        (place / "here/photos").mkdir()
        assert "from where the command runs; it is not" in self.said(place, "photos")

    def test_nothing_is_said_where_there_is_nothing_to_confuse(self, place):
        assert self.said(place, "other") == ""
        assert self.said(place, str(place / "there/photos")) == ""
        assert self.said(place, "~/photos") == ""
        assert self.said(place, "photos", file="here/file.yaml") == ""
        (place / "here/photos").symlink_to(place / "there/photos")
        assert self.said(place, "photos") == ""

    def test_data_without_a_folder_have_no_place(self, place):
        spec = parse(UnlearningExperiment, experiment()).spec
        assert elsewhere(spec, place / "file.yaml") == ""
