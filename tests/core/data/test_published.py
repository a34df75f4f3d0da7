"""Public sets with lists beside their images, read from small trees in their published layout.

                | split, labels | names | layout, lists | source is no identity
tiny_imagenet   |       x       |   x   |       x       |          x
imagenet_subset |       x       |   x   |       x       |          x
celeba          |       x       |   x   |       x       |          x

The real sets are not here, so no checksum of theirs is known.
"""

import shutil

import numpy as np
import pytest
from PIL import Image

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.image_set import ImageSet, check
from supreme_core.errors import SpecError
from tests.core.data.public_sets import files_of

WNIDS = ["n01443537", "n02012849", "n03126707"]
SUBSET = WNIDS[:2]


def photo(path, number):
    """One colour for the whole image, which says which image it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 12), (number % 256, number // 256, 0)).save(path, "PNG")


def shown(pixels):
    """The numbers of the images in an array."""
    return [int(image[0, 0, 0]) + 256 * int(image[1, 0, 0]) for image in pixels]


def tiny_imagenet(root):
    """Two training images of each of 200 classes, and a test image of the first three."""
    wnids = [*WNIDS, *(f"n9{number:07}" for number in range(197))]
    for number, wnid in enumerate(wnids):
        for place in range(2):
            photo(root / f"train/{wnid}/images/{wnid}_{place}.JPEG", 2 * number + place)
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
    lines = []
    for number, wnid in enumerate(WNIDS):
        photo(root / f"val/images/val_{number}.JPEG", 500 + number)
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(reversed(lines)))
    photo(root / "test/images/test_0.JPEG", 999)
    words = {**dict.fromkeys(wnids, "thing, item"), WNIDS[0]: "goldfish, Carassius auratus"}
    words |= {WNIDS[1]: "crane", WNIDS[2]: "crane, hoist", "n00001740": "entity"}
    (root / "words.txt").write_text("".join(f"{key}\t{text}\n" for key, text in words.items()))


def imagenet(root):
    for number, wnid in enumerate(WNIDS):
        for place in range(3):
            photo(root / f"train/{wnid}/{wnid}_{place}.JPEG", 10 * number + place)
        photo(root / f"val/{wnid}/ILSVRC2012_val_0000000{number}.JPEG", 500 + number)


def celeba(root):
    """Image, partition, identity, Male, Smiling."""
    rows = [(1, 0, 2880, -1, 1), (2, 0, 99, 1, -1), (3, 1, 7, 1, 1), (4, 2, 12, -1, 1)]
    rows += [(5, 0, 2880, 1, 1)]
    attributes = [f"{len(rows)}\n", "Male Smiling \n"]
    for number, _, _, male, smiling in rows:
        photo(root / f"img_align_celeba/{number:06}.jpg", number)
        attributes.append(f"{number:06}.jpg {male:2} {smiling:2}\n")
    (root / "list_attr_celeba.txt").write_text("".join(attributes))
    for place, name in ((1, "list_eval_partition.txt"), (2, "identity_CelebA.txt")):
        (root / name).write_text("".join(f"{row[0]:06}.jpg {row[place]}\n" for row in rows))


SETS = {
    "tiny_imagenet": ("tiny-imagenet-200", tiny_imagenet, {}),
    "imagenet_subset": ("imagenet", imagenet, {"classes": SUBSET}),
    "celeba": ("celeba", celeba, {}),
}

every_set = pytest.mark.parametrize("name", SETS)


def chosen(name, **params):
    params = {"size": 8, **SETS[name][2], **params}
    return registry.dataset.resolve(Component(name=name, params=params), at="spec.dataset")


def read(name, source, **params):
    return chosen(name, source=str(source), **params)()


def refused(name, source, **params):
    with pytest.raises(SpecError) as error:
        read(name, source, **params)
    return str(error.value)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Each set in a folder of its name."""
    top = tmp_path_factory.mktemp("published")
    for name, (folder, make, _) in SETS.items():
        (top / name / folder).mkdir(parents=True)
        make(top / name / folder)
    return top


def copied(trees, name, to):
    shutil.copytree(trees / name, to / "copy")
    return to / "copy" / SETS[name][0]


class TestEverySet:
    @every_set
    def test_it_is_usable_and_the_same_wherever_it_lies(self, name, trees, tmp_path):
        images = check(read(name, trees / name), name)
        inside = copied(trees, name, tmp_path)
        assert files_of(read(name, inside)) == files_of(images)
        assert images.classes == registry.dataset.get(name).facts.classes or name == (
            "imagenet_subset"
        )
        again = ImageSet.read(images.write(tmp_path), images.facts())
        assert np.array_equal(again.test_images, images.test_images)
        assert again.class_names == images.class_names

    @every_set
    def test_the_source_is_no_part_of_what_it_is_but_is_watched(self, name, trees, tmp_path):
        assert chosen(name, source="/a").identity() == chosen(name).identity()
        inside = copied(trees, name, tmp_path)
        here, there = (chosen(name, source=str(each)).params for each in (trees / name, inside))
        assert here.source_state() == there.source_state() is not None
        (inside / there.parts(inside).train[0].name).write_bytes(b"other")
        assert here.source_state() != there.source_state()
        assert chosen(name).params.source_state() is None

    @every_set
    def test_without_a_source_the_layout_is_shown(self, name):
        message = refused(name, "")
        assert message.startswith(f"dataset {name} is not downloaded by itself\nget ")
        assert f"    DIR/{SETS[name][0]}/" in message

    @every_set
    def test_a_folder_or_list_that_is_missing_is_named(self, name, trees, tmp_path):
        params = chosen(name).params
        for each in (*params.lists, *params.folders):
            inside = copied(trees, name, tmp_path)
            kind = "folder" if (inside / each).is_dir() else "file"
            shutil.move(inside / each, inside / "elsewhere")
            assert f"{str(inside)!r} has no {kind} {each}\nget " in refused(name, inside)
            shutil.rmtree(tmp_path / "copy")


