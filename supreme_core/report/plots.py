"""The plots of a report: one strip for each method, or one dot.

Each point says what it is when pointed at. `svg` makes them elements of a page.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor, log10
from typing import Literal, Protocol

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from supreme_core.report import svg

GOLDEN = 0.6180339887498949

WIDTH = 5.6
"""Inches."""

NARROW = 4.8
"""Inches of the plot that leads the page, which stands beside a table or on a telephone."""

PITCH, CLOSE = 0.27, 0.155
"""Inches from strip to strip, at most and at least."""

SCREEN = 4.8
"""Inches that all strips of the plot that leads may take, as far as `CLOSE` allows."""

PLUS_MINUS = "+/-"
"""Stand-in for the one letter of a heading that is not ASCII."""

WIDE = 12
"""Margins from 0 to the furthest value where an axis still shows both."""

DIFFERENT = 5
"""Times the smallest number that the largest is where sizes differ by much."""

FAR = 2.5
"""Times the largest mean, or a part of the smallest: intervals are cut there."""

LETTER, LETTER_HEIGHT = 5.2, 9.0
"""Points that a letter of a dot's label takes, a little more than most do."""

OF_ROLE = {"original": svg.ORIGINAL, "retrained": svg.RETRAINED, "method": svg.METHOD}


