"""Public datasets, read from small files in their real formats.

                | content | names | damaged | layout | split | source is no identity
cifar10         |    x    |   x   |    x    |        |       |    x
cifar100, 20    |    x    |   x   |    x    |        |       |    x
svhn            |    x    |   x   |    x    |        |       |    x
fashion_mnist   |    x    |   x   |    x    |        |       |    x
caltech101      |    x    |   x   |         |   x    |   x   |    x
pins            |    x    |   x   |         |   x    |   x   |    x

The real sets are not here: no test has a network. Their checksums stand in the datasets' files.
"""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.components.datasets import fashion_mnist, svhn
from supreme_core.components.datasets.pins import split
from supreme_core.data import cifar_files
from supreme_core.data.cifar_files import CIFAR10, CIFAR100, FINE_CLASSES, SUPERCLASSES
from supreme_core.data.image_set import ARRAYS, FINE_ARRAYS, LISTING, ImageSet, check
from supreme_core.data.image_tree import FoundPath
from supreme_core.errors import SpecError
from tests.core.data import public_sets
from tests.core.data.public_sets import files_of

HANDBOOK = (
    "0:4,30,55,72,95 1:1,32,67,73,91 2:54,62,70,82,92 3:9,10,16,28,61 4:0,51,53,57,83"
    " 5:22,39,40,86,87 6:5,20,25,84,94 7:6,7,14,18,24 8:3,42,43,88,97 9:12,17,37,68,76"
    " 10:23,33,49,60,71 11:15,19,21,31,38 12:34,63,64,66,75 13:26,45,77,79,99 14:2,11,35,46,98"
    " 15:27,29,44,78,93 16:36,50,65,74,80 17:47,52,56,59,96 18:8,13,48,58,90 19:41,69,81,85,89"
)
"""Superclass and fine classes of CIFAR-100, from the reference."""

MAKERS = {
    "cifar10": public_sets.small_cifar10,
    "cifar100": public_sets.small_cifar100,
    "cifar20": public_sets.small_cifar100,
    "svhn": public_sets.small_svhn,
    "fashion_mnist": public_sets.small_fashion_mnist,
    "caltech101": lambda monkeypatch, folder: public_sets.caltech_folder(folder),
    "pins": lambda monkeypatch, folder: public_sets.pins_folder(folder),
}
"""Functions that make the files of each set in a folder."""


def chosen(name, **params):
    return registry.dataset.resolve(Component(name=name, params=params), at="spec.dataset")


def read(name, source, **params):
    return chosen(name, source=str(source), **params)()


def refused(name, source, **params):
    with pytest.raises(SpecError) as error:
        read(name, source, **params)
    return str(error.value)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestEverySet:
    @pytest.mark.parametrize("name", MAKERS)
    def test_it_is_usable_survives_its_files_and_does_not_depend_on_the_place(
        self, name, tmp_path, monkeypatch
    ):
        (tmp_path / "one").mkdir()
        MAKERS[name](monkeypatch, tmp_path / "one")
        images = check(read(name, tmp_path / "one"), name)
        shutil.copytree(tmp_path / "one", tmp_path / "other")

        assert files_of(read(name, tmp_path / "other")) == files_of(images)
        assert images.classes == registry.dataset.get(name).facts.classes
        for part in ("train", "test"):
            pixels, labels = getattr(images, f"{part}_images"), getattr(images, f"{part}_labels")
            assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)
            assert pixels.ndim == 4
            assert pixels.shape[2] == pixels.shape[3]
            assert len(pixels) == len(labels)
            assert labels.min() >= 0
            assert labels.max() < images.classes

        again = ImageSet.read(images.write(tmp_path), images.facts())
        for array in ARRAYS + FINE_ARRAYS:
            assert np.array_equal(getattr(again, array), getattr(images, array))
        assert again.class_names == images.class_names
        assert again.fine_class_names == images.fine_class_names

    @pytest.mark.parametrize("name", MAKERS)
    def test_the_source_is_no_part_of_what_it_is(self, name):
        here, there, nowhere = (
            chosen(name, source="/here"),
            chosen(name, source="/there"),
            chosen(name),
        )
        assert here.identity() == there.identity() == nowhere.identity()
        assert "source" not in here.identity()["params"]
        assert here.params.location == "source"

    def test_the_path_of_ones_own_images_is_a_part_of_what_they_are(self):
        here, there = chosen("image_folder", path="/here"), chosen("image_folder", path="/there")
        assert here.identity() != there.identity()

    def test_a_size_is_a_part_of_what_it_is(self):
        assert chosen("pins", size=224).identity() != chosen("pins").identity()


