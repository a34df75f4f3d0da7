"""Every seed as a point: one strip for each method, as SVG to stand inside a page.

matplotlib lays the plot out; afterwards its colours become variables of the page's style sheet, so
that one picture serves light, dark and print, and each point says its seed and value when pointed
at. The same data gives the same bytes.
"""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

REFERRING = ("href", "clip-path")
GOLDEN = 0.6180339887498949

COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--original)",
    "#050505": "var(--retrained)",
    "#060606": "var(--method)",
    "#070707": "var(--paper)",
}
"""Stand-ins that matplotlib draws with, and what the page puts in their place."""

INK, MUTED, RULE, ORIGINAL, RETRAINED, METHOD, PAPER = COLOURS
OF_ROLE = {"original": ORIGINAL, "retrained": RETRAINED, "method": METHOD}

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "supreme",
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


@dataclass(frozen=True)
class Strip:
    """One method: values in the order of the seeds (None where a seed has none), its interval.

    names: what pointing at each value shows, or () where that would make a page too heavy.
    """

    label: str
    role: Literal["original", "retrained", "method"]
    values: tuple[float | None, ...]
    names: tuple[str, ...]
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reference:
    """A band across all strips, from low to high, with a line at `at`."""

    at: float
    low: float
    high: float


def strip_plot(
    strips: Sequence[Strip],
    *,
    axis: str,
    described_as: str,
    name: str,
    reference: Reference | None = None,
) -> str:
    """An <svg> element. name: letters and digits that no other plot of the page has."""
    with matplotlib.style.context("default"), mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(5.6, 0.62 + 0.27 * len(strips)))
        axes = figure.add_axes(_box(strips, figure))
        _frame(axes, strips, axis)
        if reference:
            _reference(axes, reference)
        for place, strip in enumerate(strips):
            _strip(axes, strip, place)
        axes.set_xlim(*_limits(strips, reference))
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return _for_page(buffer.getvalue(), strips, name=name, described_as=described_as)


def _box(strips: Sequence[Strip], figure: Figure) -> tuple[float, float, float, float]:
    """Left, bottom, width, height of the axes: fixed margins, whatever the number of strips."""
    width, height = figure.get_size_inches()
    left = 0.15 + 0.082 * max((len(_plain(strip.label)) for strip in strips), default=0)
    return left / width, 0.46 / height, (width - left - 0.12) / width, (height - 0.52) / height


def _frame(axes: Axes, strips: Sequence[Strip], axis: str) -> None:
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.set_yticks(range(len(strips)), [_plain(strip.label) for strip in strips], parse_math=False)
    axes.set_ylim(len(strips) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(_plain(axis, longest=80), parse_math=False)


def _reference(axes: Axes, reference: Reference) -> None:
    if reference.low < reference.high:
        axes.axvspan(reference.low, reference.high, color=RETRAINED, alpha=0.13, linewidth=0)
    axes.axvline(reference.at, color=RETRAINED, linewidth=1, dashes=(4, 2))


def _strip(axes: Axes, strip: Strip, place: int) -> None:
    """Points in the upper part of the strip, mean and interval below, so neither hides the other.

    A seed has the same height in every strip.
    """
    colour = OF_ROLE[strip.role]
    points = [
        (value, place - 0.12 + 0.34 * ((i * GOLDEN) % 1 - 0.5))
        for i, value in enumerate(strip.values)
        if value is not None
    ]
    if points:
        x, y = zip(*points, strict=True)
        drawn = axes.scatter(x, y, s=13, color=colour, alpha=0.6, linewidths=0, zorder=3)
        drawn.set_gid(f"points{place}")
    if strip.mean is None:
        return
    if strip.low is not None and strip.high is not None:
        axes.plot([strip.low, strip.high], [place + 0.26] * 2, color=INK, linewidth=1.3, zorder=4)
    axes.plot(
        *([strip.mean], [place + 0.26]),
        color=INK,
        marker="D",
        markersize=4.2,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        zorder=5,
    )


def _limits(strips: Sequence[Strip], reference: Reference | None) -> tuple[float, float]:
    """Everything that is drawn, with a margin; some width also where all values are equal."""
    shown = [value for strip in strips for value in strip.values if value is not None]
    ends = [end for strip in strips for end in (strip.low, strip.high) if end is not None]
    shown += ends + ([reference.low, reference.high] if reference else [])
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    margin = 0.04 * (high - low) or max(abs(high) * 0.05, 0.5)
    return low - margin, high + margin


def _for_page(svg: bytes, strips: Sequence[Strip], *, name: str, described_as: str) -> str:
    """matplotlib's file as an element of a page: ids of its own, colours of the page."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))
    _drop(root, "metadata", "style")  # a style element would apply to the whole page
    _name_points(root, strips)
    _own_ids(root, name)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _restyled(value))
    for size in ("width", "height", "version"):
        root.attrib.pop(size)
    root.set("role", "img")
    root.set("aria-label", described_as)
    return ElementTree.tostring(root, encoding="unicode")


def _drop(root: ElementTree.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _name_points(root: ElementTree.Element, strips: Sequence[Strip]) -> None:
    for place, strip in enumerate(strips):
        group = root.find(f".//g[@id='points{place}']")
        if group is None or not strip.names:
            continue
        texts = [n for n, v in zip(strip.names, strip.values, strict=True) if v is not None]
        for use, text in zip(group.iter("use"), texts, strict=True):
            ElementTree.SubElement(use, "title").text = text


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that are referred to, under a name that is unique on the page."""
    links = {
        element.attrib[key] for element in root.iter() for key in REFERRING if key in element.attrib
    }
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if f"#{old}" in links or f"url(#{old})" in links:
            element.set("id", f"{name}-{old}")
        for key in REFERRING:
            if key in element.attrib:
                element.set(key, element.attrib[key].replace("#", f"#{name}-", 1))


def _restyled(value: str) -> str:
    for stand_in, colour in COLOURS.items():
        value = value.replace(stand_in, colour)
    return value.replace("'DejaVu Sans'", "var(--sans)")


def _plain(text: str, *, longest: int = 28) -> str:
    """What the layout's font has and matplotlib does not read as mathematics; at most so long."""
    text = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return text if len(text) <= longest else text[: longest - 3] + "..."
