"""One walk of class folders: what is a class, what an image, and what is passed over."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from supreme_core.data.image_files import FORMATS, suffixes
from supreme_core.data.image_tree import walk
from supreme_core.errors import SpecError


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def link(place, target):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def walked(root, **options):
    return walk(root, at="field", **options)


def names(tree):
    return [image.name for image in tree.images]


def classes(tree):
    return [folder.name for folder in tree.folders]


def test_images_are_in_the_order_of_names_whatever_their_depth(tmp_path):
    made = ["b/2.png", "b/10.png", "B/1.png", "a b/1.png", "a/z.png", "a/b/1.png", "a-b/1.png"]
    files(tmp_path, *made)
    (tmp_path / "empty").mkdir()
    tree = walked(tmp_path)
    assert names(tree) == sorted(made, key=lambda name: name.split("/"))
    assert classes(tree) == ["B", "a", "a b", "a-b", "b", "empty"]
    assert list(tree.classes()) == classes(tree)
    assert tree.classes()["empty"] == []


class TestLinks:
    def test_folders_that_link_twice_to_the_next_are_refused_and_not_walked_for_ever(
        self, tmp_path
    ):
        place = tmp_path / "root"
        for number in range(32):
            following = tmp_path / f"folder {number}"
            files(following, "1.png")
            link(place / "one", following)
            link(place / "other", following)
            place = following
        with pytest.raises(SpecError) as error:
            walked(tmp_path / "root")
        assert "field: more than 64 paths lead through links to one folder, such as" in str(
            error.value
        )

    def test_they_are_followed_to_files_and_to_folders(self, tmp_path):
        files(tmp_path / "far", "1.png", "deep/2.png", "3.bin")
        root = tmp_path / "root"
        link(root / "cat", tmp_path / "far")
        link(root / "dog/more", tmp_path / "far/deep")
        link(root / "dog/4.png", tmp_path / "far/3.bin")
        tree = walked(root)
        assert names(tree) == ["cat/1.png", "cat/deep/2.png", "dog/4.png", "dog/more/2.png"]
        assert tree.passed_over() == ".bin (1)"

    def test_the_folder_itself_may_be_one(self, tmp_path):
        files(tmp_path / "far", "cat/1.png")
        link(tmp_path / "root", "far")
        assert names(walked(tmp_path / "root")) == ["cat/1.png"]

    @pytest.mark.parametrize("target", [".", "..", "../.."])
    def test_a_loop_ends(self, tmp_path, target):
        files(tmp_path, "root/cat/1.png")
        link(tmp_path / "root/cat/loop", target)
        tree = walked(tmp_path / "root")
        assert "cat/1.png" in names(tree)
        assert "links to a folder that they lie in" in tree.passed_over()

    def test_two_folders_that_hold_each_other_end_too(self, tmp_path):
        files(tmp_path, "a/1.png", "b/2.png")
        link(tmp_path / "a/b", tmp_path / "b")
        link(tmp_path / "b/a", tmp_path / "a")
        tree = walked(tmp_path)
        assert names(tree) == ["a/1.png", "a/b/2.png", "b/2.png", "b/a/1.png"]
        assert tree.passed_over() == "links to a folder that they lie in (2)"

    def test_those_that_lead_nowhere_are_counted(self, tmp_path):
        files(tmp_path, "cat/1.png")
        link(tmp_path / "cat/2.png", "gone.png")
        link(tmp_path / "cat/3.png", "3.png")
        link(tmp_path / "cat/4.png", "1.png/x")
        link(tmp_path / "dog", "gone")
        tree = walked(tmp_path)
        assert (classes(tree), names(tree)) == (["cat"], ["cat/1.png"])
        assert tree.passed_over() == "broken links (4)"


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "#recycle", ".git"],
)
def test_folders_of_systems_are_neither_classes_nor_looked_into(tmp_path, name):
    files(tmp_path, "cat/1.png", f"{name}/1.png", f"cat/{name}/2.png")
    tree = walked(tmp_path)
    assert (classes(tree), names(tree)) == (["cat"], ["cat/1.png"])
    assert tree.passed_over() == "hidden or system (2)"


@pytest.mark.parametrize("name", ["._1.png", ".DS_Store", "Thumbs.db", "desktop.ini", "THUMBS.DB"])
def test_files_of_systems_are_no_images(tmp_path, name):
    files(tmp_path, "cat/1.png", f"cat/{name}", name)
    tree = walked(tmp_path)
    assert names(tree) == ["cat/1.png"]
    assert tree.passed_over() == "hidden or system (2)"


def test_what_is_passed_over_is_counted_by_suffix_and_few_of_these_are_said(tmp_path):
    files(tmp_path, "cat/1.png", "loose.png", "cat/readme", "cat/x.HEIC", "cat/y.heic", "dog/z.txt")
    tree = walked(tmp_path)
    assert tree.passed_over() == (
        ".heic (2), .txt (1), images beside the class folders (1), without a suffix (1)"
    )
    assert tree.passed_over({"dog"}) == ".txt (1)"
    assert tree.notes("train") == (f"passed over in train/: {tree.passed_over()}",)
    assert tree.without_images() == (
        "no image in class folder 'dog'; beside images there is .txt (1)"
    )
    files(tmp_path, *(f"cat/x.{number}" for number in range(20)))
    assert walked(tmp_path).passed_over().endswith(".14 (1), 16 other kinds (16)")


def test_nothing_to_say_is_said_of_a_tidy_folder(tmp_path):
    files(tmp_path, "cat/1.png", "dog/1.jpg")
    tree = walked(tmp_path)
    assert (tree.passed, tree.notes("train"), tree.without_images()) == ((), (), "")


def test_classes_can_be_left_out_and_depth_be_limited(tmp_path):
    files(tmp_path, "cat/1.png", "cat/more/2.png", "clutter/3.png", "clutter/4.txt")
    tree = walked(tmp_path, depth=1, ignored=["clutter"])
    assert (classes(tree), names(tree)) == (["cat"], ["cat/1.png"])
    assert tree.passed_over() == "folders within a class folder (1)"


def test_many_classes_without_images_are_named_in_one_line(tmp_path):
    for number in range(1000):
        (tmp_path / f"{number:03}").mkdir()
    assert walked(tmp_path).without_images(fewest=2) == (
        "fewer than 2 images in class folder '000', '001', '002', '003', '004' and 995 more;"
        " beside images there is nothing"
    )


class TestNames:
    def test_one_name_in_two_spellings_is_one_class(self, tmp_path):
        files(tmp_path, "cafe\u0301/1.png")
        assert classes(walked(tmp_path)) == ["caf\u00e9"]

    def test_both_spellings_side_by_side_are_refused(self, tmp_path):
        files(tmp_path, "cafe\u0301/1.png", "caf\u00e9/1.png")
        with pytest.raises(SpecError, match="the same name in two spellings of Unicode"):
            walked(tmp_path)

    def test_a_file_may_have_any_name_but_a_class_must_be_utf_8(self, tmp_path):
        files(tmp_path, os.fsdecode(b"cat/caf\xe9.png"))
        assert names(walked(tmp_path)) == ["cat/caf\udce9.png"]
        files(tmp_path, os.fsdecode(b"caf\xe9/1.png"))
        with pytest.raises(SpecError, match=r"^field: .*caf\\udce9' is not UTF-8; rename it$"):
            walked(tmp_path)

    def test_they_do_not_depend_on_the_locale(self, tmp_path):
        files(tmp_path, "caf\u00e9/1.png", "cafz/1.png", "Caf\u00e9/1.png")
        code = (
            "import sys; from pathlib import Path; from supreme_core.data.image_tree import walk;"
            " print(ascii([each.name for each in walk(Path(sys.argv[1]), at='').folders]))"
        )
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, **plain},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == ascii(["Caf\u00e9", "cafz", "caf\u00e9"])


@contextmanager
def as_nobody():
    """Root may read everything, so it steps back."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    files(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog").chmod(0o000)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # nobody may go the way to it
    with as_nobody(), pytest.raises(SpecError, match="'dog' cannot be read: Permission denied"):
        walked(Path())
    (tmp_path / "dog").chmod(0o700)


def test_every_suffix_that_pillow_has_for_a_format_counts():
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in suffixes()} == set(FORMATS)
    assert suffixes() >= {".jfif", ".jpe", ".avif", ".pgm", ".pbm", ".pnm", ".apng", ".dib", ".jp2"}
    assert not suffixes() & {".eps", ".pdf", ".ico", ".psd", ".svg"}