def joined(records, names):
    """Labels and images of several files of CIFAR as the dataset should have them."""
    labels = np.array([label for name in names for label in records[name][0]])
    return labels, np.concatenate([records[name][1] for name in names])


class TestCifar:
    def test_cifar10_is_what_its_records_say_in_the_order_of_the_batches(
        self, tmp_path, monkeypatch
    ):
        records = public_sets.small_cifar10(monkeypatch, tmp_path)
        images = read("cifar10", tmp_path)
        for part, names in (("train", CIFAR10.train), ("test", CIFAR10.test)):
            labels, pixels = joined(records, names)
            assert np.array_equal(getattr(images, f"{part}_labels"), labels[:, 0])
            assert np.array_equal(getattr(images, f"{part}_images"), pixels)
        assert len(images.train_labels) == 20

    def test_cifar100_has_the_fine_label_and_cifar20_both(self, tmp_path, monkeypatch):
        records = public_sets.small_cifar100(monkeypatch, tmp_path)
        hundred, twenty = read("cifar100", tmp_path), read("cifar20", tmp_path)
        for part in ("train", "test"):
            labels, pixels = joined(records, [f"{part}.bin"])
            assert np.array_equal(getattr(hundred, f"{part}_labels"), labels[:, 1])
            assert np.array_equal(getattr(twenty, f"{part}_labels"), labels[:, 0])
            assert np.array_equal(getattr(twenty, f"{part}_fine_labels"), labels[:, 1])
            assert np.array_equal(getattr(twenty, f"{part}_images"), pixels)
        assert hundred.train_fine_labels is None
        assert twenty.class_names[19] == "vehicles_2"
        assert hundred.class_names == twenty.fine_class_names

    def test_the_superclasses_are_those_of_the_reference(self):
        expected = {
            int(number): tuple(map(int, members.split(",")))
            for number, _, members in (entry.partition(":") for entry in HANDBOOK.split())
        }
        assert dict(enumerate(SUPERCLASSES.values())) == expected
        assert sorted(sum(SUPERCLASSES.values(), ())) == list(range(100))

    def test_fine_classes_are_named_in_alphabetical_order(self):
        assert list(FINE_CLASSES) == sorted(FINE_CLASSES)
        assert len(set(FINE_CLASSES)) == 100
        known = {"rocket": 69, "mushroom": 51, "baby": 2, "lamp": 40, "sea": 71}
        assert {name: FINE_CLASSES.index(name) for name in known} == known

    def test_the_unpacked_folder_is_as_good_as_the_archive(self, tmp_path, monkeypatch):
        public_sets.small_cifar10(monkeypatch, tmp_path)
        contents, _ = public_sets.cifar_contents(CIFAR10, lambda number: (number % 10,))
        (tmp_path / "folder").mkdir()
        public_sets.unpacked(tmp_path / "folder", CIFAR10, contents)
        unpacked = read("cifar10", tmp_path / "folder")
        assert files_of(unpacked) == files_of(read("cifar10", tmp_path))

    def test_the_python_version_with_its_pickles_is_not_taken(self, tmp_path):
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"pickles")
        assert "has no cifar-10-binary.tar.gz; get it from http" in refused("cifar10", tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda data: data[:-1], "has 12291 bytes, no whole number of records of 3073 bytes"),
            (lambda data: b"", "has 0 bytes, no whole number of records"),
            (lambda data: b"\x0a" + data[1:], "has labels that name no class"),
        ],
        ids=["cut short", "empty", "label"],
    )
    def test_a_damaged_file_is_named(self, tmp_path, change, message):
        contents, _ = public_sets.cifar_contents(CIFAR10, lambda number: (number % 10,))
        name = "data_batch_3.bin"
        public_sets.unpacked(tmp_path, CIFAR10, {**contents, name: change(contents[name])})
        found = refused("cifar10", tmp_path)
        assert message in found
        assert f"cifar-10-batches-bin/{name}" in found

    def test_labels_that_contradict_each_other_are_refused(self, tmp_path):
        contents, _ = public_sets.cifar_contents(CIFAR100, lambda number: (0, 99))
        public_sets.unpacked(tmp_path, CIFAR100, contents)
        assert "fine and coarse labels do not fit" in refused("cifar20", tmp_path)

    def test_a_missing_file_is_named(self, tmp_path):
        contents, _ = public_sets.cifar_contents(CIFAR10, lambda number: (number % 10,))
        del contents["test_batch.bin"]
        public_sets.unpacked(tmp_path, CIFAR10, contents)
        message = refused("cifar10", tmp_path)
        assert message.endswith("test_batch.bin: No such file or directory")

    @pytest.mark.parametrize("damage", ["not an archive", "cut short", "without a file"])
    def test_a_damaged_archive_is_named(self, tmp_path, monkeypatch, damage):
        contents, _ = public_sets.cifar_contents(CIFAR10, lambda number: (number % 10,))
        if damage == "without a file":
            del contents["data_batch_2.bin"]
        path = public_sets.cifar_archive(tmp_path, CIFAR10, contents)
        if damage == "not an archive":
            path.write_bytes(b"<html>please log in</html>")
        elif damage == "cut short":
            path.write_bytes(path.read_bytes()[:-100])
        file = replace(CIFAR10.file, checksum=public_sets.checksum(path))
        monkeypatch.setattr(
            "supreme_core.components.datasets.cifar10.CIFAR10", replace(CIFAR10, file=file)
        )
        message = refused("cifar10", tmp_path)
        assert str(path) in message
        expected = "has no cifar-10-batches-bin/data_batch_2.bin"
        assert (expected if damage == "without a file" else "is no readable archive") in message

    def test_an_archive_with_another_checksum_is_not_opened(self, tmp_path):
        public_sets.cifar_archive(tmp_path, CIFAR10, {})
        message = refused("cifar10", tmp_path)
        assert "which should be c32a1d4ab5d03f1284b67883e8d87530" in message

    def test_the_checksums_are_those_of_the_binary_version(self):
        assert cifar_files.CIFAR10.file.name == "cifar-10-binary.tar.gz"
        assert cifar_files.CIFAR100.file.name == "cifar-100-binary.tar.gz"


