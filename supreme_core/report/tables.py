"""Tables of a summary, in words and numbers; page and terminal only draw them.

What a table shows follows from the facts of its metrics. The few names spelled here are a wish for
an order, and nothing is lost where a row of that name does not exist.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress, groupby
from math import inf
from typing import Literal

from supreme_core.analysis import hypotheses
from supreme_core.analysis.provenance import Provenance, RowFacts, provenance_of
from supreme_core.analysis.survivors import collapse_row
from supreme_core.analysis.tracks import by_track
from supreme_core.analysis.tuning import told
from supreme_core.api import names
from supreme_core.api.records import Named
from supreme_core.api.summary import OF_RETRAINED, Floor, Gap, Row, Summary
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.errors import number_of
from supreme_core.report import cells, words
from supreme_core.report.cells import Scale, TableCell

FLOOR_TITLE = "noise floor"

COMPANIONS = UTILITY, DISTANCE, MEMBERSHIP, COST = (
    (
        *("retain_test_accuracy", "test_accuracy"),
        *("retain_test_reference_accuracy", "test_reference_accuracy"),
    ),
    (
        *("forget_js_divergence", "forget_activation_distance"),
        *("forget_test_reference_js", "forget_reference_js"),
    ),
    ("mia_loss_auc", "mia_entropy", "reference_mia"),
    ("speed_up", "wall_seconds", "reference_speed_up", "reference_wall_seconds"),
)
"""Columns beside the primary metric: of each tuple the first row that exists. Rows of imported
results, and no others, are called reference_...."""

Role = Literal["original", "retrained", "method"]


@dataclass(frozen=True)
class Column:
    """name: the title where no other column explains it; empty where that is the title.

    group: what stands above this column and its neighbours of the same group.
    """

    title: str
    unit: str = ""
    kind: Literal[
        "count",
        "estimate",
        "gap",
        "verdict",
        "apart",
        "spread",
        "companion",
        "words",
        "text",
        "share",
    ] = "estimate"
    name: str = ""
    group: str = ""


@dataclass(frozen=True)
class TableLine:
    """One method. cells: as many as the table has columns."""

    title: str
    role: Role
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class Table:
    """floor: a last line, `FLOOR_TITLE`, with the noise floor of each column that is a distance.

    head: what the lines are.  remarks: sentences that belong below it.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[TableLine, ...]
    floor: tuple[TableCell, ...] | None = None
    head: str = "method"
    remarks: tuple[str, ...] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Titles above the columns, each with the number of its columns; empty without any."""
        if not any(column.group for column in self.columns):
            return []
        grouped = groupby(self.columns, key=lambda column: column.group)
        return [(group, len(list(columns))) for group, columns in grouped]


@dataclass(frozen=True)
class Group:
    """Tables that answer one question.  name: as metrics give it."""

    name: str
    title: str
    note: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Collapse:
    """Fate of a method's seeds, where anything went wrong with them.

    undefined: seeds with a model for which some row has no value.  of: seeds that the collapse rate
    is of.  interval: of that rate.
    """

    scenario: str
    method: str
    asked: int
    failed: int
    collapsed: int
    undefined: int
    infrastructure: int
    pending: int
    of: int
    interval: str


class IndexedSummary:
    """A summary with an index: rows by scenario, method and metric, and a scale for each metric."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.rows = {(row.scenario, row.method, row.metric): row for row in summary.rows}

    @cached_property
    def provenance(self) -> Provenance:
        return provenance_of(self.summary)

    @cached_property
    def facts(self) -> dict[str, RowFacts]:
        return self.provenance.metrics

    @property
    def primary(self) -> str:
        return self.summary.primary_metric

    @cached_property
    def scenarios(self) -> list[str]:
        return list(self._of_scenario)

    @cached_property
    def floors(self) -> dict[tuple[str, str], Floor]:
        """Noise floors by scenario and metric."""
        rows = self.summary.rows
        return {(row.scenario, row.metric): row.floor for row in rows if row.floor is not None}

    @cached_property
    def counts(self) -> list[int]:
        """Seeds behind each value of the primary metric; lines without a value left out."""
        return [row.n for row in self.summary.rows if row.metric == self.primary and row.n]

    @cached_property
    def finished(self) -> list[int]:
        """Seeds that have a result, whatever became of its runs."""
        failures = self.summary.failures
        lost = {each.seed for each in failures if each.method is None}
        return [seed for seed in self.summary.seeds if seed not in lost]

    def title(self, scenario: str) -> str:
        """class-3: forget class 3 ("rose")"""
        forgotten = words.forgotten(self._named.get(scenario, ()))
        return f"{scenario}: {forgotten}" if forgotten else scenario

    def methods(self, scenario: str) -> list[str]:
        return list(self._of_scenario[scenario])

    def metrics(self, scenario: str) -> list[str]:
        """Rows of the scenario in the order of the facts."""
        found = {metric for metrics in self._of_scenario[scenario].values() for metric in metrics}
        return [metric for metric in self.facts if metric in found]

    def row(self, scenario: str, method: str, metric: str) -> Row | None:
        return self.rows.get((scenario, method, metric))

    def scale(self, metric: str) -> Scale:
        return self._scales[metric]

    def distance_scale(self, metric: str) -> Scale:
        """Scale of |x - retrained|, or of a cost itself."""
        scale = self.scale(metric)
        return scale if self.facts[metric].measured else replace(scale, unit=scale.gap_unit)

    @cached_property
    def on_tuning(self) -> str:
        """Note on how settings were chosen; empty where they are as given."""
        tuning = self.summary.tuning
        methods = (method.title for method in self.provenance.work.methods)
        return told([tuning], methods) if tuning else ""

    @cached_property
    def own_methods(self) -> list[MethodEntry]:
        """Methods of the experiment, each once: a tuned one has a second row as given."""
        second = {*map(names.as_given_title, self._tuned)}
        return [each for each in self.provenance.work.methods if each.title not in second]

    def tracks(self, methods: Iterable[str]) -> list[list[str]]:
        """The methods of each track, those with chosen settings first."""
        return by_track(methods, self._tuned)

    @cached_property
    def _tuned(self) -> frozenset[str]:
        return frozenset(self.summary.tuned)

    @cached_property
    def _named(self) -> dict[str, Sequence[Named]]:
        return {cell.scenario: cell.named for cell in self.provenance.cells}

    @cached_property
    def _of_scenario(self) -> dict[str, dict[str, list[str]]]:
        """scenario -> method -> metrics, each in the order of the rows."""
        found: dict[str, dict[str, list[str]]] = {}
        for row in self.summary.rows:
            found.setdefault(row.scenario, {}).setdefault(row.method, []).append(row.metric)
        return found

    @cached_property
    def _scales(self) -> dict[str, Scale]:
        means: dict[str, list[float | None]] = {metric: [] for metric in self.facts}
        for row in self.summary.rows:
            means[row.metric].append(row.mean)
        return {metric: cells.scale_of(self.facts[metric], means[metric]) for metric in means}


