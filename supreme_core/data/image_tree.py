"""The images in a folder of class folders: one walk for every data set that is made of such.

    tree = walk(Path("/data/photos/train"), at="spec.dataset.params.path")
    tree.classes()     {"cat": [FoundPath(path, ("cat", "1.jpg")), ...], "dog": [...]}
    tree.passed        the rest, with what it is

Links are followed, to files and to folders; one that leads back to a folder that it lies in ends
there. What file managers, archivers and notebooks leave behind is neither class nor image. Names
are the same on every machine: UTF-8 whatever the locale, composed (NFC) whatever the file system,
sorted by code point.
"""

import errno
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Final

from supreme_core.data.image_files import readable, suffixes
from supreme_core.errors import SpecError, few, number_of, one_line

SYSTEM: Final = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "icon\r",
        "lost+found",
        "system volume information",
        "thumbs.db",
        "~snapshot",
    }
)
"""Names, in small letters, that systems give to their own; so is each that begins with a dot."""

MOST_PATHS: Final = 64
"""Most paths that may lead to one folder through links. Links to folders of links are few files,
and as many paths as there are atoms."""

KINDS_SHOWN: Final = 8
SUFFIX_SHOWN: Final = 16

Identity = tuple[int, int]
"""Device and number of a folder, by whichever path it was reached."""

CLASS, FOLDER, IMAGE = "class", "folder", "image"
HIDDEN = "hidden or system"
BROKEN = "broken links"
CIRCULAR = "links to a folder that they lie in"
DEEPER = "folders within a class folder"
BESIDE = "images beside the class folders"
NO_SUFFIX = "without a suffix"


@dataclass(frozen=True)
class FoundPath:
    """A file or folder.

    path: where it can be opened.  parts: the names from below the folder that was walked to it.
    """

    path: Path
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return "/".join(self.parts)


@dataclass(frozen=True)
class Tree:
    """Contents of class folders.

    folders: the class folders in the order of their names, also those without an image.
    images: everything in them that is named as an image, in the order of the parts of the names.
    passed: all the rest, each with what it is: its suffix, or one of the words above.
    """

    root: Path
    folders: tuple[FoundPath, ...]
    images: tuple[FoundPath, ...]
    passed: tuple[tuple[FoundPath, str], ...]

    def classes(self) -> dict[str, list[FoundPath]]:
        """The images of each class folder."""
        found: dict[str, list[FoundPath]] = {folder.name: [] for folder in self.folders}
        for image in self.images:
            found[image.parts[0]].append(image)
        return found

    def passed_over(self, classes: Collection[str] | None = None) -> str:
        """Files that are no images, counted in words, in those class folders or everywhere; else
        ""."""
        return _counted(
            kind for found, kind in self.passed if classes is None or found.parts[0] in classes
        )

    def notes(self, name: str) -> tuple[str, ...]:
        """Notes for users. name: of the folder, which is not said from the root on, because
        a store keeps notes and not where files once lay."""
        passed = self.passed_over()
        return (f"passed over in {name}/: {passed}",) if passed else ()

    def without_images(self, fewest: int = 1) -> str:
        """Classes that have fewer images, and what else is in their folders; else ""."""
        lacking = [name for name, images in self.classes().items() if len(images) < fewest]
        if not lacking:
            return ""
        inside = self.passed_over(set(lacking)) or "nothing"
        wanted = "no image" if fewest == 1 else f"fewer than {fewest} images"
        return f"{wanted} in class folder {few(lacking)}; beside images there is {inside}"


def walk(root: Path, *, at: str, depth: int | None = None, ignored: Iterable[str] = ()) -> Tree:
    """Look at everything in the class folders of `root`.

    at: the field that names the folder, for errors.  depth: how many folders an image may lie
    below `root`; with 1 it lies in its class folder itself.  ignored: class folders to leave out.
    Raises SpecError for what cannot be listed, and for names that nobody could write down.
    """
    left_out = set(ignored)
    folders, images = list[FoundPath](), list[FoundPath]()
    passed = list[tuple[FoundPath, str]]()
    for found, kind in _entries(root, at, depth):
        if found.parts[0] in left_out:
            continue
        if kind != IMAGE and kind != CLASS:
            passed.append((found, kind))
        else:
            (folders if kind == CLASS else images).append(found)
    for folder, same in pairwise(folders := _sorted(folders)):
        if folder.parts == same.parts:
            raise SpecError(
                f"{at}: {str(folder.path)!r} and {str(same.path)!r} have the same name in two"
                " spellings of Unicode; rename one"
            )
    return Tree(root, tuple(folders), tuple(_sorted(images)), tuple(passed))


