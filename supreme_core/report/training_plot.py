"""The figure of trainings: loss, accuracy and learning rate of Original and Retrained by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from supreme_core.api import names
from supreme_core.api.summary import OverEpochs, TrainingCurves, TrainingSummary
from supreme_core.report import cells, plots, svg
from supreme_core.report.roc import DASHES


@dataclass(frozen=True)
class TrainingPlot:
    """Three axes over the same epochs. Retrained of several scenarios differ in their dashes.

    lines: trainings of more than one epoch, at least one.
    """

    lines: Sequence["TrainingLine"]
    described_as: str = "Loss, accuracy and learning rate of Original and Retrained over the epochs"

    @property
    def titles(self) -> dict[str, list[str]]:
        """No title, because a curve has no points."""
        return {}

    def figure(self) -> Figure:
        """Draw it, within `svg.styled`."""
        figure = Figure(figsize=(plots.WIDTH, 4.5), dpi=72)
        loss, accuracy, rate = (
            figure.add_axes((0.115, bottom, 0.45, height))
            for bottom, height in ((0.665, 0.315), (0.29, 0.315), (0.095, 0.14))
        )
        longest = max(line.training.epochs for line in self.lines)
        for axes, title in ((loss, "loss"), (accuracy, "accuracy, %"), (rate, "rate")):
            _ground(axes, title, longest)
        for line in self.lines:
            found, style = line.training, line.style
            _curve(loss, found, found.loss, 1.0, style | {"label": line.label})
            _curve(accuracy, found, found.accuracy, 100.0, style)
            if found.validation:
                _curve(accuracy, found, found.validation, 100.0, style | {"linewidth": 0.7})
            _curve(rate, found, OverEpochs(median=found.rate, low=[], high=[]), 1.0, style)
        losses = [line.training.loss for line in self.lines]
        if known := [n for each in losses for n in each.median if n is not None]:
            ends = [n for each in losses for n in (*each.low, *each.high) if n is not None]
            plots.span(loss, "y", known, ends)
        rate.set_ylim(bottom=0)
        rate.set_xlabel("epoch")
        for axes in (loss, accuracy):
            axes.tick_params(labelbottom=False)
        if any(line.training.validation for line in self.lines):
            loss.plot([], [], color=svg.MUTED, linewidth=0.7, label="validation accuracy")
        plots.legend_beside(loss)
        return figure


@dataclass(frozen=True)
class TrainingLine:
    """One training of the figure."""

    training: TrainingSummary
    label: str
    dashes: tuple[float, ...]

    @property
    def style(self) -> dict[str, Any]:
        """Colour of the model and dashes of the scenario, as matplotlib has them."""
        colour = {"color": plots.OF_ROLE[cells.method_role(self.training.method)]}
        return colour | ({"dashes": self.dashes} if self.dashes else {})


def training_plot(found: TrainingCurves) -> TrainingPlot | None:
    """Figure of Original and Retrained; None where neither has a curve of more than one epoch."""
    lines = [line for line in told_apart(references_of(found)) if line.training.epochs > 1]
    return TrainingPlot(lines) if lines else None


def references_of(found: TrainingCurves) -> list[TrainingSummary]:
    """Trainings of Original, then those of Retrained."""
    return [e for name in names.REFERENCES for e in found.trainings if e.method == name]


def told_apart(references: Sequence[TrainingSummary]) -> list[TrainingLine]:
    """Lines of Original and of Retrained, of each as many as there are dashes."""
    return [
        TrainingLine(each, svg.plain(model_title(each, references), longest=26), dashes)
        for method in names.REFERENCES
        for each, dashes in zip(
            [each for each in references if each.method == method], DASHES, strict=False
        )
    ]


def model_title(found: TrainingSummary, among: Sequence[TrainingSummary]) -> str:
    """Name of a model, with its scenario where there are several."""
    title = cells.method_title(found.method)
    several = sum(each.method == found.method for each in among) > 1
    return f"{title} ({found.scenarios[0]})" if several else title


def _ground(axes: Axes, title: str, longest: int) -> None:
    plots.ground(axes)
    axes.grid(color=svg.RULE, linewidth=0.5)
    axes.tick_params(labelcolor=svg.MUTED, length=3)
    axes.set_ylabel(title)
    axes.set_xlim(1, longest)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def _curve(
    axes: Axes, found: TrainingSummary, numbers: OverEpochs, factor: float, style: dict[str, Any]
) -> None:
    """A median, with the band of its quartiles where it has some."""
    known = [
        (e, n * factor) for e, n in zip(found.epoch, numbers.median, strict=True) if n is not None
    ]
    axes.plot(*(zip(*known, strict=True) if known else ((), ())), **{"linewidth": 1.5, **style})
    band = [
        (epoch, low * factor, high * factor)
        for epoch, low, high in zip(found.epoch, numbers.low, numbers.high, strict=False)
        if low is not None and high is not None
    ]
    if found.n > 1 and band:
        epochs, lows, highs = zip(*band, strict=True)
        axes.fill_between(epochs, lows, highs, color=style["color"], alpha=0.16, linewidth=0)
