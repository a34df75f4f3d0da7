"""The part of the page about tuning: what was chosen, what it gained and cost, every trial."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from supreme_core.analysis.trials import places
from supreme_core.api import names
from supreme_core.api.summary import (
    ObjectiveGain,
    SearchedSetting,
    SearchSummary,
    TuningSummary,
)
from supreme_core.errors import number_of
from supreme_core.report import cells, trial_plots, words
from supreme_core.report.cells import NONE, Scale, TableCell
from supreme_core.report.tables import Column, Table, TableLine
from supreme_core.report.templates import template
from supreme_core.report.trial_plots import Trial

SANITY_TITLES = {names.UNTRAINED: "Untrained network", names.NOISED: "Original with noise"}

MOST_PANELS = 160
"""Plots of trials on one page; each has about 6 KB."""

PLAIN = Scale(1.0, "", "")
TUNING, FINAL = "objective, tuning seeds", "objective, final seeds"


@dataclass(frozen=True)
class Panels:
    """Plots of one search: the objective over each setting, and the best of so many trials."""

    method: str
    best_of: Markup | None
    trials: tuple[Markup, ...]


@dataclass(frozen=True)
class ScenarioSearches:
    """Searches in one scenario.  sanity: models that are no trials."""

    name: str
    gains: Table
    search: Table
    sanity: Table | None
    panels: tuple[Panels, ...]


def section(found: TuningSummary | None) -> Markup:
    """The content of a section of the page; empty where nothing was tuned."""
    if found is None or not found.searches:
        return Markup()
    drawn = _drawn(found)
    page = template("tuning").render(
        how=how(found),
        retuned=number_of(found.retuned, "time") if found.retuned else "",
        rehearsal=words.listed(
            f"{each.title} with {words.settings(each.params) or 'its defaults'}"
            for each in found.rehearsal
        ),
        same_forget=words.listed(found.same_forget),
        final_lack=found.final_lack,
        scenarios=[
            ScenarioSearches(
                name=name,
                gains=gains(found, name),
                search=_search(found, name),
                sanity=_sanity(found, name),
                panels=tuple(
                    drawn[place]
                    for place, each in enumerate(found.searches)
                    if each.scenario == name and place in drawn
                ),
            )
            for name in scenarios(found)
        ],
        is_whole=len(drawn) == len(found.searches),
        is_halved=found.rounds > 1,
        learns=found.sampler == "tpe",
        floor_title="",
    )
    return Markup(page)


def scenarios(found: TuningSummary) -> list[str]:
    """Scenarios in which something was searched."""
    return list(dict.fromkeys(each.scenario for each in found.searches))


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
        f" {words.sees(found.track)}.{halving(found)} Trials saw validation samples in place"
        f" of the test set, and none took more than {words.plain(found.share)} of Retrained's"
        " passes of samples."
    )


def halving(found: TuningSummary) -> str:
    """Sentence on the rounds in which trials were made; empty where each was made on every seed."""
    if found.rounds == 1:
        return ""
    if found.rounds == 2:
        return (
            " All of them were made on the first tuning seed, and the given settings and the better"
            " half on the others."
        )
    return (
        f" All of them were made on the first tuning seed, and after each of {found.rounds - 1}"
        " rounds the better half went on."
    )


def gains(found: TuningSummary, scenario: str) -> Table:
    """The chosen settings and what they gained on seeds that chose, and on those that did not."""
    columns = [
        Column("chosen settings", kind="text"),
        Column("as given", kind="count", name="as given, tuning seeds", group=TUNING),
        Column("chosen", kind="count", name="chosen, tuning seeds", group=TUNING),
        Column("gain", kind="gap", name="gain, tuning seeds", group=TUNING),
    ]
    if not found.final_lack:
        columns += [
            Column("chosen", kind="count", name="chosen, final seeds", group=FINAL),
            Column("gain", kind="gap", name="gain, final seeds", group=FINAL),
            Column("luck", kind="gap"),
        ]
    lines = [
        TableLine(each.method, "method", tuple(_gain_cells(each))[: len(columns)])
        for each in found.searches
        if each.scenario == scenario
    ]
    remarks = [
        remark for each in found.searches if each.scenario == scenario for remark in _remarks(each)
    ]
    return Table("", tuple(columns), tuple(lines), remarks=tuple(remarks))


def _gain_cells(found: SearchSummary) -> Iterator[TableCell]:
    settings = ", ".join(map(_setting, found.settings)) if found.trial else "as given"
    yield TableCell(settings)
    yield _objective(found.given)
    yield _objective(found.objective)
    yield _gain(found.tuning_gain)
    yield _objective(found.final) if found.final is not None else cells.EMPTY
    yield _gain(found.final_gain)
    luck = found.optimism
    yield _interval(luck.mean, luck.low, luck.high) if luck else cells.EMPTY


def _objective(value: float | None) -> TableCell:
    return TableCell("failed") if value is None else TableCell(_number(value))


def _gain(found: ObjectiveGain | None) -> TableCell:
    return _interval(found.mean, found.low, found.high) if found else cells.EMPTY


def _interval(mean: float | None, low: float | None, high: float | None) -> TableCell:
    return cells.interval_cell(mean, low, high, PLAIN, signed=True)


def _remarks(found: SearchSummary) -> Iterator[str]:
    if found.note:
        yield f"{found.method}: {found.note}."
    if ends := [each.name for each in found.settings if each.at_end]:
        verb = "lies" if len(ends) == 1 else "lie"
        yield (
            f"{found.method}: the chosen {' and '.join(ends)} {verb} at an end of what was tried; a"
            " wider range may hold better ones."
        )
    for which, gain in (("tuning", found.tuning_gain), ("final", found.final_gain)):
        if gain and 0 < gain.n < gain.asked:
            seeds = number_of(gain.asked, f"{which} seed")
            yield (
                f"{found.method}: the gain is that of {gain.n} of {seeds}, in which both have a"
                " value."
            )


def _search(found: TuningSummary, scenario: str) -> Table:
    """The search itself: how well the given settings did among the trials, and what it cost."""
    columns = (
        Column("trials worse than given", kind="count"),
        Column("failed trials", kind="count"),
        Column("cost", "retrainings", kind="count"),
        Column("what mattered", kind="text"),
    )
    lines = [
        TableLine(each.method, "method", tuple(_search_cells(each)))
        for each in found.searches
        if each.scenario == scenario
    ]
    return Table("", columns, tuple(lines))


def _search_cells(found: SearchSummary) -> Iterator[TableCell]:
    failed = sum(value is None for value in found.values)
    mattered = [each for each in found.settings if each.share is not None]
    mattered.sort(key=lambda each: -(each.share or 0.0))
    yield TableCell(NONE if found.beaten is None else f"{found.beaten * 100:.0f} %")
    yield TableCell(f"{failed} of {len(found.values)}")
    yield TableCell(_number(found.retrainings))
    shares = (f"{each.name} {(each.share or 0.0) * 100:.0f} %" for each in mattered)
    yield TableCell(", ".join(shares) or NONE)


def _sanity(found: TuningSummary, scenario: str) -> Table | None:
    """Models that are no trials, with the places that they would have among tuned methods."""
    means = {
        each.model: None
        if None in each.values
        else sum(filter(None, each.values)) / len(each.values)
        for each in found.sanity
        if each.scenario == scenario and any(value is not None for value in each.values)
    }
    methods = {each.method: each.objective for each in found.searches if each.scenario == scenario}
    lines = [
        TableLine(
            SANITY_TITLES.get(model) or cells.method_title(model),
            cells.method_role(model),
            (
                _objective(means[model]),
                TableCell(f"{place.rank:g} of {len(methods) + 1}"),
                TableCell(", ".join(place.beats) or "none"),
            ),
        )
        for model, place in places(means, methods).items()
    ]
    columns = (
        Column("objective", kind="count"),
        Column("place", kind="count"),
        Column("methods that it beats", kind="text"),
    )
    return Table("", columns, tuple(lines), head="model") if lines else None


def _setting(found: SearchedSetting) -> str:
    return f"{found.name} {words.plain(found.chosen)}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _drawn(found: TuningSummary) -> dict[int, Panels]:
    """Plots by the place of the search, of as many searches as a page can have."""
    drawn: dict[int, Panels] = {}
    left = MOST_PANELS
    for place, each in enumerate(found.searches):
        left -= 1 + len(each.settings)
        if left < 0:
            break
        curve = _curve(each, name=f"best{place}")
        trials = (
            _trials(each, setting, name=f"trials{place}x{number}")
            for number, setting in enumerate(each.settings)
        )
        plots = tuple(Markup(plot) for plot in trials if plot)
        drawn[place] = Panels(each.method, Markup(curve) if curve else None, plots)
    return drawn


def _curve(found: SearchSummary, *, name: str) -> str | None:
    if sum(value is not None for value in found.best_of) < 2:
        return None
    return trial_plots.best_of_plot(
        found.best_of,
        given=found.values[0],
        described_as=f"{found.method}: best objective over the number of trials",
        name=name,
    )


def _trials(found: SearchSummary, setting: SearchedSetting, *, name: str) -> str | None:
    """Objective of every trial over one setting."""
    if all(value is None for value in found.values):
        return None
    return trial_plots.trial_plot(
        [
            Trial(
                title=f"trial {number}: {setting.name} {words.plain(value)},"
                f" {'failed' if objective is None else f'objective {objective:.3g}'}",
                value=value,
                objective=objective,
                role="chosen" if number == found.trial else "given" if number == 0 else "trial",
            )
            for number, (value, objective) in enumerate(
                zip(setting.tried, found.values, strict=True)
            )
        ],
        setting=setting.name,
        described_as=f"{found.method}: objective over {setting.name}, one point for each trial",
        name=name,
    )