def seeds(indexed: IndexedSummary) -> str:
    """10 training seeds, or 4 of 10 training seeds where the others have no result"""
    asked, finished = len(indexed.summary.seeds), len(indexed.finished)
    total = number_of(asked, "training seed")
    return total if finished == asked else f"{finished} of {total}"


def overview(indexed: IndexedSummary, scenario: str) -> Table:
    """The table that leads: the primary metric, its gap to Retrained, its spread, companions."""
    primary, scale = indexed.primary, indexed.scale(indexed.primary)
    gaps = indexed.facts[primary].has_gap
    beside = list(companions(indexed, scenario))
    columns = (
        Column("n", kind="count"),
        Column(cells.row_title(primary), scale.unit),
        *([Column("gap to Retrained", scale.gap_unit, kind="gap")] if gaps else []),
        *([Column("verdict", kind="verdict")] if gaps else []),
        *([Column(TOLD_APART, kind="apart")] if gaps else []),
        Column("sd over seeds", scale.unit, kind="spread"),
        Column("seeds span", scale.unit, kind="spread"),
        *(
            Column(cells.row_title(metric), indexed.scale(metric).unit, kind="companion")
            for metric in beside
        ),
    )
    lines = []
    for method in indexed.methods(scenario):
        row = indexed.row(scenario, method, primary)
        line = (
            cells.count_cell(row),
            _estimate(indexed, scenario, method, primary),
            *([cells.gap_cell(row.gap if row else None, scale)] if gaps else []),
            *([cells.verdict_cell(row.gap if row else None, scale)] if gaps else []),
            *([cells.apart_cell(row.gap if row else None)] if gaps else []),
            *(cells.spread_cells(row, scale) if row else (cells.EMPTY, cells.EMPTY)),
            *(_estimate(indexed, scenario, method, metric) for metric in beside),
        )
        lines.append(TableLine(cells.method_title(method), cells.method_role(method), line))
    metric_of_column: list[str | None] = [None] * (len(columns) - len(beside))
    metric_of_column += beside
    metric_of_column[1] = primary
    floor = _floor(indexed, scenario, metric_of_column)
    return Table(scenario, columns, tuple(lines), floor)


