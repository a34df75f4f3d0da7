"""The part of the page about trainings: had they converged?

A figure of Original and Retrained, and a table with a small curve of each training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from supreme_core.analysis.training_curves import FEWEST_EPOCHS, LEVEL, MOST_SEEDS, PARTS
from supreme_core.api import names
from supreme_core.api.summary import OverEpochs, TrainingCurves, TrainingSummary
from supreme_core.errors import number_of
from supreme_core.report import cells, plots, words
from supreme_core.report.cells import NONE, TableCell
from supreme_core.report.tables import Column, Table, TableLine
from supreme_core.report.templates import template
from supreme_core.report.training_plot import model_title, references_of, told_apart, training_plot

WIDTH, HEIGHT = 132, 34
"""Size of a small curve in pixels."""


@dataclass(frozen=True)
class TrainingView:
    """Trainings of methods in one scenario."""

    name: str
    table: Table


def section(found: TrainingCurves) -> Markup:
    """The content of a section of the page; empty where no model is in the store."""
    if not found.seeds:
        return Markup()
    references = references_of(found)
    methods = [each for each in found.trainings if each.method not in names.REFERENCES]
    scenarios = dict.fromkeys(each.scenarios[0] for each in methods)
    plot = training_plot(found)
    page = template("training_curves").render(
        answers=list(answers(references)),
        references=_table(references, "model"),
        plot=Markup(plots.drawn(plot, name="trainings")) if plot else None,
        is_whole=plot is None or len(told_apart(references)) == len(references),
        scenarios=[
            TrainingView(name, _table([m for m in methods if m.scenarios[0] == name], "method"))
            for name in scenarios
        ],
        without=_without(found),
        left_out=number_of(found.left_out, "further training") if found.left_out else "",
        seeds=("the first " if found.seeds == MOST_SEEDS else "") + number_of(found.seeds, "seed"),
        many=any(each.n > 1 for each in found.trainings),
        fewest=FEWEST_EPOCHS,
        part=ORDINALS[PARTS],
        level=f"{100 * LEVEL:g}",
        floor_title="",
    )
    return Markup(page)


ORDINALS = {5: "fifth"}


def answers(references: Sequence[TrainingSummary]) -> Iterator[str]:
    """Sentences on whether the models that everything is compared with had converged."""
    judged = [each for each in references if each.judged]
    falling = [each for each in judged if _most(each.falling, each)]
    for each in falling:
        yield (
            f"{model_title(each, references)} was still falling at the end of its"
            f" {number_of(each.epochs, 'epoch')}, in {each.falling} of"
            f" {number_of(each.judged, 'seed')}: with more epochs it would be another model."
        )
    level = [each for each in judged if not _most(each.falling, each)]
    if level:
        listed = words.listed(model_title(each, references) for each in level)
        yield f"{listed} had levelled off at the end of training."
    if references and not judged:
        epochs = max(each.epochs for each in references)
        yield (
            f"After {number_of(epochs, 'epoch')} nothing is said of whether trainings had levelled"
            f" off: that takes {FEWEST_EPOCHS}."
        )


def _most(count: int, found: TrainingSummary) -> bool:
    return 2 * count > found.judged


def _without(found: TrainingCurves) -> str:
    """Sentence on the models without a curve, with their scenarios where they have one in others;
    empty where all have one."""
    if not found.trainings:
        return "No model has a curve: all were computed by a version that kept none."
    drawn = {each.method for each in found.trainings}
    lacking: dict[str, list[str]] = {}
    for each in found.without:
        lacking.setdefault(each.method, []).append(each.scenario)
    listed = words.listed(
        cells.method_title(method) + (f" in {words.listed(where)}" if method in drawn else "")
        for method, where in lacking.items()
    )
    why = "made without a training of epochs, or by a version that kept no curves"
    return f"No curve of {listed}: {why}." if lacking else ""


def _table(found: Sequence[TrainingSummary], head: str) -> Table:
    """A line for each training, with its curves."""
    validated = any(each.validation for each in found)
    columns = [
        Column("epochs", kind="count"),
        Column("loss", kind="count"),
        Column("accuracy", "%", kind="count"),
        *([Column("validation", "%", kind="count")] if validated else []),
        Column("learning rate", kind="count"),
        Column("at the end", kind="text"),
    ]
    lines = []
    for each in found:
        title, role = _line_title(each, found), cells.method_role(each.method)
        line = [
            TableCell(str(each.epochs), note=number_of(each.n, "seed") if each.n > 1 else ""),
            _curve(each, each.loss, role, f"loss of {title}", 1.0),
            _curve(each, each.accuracy, role, f"accuracy of {title}", 100.0),
        ]
        if validated:
            line.append(
                _curve(each, each.validation, role, f"validation accuracy of {title}", 100.0)
                if each.validation
                else cells.EMPTY
            )
        line += [_rate(each.rate), _end(each)]
        lines.append(TableLine(title, role, tuple(line)))
    return Table("", tuple(columns), tuple(lines), head=head)


def _line_title(found: TrainingSummary, among: Sequence[TrainingSummary]) -> str:
    title = model_title(found, among) if found.method in names.REFERENCES else found.method
    several = len({each.training for each in among if each.method == found.method}) > 1
    return f"{title}: {found.training}" if several else title


def _rate(rates: Sequence[float | None]) -> TableCell:
    known = [rate for rate in rates if rate is not None]
    if not known:
        return cells.EMPTY
    if min(known) == max(known):
        return TableCell(_number(known[0]))
    return TableCell(f"{_number(known[0])} to {_number(known[-1])}", note=_peak(known))


def _peak(known: Sequence[float]) -> str:
    highest = max(known)
    return "" if highest in (known[0], known[-1]) else f"at most {_number(highest)}"


def _number(value: float) -> str:
    return cells.number(value, 0) if value == 0 else f"{value:.3g}".replace("-", cells.MINUS)


def _end(found: TrainingSummary) -> TableCell:
    if not found.judged:
        return TableCell(NONE)
    for count, told in ((found.falling, "still falling"), (found.risen, "did not fall")):
        if _most(count, found):
            return TableCell(told, note=_of(count, found))
    others = found.falling + found.risen
    return TableCell("levelled off", note=f"but not in {_of(others, found)}" if others else "")


def _of(count: int, found: TrainingSummary) -> str:
    return f"{count} of {number_of(found.judged, 'seed')}" if found.judged > 1 else ""


def _curve(
    found: TrainingSummary, numbers: OverEpochs, role: str, what: str, factor: float
) -> TableCell:
    """A small curve over its own range, with its first and its last number."""
    known = [
        (epoch, median, low, high)
        for epoch, median, low, high in zip(
            found.epoch, numbers.median, numbers.low, numbers.high, strict=True
        )
        if median is not None and low is not None and high is not None
    ]
    if not known:
        return cells.EMPTY
    first, last = (_shown(known[place][1], factor) for place in (0, -1))
    ends = f"{first} to {last}" if len(known) > 1 else first
    if len(known) == 1:
        return TableCell(ends)
    told = f"{what}, epochs {known[0][0]} to {known[-1][0]}: {ends}"
    return TableCell(_small(known, role, told, widened=found.n > 1), note=ends)


def _shown(value: float, factor: float) -> str:
    return f"{100 * value:.1f}" if factor == 100.0 else _number(value)


def _small(
    points: Sequence[tuple[int, float, float, float]], role: str, told: str, *, widened: bool
) -> Markup:
    """An <svg> of a median and its quartiles; of one seed the line alone."""
    first, last = points[0][0], points[-1][0]
    bottom, top = min(p[2] for p in points), max(p[3] for p in points)
    room = (top - bottom) or 1.0

    def at(epoch: int, value: float) -> str:
        x = (epoch - first) / (last - first) * WIDTH
        y = HEIGHT - 1.5 - (value - bottom) / room * (HEIGHT - 3)
        return f"{x:.1f} {y:.1f}"

    line = "L".join(at(p[0], p[1]) for p in points)
    band = ""
    if widened:
        edge = [at(p[0], p[3]) for p in points] + [at(p[0], p[2]) for p in reversed(points)]
        band = f'<path class="band" d="M{"L".join(edge)}Z"/>'
    return Markup(
        f'<svg class="spark {role}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(words.readable(told))}">{band}<path d="M{line}"/></svg>'
    )
