"""Notes for a user on the data of an experiment, beside how many images there are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from supreme_trainer.command.sentences import say

from supreme_core import registry
from supreme_core.api.v1alpha1 import ExperimentSpec
from supreme_core.data.downloads import folder_if_there
from supreme_core.errors import one_line

CLASSES_SHOWN: Final = 20
FEWEST_SHOWN: Final = 10
NAME_SHOWN: Final = 40

PerClass = Sequence[Sequence[Any]]
"""Name, training images and test images of each class, in the order of the classes."""


def class_lines(classes: PerClass) -> Iterator[str]:
    """A line for each class, or for the smallest of many; one line where all are alike."""
    train, test = ([each[part] for each in classes] for part in (1, 2))
    if len(set(train)) == len(set(test)) == 1:
        yield f"classes: {train[0]:,} training and {_images(test)} of each"
        return
    shown = classes
    if len(classes) > CLASSES_SHOWN:
        shown = sorted(classes, key=lambda each: tuple(each[1:]))[:FEWEST_SHOWN]
        yield f"classes: {_range(train)} training and {_images(test)}; the smallest are"
    names = [one_line(each[0], NAME_SHOWN) for each in shown]
    width = max(map(len, names))
    for name, (_, of_train, of_test) in zip(names, shown, strict=True):
        yield f"  {name:{width}}  {of_train:>7,} training  {of_test:>7,} test"


def elsewhere(spec: ExperimentSpec, file: Path) -> str:
    """Note on the folder that a relative path of the data means, where one beside the file has that
    name too.

    "" where there is nothing to confuse.
    """
    params = registry.dataset.resolve(spec.dataset, at="spec.dataset").params
    location = getattr(params, "location", None)
    given = getattr(params, location) if location else ""
    if not given or given.startswith("~"):
        return ""
    here = folder_if_there(given)
    beside = folder_if_there(str(file.absolute().parent / given))
    if beside is None or (here and here.samefile(beside)):
        return ""
    lost = "" if here else ", which is not there"
    return (
        f"spec.dataset.params.{location}: {given!r} is {str(Path(given).absolute())!r} from where"
        f" the command"
        f" runs{lost}; it is not {str(beside)!r}, beside the file"
    )


def tell_elsewhere(spec: ExperimentSpec, file: Path, console: Console) -> None:
    if note := elsewhere(spec, file):
        say(console, f"note: {note}", indent="  ")


def _images(of_test: Sequence[int]) -> str:
    return f"{_range(of_test)} test {'image' if set(of_test) == {1} else 'images'}"


def _range(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