TOLD_APART = "told apart, AUC"


def remarks(indexed: IndexedSummary, scenario: str, metric: str) -> Iterator[str]:
    """Remarks on the metric's verdicts, each with the methods that it is about.

    Why Retrained gives no value is said once; that seeds are pending is said of every method.
    """
    retrained = indexed.row(scenario, names.RETRAINED, metric)
    about: dict[str, list[str]] = {}
    for method in indexed.methods(scenario):
        row = indexed.row(scenario, method, metric)
        if row is None or method == names.RETRAINED:
            continue
        found = row.gap.remarks if row.gap else [row.lack] if row.lack else []
        for remark in found:
            about.setdefault(remark, []).append(cells.method_title(method))
    of_retrained = [remark for remark in about if remark.startswith(OF_RETRAINED)]
    if retrained and (of_retrained or retrained.seeds.lost > retrained.seeds.pending):
        follows = _follows(retrained) if indexed.facts[metric].has_gap else ""
        yield f"{OF_RETRAINED}{retrained.lack}{follows}."
    for remark, methods in about.items():
        if remark not in of_retrained:
            yield f"{words.headline(remark)}: {', '.join(methods)}."


def _follows(retrained: Row) -> str:
    """Consequence of what Retrained lacks: whole seeds, or repeats of them."""
    if retrained.n + retrained.seeds.lost == retrained.seeds.asked:
        return ", so no method has a gap there"
    return ", so no method is called equivalent"


def overview_remarks(indexed: IndexedSummary, scenario: str) -> Iterator[str]:
    """Remarks on the table that leads: on the primary metric, on what its companions lack, and on
    models that lost the task."""
    yield from remarks(indexed, scenario, indexed.primary)
    yield from lacks(indexed, scenario, companions(indexed, scenario), beside=indexed.primary)
    yield from collapsed(indexed, scenario)


def lost_tasks(indexed: IndexedSummary, scenario: str) -> dict[str, bool]:
    """Methods whose models lost the task in some seed, and whether they did in every one."""
    return {
        rate.method: rate.collapsed == rate.of
        for rate in indexed.summary.collapse_rates
        if rate.scenario == scenario and rate.collapsed
    }


def collapsed(indexed: IndexedSummary, scenario: str) -> Iterator[str]:
    """Methods with models that lost the task, which no mean of one metric shows, by their number
    of seeds."""
    about: dict[tuple[int, int], list[str]] = {}
    for rate in indexed.summary.collapse_rates:
        if rate.scenario == scenario and rate.collapsed:
            title = cells.method_title(rate.method)
            about.setdefault((rate.collapsed, rate.of), []).append(title)
    for (seeds, of), methods in sorted(about.items(), reverse=True):
        where = f"{seeds} of {number_of(of, 'seed')}"
        yield f"Collapsed in {where}, counted here too: {', '.join(methods)}."


def lacks(
    indexed: IndexedSummary, scenario: str, metrics: Iterable[str], *, beside: str | None = None
) -> Iterator[str]:
    """Reasons why values of these metrics are of fewer seeds than were asked for, each once.

    Each with the methods that it is about, and the metrics unless all of a method's values are.
    beside: a metric whose own lack has been told, and is not told again.
    """
    shown = list(metrics)
    methods = indexed.methods(scenario)
    about: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for method in methods:
        told = indexed.row(scenario, method, beside) if beside else None
        reasons: dict[str, list[str]] = {}
        for metric in shown:
            if row := indexed.row(scenario, method, metric):
                reasons.setdefault(row.lack, []).append(cells.row_title(metric))
        whole = len(reasons) == 1 and beside is None
        for reason, titles in reasons.items():
            if reason and not (told and reason == told.lack):
                key = reason, () if whole else tuple(titles)
                about.setdefault(key, []).append(cells.method_title(method))
    for (reason, in_titles), of in about.items():
        who = "every line" if len(of) == len(methods) else words.listed(of)
        where = f", in {words.listed(in_titles)}" if in_titles else ""
        yield f"{words.headline(reason)}: {who}{where}."


