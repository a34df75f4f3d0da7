"""A figure of matplotlib as an element of a page.

matplotlib lays a plot out; afterwards its colours become variables of the page's style sheet, so
that one picture serves light, dark and print. The same figure gives the same bytes.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import matplotlib.style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from supreme_core.errors import escaped

REFERRING = ("href", "clip-path")

COORDINATES = ("d", "x", "y", "points", "transform", "width", "height")
DECIMALS = re.compile(r"-?\d+\.\d+")

COLOURS = {
    "#1a1e22": "var(--ink)",
    "#59636d": "var(--muted)",
    "#dde1e5": "var(--rule)",
    "#6a737c": "var(--original)",
    "#b65c00": "var(--retrained)",
    "#0b63b6": "var(--method)",
    "#ffffff": "var(--paper)",
    "#157a47": "var(--equivalent)",
}
"""Colours of a figure, those of the page by day, and what the page puts in their place."""

INK, MUTED, RULE, ORIGINAL, RETRAINED, METHOD, PAPER, EQUIVALENT = COLOURS

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "supreme",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 9.6,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Let everything drawn within it look the same on every machine."""
    with matplotlib.style.context("default"), mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def element(
    figure: Figure, *, name: str, described_as: str, titles: Mapping[str, Sequence[str]]
) -> str:
    """An <svg> element.

    name: letters and digits that no other figure of the page has.  described_as: for those who
    hear the page.  titles: by the gid of a group of markers, what pointing at each of them shows.
    """
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))
    _drop(root, "metadata", "style")  # a style element would apply to the whole page
    for gid, texts in titles.items():
        _name_markers(root, gid, texts)
    _own_ids(root, name)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _restyled(_shortened(value) if key in COORDINATES else value))
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    _unwrap(root)
    for group in root.iter("g"):
        _share_style(group)
    for size in ("width", "height", "version"):
        root.attrib.pop(size)
    root.set("role", "img")
    root.set("aria-label", escaped(described_as))
    return ElementTree.tostring(root, encoding="unicode")


def plain(text: str, *, longest: int = 28) -> str:
    """Text that the layout's font has and matplotlib does not read as mathematics; at most so
    long, with its beginning and its end, where names of one method differ."""
    text = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    end = longest // 3
    return text if len(text) <= longest else f"{text[: longest - end - 3]}...{text[-end:]}"


def _drop(root: ElementTree.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _name_markers(root: ElementTree.Element, gid: str, texts: Sequence[str]) -> None:
    group = root.find(f".//g[@id='{gid}']")
    if group is not None:
        for use, text in zip(group.iter("use"), texts, strict=True):
            ElementTree.SubElement(use, "title").text = escaped(text)


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that are referred to, under short names that are unique on the page."""
    links = {
        element.attrib[key] for element in root.iter() for key in REFERRING if key in element.attrib
    }
    short: dict[str, str] = {}
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old is not None and (f"#{old}" in links or f"url(#{old})" in links):
            short[old] = f"{name}-{len(short)}"
            element.set("id", short[old])
    for element in root.iter():
        for key in REFERRING:
            if key in element.attrib:
                old = element.attrib[key].removeprefix("url(").removesuffix(")").removeprefix("#")
                element.set(key, element.attrib[key].replace(old, short[old]))


def _shortened(value: str) -> str:
    """Two decimals, a hundredth of a point; no blanks that separate nothing."""
    rounded = DECIMALS.sub(
        lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."), value
    )
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", rounded).strip() if "M" in value else rounded


def _unwrap(parent: ElementTree.Element) -> None:
    """Put the content of groups that say nothing in their place, and drop blank text."""
    children = []
    for child in parent:
        _unwrap(child)
        bare = (
            child.tag in ("g", "defs") and not child.attrib and (child.tag == "g" or not len(child))
        )
        children += list(child) if bare else [child]
    parent[:] = children
    for element in (parent, *children):
        element.tail = None
    if parent.text is not None and not parent.text.strip():
        parent.text = None


def _share_style(group: ElementTree.Element) -> None:
    """State the style of markers that look alike once, in their group, which they inherit from."""
    uses = [child for child in group if child.tag == "use"]
    styles = {child.get("style") for child in uses}
    if len(uses) == len(group) > 1 and len(styles) == 1 and "style" not in group.attrib:
        group.set("style", styles.pop() or "")
        for child in uses:
            child.attrib.pop("style")


def _restyled(value: str) -> str:
    for stand_in, colour in COLOURS.items():
        value = value.replace(stand_in, colour)
    return value.replace("'DejaVu Sans'", "var(--sans)")