@dataclass(frozen=True)
class Strip:
    """One method: values in the order of the seeds, its interval.

    values: None where a seed has none, or is left out of very many.  names: what pointing at each
    value shows; () without values.
    """

    label: str
    role: Literal["original", "retrained", "method"]
    values: tuple[float | None, ...]
    names: tuple[str, ...]
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ReferenceBand:
    """A band across all strips, from low to high, with a line at `at`."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Dot:
    """A method by two numbers, with the ends of their intervals. chosen: it stands out."""

    label: str
    title: str
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    chosen: bool


@dataclass(frozen=True)
class StripPlot:
    """A strip for each method, over one axis.

    described_as: for those who hear the page.  margin: values that are nearer to 0 are of no
    account. A band shows it, and where it would be too narrow to see, the axis is logarithmic
    beyond twice the margin.  sizes: values are compared by their size, so that the axis is
    logarithmic where sizes differ by much.  heading: words above the reference.  note: a line below
    the axis.  leads: the plot is narrow, and low where strips are many.
    """

    strips: Sequence[Strip]
    axis: str
    described_as: str
    reference: ReferenceBand | None = None
    margin: float | None = None
    sizes: bool = False
    heading: str = ""
    note: str = ""
    leads: bool = False

    @property
    def titles(self) -> dict[str, list[str]]:
        """Titles of the points, by the name of their group."""
        strips = enumerate(self.strips)
        return {f"points{place}": _titles(strip) for place, strip in strips if strip.names}

    def figure(self) -> Figure:
        """Draw it, within `svg.styled`."""
        strips, reference, margin = self.strips, self.reference, self.margin
        pitch = min(PITCH, max(CLOSE, SCREEN / len(strips))) if self.leads else PITCH
        top = 0.22 if self.heading else 0.06
        below = 0.64 if self.note else 0.46
        width, height = NARROW if self.leads else WIDTH, 0.1 + below + top + pitch * len(strips)
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes(_box(strips, figure, top, below))
        _frame(axes, strips, self.axis)
        if margin:
            axes.axvspan(-margin, margin, color=svg.EQUIVALENT, alpha=0.16, linewidth=0)
        if reference:
            _reference(axes, reference)
        for place, strip in enumerate(strips):
            _strip(axes, strip, place)
        low, high = _limits(strips, reference, margin)
        if margin and max(-low, high) > WIDE * margin:
            low, high = _spread_out(axes, low, high, 2 * margin)
        elif self.sizes and scale_for(shown := list(_shown(strips, reference))) == "log":
            axes.set_xscale("log")
            low, high = log_ticks(axes.xaxis, shown)
        else:
            axes.locator_params(axis="x", nbins=5)  # beside long names the axis is narrow
        axes.set_xlim(low, high)
        if self.heading and reference:
            _heading(axes, self.heading, reference.at)
        if self.note:
            figure.text(
                *(1 - 0.12 / width, 0.05 / height),
                svg.plain(self.note, longest=80),
                ha="right",
                color=svg.MUTED,
                fontsize=8,
                parse_math=False,
            )
        return figure


@dataclass(frozen=True)
class DotPlot:
    """A dot for each method: what is best in both ways is at the lower left.

    Numbers are not below 0. An interval that reaches far out is cut at the frame. An axis is
    logarithmic where numbers are of different sizes.
    """

    dots: Sequence[Dot]
    x_axis: str
    y_axis: str
    described_as: str

    @property
    def titles(self) -> dict[str, list[str]]:
        """Titles of the dots, by the name of their group."""
        return {f"dot{place}": [dot.title] for place, dot in enumerate(self.dots)}

    def figure(self) -> Figure:
        """Draw it, within `svg.styled`."""
        dots = self.dots
        figure = Figure(figsize=(WIDTH, 3.4), dpi=72)
        axes = figure.add_axes((0.12, 0.145, 0.865, 0.835))
        ground(axes)
        axes.grid(color=svg.RULE, linewidth=0.5)
        axes.tick_params(length=3, labelcolor=svg.MUTED)
        axes.set_xlabel(svg.plain(self.x_axis, longest=80), parse_math=False)
        axes.set_ylabel(svg.plain(self.y_axis, longest=48), parse_math=False)
        span(axes, "x", [dot.x for dot in dots], [end for dot in dots for end in dot.x_ends])
        span(axes, "y", [dot.y for dot in dots], [end for dot in dots for end in dot.y_ends])
        for place, dot in enumerate(dots):
            _dot(axes, dot, place)
        _label_dots(axes, dots)
        return figure


class Plot(Protocol):
    """A figure of a page.  described_as: for those who hear the page.  titles: of its points, by
    the name of their group."""

    @property
    def described_as(self) -> str: ...
    @property
    def titles(self) -> Mapping[str, Sequence[str]]: ...
    def figure(self) -> Figure: ...


def drawn(plot: Plot, *, name: str) -> str:
    """An <svg> element, whose name is that of `svg.element`."""
    with svg.styled():
        figure = plot.figure()
        return svg.element(figure, name=name, described_as=plot.described_as, titles=plot.titles)


def picture(plot: Plot, form: str) -> bytes:
    """A file of this form, one of `choices.PICTURES`; the same plot gives the same bytes."""
    with svg.styled():
        figure, buffer = plot.figure(), BytesIO()
        figure.patch.set_visible(form == "png")  # which many programs show on black
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(buffer, format=form, dpi=DOTS, metadata=dates.get(form))
        return buffer.getvalue()


DOTS = 300
"""Dots to the inch."""


def _box(
    strips: Sequence[Strip], figure: Figure, top: float, bottom: float
) -> tuple[float, float, float, float]:
    """Left, bottom, width, height of the axes: fixed margins, whatever the number of strips."""
    width, height = figure.get_size_inches()
    left = 0.15 + 0.082 * max((len(svg.plain(strip.label)) for strip in strips), default=0)
    return (
        left / width,
        bottom / height,
        (width - left - 0.12) / width,
        (height - bottom - top) / height,
    )


def _frame(axes: Axes, strips: Sequence[Strip], axis: str) -> None:
    ground(axes)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(
        range(len(strips)), [svg.plain(strip.label) for strip in strips], parse_math=False
    )
    axes.set_ylim(len(strips) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="x", color=svg.RULE, linewidth=0.5)
    axes.set_xlabel(svg.plain(axis, longest=80), parse_math=False)


def ground(axes: Axes) -> None:
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.spines["top"].set_visible(False)
    axes.set_axisbelow(True)


def _reference(axes: Axes, reference: ReferenceBand) -> None:
    if reference.low < reference.high:
        axes.axvspan(reference.low, reference.high, color=svg.RETRAINED, alpha=0.13, linewidth=0)
    axes.axvline(reference.at, color=svg.RETRAINED, linewidth=1, dashes=(4, 2))


def _heading(axes: Axes, text: str, at: float) -> None:
    """Words above the reference, as near to its middle as the axis has room for them."""
    shown = svg.plain(text.replace("±", PLUS_MINUS), longest=48).replace(PLUS_MINUS, "±")
    low, _ = axes.transAxes.inverted().transform(axes.transData.transform((at, 0.0)))
    half = LETTER * len(shown) / 2 / (axes.bbox.width * 72 / axes.figure.dpi)
    place = min(max(low, half), 1 - half) if half < 0.5 else 0.5
    axes.text(
        *(place, 1.0),
        shown,
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        color=svg.RETRAINED,
        fontsize=9,
        parse_math=False,
    )


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
        axes.plot(
            [strip.low, strip.high], [place + 0.26] * 2, color=svg.INK, linewidth=1.3, zorder=4
        )
    axes.plot(
        *([strip.mean], [place + 0.26]),
        color=svg.INK,
        linestyle="none",
        marker="D",
        markersize=4.2,
        markeredgecolor=svg.PAPER,
        markeredgewidth=0.8,
        zorder=5,
    )


def _shown(strips: Sequence[Strip], reference: ReferenceBand | None) -> Iterator[float]:
    """Every number that is drawn."""
    for strip in strips:
        ends = (strip.low, strip.mean, strip.high)
        yield from (each for each in (*strip.values, *ends) if each is not None)
    if reference:
        yield from (reference.low, reference.high)


def _limits(
    strips: Sequence[Strip], reference: ReferenceBand | None, margin: float | None
) -> tuple[float, float]:
    """Everything that is drawn, with some room; some width also where all values are equal."""
    shown = [*_shown(strips, reference), *((-margin, margin) if margin else ())]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    room = 0.04 * (high - low) or max(abs(high) * 0.05, 0.5)
    return low - room, high + room


def _titles(strip: Strip) -> list[str]:
    named = zip(strip.names, strip.values, strict=True)
    return [name for name, value in named if value is not None]


def _spread_out(axes: Axes, low: float, high: float, linear: float) -> tuple[float, float]:
    """Linear between -linear and linear, logarithmic beyond; limits that leave room at the ends."""
    axes.set_xscale("symlog", linthresh=linear, linscale=0.9)
    decades = range(floor(log10(linear)), ceil(log10(max(-low, high))) + 1)
    steps = [10.0**decade for decade in decades if 10.0**decade >= linear]
    ticks = [-step for step in reversed(steps)] + [-linear / 2, 0.0, linear / 2] + steps
    low, high = (end * 1.3 if abs(end) > linear else end for end in (low, high))
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [_tick(tick) for tick in shown])
    axes.set_xticks([], minor=True)
    return low, high


def log_ticks(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """The limits.  Ticks at 1, 2 and 5 where they are few, else at powers of ten."""
    low, high = min(values) / 1.2, max(values) * 1.2
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(shown, [_tick(tick) for tick in shown])
    axis.set_ticks([], minor=True)
    return low, high


def _tick(value: float) -> str:
    text = f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def scale_for(values: Sequence[float]) -> Literal["linear", "log"]:
    return "log" if min(values) > 0 and max(values) > DIFFERENT * min(values) else "linear"


def _dot(axes: Axes, dot: Dot, place: int) -> None:
    colour = svg.INK if dot.chosen else svg.METHOD
    alpha = 1.0 if dot.chosen else 0.55
    for x, y in ((dot.x_ends, [dot.y] * 2), ([dot.x] * 2, dot.y_ends)):
        axes.plot(x, y, color=colour, linewidth=1.0, alpha=alpha)
    size, marker = (34, "D") if dot.chosen else (22, "o")
    drawn = axes.scatter(
        *([dot.x], [dot.y]),
        s=size,
        marker=marker,
        color=colour,
        edgecolors=svg.PAPER,
        linewidths=0.8,
        zorder=4,
        clip_on=False,  # a distance of 0 stands on the axis
    )
    drawn.set_gid(f"dot{place}")


def span(
    axes: Axes, which: Literal["x", "y"], means: Sequence[float], ends: Sequence[float]
) -> None:
    """All means, and of their intervals what lies within `FAR` times them.

    One wide interval of few seeds would leave no room to tell the other methods apart.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    positive = min((mean for mean in means if mean > 0), default=0.0)
    low, high = positive / FAR, FAR * max(means)
    numbers = [*means, *(end for end in ends if low <= end <= high)]
    if scale_for(numbers) == "log":
        axes.set(**{f"{which}scale": "log"})
        limits = log_ticks(axis, numbers)
    else:
        limits = (min(0.0, *numbers), 1.08 * max(0.0, *numbers) or 1.0)
    axes.set(**{f"{which}lim": limits})