def margin(indexed: IndexedSummary, scenario: str, metric: str) -> str:
    """±1.0 points, the metric's own; none, where nothing can be called equivalent"""
    rows = (indexed.row(scenario, method, metric) for method in indexed.methods(scenario))
    found = (cells.margin_note(row.gap, indexed.scale(metric)) for row in rows if row and row.gap)
    return next(filter(None, found), "none")


def widest_margin(indexed: IndexedSummary, scenario: str, metric: str) -> float | None:
    """The largest margin of the scenario's methods, unscaled; None without any."""
    rows = (indexed.row(scenario, method, metric) for method in indexed.methods(scenario))
    return max((row.gap.margin for row in rows if row and row.gap and row.gap.margin), default=None)


def headline(indexed: IndexedSummary, scenario: str) -> Table:
    """Overview reduced to what a paper has room for: the primary metric, its gap and its
    verdict."""
    table = overview(indexed, scenario)
    keep = [column.kind not in ("spread", "companion") for column in table.columns]
    lines = (replace(line, cells=tuple(compress(line.cells, keep))) for line in table.lines)
    return replace(
        table,
        columns=tuple(compress(table.columns, keep)),
        lines=tuple(lines),
        floor=_floor(indexed, scenario, [None, indexed.primary, *[None] * (sum(keep) - 2)]),
    )


def verdicts(indexed: IndexedSummary, scenario: str) -> Table | None:
    """Verdicts on every metric that is read by its gap, and on all of them together; None without
    any.

    A method that has no value because its runs failed says so.
    """
    metrics = [each for each in indexed.metrics(scenario) if indexed.facts[each].has_gap]
    if not metrics:
        return None
    scales = [indexed.scale(metric) for metric in metrics]
    utility = any(
        row.gap and row.gap.noninferiority
        for row in indexed.summary.rows
        if row.scenario == scenario
    )
    columns = [
        Column("all metrics", kind="verdict"),
        Column("rows different", kind="count"),
        Column("after correction", kind="count"),
    ]
    columns += [Column("utility", kind="verdict")] if utility else []
    columns += [Column(cells.row_title(metric), kind="verdict") for metric in metrics]
    joint_of = {(each.scenario, each.method): each for each in indexed.summary.joint_verdicts}
    lines = []
    for method in indexed.methods(scenario):
        rows = [indexed.row(scenario, method, metric) for metric in metrics]
        gaps = [row.gap if row else None for row in rows]
        joint = joint_of.get((scenario, method))
        if joint and any(gaps):
            line: tuple[TableCell, ...] = (
                TableCell(joint.verdict, tone=cells.TONES[joint.verdict]),
                TableCell(f"{joint.different} of {joint.rows}"),
                TableCell(str(joint.different_jointly)),
                *([_utility(gaps, scales)] if utility else []),
                *(cells.symbol_cell(gap.verdict) if gap else cells.EMPTY for gap in gaps),
            )
        elif joint and any(row and row.seeds.failed for row in rows):
            line = (TableCell("failed", tone="bad"), *[cells.EMPTY] * (len(columns) - 1))
        else:
            continue
        lines.append(TableLine(cells.method_title(method), cells.method_role(method), line))
    remarks = tuple(_without_margin(indexed, scenario, metrics))
    return Table("", tuple(columns), tuple(lines), remarks=remarks)


def _without_margin(
    indexed: IndexedSummary, scenario: str, metrics: Iterable[str]
) -> Iterator[str]:
    """Metrics in which nothing can be called equivalent, and what follows from that for all."""
    titles = [cells.row_title(each) for each in metrics if _has_no_margin(indexed, scenario, each)]
    if titles:
        yield (
            f"Without a margin, so never equivalent: {words.listed(titles)}; nor is any method"
            " equivalent in all metrics. spec.margins sets margins."
        )


