"""The part of the page about tuning: what was chosen, what it gained and cost, every trial."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from supreme_core.api.summary import SearchedSetting, SearchSummary, TuningSummary
from supreme_core.errors import number_of
from supreme_core.report import cells, plots, words
from supreme_core.report.cells import NONE
from supreme_core.report.templates import template

MOST_PLOTS = 24
"""Plots of trials on one page; each has about 15 KB."""


@dataclass(frozen=True)
class SearchLine:
    """One search as a row of the table."""

    method: str
    settings: str
    chosen: str
    given: str
    beaten: str
    failed: str
    retrainings: str
    mattered: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class ScenarioSearches:
    """Searches in one scenario.  sanity: objective of models that are no trials, with titles."""

    name: str
    lines: tuple[SearchLine, ...]
    sanity: tuple[tuple[str, str], ...]
    plots: tuple[Markup, ...]


def section(found: TuningSummary | None) -> Markup:
    """A <section> of the page; empty where nothing was tuned."""
    if found is None or not found.searches:
        return Markup()
    scenarios = dict.fromkeys(each.scenario for each in found.searches)
    drawn = {id(each) for each in found.searches[:MOST_PLOTS]}
    page = template("tuning").render(
        how=how(found),
        retuned=number_of(found.retuned, "time") if found.retuned else "",
        scenarios=[
            ScenarioSearches(
                name=name,
                lines=tuple(_line(each) for each in found.searches if each.scenario == name),
                sanity=tuple(_sanity(found, name)),
                plots=tuple(
                    Markup(plot)
                    for place, each in enumerate(found.searches)
                    if each.scenario == name and id(each) in drawn and (plot := _plot(each, place))
                ),
            )
            for name in scenarios
        ],
    )
    return Markup(page)


def how(found: TuningSummary) -> str:
    """Sentence on how settings were chosen, for the page and for a paper."""
    objective = found.objective
    if not isinstance(objective, str):
        weights = ", ".join(f"{words.plain(w)} × {row}" for row, w in objective.items())
        objective = f"the weighted gaps {weights}"
    seeds = f"{number_of(len(found.seeds), 'tuning seed')} ({words.seed_ranges(found.seeds)})"
    return (
        f"Settings were chosen among {number_of(found.trials, 'trial')} ({found.sampler}) and the"
        f" given settings, by the mean of {objective} over {seeds}, which"
        f" {words.sees(found.track)}. Trials saw validation samples in place of the test set, and"
        f" none took more than {words.plain(found.share)} of Retrained's passes of samples."
    )


def in_short(found: TuningSummary) -> str:
    """Note that stands with every table."""
    methods = words.listed(dict.fromkeys(each.method for each in found.searches))
    objective = found.objective if isinstance(found.objective, str) else "weighted gaps"
    trials = number_of(found.trials, "trial")
    told = (
        f"Settings of {methods} were tuned: {trials} each,"
        f" {number_of(len(found.seeds), 'tuning seed')}, objective {objective} ({found.track});"
        " rows that end in .as-given have the settings of the experiment."
    )
    if found.retuned:
        told += f" Settings were chosen anew {number_of(found.retuned, 'time')}."
    return told


def _line(found: SearchSummary) -> SearchLine:
    failed = sum(value is None for value in found.values)
    mattered = [each for each in found.settings if each.share is not None]
    mattered.sort(key=lambda each: -(each.share or 0.0))
    return SearchLine(
        method=found.method,
        settings=", ".join(map(_setting, found.settings)) if found.trial else "as given",
        chosen=_number(found.objective),
        given=_number(found.given) if found.given is not None else "failed",
        beaten=NONE if found.beaten is None else f"{found.beaten:.0%}",
        failed=f"{failed} of {len(found.values)}",
        retrainings=_number(found.retrainings),
        mattered=", ".join(f"{each.name} {each.share:.0%}" for each in mattered) or NONE,
        remarks=tuple(_remarks(found)),
    )


def _remarks(found: SearchSummary) -> Iterator[str]:
    if found.note:
        yield f"{found.method}: {found.note}"
    if ends := [each.name for each in found.settings if each.at_end]:
        verb = "lies" if len(ends) == 1 else "lie"
        yield (
            f"{found.method}: the chosen {' and '.join(ends)} {verb} at an end of what was tried; a"
            " wider range may hold better ones"
        )


def _setting(found: SearchedSetting) -> str:
    return f"{found.name} {words.plain(found.chosen)}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _sanity(found: TuningSummary, scenario: str) -> Iterator[tuple[str, str]]:
    for each in found.sanity:
        values = [value for value in each.values if value is not None]
        if each.scenario == scenario and values:
            yield cells.method_title(each.model), f"{sum(values) / len(values):.3g}"


def _plot(found: SearchSummary, place: int) -> str | None:
    """Objective of every trial over the setting that mattered most."""
    numbers = [each for each in found.settings if _is_number(each)]
    setting = max(numbers, key=lambda each: each.share or 0.0, default=None)
    if setting is None:
        return None
    points = [
        (number, x, y)
        for number, (x, y) in enumerate(zip(setting.tried, found.values, strict=True))
        if isinstance(x, int | float) and y is not None and x >= 0
    ]
    if len(points) < 2:
        return None
    return plots.dot_plot(
        [
            plots.Dot(
                label=_title(number, found.trial),
                title=f"trial {number}: {setting.name} {x:g}, objective {y:.3g}",
                x=float(x),
                y=y,
                x_ends=(float(x), float(x)),
                y_ends=(y, y),
                chosen=number == found.trial,
            )
            for number, x, y in points
        ],
        x_axis=f"{found.method}: {setting.name}",
        y_axis="objective",
        described_as=f"objective over {setting.name}, one point for each trial of {found.method}",
        name=f"trials{place}",
    )


def _is_number(found: SearchedSetting) -> bool:
    return isinstance(found.chosen, int | float) and not isinstance(found.chosen, bool)


def _title(number: int, chosen: int) -> str:
    return "chosen" if number == chosen else "given" if number == 0 else ""
