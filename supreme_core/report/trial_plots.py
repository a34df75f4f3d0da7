"""Small plots of a search: every trial over one setting, and the best of so many trials.

Each point says what it is when pointed at. `svg` makes them elements of a page.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from supreme_core.report import plots, svg, words

SIZE = (2.7, 2.1)
"""Inches."""

LONGEST_VALUE = 9
"""Letters of a value below the axis, where values are names."""


@dataclass(frozen=True)
class Trial:
    """One trial.  value: of the setting.  objective: None where it failed."""

    title: str
    value: Any
    objective: float | None
    role: Literal["trial", "given", "chosen"]


def trial_plot(trials: Sequence[Trial], *, setting: str, described_as: str, name: str) -> str:
    """An <svg> element: the objective over one setting, one point for each trial.

    A trial that failed is a cross at the upper edge. At least one has not.
    """
    set_ones = [trial for trial in trials if trial.value is not None]
    if _are_numbers([trial.value for trial in set_ones]):
        trials = set_ones  # one that leaves the setting out has no place among numbers
    places = _places([trial.value for trial in trials])
    with _panel(svg.plain(setting, longest=30)) as (figure, axes):
        found = [trial.objective for trial in trials if trial.objective is not None]
        plots.span(axes, "y", found, found)
        _spread(axes, [trial.value for trial in trials], places)
        titles: dict[str, Sequence[str]] = {}
        for role in ("failed", "trial", "given", "chosen"):
            of_role = [
                (trial, place)
                for trial, place in zip(trials, places, strict=True)
                if role == ("failed" if trial.objective is None else trial.role)
            ]
            if of_role:
                _scatter(axes, role, of_role)
                titles[role] = [trial.title for trial, _ in of_role]
        return svg.element(figure, name=name, described_as=described_as, titles=titles)


def best_of_plot(
    best: Sequence[float | None], *, given: float | None, described_as: str, name: str
) -> str:
    """An <svg> element: the expected best of k trials over k, of which at least two are known.

    Beyond half of the trials, where few of them decide, the line is pale.  given: objective of the
    given settings, a line across.
    """
    known = [(k, value) for k, value in enumerate(best, 1) if value is not None]
    with _panel("trials") as (figure, axes):
        values = [value for _, value in known]
        plots.span(axes, "y", values, [*values, *([given] if given is not None else [])])
        axes.set_xlim(0.5, len(best) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        if given is not None:
            axes.axhline(given, color=svg.ORIGINAL, linewidth=1, dashes=(4, 2))
        half = [point for point in known if 2 * point[0] <= len(best)]
        rest = known[max(len(half) - 1, 0) :]
        for line, alpha in ((half, 1.0), (rest, 0.4)):
            axes.plot(*zip(*line, strict=True) if line else ([], []), color=svg.METHOD, alpha=alpha)
        ks = [k for k, _ in known]
        drawn = axes.scatter(ks, values, s=14, color=svg.METHOD, linewidths=0)
        drawn.set_gid("best")
        titles = {"best": [f"best of {k}: {value:.3g}" for k, value in known]}
        return svg.element(figure, name=name, described_as=described_as, titles=titles)


@contextmanager
def _panel(x_axis: str) -> Iterator[tuple[Figure, Axes]]:
    with svg.styled():
        figure = Figure(figsize=SIZE, dpi=72)
        axes = figure.add_axes((0.235, 0.225, 0.735, 0.725))
        plots.ground(axes)
        axes.grid(color=svg.RULE, linewidth=0.5)
        axes.tick_params(length=3, labelcolor=svg.MUTED)
        axes.set_xlabel(x_axis, parse_math=False)
        axes.set_ylabel("objective")
        yield figure, axes


def _places(values: Sequence[Any]) -> list[float]:
    """Places on the axis: numbers themselves, of other values their number among all."""
    if _are_numbers(values):
        return [float(value) for value in values]
    named = _named(values)
    return [float(named.index(words.plain(value))) for value in values]


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _named(values: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(map(words.plain, values)))


def _spread(axes: Axes, values: Sequence[Any], places: Sequence[float]) -> None:
    if not _are_numbers(values):
        named = [svg.plain(each, longest=LONGEST_VALUE) for each in _named(values)]
        axes.set_xticks(range(len(named)), named, parse_math=False)
        axes.set_xlim(-0.5, len(named) - 0.5)
        return
    low, high = min(places), max(places)
    if plots.scale_for(places) == "log":
        axes.set_xscale("log")
        low, high = low / 1.2, high * 1.2
        ticks = _log_ticks(low, high)
        axes.set_xticks(ticks, [_tick(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        room = 0.05 * (high - low) or max(abs(high) * 0.05, 0.5)
        low, high = low - room, high + room
        whole = all(isinstance(value, int) for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=whole, min_n_ticks=1))
    axes.set_xlim(low, high)


def _tick(value: float) -> str:
    """1e-5, not 1e-05"""
    return re.sub(r"e([+-])0?", lambda found: f"e{found[1]}".removesuffix("+"), f"{value:g}")


MOST_TICKS = 4


def _log_ticks(low: float, high: float) -> list[float]:
    """Few powers of ten; 1, 2 and 5 as well where there is one of them at most."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    powers = [decade for decade in decades if low <= 10.0**decade <= high]
    if len(powers) > 1:
        return [10.0**decade for decade in powers[:: ceil(len(powers) / MOST_TICKS)]]
    steps = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    shown = [step for step in steps if low <= step <= high]
    return shown[:: ceil(len(shown) / MOST_TICKS) or 1]


MARKERS: dict[str, dict[str, Any]] = {
    "failed": {"marker": "x", "s": 22, "color": svg.MUTED, "linewidths": 1.2},
    "trial": {"marker": "o", "s": 20, "color": svg.METHOD, "alpha": 0.6, "linewidths": 0},
    "given": {
        "marker": "o",
        "s": 34,
        "facecolors": svg.PAPER,
        "edgecolors": svg.INK,
        "linewidths": 1.4,
    },
    "chosen": {"marker": "D", "s": 34, "color": svg.INK, "linewidths": 0},
}


def _scatter(axes: Axes, role: str, found: Sequence[tuple[Trial, float]]) -> None:
    x = [place for _, place in found]
    y = [1.0 if trial.objective is None else trial.objective for trial, _ in found]
    at = axes.get_xaxis_transform() if role == "failed" else axes.transData
    drawn = axes.scatter(x, y, transform=at, zorder=4, clip_on=False, **MARKERS[role])
    drawn.set_gid(role)