class TestTinyImagenet:
    def test_validation_images_are_the_test_set_by_their_list(self, trees):
        images = read("tiny_imagenet", trees / "tiny_imagenet")
        assert shown(images.train_images) == list(range(400))
        assert images.train_labels.tolist() == [number // 2 for number in range(400)]
        assert shown(images.test_images) == [500, 501, 502]
        assert images.test_labels.tolist() == [0, 1, 2]
        assert images.test_files[0] == "val/images/val_0.JPEG"

    def test_classes_are_sorted_by_wnid_and_named_by_their_first_word(self, trees):
        names = read("tiny_imagenet", trees / "tiny_imagenet").class_names
        assert names[:4] == (
            "goldfish",
            "crane (n02012849)",
            "crane (n03126707)",
            "thing (n90000000)",
        )
        assert len(set(names)) == 200

    @pytest.mark.parametrize(
        ("file", "text", "message"),
        [
            ("val/val_annotations.txt", "val_0.JPEG\n", "line 1 of"),
            ("val/val_annotations.txt", "val_0.JPEG\tn1\t0\n", "has 'n1', which is no folder of"),
            ("words.txt", "n1\tone\n", "words.txt has no line for 'n01443537'"),
            ("val/val_annotations.txt", "val_9.JPEG\tn01443537\n", "val_9.JPEG' is not a readable"),
        ],
    )
    def test_a_list_that_says_something_else_is_refused(self, trees, tmp_path, file, text, message):
        inside = copied(trees, "tiny_imagenet", tmp_path)
        (inside / file).write_text(text)
        assert message in refused("tiny_imagenet", inside)

    def test_another_number_of_classes_is_refused(self, trees, tmp_path):
        inside = copied(trees, "tiny_imagenet", tmp_path)
        shutil.rmtree(inside / "train" / WNIDS[0])
        assert "199 class folders, where tiny_imagenet has 200" in refused("tiny_imagenet", inside)


class TestImagenetSubset:
    def test_it_has_the_classes_that_are_asked_for_in_the_order_of_their_names(self, trees):
        images = read("imagenet_subset", trees / "imagenet_subset", classes=WNIDS[:0:-1])
        assert images.class_names == tuple(WNIDS[1:])
        assert shown(images.train_images) == [10, 11, 12, 20, 21, 22]
        assert images.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert shown(images.test_images) == [501, 502]

    def test_the_order_of_the_list_means_nothing_and_the_classes_do(self):
        one, same, other = (
            chosen("imagenet_subset", classes=each).identity()
            for each in (SUBSET, [*reversed(SUBSET), SUBSET[0]], WNIDS[1:])
        )
        assert one == same != other

    def test_a_class_that_is_not_there_is_told_with_the_nearest(self, trees):
        message = refused(
            "imagenet_subset", trees / "imagenet_subset", classes=["n01443538", WNIDS[1]]
        )
        assert message.endswith("has no folder 'n01443538'; did you mean 'n01443537'?")

    @pytest.mark.parametrize("classes", [["goldfish", WNIDS[0]], WNIDS[:1], []])
    def test_a_list_that_is_none_of_wnids_is_refused(self, classes):
        with pytest.raises(SpecError, match=r"spec\.dataset\.params\.classes"):
            chosen("imagenet_subset", classes=classes)


class TestCeleba:
    def test_an_attribute_is_the_label_and_the_authors_partition_the_split(self, trees):
        smiling = read("celeba", trees / "celeba")
        assert shown(smiling.train_images) == [1, 2, 5]
        assert smiling.train_labels.tolist() == [1, 0, 1]
        assert shown(smiling.test_images) == [4]
        assert smiling.class_names == ("not Smiling", "Smiling")
        male = read("celeba", trees / "celeba", attribute="Male")
        assert male.train_labels.tolist() == [0, 1, 1]

    def test_people_are_the_identities_in_the_order_of_their_numbers(self, trees):
        images = read("celeba", trees / "celeba")
        assert images.identity_names == ("7", "12", "99", "2880")
        assert images.train_identities.tolist() == [3, 2, 3]
        assert images.test_identities.tolist() == [1]

    def test_an_unknown_attribute_is_told_with_the_nearest(self, trees):
        message = refused("celeba", trees / "celeba", attribute="Smile")
        assert message.endswith("has no attribute 'Smile'; did you mean 'Smiling'?")

    @pytest.mark.parametrize(
        ("file", "text", "message"),
        [
            ("identity_CelebA.txt", "000001.jpg 1\n", "has no line for '000002.jpg'"),
            ("list_eval_partition.txt", "000001.jpg 5\n", "has '5' for '000001.jpg', not 0 to 2"),
            ("list_attr_celeba.txt", "1\nMale Smiling\n000001.jpg 1\n", "line 3 of"),
        ],
    )
    def test_a_list_that_says_something_else_is_refused(self, trees, tmp_path, file, text, message):
        inside = copied(trees, "celeba", tmp_path)
        (inside / file).write_text(text)
        assert message in refused("celeba", inside)
