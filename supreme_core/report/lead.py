"""The table that leads a scenario: what a method is read by, at a glance. Pure.

Original and Retrained stand first, then the methods, nearest first. Gaps have 0 at Retrained, so
that in each column but the last two the best is the nearest to 0.
"""

from dataclasses import dataclass, replace
from typing import Literal

from supreme_core.api import names
from supreme_core.api.summary import JointVerdict, Row
from supreme_core.errors import number_of
from supreme_core.report import cells, tables
from supreme_core.report.cells import TableCell
from supreme_core.report.tables import Column, IndexedSummary

VERDICTS = ("equivalent", "inconclusive", "different", "failed")
"""Words of the last column, the best first."""


@dataclass(frozen=True)
class LeadCell:
    """A cell, and the number that its column is sorted by: the smallest first; None is last."""

    shown: TableCell
    order: float | None


@dataclass(frozen=True)
class LeadLine:
    """One model. cells: as many as the table has columns."""

    title: str
    role: tables.Role
    cells: tuple[LeadCell, ...]


@dataclass(frozen=True)
class LeadTable:
    """references: Original and Retrained, which stay on top however the methods are sorted."""

    columns: tuple[Column, ...]
    references: tuple[LeadLine, ...]
    methods: tuple[LeadLine, ...]


def lead_table(indexed: IndexedSummary, scenario: str) -> LeadTable:
    """The primary metric, utility, membership and cost of every model, and the verdict on it."""
    wished = (tables.UTILITY, tables.MEMBERSHIP, tables.COST)
    metrics = [indexed.primary, *tables.companions(indexed, scenario, wished)]
    judged = any(joint.scenario == scenario for joint in indexed.summary.joint_verdicts)
    columns = [_column(indexed, metric) for metric in metrics]
    columns += [Column("verdict", kind="verdict")] if judged else []
    lines = []
    for method in _in_order(indexed, scenario):
        line = [_cell(indexed, scenario, method, metric) for metric in metrics]
        line += [_verdict(indexed, scenario, method)] if judged else []
        role = cells.method_role(method)
        lines.append(LeadLine(cells.method_title(method), role, tuple(line)))
    return LeadTable(
        columns=tuple(columns),
        references=tuple(line for line in lines if line.role != "method"),
        methods=tuple(line for line in lines if line.role == "method"),
    )


def _in_order(indexed: IndexedSummary, scenario: str) -> list[str]:
    references = (names.ORIGINAL, names.RETRAINED)
    there = set(indexed.methods(scenario))
    methods = (m for m in tables.by_nearness(indexed, scenario) if m not in references)
    return [*(each for each in references if each in there), *methods]


def _column(indexed: IndexedSummary, metric: str) -> Column:
    scale, title = indexed.scale(metric), cells.row_title(metric)
    if indexed.facts[metric].has_gap:
        return Column(title, f"gap, {scale.gap_unit}" if scale.gap_unit else "gap", kind="gap")
    return Column(title, scale.unit, kind="companion")


def _cell(indexed: IndexedSummary, scenario: str, method: str, metric: str) -> LeadCell:
    """A gap to Retrained, of Retrained its value; or what is a distance or measured already."""
    row, scale, facts = indexed.row(scenario, method, metric), indexed.scale(metric), indexed.facts
    if row is None or row.mean is None:
        return LeadCell(cells.EMPTY, None)
    if facts[metric].has_gap and method == names.RETRAINED:
        value = f"at {cells.estimate_cell(row, scale).text} {scale.unit}".rstrip()
        return LeadCell(TableCell("0", note=value), 0.0)
    if facts[metric].has_gap:
        order = abs(row.gap.mean) if row.gap else None
        return LeadCell(cells.gap_cell(row.gap, scale), order)
    floor = indexed.floors.get((scenario, metric))
    if facts[metric].compares and method == names.RETRAINED and floor:
        return LeadCell(replace(cells.floor_cell(floor, scale), note=tables.FLOOR_TITLE), 0.0)
    upwards = facts[metric].direction == "higher"
    return LeadCell(cells.estimate_cell(row, scale), -row.mean if upwards else row.mean)


def _verdict(indexed: IndexedSummary, scenario: str, method: str) -> LeadCell:
    """Verdict by the primary metric, and below it what else a reader must know."""
    row = indexed.row(scenario, method, indexed.primary)
    joints, rates = indexed.summary.joint_verdicts, indexed.summary.collapse_rates
    joint = next((j for j in joints if (j.scenario, j.method) == (scenario, method)), None)
    if row is None or joint is None:
        return LeadCell(cells.EMPTY, None)
    rate = next((r for r in rates if (r.scenario, r.method) == (scenario, method)), None)
    lost = rate.collapsed if rate else 0
    word, tone = _word(indexed, row, joint)
    notes = (
        [f"{row.n} of {number_of(row.seeds.asked, 'seed')}"] if 0 < row.n < row.seeds.asked else []
    )
    if rate and lost:
        notes.append(f"lost the task in {lost} of {number_of(rate.of, 'seed')}")
    if word == joint.verdict and not row.gap:
        notes.append(_over_all(joint, word, "other metric"))
    elif row.gap and joint.rows > 1 and joint.verdict != word:
        notes.append(_over_all(joint, word, "metric"))
    shown = TableCell(word, note="; ".join(notes), tone="" if lost and tone == "good" else tone)
    return LeadCell(shown, float(VERDICTS.index(word)) if word in VERDICTS else None)


def _over_all(joint: JointVerdict, word: str, metric: str) -> str:
    """Count that the verdict over all rows rests on: different in 5 of 13 metrics"""
    of = number_of(joint.rows, metric)
    if joint.verdict == "different":
        return f"different in {joint.different_jointly} of {of}"
    if word == "different":
        return f"not after correction over {of}"
    return f"equivalent in {joint.equivalent} of {of}"


def _word(
    indexed: IndexedSummary, row: Row, joint: JointVerdict
) -> tuple[str, Literal["", "good", "bad"]]:
    """Verdict on the row, with its tone; of a distance, which has none, that on other metrics."""
    if row.gap:
        return row.gap.verdict, cells.TONES[row.gap.verdict]
    if row.mean is None and row.seeds.failed:
        return "failed", "bad"
    if row.mean is None or indexed.facts[row.metric].has_gap or not joint.rows:
        return cells.NONE, ""
    return joint.verdict, cells.TONES[joint.verdict]
