"""The answer of a scenario in one sentence, with which page and terminal begin. Pure.

It names the methods nearest to Retrained by the primary metric, says how sure that is, and then
who did not forget, lost the task or gave no model. All numbers are those of the summary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from supreme_core.analysis import hypotheses
from supreme_core.api import names
from supreme_core.api.summary import Gap, Row
from supreme_core.errors import number_of
from supreme_core.report import cells, tables, words
from supreme_core.report.tables import IndexedSummary

MOST_NAMED = 4
"""Methods that the sentence names in one place; the table has all."""

UNFORGOTTEN = 0.9
"""Share of Original's gap from which on a method is said not to have forgotten."""


@dataclass(frozen=True)
class _MethodFate:
    """A method of the scenario. distance: to Retrained in the primary metric, as it is shown; None
    without a value.  collapsed: seeds whose model lost the task."""

    name: str
    row: Row
    distance: str | None
    collapsed: int
    of: int

    @property
    def gap(self) -> Gap | None:
        return self.row.gap

    @property
    def lost(self) -> int:
        return self.row.seeds.failed + self.row.seeds.undefined


def answer(indexed: IndexedSummary, scenario: str) -> str:
    """One sentence on the methods of the scenario."""
    methods = list(_methods(indexed, scenario))
    told = [*_main(indexed, scenario, methods), *_fates(indexed, methods)]
    sentence = "; ".join(told) + "."
    asked, finished = len(indexed.summary.seeds), len(indexed.finished)
    if methods and 0 < finished < asked:
        return f"By {finished} of {number_of(asked, 'seed')}: {sentence[:1].lower()}{sentence[1:]}"
    return sentence


def _methods(indexed: IndexedSummary, scenario: str) -> Iterator[_MethodFate]:
    """The methods, nearest first."""
    collapsed = {
        rate.method: (rate.collapsed, rate.of)
        for rate in indexed.summary.collapse_rates
        if rate.scenario == scenario
    }
    for name in tables.by_nearness(indexed, scenario):
        row = indexed.row(scenario, name, indexed.primary)
        if row and cells.method_role(name) == "method":
            yield _MethodFate(name, row, _distance(indexed, row), *collapsed.get(name, (0, 0)))


def _distance(indexed: IndexedSummary, row: Row) -> str | None:
    """Absolute mean gap, or the mean of a metric that is a distance itself."""
    gap = abs(row.gap.mean) if row.gap else None
    mean = row.mean if indexed.facts[row.metric].compares else gap
    if mean is None:
        return None
    scale = indexed.scale(row.metric)
    shown = mean * scale.factor
    return cells.number(shown, cells.decimals(shown, None, percent=scale.percent))


def _main(indexed: IndexedSummary, scenario: str, methods: Sequence[_MethodFate]) -> Iterator[str]:
    """Clauses on who is nearest, who is equivalent too, and who did not forget; where settings were
    tuned, of those with chosen ones and then of the others."""
    metric = cells.row_title(indexed.primary)
    if not methods:
        yield "No method is defined here"
    elif not indexed.finished:
        yield "No seed has a result yet, so nothing is known"
    elif indexed.facts[indexed.primary].measured:
        yield f"The primary metric, {metric}, is measured and tells no distance to Retrained"
    elif not any(method.row.n for method in methods):
        yield f"{_of(indexed, scenario, methods)}, none has a value of {metric}"
    elif not any(method.distance for method in methods):
        yield f"Retrained has no value of {metric}, so no distance to it is known"
    else:
        by_name = {method.name: method for method in methods}
        tracks = [[by_name[name] for name in track] for track in indexed.tracks(by_name)]
        opening = f"{_of(indexed, scenario, methods)}, "
        for track, among in zip(tracks, AMONG if len(tracks) > 1 else [""], strict=True):
            if placed := _placed(track):
                yield from _of_placed(indexed, scenario, track, placed, opening, among)
            else:
                kept = f"both kept the task and gave a value of {metric} in every seed"
                yield f"{opening}none{among} {kept}"
            opening = ""


AMONG = " of the tuned ones", " of those as given"
"""Words for the tracks, in their order."""


def _placed(methods: Sequence[_MethodFate]) -> list[_MethodFate]:
    """The methods that are compared: with a value of every seed that any has, and none of them of
    a model that lost the task, which is as far from everything as from Retrained."""
    most = max(method.row.n for method in methods)
    return [
        method
        for method in methods
        if method.distance and not method.lost and not method.collapsed and method.row.n == most
    ]