class TestSvhn:
    def test_images_and_labels_are_those_of_the_files_with_0_for_10(self, tmp_path, monkeypatch):
        parts = public_sets.small_svhn(monkeypatch, tmp_path)
        images = read("svhn", tmp_path)
        for (pixels, y), part in zip(parts, ("train", "test"), strict=True):
            assert np.array_equal(getattr(images, f"{part}_images"), pixels.transpose(0, 3, 1, 2))
            assert np.array_equal(getattr(images, f"{part}_labels"), np.where(y == 10, 0, y))
        assert images.class_names == tuple("0123456789")

    def test_a_file_with_something_else_is_named(self, tmp_path, monkeypatch):
        public_sets.small_svhn(monkeypatch, tmp_path)
        path = tmp_path / svhn.TEST.name
        savemat(path, {"X": np.zeros((32, 32, 3, 4)), "y": np.ones((4, 1))})
        monkeypatch.setattr(svhn, "TEST", replace(svhn.TEST, checksum=public_sets.checksum(path)))
        assert refused("svhn", tmp_path).startswith(f"{path} has no images")


class TestFashionMnist:
    def test_images_and_labels_are_those_of_the_files(self, tmp_path, monkeypatch):
        arrays = public_sets.small_fashion_mnist(monkeypatch, tmp_path)
        images = read("fashion_mnist", tmp_path)
        assert images.train_images.shape == (20, 1, 28, 28)
        found = (
            images.train_images[:, 0],
            images.train_labels,
            images.test_images[:, 0],
            images.test_labels,
        )
        assert all(map(np.array_equal, found, arrays))
        assert images.class_names[9] == "Ankle boot"

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"no gzip", "is no readable gzip file"),
            (public_sets.idx(np.zeros((2, 2), np.uint8))[:-4], "is no readable gzip file"),
            (public_sets.gzip.compress(b"\0\0\x08\x01\0\0\0\x09abc"), "is no IDX file of bytes"),
            (public_sets.gzip.compress(b"\0\0\x0d\x01\0\0\0\x03abc"), "is no IDX file of bytes"),
            (public_sets.gzip.compress(b""), "is no IDX file of bytes"),
        ],
        ids=["no gzip", "cut short", "too few values", "floats", "empty"],
    )
    def test_a_damaged_file_is_named(self, tmp_path, monkeypatch, data, message):
        public_sets.small_fashion_mnist(monkeypatch, tmp_path)
        first, *others = fashion_mnist.FILES
        (tmp_path / first.name).write_bytes(data)
        first = replace(first, checksum=public_sets.checksum(tmp_path / first.name))
        monkeypatch.setattr(fashion_mnist, "FILES", (first, *others))
        assert message in refused("fashion_mnist", tmp_path)