def fingerprint(images: Iterable[FoundPath], describe: Callable[[Path], object], *, at: str) -> str:
    """One value that stands for the names of the images, and for what is said of each."""
    state = sha256()
    for image in images:
        with readable(image.path, at=at):
            line = f"{image.name} {describe(image.path)}\n"
        state.update(line.encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def frames_note(animated: int) -> tuple[str, ...]:
    """animated: how many of the images have several frames."""
    found = number_of(animated, "animated image", form=",")
    return (f"of {found} the first frame is taken",) if animated else ()


def size_of(file: Path) -> int:
    return file.stat().st_size


def size_and_time_of(file: Path) -> str:
    """Changes whenever somebody writes to the file, and also when it is copied or touched."""
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is there for a system and not for its user."""
    return name.startswith(".") or name.lower() in SYSTEM


def _entries(root: Path, at: str, depth: int | None) -> Iterator[tuple[FoundPath, str]]:
    """Everything but folders within classes, each with what it is; in no order."""
    waiting = [(FoundPath(root, ()), frozenset[Identity]())]
    reached = Counter[Identity]()
    while waiting:
        folder, above = waiting.pop()
        with _explained(folder.path, at):
            identity = _identity(folder.path)
            inside = above | {identity}
            reached[identity] += 1
            if reached[identity] > MOST_PATHS:
                raise SpecError(
                    f"{at}: more than {MOST_PATHS} paths lead through links to one folder, such as"
                    f" {str(folder.path)!r}; remove links"
                )
            entries = list(os.scandir(folder.path))
        for entry in entries:
            found = FoundPath(Path(entry.path), (*folder.parts, _name(entry.name)))
            with _explained(found.path, at):
                kind = _kind(found, entry, inside)
            if kind == FOLDER and depth is not None and len(found.parts) > depth:
                kind = DEEPER
            if kind in (CLASS, FOLDER):
                _require_text(found, at)
                waiting.append((found, inside))
            if kind != FOLDER:
                yield found, kind


def _kind(found: FoundPath, entry: "os.DirEntry[str]", inside: Collection["Identity"]) -> str:
    """inside: the folder that the entry lies in, and those above it."""
    name, is_at_top = found.parts[-1], len(found.parts) == 1
    if is_hidden(name):
        return HIDDEN
    if entry.is_symlink() and _is_broken(found.path):
        return BROKEN
    suffix = PurePath(name).suffix.lower()
    if entry.is_dir() and (is_at_top or suffix not in suffixes()):
        if _identity(found.path) in inside:
            return CIRCULAR
        return CLASS if is_at_top else FOLDER
    if suffix in suffixes():  # a folder too, which whoever opens it will refuse
        return BESIDE if is_at_top else IMAGE
    return one_line(suffix, SUFFIX_SHOWN) or NO_SUFFIX


def _is_broken(link: Path) -> bool:
    try:
        os.stat(link)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return True
        raise
    return False


def _identity(folder: Path) -> "Identity":
    status = os.stat(folder)
    return status.st_dev, status.st_ino


@contextmanager
def _explained(path: Path, at: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpecError(f"{at}: {str(path)!r} cannot be read: {error.strerror}") from None


def _name(name: str) -> str:
    """Name of a file or folder as UTF-8 has it: another locale must not give a class another name
    or place."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "surrogateescape"))


def _require_text(folder: FoundPath, at: str) -> None:
    try:
        folder.parts[-1].encode()
    except UnicodeEncodeError:
        raise SpecError(
            f"{at}: the name of the folder {str(folder.path)!r} is not UTF-8; rename it"
        ) from None


def _sorted(found: Iterable[FoundPath]) -> list[FoundPath]:
    return sorted(found, key=lambda each: (each.parts, os.fsencode(each.path)))


def _counted(kinds: Iterable[str]) -> str:
    """`.heic (3), .txt (2), broken links (1)`: the most frequent first, and not too many."""
    counts = sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0]))
    words = [f"{kind} ({count:,})" for kind, count in counts[:KINDS_SHOWN]]
    if rest := counts[KINDS_SHOWN:]:
        words.append(f"{number_of(len(rest), 'other kind')} ({sum(count for _, count in rest):,})")
    return ", ".join(words)