def _of_placed(
    indexed: IndexedSummary,
    scenario: str,
    methods: Sequence[_MethodFate],
    placed: Sequence[_MethodFate],
    opening: str,
    among: str,
) -> Iterator[str]:
    """opening, among: words before and behind those who are nearest."""
    nearest = [method for method in placed if method.distance == placed[0].distance]
    away = f"{_away(indexed, scenario, nearest[0])}{_verdict(indexed, scenario, nearest)}"
    if len(methods) == 1 and not among:
        yield f"The only method, {_named(nearest)}, is compared with Retrained: {away}"
    else:
        verb = "is" if len(nearest) == 1 else "are"
        yield f"{opening}{_named(nearest)} {verb} nearest to Retrained{among}: {away}"
    others = [m for m in placed if m not in nearest and m.gap and m.gap.verdict == "equivalent"]
    if others:
        yield f"equivalent too: {_named(others)}"
    if kept := _unforgotten(indexed, scenario, placed):
        yield f"{_did_not_forget(kept, nearest, methods)}: {_gaps(indexed, kept)}"
    if _tells_nothing(indexed, scenario, nearest[0]):
        metric = cells.row_title(indexed.primary)
        so = f"so {metric} does not show who forgot"
        yield f"Original, which forgot nothing, is no further away, {so}"


def _did_not_forget(
    kept: Sequence[_MethodFate], nearest: Sequence[_MethodFate], methods: Sequence[_MethodFate]
) -> str:
    """Name them, but not those again that have just been named."""
    if not all(method in kept for method in nearest):
        return f"{_named(kept)} did not forget"
    if kept == methods and len(kept) > 1:
        return "none of them forgot"
    those = "it" if len(nearest) == 1 else "these"
    others = [method for method in kept if method not in nearest]
    return f"{those}{f' and {_named(others)}' if others else ''} did not forget"


def _of(indexed: IndexedSummary, scenario: str, methods: Sequence[_MethodFate]) -> str:
    """Opening words: Of 6 methods, 2 of them tuned (oracle) and also as given"""
    tuned = indexed.summary.tuning
    searched = (
        {each.method for each in tuned.searches if each.scenario == scenario} if tuned else ()
    )
    given = {names.as_given_title(each) for each in searched}
    titles = {method.name for method in methods}
    count = len(titles - given)
    text = f"Of {number_of(count, 'method')}"
    if tuned and searched:
        how_many = "all" if len(searched) == count else f"{len(searched)} of them"
        text += f", {how_many} tuned ({tuned.track}){' and also as given' * bool(titles & given)}"
    return text


def _away(indexed: IndexedSummary, scenario: str, method: _MethodFate) -> str:
    """Distance in words: forget accuracy 0.4 points away"""
    scale, title = indexed.scale(indexed.primary), cells.row_title(indexed.primary)
    if not indexed.facts[indexed.primary].compares:
        return " ".join(filter(None, (title, method.distance, scale.gap_unit, "away")))
    told = " ".join(filter(None, (title, method.distance, scale.unit)))
    floor = indexed.floors.get((scenario, indexed.primary))
    return (
        f"{told}, {cells.floor_cell(floor, scale).text} between Retrained models" if floor else told
    )


def _verdict(indexed: IndexedSummary, scenario: str, nearest: Sequence[_MethodFate]) -> str:
    """Verdict on the nearest ones; where they have several, each with those that it is about."""
    told = [(_of_gap(indexed, method.gap), method) for method in nearest if method.gap]
    told.sort(key=lambda pair: pair[0])
    groups = [(text, [m for _, m in of]) for text, of in groupby(told, key=lambda pair: pair[0])]
    if len(groups) == 1:
        (text, of), *_ = groups
        yet = "yet " if of[0].gap and of[0].gap.verdict == "different" else ""
        return f", {yet}{text}{_over_all(indexed, scenario, of)}"
    return "".join(
        f", {_named(of)} {text}{_over_all(indexed, scenario, of)}" for text, of in groups
    )


def _of_gap(indexed: IndexedSummary, gap: Gap) -> str:
    margin = gap.margin
    within = "" if margin is None else cells.margin_text(margin, indexed.scale(indexed.primary))[1:]
    if gap.verdict == "equivalent":
        return f"equivalent within {within}"
    if gap.verdict == "different":
        return "different from it"
    if gap.n < hypotheses.FEWEST_FOR_A_VERDICT:
        return f"in {number_of(gap.n, 'seed')}, too few to call it equivalent"
    return (
        f"not shown to be equivalent within {within}" if within else "without a margin to judge by"
    )