def listing(images):
    return json.loads(files_of(images)[LISTING])


@pytest.fixture(scope="module")
def caltech(tmp_path_factory):
    source = tmp_path_factory.mktemp("caltech")
    public_sets.caltech_folder(source, images=7)
    grey = Image.new("L", (9, 12), 77)
    grey.save(source / "101_ObjectCategories" / "Faces" / "image_0001.jpg")
    return source


class TestCaltech101:
    def test_categories_are_the_folders_but_background_google(self, caltech):
        images = read("caltech101", caltech, size=8)
        assert images.class_names[:2] == ("Faces", "category_000")  # as the reference numbers them
        assert "BACKGROUND_Google" not in images.class_names
        assert len(images.class_names) == 101

    def test_the_first_four_fifths_of_each_category_are_for_training(self, caltech):
        images = read("caltech101", caltech, size=8)
        assert np.array_equal(np.bincount(images.train_labels), np.full(101, int(0.8 * 7)))
        assert np.array_equal(np.bincount(images.test_labels), np.full(101, 2))
        assert listing(images)["train"][:5] == [f"Faces/image_000{n}.jpg" for n in range(1, 6)]
        assert listing(images)["test"][:2] == ["Faces/image_0006.jpg", "Faces/image_0007.jpg"]

    def test_grey_photos_become_colour(self, caltech):
        image = read("caltech101", caltech, size=8).train_images[0]
        assert image.shape == (3, 8, 8)
        assert np.array_equal(image, np.full((3, 8, 8), 77))

    def test_the_share_is_that_of_the_reference_for_every_number(self):
        assert all(n * 4 // 5 == int(0.8 * n) for n in range(10_000))

    def test_the_folder_itself_may_be_the_source(self, caltech):
        inner = caltech / "101_ObjectCategories"
        at_once = read("caltech101", inner, size=8)
        assert files_of(at_once) == files_of(read("caltech101", caltech, size=8))

    def test_without_a_source_the_layout_is_told(self):
        with pytest.raises(SpecError) as error:
            chosen("caltech101")()
        assert str(error.value).splitlines() == [
            "dataset caltech101 is not downloaded by itself",
            "get caltech-101.zip from https://data.caltech.edu/records/mzrjq-6wc02, unpack it in"
            " any folder DIR to",
            "    DIR/101_ObjectCategories/<category>/image_0001.jpg",
            "and give `supreme prepare FILE --from DIR --store URI`, or set"
            " spec.dataset.params.source: DIR",
        ]

    def test_a_folder_that_is_not_the_set_is_refused_with_the_layout(self, tmp_path):
        assert "has no folder 101_ObjectCategories\n" in refused("caltech101", tmp_path)
        public_sets.class_folders(tmp_path / "101_ObjectCategories", ["a", "b"], images=2)
        message = refused("caltech101", tmp_path)
        assert "has 2 class folders, where caltech101 has 101; for images of your own" in message
        assert "DIR/101_ObjectCategories/<category>/image_0001.jpg" in message

    def test_a_category_without_images_is_named(self, caltech, tmp_path):
        shutil.copytree(caltech, tmp_path / "copy")
        for file in (tmp_path / "copy/101_ObjectCategories/category_007").iterdir():
            file.unlink()
        message = refused("caltech101", tmp_path / "copy")
        assert message.endswith(
            "fewer than 2 images in class folder 'category_007'; beside images there is nothing"
        )

    def test_images_deeper_in_a_category_are_no_part_of_it_and_a_note_says_so(
        self, caltech, tmp_path
    ):
        shutil.copytree(caltech, tmp_path / "copy")
        root = tmp_path / "copy/101_ObjectCategories"
        shutil.copytree(root / "category_007", root / "category_008/more")
        (root / "category_008/list.txt").write_bytes(b"")
        images = read("caltech101", tmp_path / "copy", size=8)
        assert files_of(images) == files_of(read("caltech101", caltech, size=8))
        assert images.notes == (
            "passed over in 101_ObjectCategories/: .txt (1), folders within a class folder (1)",
        )


@pytest.fixture(scope="module")
def pins(tmp_path_factory):
    source = tmp_path_factory.mktemp("pins")
    public_sets.pins_folder(source)
    return source


def people(root, **images):
    """{name: files} of files with the given contents."""
    found = {}
    for name, contents in images.items():
        (root / name).mkdir()
        names = [f"{place:03}.jpg" for place in range(len(contents))]
        found[name] = [FoundPath(root / name / file, (name, file)) for file in names]
        for file, content in zip(found[name], contents, strict=True):
            file.path.write_bytes(content)
    return found


def many(prefix, count):
    return [f"{prefix}{number}".encode() for number in range(count)]


class TestPins:
    def test_people_are_the_folders_upper_case_first(self, pins):
        names = read("pins", pins, size=8).class_names
        assert len(names) == 105
        assert names[0] == "Person 00"
        assert names[89] == "person_00"

    def test_defect_01_a_fifth_of_each_person_is_test_and_nothing_is_on_both_sides(self, pins):
        images = read("pins", pins, size=8)
        assert np.array_equal(np.bincount(images.train_labels), np.full(105, 4))
        assert np.array_equal(np.bincount(images.test_labels), np.full(105, 1))
        root = pins / "105_classes_pins_dataset"
        train, test = ({sha256(root / f) for f in listing(images)[p]} for p in ("train", "test"))
        assert len(train) == 420
        assert len(test) == 105
        assert not train & test

    def test_the_record_says_which_file_each_row_is(self, pins):
        images = read("pins", pins, size=8)
        for part in ("train", "test"):
            labels = getattr(images, f"{part}_labels")
            names = [images.class_names[label] for label in labels]
            assert [f"pins_{name}" for name in names] == [
                file.partition("/")[0] for file in listing(images)[part]
            ]

    def test_the_split_is_the_same_everywhere_and_for_ever(self, tmp_path):
        files = people(tmp_path, anna=many("a", 20), bert=many("b", 10))
        _, test = split(files)
        assert {name: [int(file.path.stem) for file in files] for name, files in test.items()} == {
            "anna": [1, 3, 7, 12],
            "bert": [6, 7],
        }

    def test_another_person_does_not_change_the_split_of_the_first(self, tmp_path):
        files = people(tmp_path, anna=many("a", 20), bert=many("b", 10))
        assert split({"bert": files["bert"]})[1]["bert"] == split(files)[1]["bert"]

    @pytest.mark.parametrize(
        ("count", "tested"), [(2, 1), (4, 1), (5, 1), (9, 1), (10, 2), (203, 40)]
    )
    def test_a_fifth_is_test_and_at_least_one(self, tmp_path, count, tested):
        train, test = split(people(tmp_path, anna=many("a", count)))
        assert (len(train["anna"]), len(test["anna"])) == (count - tested, tested)

    def test_copies_of_one_image_are_on_one_side(self, tmp_path):
        """Each image three times over under one person, and once more under another."""
        files = people(tmp_path, anna=many("a", 20) * 3, bert=many("a", 20) + many("b", 20))
        train, test = split(files)
        sides = [
            {file.path.read_bytes() for files in part.values() for file in files}
            for part in (train, test)
        ]
        assert not sides[0] & sides[1]
        assert len(test["anna"]) == 3 * 4
        assert len(test["bert"]) == 8
        for name, found in files.items():
            assert {*train[name], *test[name]} == {*found}

    def test_without_a_source_the_layout_is_told(self):
        with pytest.raises(
            SpecError, match=r"DIR/105_classes_pins_dataset/pins_<Name>/<image>\.jpg"
        ):
            chosen("pins")()


class TestSourceState:
    def test_it_is_that_of_names_and_sizes_and_not_of_times_or_places(self, tmp_path):
        folder = public_sets.pins_folder(tmp_path / "a", images=2)
        before = chosen("pins", source=str(tmp_path / "a")).params.source_state()
        shutil.copytree(folder, tmp_path / "b" / folder.name, copy_function=shutil.copyfile)
        assert chosen("pins", source=str(tmp_path / "b")).params.source_state() == before
        (folder / "pins_Person 00" / "image_0001.jpg").unlink()
        assert chosen("pins", source=str(tmp_path / "a")).params.source_state() != before

    @pytest.mark.parametrize("name", MAKERS)
    def test_there_is_none_without_the_files(self, name, tmp_path):
        assert chosen(name).params.source_state() is None
        assert chosen(name, source=str(tmp_path / "none")).params.source_state() is None


def test_nothing_is_ever_unpickled(tmp_path, monkeypatch):
    """Reading any set calls none of the ways into pickle."""

    def forbidden(*arguments, **options):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", forbidden)
    for name, make in MAKERS.items():
        (tmp_path / name).mkdir()
        make(monkeypatch, tmp_path / name)
        read(name, tmp_path / name)