def _label_dots(axes: Axes, dots: Sequence[Dot]) -> None:
    """Chosen ones first. One that finds no free place is left out: its dot says it."""
    inside = axes.bbox
    taken = [_box_at(axes, dot, 0.0, 0.0, 8.0, 8.0) for dot in dots]
    for dot in sorted(dots, key=lambda dot: not dot.chosen):
        text = svg.plain(dot.label)
        width = LETTER * len(text)
        aside, above = width / 2 + 4, LETTER_HEIGHT / 2 + 3
        places = [(side, end) for side in (aside, -aside) for end in (above, -above)]
        for right, up in (*places, (aside, 0), (-aside, 0), (0, 2 * above), (0, -2 * above)):
            box = _box_at(axes, dot, right, up, width, LETTER_HEIGHT)
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0
            if within and box.y1 <= inside.y1 and not box.count_overlaps(taken):
                taken.append(box)
                axes.annotate(
                    text,
                    (dot.x, dot.y),
                    (right, up),
                    textcoords="offset points",
                    ha="center",
                    va="center",
                    color=svg.INK,
                    fontsize=8.6,
                    fontweight="bold" if dot.chosen else "normal",
                    parse_math=False,
                )
                break


def _box_at(axes: Axes, dot: Dot, right: float, up: float, width: float, height: float) -> Bbox:
    """A box of that size in points, its centre so far from the dot."""
    x, y = axes.transData.transform((dot.x, dot.y))
    return Bbox.from_bounds(x + right - width / 2, y + up - height / 2, width, height)


def legend_beside(axes: Axes) -> None:
    """Legend to the right of the axes, whose labels are plain text, not formulas."""
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.03, 1.0),
        frameon=False,
        handlelength=2.6,
        borderaxespad=0,
        labelspacing=0.35,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