def _over_all(indexed: IndexedSummary, scenario: str, methods: Sequence[_MethodFate]) -> str:
    """Verdict over all metrics, where the primary one alone says equivalent."""
    wanted = {method.name for method in methods if method.gap.verdict == "equivalent"}  # type: ignore[union-attr]
    found = [
        joint
        for joint in indexed.summary.joint_verdicts
        if joint.scenario == scenario and joint.method in wanted and joint.rows > 1
    ]
    if not found:
        return ""
    count = found[0].rows
    equivalent = [joint.method for joint in found if joint.verdict == "equivalent"]
    if equivalent:
        who = "" if len(equivalent) == len(found) else f"{_titles(equivalent)} "
        return f", {who}also in each of {count} metrics"
    if all(joint.verdict == "different" for joint in found):
        return (
            f", but different in {_span([j.different_jointly for j in found])} of {count} metrics"
        )
    return f", but shown in only {_span([j.equivalent for j in found])} of {count} metrics"


def _span(counts: Sequence[int]) -> str:
    """3 to 7"""
    return " to ".join(dict.fromkeys(map(str, (min(counts), max(counts)))))


def _unforgotten(
    indexed: IndexedSummary, scenario: str, placed: Sequence[_MethodFate]
) -> list[_MethodFate]:
    """Methods that keep to Original in a metric of what was to be forgotten, where Original is told
    from Retrained."""
    facts = indexed.facts[indexed.primary]
    row = indexed.row(scenario, names.ORIGINAL, indexed.primary)
    original = row.gap if row else None
    if original is None or not (
        facts.on in ("forget", "forget_test") or facts.group == "membership"
    ):
        return []
    if original.verdict != "different":
        return []
    return [m for m in placed if m.gap and m.gap.mean / original.mean >= UNFORGOTTEN]


def _tells_nothing(indexed: IndexedSummary, scenario: str, nearest: _MethodFate) -> bool:
    """True if Original is as near to Retrained as any method: nothing had to be forgotten in this
    metric, or the training taught nothing."""
    row = indexed.row(scenario, names.ORIGINAL, indexed.primary)
    if row is None or row.gap is None or nearest.gap is None or row.gap.verdict == "different":
        return False
    return abs(row.gap.mean) <= abs(nearest.gap.mean)


def _gaps(indexed: IndexedSummary, methods: Sequence[_MethodFate]) -> str:
    """+82 to +98 points"""
    scale = indexed.scale(indexed.primary)
    found = sorted(method.gap.mean * scale.factor for method in methods if method.gap)
    largest = max(map(abs, found))
    digits = (
        0
        if scale.percent and largest >= 10
        else cells.decimals(largest, None, percent=scale.percent)
    )
    ends = dict.fromkeys(cells.number(each, digits, signed=True) for each in (found[0], found[-1]))
    return f"{' to '.join(ends)} {scale.gap_unit}".rstrip()


def _fates(indexed: IndexedSummary, methods: Sequence[_MethodFate]) -> Iterator[str]:
    """Clauses on methods that lost the task, and on those that lack values."""
    every = [method for method in methods if method.collapsed and method.collapsed == method.of]
    some = [method for method in methods if method.collapsed and method.collapsed < method.of]
    if every or some:
        told = [f"{_named(every)} lost the task in every seed"] if every else []
        verb = "" if every else "lost the task "
        if some:
            seeds = _some((method.collapsed for method in some), some[0].of)
            told.append(f"{_named(some)} {verb}in {seeds}")
        yield ", and ".join(told)
    if not indexed.finished:
        return
    failed = [method for method in methods if method.row.seeds.failed]
    gone = [method for method in failed if not method.row.n]
    if gone:
        yield f"{_named(gone)} failed in every seed"
    if partly := [method for method in failed if method.row.n]:
        seeds = _some((m.row.seeds.failed for m in partly), partly[0].row.seeds.asked)
        yield f"{_named(partly)} failed in {seeds}"
    most = max((method.row.n for method in methods), default=0)
    lacking = [m for m in methods if m not in failed and m.row.n < most]
    if lacking:
        yield f"{_named(lacking)} {'has' if len(lacking) == 1 else 'have'} values of fewer seeds"


def _some(seeds: Iterable[int], of: int) -> str:
    """2 to 4 of 12 seeds"""
    return f"{_span([*seeds])} of {number_of(of, 'seed')}"


def _named(methods: Sequence[_MethodFate]) -> str:
    return _titles([method.name for method in methods])


def _titles(methods: Sequence[str]) -> str:
    """a, b, c and 3 more"""
    titles = list(map(cells.method_title, methods))
    if len(titles) > MOST_NAMED:
        titles = [*titles[: MOST_NAMED - 1], f"{len(titles) - MOST_NAMED + 1} more"]
    return words.listed(titles)
