"""The files of docs/extending.md as a user copies them, and the experiment that uses them all."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def sources():
    """The text of each file by its name; the heading above it says the name."""
    found = re.findall(
        r"^## [^\n]*`(\w+\.py)`\n\n```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.M
    )
    assert len(found) == PAGE.read_text().count("```python")
    return dict(found)


def components(source):
    """(kind, name) of what a file registers, by its decorators."""
    return re.findall(r"^@(\w+)\([^@]*?\)\ndef (\w+)", source, re.M)


def experiment():
    """The text of the experiment; its dataset wants the path of `archive`."""
    [text] = re.findall(r"^```yaml\n(apiVersion.*?)^```", PAGE.read_text(), re.DOTALL | re.M)
    return text


def archive(path):
    """Grey images of three classes, each with a brighter column, for the dataset of the page."""
    pixels = np.random.default_rng(1).integers(0, 120, (90, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(90) % 3
    pixels[np.arange(90), 0, :, labels * 2] += 100
    np.savez(
        path,
        train_images=pixels[:60],
        train_labels=labels[:60],
        test_images=pixels[60:],
        test_labels=labels[60:],
    )
    return path