def _has_no_margin(indexed: IndexedSummary, scenario: str, metric: str) -> bool:
    """Return whether there are gaps, and none of them has a margin."""
    rows = (indexed.row(scenario, method, metric) for method in indexed.methods(scenario))
    gaps = [row.gap for row in rows if row and row.gap]
    return bool(gaps) and all(gap.margin is None for gap in gaps)


def _utility(gaps: Sequence[Gap | None], scales: Sequence[Scale]) -> TableCell:
    """Verdict on the accuracy on test samples to be retained, and the bound that says so."""
    for gap, scale in zip(gaps, scales, strict=True):
        if gap and (test := gap.noninferiority):
            low = test.low * scale.factor
            text = cells.number(low, 1 if scale.percent else 3, signed=True)
            note = f"from {text} {scale.gap_unit}".rstrip()
            return (
                TableCell("kept", note=note, tone="good")
                if test.holds
                else TableCell("not shown", note=note)
            )
    return cells.EMPTY


def leading(indexed: IndexedSummary, scenario: str) -> list[str]:
    """The primary metric and its companions, without measured ones: what nearness is shown by."""
    metrics = [indexed.primary, *companions(indexed, scenario)]
    return [metric for metric in metrics if not indexed.facts[metric].measured]


def tests(indexed: IndexedSummary, scenario: str) -> Table | None:
    """p values of the gaps in the primary metric; None where it has no gap."""
    columns = (
        Column("n", kind="count"),
        Column("p", kind="count"),
        Column("p after Holm", kind="count"),
        Column("p of sign flips", kind="count"),
        Column("p of sign flips after Holm", kind="count"),
        Column("p of equivalence", kind="count"),
    )
    lines = []
    for method in indexed.methods(scenario):
        row = indexed.row(scenario, method, indexed.primary)
        if row and (gap := row.gap):
            tested = (gap.difference_p, gap.adjusted_p, gap.flip_p, gap.flip_adjusted_p)
            p_values = (TableCell(cells.p_text(p)) for p in (*tested, gap.equivalence_p))
            role = cells.method_role(method)
            line = (TableCell(str(gap.n)), *p_values)
            lines.append(TableLine(cells.method_title(method), role, line))
    return Table("", columns, tuple(lines)) if lines else None


def by_nearness(indexed: IndexedSummary, scenario: str) -> list[str]:
    """The methods from nearest to furthest by the primary metric, then those whose models lost the
    task in some seed, then those that lost seeds: nearness in one metric says nothing of the place
    of either. Where settings were tuned, those with chosen ones stand before all others. Original
    is last."""
    collapsed = lost_tasks(indexed, scenario)
    retrained = indexed.row(scenario, names.RETRAINED, indexed.primary)
    target = (retrained and retrained.mean) or 0.0

    def distance(method: str) -> tuple[bool, bool, bool, float]:
        row = indexed.row(scenario, method, indexed.primary)
        is_original, lost = method == names.ORIGINAL, method in collapsed
        if row is None or row.mean is None:
            return is_original, True, lost, inf
        away = abs(row.gap.mean if row.gap else row.mean - target)
        return is_original, bool(row.lack), lost, away

    methods = sorted((m for m in indexed.methods(scenario) if m != names.RETRAINED), key=distance)
    return [method for track in indexed.tracks(methods) for method in track]


def groups(indexed: IndexedSummary, scenario: str) -> Iterator[Group]:
    """Every metric of the scenario, by what it is about."""
    for name in group_names(indexed, scenario):
        yield group(indexed, scenario, name)


def group_names(indexed: IndexedSummary, scenario: str) -> list[str]:
    """Names of groups that have a metric in the scenario, in the order of the page."""
    there = [indexed.facts[metric].group for metric in indexed.metrics(scenario)]
    return [name for name in dict.fromkeys([*GROUPS, *there]) if name in there]


def group(indexed: IndexedSummary, scenario: str, name: str) -> Group:
    """One table for each metric that has several sets."""
    members = [m for m in indexed.metrics(scenario) if indexed.facts[m].group == name]
    title, note = GROUPS.get(name, (name.capitalize(), ""))
    return Group(name, title, note, tuple(_tables(indexed, scenario, members)))


