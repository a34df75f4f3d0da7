"""ROC curves of several methods in one small plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure

from supreme_core.errors import number_of
from supreme_core.report import plots, svg

DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 3), (9, 2, 1.5, 2, 1.5, 2))
"""Tell methods apart, which all have one colour. Of more methods than these, the ones furthest from
Retrained have them."""


@dataclass(frozen=True)
class Roc:
    """One curve.  band: lower and upper ends at each share of false alarms."""

    label: str
    role: Literal["original", "retrained", "method"]
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    band: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def roc_plot(curves: Sequence[Roc], *, described_as: str, name: str) -> str:
    """An <svg> element; its name and described_as are those of `svg.element`."""
    colours = {"original": svg.ORIGINAL, "retrained": svg.RETRAINED, "method": svg.METHOD}
    with svg.styled():
        figure = Figure(figsize=(5.6, 3.3), dpi=72)
        axes = figure.add_axes((0.095, 0.145, 0.5, 0.83))
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        for side in ("right", "top"):
            axes.spines[side].set_visible(False)
        axes.plot([0, 1], [0, 1], color=svg.MUTED, linewidth=0.8, dashes=(2, 2))
        named = _furthest(curves, len(DASHES))
        for curve in curves:
            style: dict[str, Any] = {"linewidth": 1.5, "label": svg.plain(curve.label)}
            if curve in named and (dashes := DASHES[named.index(curve)]):
                style["dashes"] = dashes
            elif curve.role == "method" and curve not in named:
                style = {"linewidth": 0.8, "alpha": 0.3, "zorder": 1.9}
            axes.plot(curve.fpr, curve.tpr, color=colours[curve.role], **style)
            if curve.band:
                axes.fill_between(
                    curve.fpr, *curve.band, color=colours[curve.role], alpha=0.16, linewidth=0
                )
        if others := sum(curve.role == "method" for curve in curves) - len(named):
            label = number_of(others, "nearer one")
            axes.plot([], [], color=svg.METHOD, linewidth=0.8, alpha=0.3, label=label)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.01)
        axes.grid(color=svg.RULE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(labelcolor=svg.MUTED, length=3)
        axes.set_xlabel("held-out samples called members")
        axes.set_ylabel("forgotten samples called members", color=svg.MUTED)
        plots.legend_beside(axes)
        return svg.element(figure, name=name, described_as=described_as, titles={})


def _furthest(curves: Sequence[Roc], most: int) -> list[Roc]:
    """Methods that are furthest from Retrained, or from guessing, at some share of false alarms."""
    retrained = next((curve for curve in curves if curve.role == "retrained"), None)

    def distance(curve: Roc) -> float:
        other = retrained.tpr if retrained else curve.fpr
        return max(abs(a - b) for a, b in zip(curve.tpr, other, strict=True))

    methods = [curve for curve in curves if curve.role == "method"]
    furthest = sorted(methods, key=distance, reverse=True)[:most]
    return [curve for curve in methods if curve in furthest]
