"""Datasets as arrays: what is in them, their bytes, and what cannot be used.

                | content | digest | split | refused
digits          |    x    |   x    |   x   |
image_folder    |    x    |        |   x   |    x
any ImageSet    |    x    |        |       |    x        files without pickle, statistics
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from sklearn.datasets import load_digits

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.image_set import ARRAYS, ImageSet, check
from supreme_core.errors import SpecError, SupremeError
from supreme_core.store.folder import LocalStorage
from tests.core.data.public_sets import files_of
from tests.not_files import MAKERS

DIGITS = "e7a652b8b9add1a18bdb011c7c63d71932ed7864a73800d46f54bd92b5ea6722"
"""sha256 over the four .npy files of the digits at 32 pixels. Another value means other data: then
raise the version of the dataset, so that nothing computed from the old ones is used again."""

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def dataset(name, **params):
    return registry.dataset.resolve(Component(name=name, params=params), at="spec.dataset")


def refused(action):
    with pytest.raises(SpecError) as error:
        action()
    return str(error.value)


@pytest.fixture(scope="module")
def digits():
    return dataset("digits")()


class TestDigits:
    def test_it_has_the_recorded_bytes(self, digits):
        whole = hashlib.sha256()
        for name, data in sorted(files_of(digits).items()):
            whole.update(name.encode() + data)
        assert whole.hexdigest() == DIGITS

    def test_each_of_the_1797_images_is_in_one_part(self, digits):
        pixels, labels = load_digits(return_X_y=True)
        expected = sorted(
            (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), int(label))
            for image, label in zip(pixels, labels, strict=True)
        )
        parts = (
            (digits.train_images, digits.train_labels),
            (digits.test_images, digits.test_labels),
        )
        found = sorted(
            (np.ascontiguousarray(image[0, ::4, ::4]).tobytes(), int(label))
            for images, numbers in parts
            for image, label in zip(images, numbers, strict=True)
        )
        assert len(found) == 1797
        assert found == expected
        assert len(set(found)) == 1797  # no two images are alike, so none is in both parts

    def test_every_fifth_of_each_class_is_test(self, digits):
        _, labels = load_digits(return_X_y=True)
        expected = np.bincount(labels) // 5
        assert np.array_equal(np.bincount(digits.test_labels), expected)
        assert np.array_equal(np.bincount(digits.train_labels), np.bincount(labels) - expected)

    def test_each_pixel_becomes_a_square(self, digits):
        small = dataset("digits", size=8)()
        assert small.train_images.shape[1:] == (1, 8, 8)
        assert digits.train_images.shape[1:] == (1, 32, 32)
        assert np.array_equal(digits.train_images, np.kron(small.train_images, np.ones((4, 4))))

    def test_the_whole_range_of_grey_is_used(self, digits):
        assert digits.train_images.dtype == np.uint8
        assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)

    def test_mean_and_deviation_are_those_of_the_training_pixels(self, digits):
        scaled = digits.train_images.astype(np.float64) / 255
        assert digits.mean == pytest.approx([scaled.mean()], rel=1e-12)
        assert digits.std == pytest.approx([scaled.std()], rel=1e-12)

    def test_facts_tell_classes_and_counts(self, digits):
        assert digits.classes == 10
        assert (digits.channels, digits.size) == (1, 32)
        assert digits.facts()["classNames"] == list("0123456789")
        assert digits.facts()["trainSamples"] + digits.facts()["testSamples"] == 1797


@pytest.fixture
def folder(tmp_path):
    """Two cats and a dog to learn from, one of each to test with, as PNG and JPEG files."""
    root = tmp_path / "pets"
    picture(root / "train/cat/1.png", RED, (40, 40))
    picture(root / "train/cat/2.jpeg", GREEN, (60, 40))
    picture(root / "train/dog/1.PNG", BLUE, (32, 96))
    picture(root / "test/dog/1.jpg", BLUE, (40, 40))
    picture(root / "test/cat/1.png", 255, (40, 40), mode="L")
    return root


def picture(path, colour, size, *, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def pets(root, **params):
    return dataset("image_folder", path=str(root), **params)()


class TestImageFolder:
    def test_classes_are_the_folders_of_train_in_alphabetical_order(self, folder):
        images = pets(folder)
        assert images.class_names == ("cat", "dog")
        assert images.train_labels.tolist() == [0, 0, 1]
        assert images.test_labels.tolist() == [0, 1]

    def test_images_are_colour_planes_of_the_asked_size(self, folder):
        images = pets(folder, size=16)
        assert images.train_images.shape == (3, 3, 16, 16)
        means = images.train_images.mean(axis=(2, 3))
        assert np.array_equal(means[[0, 2]], [RED, BLUE])
        np.testing.assert_allclose(means[1], GREEN, atol=2)  # JPEG
        assert np.array_equal(images.test_images[0], np.full((3, 16, 16), 255))  # grey file

    def test_grey_has_one_plane_by_the_weights_of_itu_r_601(self, folder):
        images = pets(folder, size=16, mode="grey")
        assert images.train_images.shape == (3, 1, 16, 16)
        expected = [0.299 * 255, 0.587 * 255, 0.114 * 255]
        np.testing.assert_allclose(images.train_images.mean(axis=(1, 2, 3)), expected, atol=2)

    @pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
    def test_the_centre_of_an_image_that_is_not_square_is_taken(self, folder, turned):
        """Thirds of red, green and blue: only the middle one stays."""
        pixels = np.repeat(np.array([[RED, GREEN, BLUE]], dtype=np.uint8), 16, axis=0)
        pixels = np.repeat(pixels, 16, axis=1)
        image = Image.fromarray(pixels.swapaxes(0, 1) if turned else pixels)
        image.save(folder / "train/cat/1.png")
        centre = pets(folder, size=8).train_images[0]
        inside = centre[:, 1:-1] if turned else centre[:, :, 1:-1]  # bicubic blurs the borders
        assert np.array_equal(inside, np.broadcast_to(np.reshape(GREEN, (3, 1, 1)), inside.shape))

    def test_one_very_long_image_is_no_problem(self, folder):
        picture(folder / "train/cat/1.png", RED, (2000, 3))
        assert np.array_equal(pets(folder).train_images[0].mean(axis=(1, 2)), RED)

    def test_folders_within_a_class_belong_to_it_and_other_files_to_nobody(self, folder):
        picture(folder / "train/dog/more/2.png", GREEN, (40, 40))
        (folder / "train/dog/notes.txt").write_text("a good dog")
        picture(folder / "train/loose.png", RED, (40, 40))
        assert pets(folder).train_labels.tolist() == [0, 0, 1, 1]

    def test_the_same_files_give_the_same_bytes(self, folder):
        assert files_of(pets(folder)) == files_of(pets(folder))

    def test_a_class_without_a_training_image_is_refused_with_what_is_in_its_folder(self, folder):
        (folder / "train/cow/more").mkdir(parents=True)
        (folder / "train/cow/1.heic").write_bytes(b"")
        (folder / "train/cow/more/2.HEIC").write_bytes(b"")
        assert refused(lambda: pets(folder)) == (
            f"spec.dataset.params.path: in train/ of '{folder}' there is no image in class folder"
            " 'cow'; beside images there is .heic (2)"
        )

    def test_a_class_that_only_the_test_set_has_is_refused_with_the_nearest(self, folder):
        picture(folder / "test/dogs/1.png", BLUE, (40, 40))
        assert refused(lambda: pets(folder)) == (
            "spec.dataset.params.path: class 'dogs' is in test/ but not in train/; did you mean"
            " 'dog'?"
        )

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_missing_part_is_named(self, folder, part):
        (folder / part).rename(folder / "other")
        assert f"has no folder '{part}'; expected train/<class>/" in refused(lambda: pets(folder))

    def test_what_there_is_instead_of_a_missing_part_is_said(self, folder):
        (folder / "test").rename(folder / "val")
        assert refused(lambda: pets(folder)).endswith("test/<class>/<image>; there is 'val'")

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_part_without_images_is_named(self, folder, part):
        (folder / part).rename(folder / "other")
        picture(folder / part / "1.png", RED, (40, 40))
        message = refused(lambda: pets(folder))
        assert f"no images in {part}/<class>/ of" in message
        assert message.endswith("beside images there is images beside the class folders (1)")

    @pytest.mark.parametrize("given", ["~nobody-has-this-name/x", "a\0b", "x" * 5000])
    def test_what_is_no_path_is_refused(self, given):
        assert refused(lambda: pets(given)).startswith(
            f"spec.dataset.params.path: {given!r} cannot be"
        )

    def test_a_missing_folder_is_named_from_the_root_on(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        missing = "is not a folder on this machine"
        assert refused(lambda: pets(tmp_path / "no")).endswith(f"'{tmp_path}/no' {missing}")
        for given, whole in {"no": tmp_path / "no", "~/no": tmp_path / "home/no"}.items():
            assert refused(lambda given=given: pets(given)).endswith(
                f"'{given}' {missing}; from where this runs it is '{whole}'"
            )

    def test_a_tilde_is_the_home_of_the_user(self, folder, monkeypatch):
        monkeypatch.setenv("HOME", str(folder.parent))
        assert files_of(pets("~/pets")) == files_of(pets(folder))
        assert state("~/pets") == state(folder)


@pytest.fixture
def people(tmp_path):
    """Faces of two ages; Eve is in both, and of Ada there is nothing to test with."""
    root = tmp_path / "faces"
    for place in ("train/old/eve/1", "train/old/ada/1", "train/young/eve/1", "train/young/eve/2"):
        picture(root / f"{place}.png", RED, (40, 40))
    for place in ("test/old/eve/1", "test/young/bob/1"):
        picture(root / f"{place}.png", BLUE, (40, 40))
    return root


class TestIdentities:
    def test_the_folder_in_the_class_says_who_it_is(self, people):
        images = pets(people, identities=True)
        assert images.identity_names == ("ada", "bob", "eve")
        assert images.train_labels.tolist() == [0, 0, 1, 1]
        assert images.train_identities.tolist() == [0, 2, 2, 2]
        assert images.test_identities.tolist() == [2, 1]

    def test_files_give_them_back(self, people, tmp_path):
        images = pets(people, identities=True)
        again = ImageSet.read(images.write(tmp_path), images.facts())
        assert again.train_identities.tolist() == images.train_identities.tolist()
        assert again.test_identities.tolist() == images.test_identities.tolist()
        assert again.identity_names == images.identity_names

    def test_unless_asked_for_they_are_no_part_of_the_data(self, people, tmp_path):
        images = pets(people)
        assert images.train_identities is None
        assert not any("identities" in name for name in images.write(tmp_path))
        assert "identityNames" not in images.facts()

    def test_the_setting_changes_no_digest_of_those_who_do_not_use_it(self, people):
        """Datasets of older versions stay where they are found."""
        plain, asked = (
            dataset("image_folder", path=str(people), **params).params.to_document()
            for params in ({"identities": False}, {"identities": True})
        )
        assert plain.keys() == {"path", "size", "mode", "revision"}
        assert asked["identities"] is True

    @pytest.mark.parametrize("place", ["train/old/1.png", "train/old/eve/more/1.png"])
    def test_an_image_of_nobody_is_named(self, people, place):
        picture(people / place, GREEN, (40, 40))
        message = refused(lambda: pets(people, identities=True))
        assert message == (
            f"spec.dataset.params.path: '{people / place}' is not in <class>/<identity>/, as"
            " identities: true expects"
        )


def png(mode, size=(40, 40)):
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, "png")
    return buffer.getvalue()


def photo(form, **options):
    buffer = BytesIO()
    Image.new("RGB", (12, 12)).save(buffer, form, **options)
    return buffer.getvalue()


def huge_bmp(side):
    """A header that promises far too many pixels; nobody makes room for them."""
    buffer = BytesIO()
    Image.new("L", (8, 8)).save(buffer, "bmp")
    data = bytearray(buffer.getvalue())
    data[18:26] = side.to_bytes(4, "little") * 2
    return bytes(data)


UNREADABLE = {
    "text": (b"I am no image", "its bytes are none of AVIF, BMP, "),
    "empty": (b"", "its bytes are none of"),
    "a program to be run": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "its bytes are none of"),
    "no EXIF in PNG": (photo("png", exif=b"XX\0*garbage"), "not a TIFF file"),
    "no EXIF in WebP": (photo("webp", exif=b"XX\0*garbage"), "not a TIFF file"),
    "EXIF cut short in PNG": (photo("png", exif=b"MM\0*"), "unpack requires a buffer"),
    "EXIF cut short in WebP": (photo("webp", exif=b"MM\0*"), "unpack requires a buffer"),
    "cut short": (png("RGB")[:-30], "image file is truncated|broken PNG|Truncated"),
    "bad header": (b"P6\n12x 8\n255\n", "12x"),
    "decompression bomb": (huge_bmp(20_000), "more than the 120,000,000 that are read"),
    "smaller bomb": (huge_bmp(11_000), "it has 11,000 x 11,000 pixels, more than the 120,000,000"),
    "16 bits": (png("I;16"), "it has more than 8 bits a channel"),
}


def test_a_large_image_is_in_memory_twice_at_most(folder):
    """One bit a pixel, two kB in the file; its 16 million pixels take 64 MB as colours."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from supreme_core.data.image_files import decode_all\n"
        "def used():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "small, large = map(Path, sys.argv[1:])\n"
        "decode_all([small], size=32, mode='color', at='')\n"
        "before = used()\n"
        "decode_all([large], size=32, mode='color', at='')\n"
        "print(used() - before)\n"
    )
    image = Image.new("P", (4000, 4000))
    image.save(folder / "large.png", transparency=0, bits=1)
    arguments = [folder / "train/cat/1.png", folder / "large.png"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2.5 * 64


def test_nothing_opens_an_image_without_naming_the_formats():
    """Any format would include PostScript, for which Pillow starts Ghostscript."""
    root = Path(__file__).parents[3]
    sources = [path for part in PACKAGES for path in (root / part).rglob("*.py")]
    opened = [line for path in sources for line in path.read_text().splitlines() if OPEN in line]
    assert opened
    assert all("formats=FORMATS" in line for line in opened), opened


OPEN = "Image.open("
PACKAGES = ("supreme_core", "trainer", "operator")


@pytest.mark.parametrize(("data", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_image_that_cannot_be_read_is_named_in_one_line(folder, data, reason):
    (folder / "train/cat/1.png").write_bytes(data)
    message = refused(lambda: pets(folder))
    named = r"spec\.dataset\.params\.path: '.*1\.png' is not a readable image: .*"
    assert re.fullmatch(named, message)
    assert re.search(reason, message)


def test_the_first_images_that_cannot_be_read_are_named_together(folder):
    for number in range(12):
        (folder / f"train/cat/broken {number:02}.png").write_bytes(b"")
    *lines, last = refused(lambda: pets(folder)).splitlines()
    assert [re.search(r"broken (\d\d)", line)[1] for line in lines] == [
        f"{number:02}" for number in range(10)
    ]
    assert last == "spec.dataset.params.path: there may be more of these; the others were not read"


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_file_is_not_waited_for(folder, make, monkeypatch):
    monkeypatch.chdir(folder)
    make(folder / "train/cat/3.png")
    what = make.__name__.replace("_", " ")
    message = f"'{folder}/train/cat/3.png' is not a readable image: it is {what}, not a file"
    assert refused(lambda: pets(folder)) == f"spec.dataset.params.path: {message}"
    assert refused(lambda: dataset("image_folder", path=str(folder)).params.source_content())


def palette_image():
    """Return an image in which every pixel has the fourth colour of a palette."""
    image = Image.new("P", (8, 8), 3)
    image.putpalette(range(48))
    return image


ROW_AND_COLUMN = {
    1: "top left",
    2: "top right",
    3: "bottom right",
    4: "bottom left",
    5: "left top",
    6: "right top",
    7: "right bottom",
    8: "left bottom",
}
"""The side of the scene that the first row and the first column show, by EXIF orientation."""


class TestPixels:
    """Files of every sort become pixels; the colours are those of PNG, TIFF and lossless WebP."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("form", ["jpeg", "png", "webp", "tiff"])
    def test_an_image_is_turned_as_its_exif_says(self, folder, form, orientation):
        upright = np.zeros((16, 16, 3), dtype=np.uint8)
        upright[:8, :8], upright[:8, 8:], upright[8:, :8] = RED, GREEN, BLUE
        stored = as_stored(upright, orientation)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options = {"webp": {"lossless": True}, "jpeg": {"quality": 100, "subsampling": 0}}
        file = folder / "train/cat/1.png"
        Image.fromarray(stored).save(file, form, exif=exif, **options.get(form, {}))
        found = pets(folder, size=16).train_images[0].transpose(1, 2, 0)
        np.testing.assert_allclose(found.astype(int), upright, atol=4 if form == "jpeg" else 0)

    def test_a_photo_for_print_becomes_rgb(self, folder):
        Image.new("CMYK", (12, 12), (0, 255, 255, 0)).save(folder / "train/cat/1.png", "jpeg")
        found = pets(folder, size=8).train_images[0]
        np.testing.assert_allclose(found.mean(axis=(1, 2)), RED, atol=3)

    @pytest.mark.parametrize("mode", ["I;16", "I", "F"])
    def test_more_than_eight_bits_of_grey_are_refused_in_words(self, folder, mode):
        Image.new(mode, (12, 12)).save(folder / "train/cat/1.png", "tiff")
        assert refused(lambda: pets(folder)).endswith("it has more than 8 bits a channel")

    @pytest.mark.parametrize(
        ("form", "image", "options"),
        [
            ("png", Image.new("RGBA", (8, 8), (255, 0, 0, 128)), {}),
            ("png", Image.new("LA", (8, 8), (0, 0)), {}),
            ("png", Image.new("RGB", (8, 8), RED), {"transparency": RED}),
            ("png", Image.new("L", (8, 8), 7), {"transparency": 7}),
            ("png", palette_image(), {"transparency": 3}),
            ("png", palette_image(), {"transparency": bytes((255, 255, 255, 0))}),
            ("gif", palette_image(), {"transparency": 3}),
            ("webp", Image.new("RGBA", (8, 8), (255, 0, 0, 128)), {"lossless": True}),
            ("tiff", Image.new("RGBA", (8, 8), (255, 0, 0, 128)), {}),
        ],
        ids=lambda each: each.mode if isinstance(each, Image.Image) else None,
    )
    def test_what_is_transparent_shows_white(self, folder, form, image, options):
        image.save(folder / "train/cat/1.png", form, **options)
        seen = (255, 127, 127) if image.mode == "RGBA" else (255, 255, 255)
        found = pets(folder, size=8).train_images[0]
        assert np.array_equal(found, np.broadcast_to(np.reshape(seen, (3, 1, 1)), found.shape))

    def test_an_alpha_channel_that_hides_nothing_changes_nothing(self, folder):
        pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
        Image.fromarray(pixels).save(folder / "train/cat/1.png")
        before = pets(folder, size=16).train_images[0]
        Image.fromarray(pixels).convert("RGBA").save(folder / "train/cat/1.png")
        assert np.array_equal(pets(folder, size=16).train_images[0], before)
        assert np.array_equal(before.transpose(1, 2, 0), pixels)

    def test_of_an_animation_the_first_frame_is_taken_and_a_note_says_so(self, folder):
        frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
        frames[0].save(folder / "train/cat/1.png", "gif", save_all=True, append_images=frames[1:])
        images = pets(folder, size=8)
        assert np.array_equal(images.train_images[0].mean(axis=(1, 2)), RED)
        assert images.notes == ("of 1 animated image the first frame is taken",)

    @pytest.mark.parametrize("shape", [(20_000, 1), (1, 20_000)])
    def test_of_a_very_long_image_the_same_centre_is_taken_without_making_a_giant(
        self, folder, shape
    ):
        pixels = np.zeros((*shape, 3), dtype=np.uint8)
        pixels[9_990:10_010] = GREEN
        pixels[:, 9_990:10_010] = GREEN
        Image.fromarray(pixels).save(folder / "train/cat/1.png")
        found = pets(folder, size=1024).train_images[0]
        assert np.array_equal(found[:, 512, 512], GREEN)

    @pytest.mark.parametrize(
        ("suffix", "form"), [("png", "jpeg"), ("jpg", "png"), ("gif", "webp"), ("JFIF", "bmp")]
    )
    def test_the_bytes_say_what_a_file_is_and_not_its_suffix(self, folder, suffix, form):
        Image.new("RGB", (8, 8), BLUE).save(folder / f"train/cat/0.{suffix}", form)
        found = pets(folder, size=8).train_images[0].mean(axis=(1, 2))
        np.testing.assert_allclose(found, BLUE, atol=2)


def as_stored(upright, orientation):
    """Return the pixels that a camera stores of a scene, by the words of the EXIF standard."""
    first_row, first_column = ROW_AND_COLUMN[orientation].split()
    pixels = upright.swapaxes(0, 1) if first_row in ("left", "right") else upright
    pixels = pixels[::-1] if first_row in ("right", "bottom") else pixels
    pixels = pixels[:, ::-1] if first_column in ("right", "bottom") else pixels
    return np.ascontiguousarray(pixels)


def state(root):
    return dataset("image_folder", path=str(root)).params.source_state()


def content(root):
    return dataset("image_folder", path=str(root)).params.source_content()


class TestSourceState:
    def test_it_is_the_same_as_long_as_nothing_changes(self, folder):
        assert state(folder) == state(folder)

    def test_it_does_not_depend_on_where_the_folder_is(self, folder):
        before = state(folder)
        assert state(folder.rename(folder.parent / "elsewhere")) == before

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: picture(root / "train/cat/3.png", RED, (40, 40)),
            lambda root: (root / "train/cat/1.png").unlink(),
            lambda root: (root / "train/cat/1.png").rename(root / "train/dog/9.png"),
            lambda root: picture(root / "train/cat/1.png", RED, (41, 40)),
            lambda root: os.utime(root / "train/cat/1.png", ns=(1, 1)),
        ],
        ids=["one more", "one less", "moved", "other content", "newer"],
    )
    def test_it_changes_with_the_files(self, folder, change):
        before = state(folder)
        change(folder)
        assert state(folder) != before

    def test_the_content_is_that_of_a_copy_and_changes_with_the_bytes(self, folder):
        before = content(folder)
        copy = folder.parent / "copy"
        shutil.copytree(folder, copy, copy_function=shutil.copyfile)
        (copy / "train/cat/.DS_Store").write_bytes(b"x")
        assert content(copy) == before
        picture(copy / "train/cat/1.png", BLUE, (40, 40))
        assert content(copy) != before

    def test_there_is_none_where_the_folder_is_not(self, tmp_path):
        assert state(tmp_path / "none") is None

    def test_data_that_come_with_a_library_have_none(self):
        assert dataset("digits").params.source_state() is None


class TestImageSet:
    def test_files_give_back_the_arrays_memory_mapped(self, digits, tmp_path):
        again = ImageSet.read(digits.write(tmp_path), digits.facts())
        for name in ARRAYS:
            array = getattr(again, name)
            assert isinstance(array, np.memmap)
            assert array.dtype == getattr(digits, name).dtype
            assert np.array_equal(array, getattr(digits, name))
        assert (again.mean, again.std) == (digits.mean, digits.std)
        assert again.class_names == digits.class_names

    def test_what_was_read_stays_when_a_store_replaces_or_removes_its_file(self, digits, tmp_path):
        storage = LocalStorage(tmp_path / "store")
        paths = {}
        for name, path in digits.write(tmp_path).items():
            storage.upload(name, path)
            paths[name] = storage.local_path(name, tmp_path)
        images = ImageSet.read(paths, digits.facts())

        storage.write("train_images.npy", b"other bytes")
        storage.delete("test_images.npy")

        assert np.array_equal(images.train_images, digits.train_images)
        assert np.array_equal(images.test_images, digits.test_images)

    def test_a_folder_that_is_full_is_named_with_what_to_do(self, digits, small_disk):
        with pytest.raises(SupremeError) as error:
            digits.write(small_disk)
        assert re.fullmatch(
            f"the prepared images cannot be written to {small_disk}: .*;"
            " free some space there, or set TMPDIR to another folder",
            str(error.value),
        )

    def test_a_pickle_is_neither_written_nor_read(self, digits, tmp_path):
        paths = digits.write(tmp_path)
        np.save(paths["train_labels.npy"], np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match="Python objects in dtype"):
            ImageSet.read(paths, digits.facts())
        with pytest.raises(ValueError, match="allow_pickle=False"):
            image_set(train_labels=np.array([{}, {}], dtype=object)).write(tmp_path)

    def test_the_layout_in_memory_does_not_change_the_files(self, digits):
        turned = np.asfortranarray(digits.train_images)
        changed = ImageSet.of(
            turned, digits.train_labels, digits.test_images, digits.test_labels, digits.class_names
        )
        assert files_of(changed) == files_of(digits)

    def test_mean_and_deviation_are_taken_by_channel(self):
        pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 5)).astype(np.uint8)
        images = image_set(train_images=pixels)
        scaled = pixels.astype(np.float64) / 255
        assert images.mean == pytest.approx(scaled.mean(axis=(0, 2, 3)), rel=1e-12)
        assert images.std == pytest.approx(scaled.std(axis=(0, 2, 3)), rel=1e-12)

    def test_a_channel_without_contrast_can_still_be_divided_by_its_deviation(self):
        images = image_set(train_images=np.full((4, 1, 2, 2), 51, dtype=np.uint8))
        assert images.mean == pytest.approx([0.2])
        assert images.std == (1 / 255,)

    def test_a_usable_set_passes(self, digits):
        assert check(digits, "digits") is digits

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"test_labels": []}, "dataset 'pets' has no training or no test images"),
            ({"train_labels": [1, 1]}, "dataset 'pets' has 1 class; at least 2 are needed"),
        ],
        ids=["no test images", "one class"],
    )
    def test_a_set_that_no_experiment_could_use_is_refused(self, changes, message):
        labels = {name: np.array(value, dtype=np.int64) for name, value in changes.items()}
        assert refused(lambda: check(image_set(**labels), "pets")) == message


def image_set(**changes):
    """Two training images and a test image of nothing."""
    nothing = np.zeros((2, 1, 2, 2), dtype=np.uint8)
    fields = {"train_images": nothing, "train_labels": np.array([0, 1])}
    fields |= {"test_images": nothing[:1], "test_labels": np.array([0])}
    return ImageSet.of(**(fields | changes), class_names=("a", "b"))


def test_a_photo_is_turned_as_its_camera_was_held(tmp_path):
    upright = Image.new("L", (16, 32))
    upright.paste(255, (0, 0, 16, 16))
    orientation = Image.Exif()
    orientation[0x0112] = 6  # lies on its side; to be turned clockwise for viewing
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        (tmp_path / part / "b").mkdir()
        upright.rotate(90, expand=True).save(tmp_path / part / "a" / "1.png", exif=orientation)
        upright.save(tmp_path / part / "b" / "1.png")

    component = Component(
        name="image_folder", params={"path": str(tmp_path), "size": 16, "mode": "grey"}
    )
    images = registry.dataset.resolve(component, at="spec.dataset")()
    assert (images.train_images[0] == images.train_images[1]).all()


def test_defect_21_a_picture_has_the_same_pixels_in_the_training_and_in_the_test_set(tmp_path):
    """The reference brings them to different scales: 36 cut to 32 here, 36 shrunk to 32 there."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 36, 3), dtype=np.uint8)
    for part in ("train", "test"):
        for name in ("a", "b"):
            path = tmp_path / part / name / "picture.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    images = pets(tmp_path, size=32)
    assert np.array_equal(images.train_images, images.test_images)
