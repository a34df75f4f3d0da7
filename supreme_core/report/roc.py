"""ROC curves of several methods in one small plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from supreme_core.report import svg

DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (9, 3))
"""Tell methods apart, which all have one colour; more of them than these repeat."""


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
        methods = 0
        for curve in curves:
            dashes: tuple[float, ...] = ()
            if curve.role == "method":
                dashes = DASHES[methods % len(DASHES)]
                methods += 1
            style = {"dashes": dashes} if dashes else {}
            colour = colours[curve.role]
            label = svg.plain(curve.label)
            axes.plot(curve.fpr, curve.tpr, color=colour, linewidth=1.5, label=label, **style)  # type: ignore[arg-type]
            if curve.band:
                axes.fill_between(curve.fpr, *curve.band, color=colour, alpha=0.16, linewidth=0)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.01)
        axes.grid(color=svg.RULE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(labelcolor=svg.MUTED, length=3)
        axes.set_xlabel("held-out samples called members")
        axes.set_ylabel("forgotten samples called members", color=svg.MUTED)
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
        return svg.element(figure, name=name, described_as=described_as, titles={})