GROUPS = {
    "accuracy": (
        "Accuracy and loss by set",
        "Of each model itself. The target is Retrained's line, not 0 or 100 %.",
    ),
    "distance": (
        "Distance and likeness to Retrained",
        "Of each model to the one retrained for the same seed. The last line is the noise floor:"
        " the same number between two Retrained models that differ only in chance. No method can"
        " be expected to come nearer.",
    ),
    "composite": (
        "Composite scores",
        "Several of the other numbers in one, as papers report them. Two methods of one score can"
        " differ in all of its parts, so read the parts as well.",
    ),
    "membership": (
        "Membership inference",
        "The target is Retrained's value. To fall short of it is no success: it shows that"
        " something was forgotten, and what.",
    ),
    "recovery": (
        "Recovery of what was forgotten",
        "How easily it comes back once somebody works on the model itself. The target is"
        " Retrained's value.",
    ),
    "cost": (
        "Cost",
        "Of the method alone, on the machines under provenance. These numbers differ from run to"
        " run.",
    ),
}
"""Title and note of each group of metrics, in the order of the page; others follow."""


def collapses(indexed: IndexedSummary) -> Iterator[Collapse]:
    """A line for each scenario and method in which anything went wrong, in table order."""
    seeds: dict[tuple[str | None, str | None, str], set[int]] = defaultdict(set)
    for failure in indexed.summary.failures:
        seeds[failure.scenario, failure.method, failure.kind].add(failure.seed)
    for rate in indexed.summary.collapse_rates:
        failed, undefined, lost = (
            seeds[rate.scenario, rate.method, kind]
            for kind in ("failed", "undefined", "infrastructure")
        )
        asked = len(indexed.summary.seeds)
        if not (rate.collapsed or rate.failed or undefined or rate.of < asked):
            continue
        infrastructure = len(lost - failed)
        yield Collapse(
            scenario=rate.scenario,
            method=cells.method_title(rate.method),
            asked=asked,
            failed=rate.failed,
            collapsed=rate.collapsed,
            undefined=len(undefined),
            infrastructure=infrastructure,
            pending=asked - rate.of - infrastructure,
            of=rate.of,
            interval=f"{rate.low * 100:.0f} to {rate.high * 100:.0f} %"
            if rate.low is not None and rate.high is not None
            else cells.NONE,
        )


def notes(indexed: IndexedSummary) -> Iterator[str]:
    """Notes that a reader must know before the numbers."""
    yield from indexed.provenance.imported
    counts, few = indexed.counts, hypotheses.FEWEST_FOR_A_VERDICT
    if not counts:
        yield f"No seed has a value of {cells.row_title(indexed.primary)} yet."
    elif max(counts) < few:
        yield (
            f"n = {max(counts)}: intervals from so few seeds are wide, and nothing is called"
            f" equivalent. Run at least {few} seeds, better 10 to 20, before methods are compared."
        )
    elif min(counts) < few:
        yield f"Lines with n below {few} have wide intervals, and none is called equivalent."
    if _needs_a_margin(indexed):
        yield (
            "The margin of the primary metric is the noise between Retrained models. With it a"
            " perfect method is called equivalent in about 4 % of experiments of 5 seeds, 36 % of"
            " 10 and 89 % of 20; spec.margins sets, beforehand, what difference is of no account."
        )
    if indexed.summary.tuning:
        yield indexed.on_tuning
    if indexed.summary.partial:
        yield _what_is_partial(indexed)
    kinds = Counter(failure.kind for failure in indexed.summary.failures)
    if undefined := kinds["undefined"]:
        yield f"{number_of(undefined, 'run')} gave a model for which some metric has no value."
    if _lacks_times(indexed):
        yield (
            "Where a time is missing, it was not that of one process by itself: others used its"
            " device, or a team of ranks shared its work."
        )
    if collapsed := kinds["collapsed"]:
        runs = number_of(collapsed, "run")
        yield f"{runs} collapsed: test accuracy below half the median of Retrained."
    if collapse_row(indexed.facts) is None:
        yield "The metric accuracy was not asked for, so no run is told to have collapsed."
    if indexed.provenance.mixed_environments:
        yield "The seeds were computed in different environments, which provenance lists."
    if len(indexed.provenance.datasets) > 1:
        yield "The seeds did not all use the same data, which provenance lists."


def _lacks_times(indexed: IndexedSummary) -> bool:
    """Return whether a model that was trained or unlearned here has no cost."""
    return not indexed.provenance.imported and any(
        row.seeds.undefined and row.method != names.ORIGINAL
        for row in indexed.summary.rows
        if indexed.facts[row.metric].group == "cost"
    )


def _needs_a_margin(indexed: IndexedSummary) -> bool:
    """Return whether seeds are so few that a margin from noise finds hardly any method
    equivalent."""
    gaps = [row.gap for row in indexed.summary.rows if row.metric == indexed.primary and row.gap]
    from_noise = any(gap.margin_source == "noise" for gap in gaps)
    return from_noise and max((gap.n for gap in gaps), default=0) < SEEDS_FOR_NOISE


SEEDS_FOR_NOISE = 20
"""Number of seeds from which on a margin from noise finds most perfect methods equivalent."""


def _what_is_partial(indexed: IndexedSummary) -> str:
    summary = indexed.summary
    kinds: Counter[str] = Counter(
        failure.kind for failure in summary.failures if failure.method is not None
    )
    finished, asked = len(indexed.finished), len(summary.seeds)
    have = "has" if asked == 1 else "have"
    results = f"{finished} of {number_of(asked, 'seed')} {have} a result"
    lacks = [results] if finished < asked else []
    lost = (("failed", "failed"), ("infrastructure", "lost to a machine"), ("pending", "pending"))
    lacks += [f"{number_of(number, 'run')} {how}" for kind, how in lost if (number := kinds[kind])]
    return f"Partial: {words.listed(lacks)}. Each n counts the seeds that have a value."


def companions(
    indexed: IndexedSummary, scenario: str, wished: Sequence[Sequence[str]] = COMPANIONS
) -> Iterator[str]:
    """Metrics beside the primary one: of each wish the first that the scenario has."""
    there = set(indexed.metrics(scenario)) - {indexed.primary}
    for wishes in wished:
        yield from [metric for metric in wishes if metric in there][:1]


def _estimate(indexed: IndexedSummary, scenario: str, method: str, metric: str) -> TableCell:
    row = indexed.row(scenario, method, metric)
    return cells.estimate_cell(row, indexed.scale(metric)) if row else cells.EMPTY


def _floor(
    indexed: IndexedSummary, scenario: str, metrics: Sequence[str | None]
) -> tuple[TableCell, ...] | None:
    """The noise floor under each distance; None where no column is a distance."""
    distances = [metric is not None and indexed.facts[metric].compares for metric in metrics]
    if not any(distances):
        return None
    return tuple(
        cells.floor_cell(indexed.floors.get((scenario, metric)), indexed.scale(metric))
        if metric is not None and distance
        else TableCell("")
        for metric, distance in zip(metrics, distances, strict=True)
    )


def _tables(indexed: IndexedSummary, scenario: str, metrics: Sequence[str]) -> Iterator[Table]:
    """A table for each metric with several sets, then one for all that have a single number."""
    alone: list[str] = []
    for title, rows in groupby(metrics, key=lambda metric: indexed.facts[metric].metric):
        of_metric = list(rows)
        if len(of_metric) == 1:
            alone += of_metric
        else:
            heads = [cells.row_title(indexed.facts[row].on or row) for row in of_metric]
            yield _grid(indexed, scenario, cells.row_title(title), of_metric, heads)
    if alone:
        title = "others" if len(alone) < len(metrics) else ""
        yield _grid(indexed, scenario, title, alone, [cells.row_title(metric) for metric in alone])


def _grid(
    indexed: IndexedSummary, scenario: str, title: str, metrics: Sequence[str], heads: Sequence[str]
) -> Table:
    columns = tuple(
        Column(head, indexed.scale(metric).unit, name=cells.row_title(metric))
        for head, metric in zip(heads, metrics, strict=True)
    )
    lines = tuple(
        TableLine(
            cells.method_title(method),
            cells.method_role(method),
            tuple(_estimate(indexed, scenario, method, metric) for metric in metrics),
        )
        for method in indexed.methods(scenario)
    )
    return Table(
        title,
        columns,
        lines,
        _floor(indexed, scenario, metrics),
        remarks=tuple(lacks(indexed, scenario, metrics)),
    )
