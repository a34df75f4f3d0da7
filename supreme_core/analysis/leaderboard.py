"""Leaderboard: methods of published experiments, ranked where they can be compared. Pure.

A board is one scenario on one model of one dataset. It has a table for each set of methods that
share everything which changes a number: recipe, seeds, forget sets, metric, protocol, and the
search for settings. So a method with chosen settings never stands beside one whose settings nobody
searched, and no number is ranked against that of another question.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from supreme_core.analysis import across, comparison
from supreme_core.analysis.across import ComparedFacts, PublishedExperiment
from supreme_core.analysis.comparison import Rows
from supreme_core.api import names
from supreme_core.api.canonical import digest
from supreme_core.api.summary import Rank, Row, SearchSummary
from supreme_core.errors import mistakes, number_of
from supreme_core.registry import unknown


@dataclass(frozen=True)
class LeaderboardLine:
    """A method of one experiment.

    label: its title, and its experiment where two have a method of that title.  rank: None where it
    has none, and lack says why.
    """

    label: str
    part: PublishedExperiment
    method: str
    rank: Rank | None
    lack: str

    def row(self, metric: str) -> Row | None:
        return Rows(self.part.summary.rows).of(self.part.scenarios[0], self.method, metric)

    @property
    def search(self) -> SearchSummary | None:
        """Search for the method's settings; None where nobody searched."""
        tuning = self.part.summary.tuning
        found = tuning.searches if tuning else []
        here = (each for each in found if each.scenario == self.part.scenarios[0])
        return next((each for each in here if each.method == self.method), None)


@dataclass(frozen=True)
class LeaderboardTable:
    """Methods that can be compared, the nearest to Retrained first.

    parts: of each experiment its rows of the scenario, and of these methods.  row: the metric that
    ranks.  alike: metrics that mean the same in all parts.  apart: differences from the first table
    of the board that has tuned methods too, or none too.
    """

    parts: Sequence[PublishedExperiment]
    row: str
    alike: Sequence[str]
    lines: Sequence[LeaderboardLine]
    apart: Sequence[str]


@dataclass(frozen=True)
class Leaderboard:
    """One scenario on one model of one dataset."""

    tables: Sequence[LeaderboardTable]

    @property
    def first(self) -> PublishedExperiment:
        """Part of an experiment that says what the board is about."""
        return self.tables[0].parts[0]


def leaderboards(
    found: Sequence[PublishedExperiment], metric: str | None = None
) -> list[Leaderboard]:
    """Boards of several experiments, in the order in which they are first met.

    metric: row that ranks; by default the primary one of each experiment. SpecError where a row
    cannot rank, or where an experiment is there twice.
    """
    if reasons := [*_refusals(found, metric)]:
        raise mistakes(reasons)
    boards: dict[str, list[PublishedExperiment]] = {}
    for part in (part for each in across.called(found) for part in _parts(each)):
        boards.setdefault(across.block_identity(part, part.scenarios[0]), []).append(part)
    return [Leaderboard(list(_tables(parts, metric))) for parts in boards.values()]


def _refusals(found: Sequence[PublishedExperiment], metric: str | None) -> Iterator[str]:
    sources = Counter(each.source for each in found)
    yield from (f"{source} is given twice" for source, count in sources.items() if count > 1)
    for each in found:
        row, known = _ranking_row(each, metric), each.provenance.metrics
        if row not in known:
            yield f"{each.source}: {unknown('metric row', row, known)}"
        elif known[row].measured:
            yield (
                f"{each.source}: {row} is measured on a machine, so it ranks no method; name"
                " another row by --metric"
            )


def _ranking_row(each: PublishedExperiment, metric: str | None) -> str:
    return metric or each.summary.primary_metric


def _parts(each: PublishedExperiment) -> Iterator[PublishedExperiment]:
    """The experiment by scenario, its tuned methods apart from the others."""
    tuning = each.summary.tuning
    for scenario in each.scenarios:
        searches = tuning.searches if tuning else []
        tuned = {search.method for search in searches if search.scenario == scenario}
        for is_tuned in (True, False):
            rows = [
                row
                for row in each.summary.rows
                if row.scenario == scenario
                and (row.method in names.REFERENCES or (row.method in tuned) == is_tuned)
            ]
            if any(row.method not in names.REFERENCES for row in rows):
                changes = {"rows": rows, "tuning": tuning if is_tuned else None}
                yield replace(each, summary=each.summary.model_copy(update=changes))


def _tables(parts: Iterable[PublishedExperiment], metric: str | None) -> Iterator[LeaderboardTable]:
    tables: list[list[PublishedExperiment]] = []
    for part in parts:
        for table in tables:
            if not _differences(table[0], part, metric):
                table.append(part)
                break
        else:
            tables.append([part])
    firsts: dict[bool, PublishedExperiment] = {}
    for table in sorted(tables, key=lambda table: table[0].summary.tuning is None):
        first = firsts.setdefault(table[0].summary.tuning is not None, table[0])
        row = _ranking_row(table[0], metric)
        yield LeaderboardTable(
            parts=table,
            row=row,
            alike=list(_alike(table)),
            lines=list(_lines(table, row)),
            apart=[] if first is table[0] else _differences(first, table[0], metric),
        )


def _differences(
    one: PublishedExperiment, other: PublishedExperiment, metric: str | None
) -> list[str]:
    """Reasons why two experiments have no common ranking, a line each."""
    return list(across.differences([one, other], partial(_conditions, metric)))


def _conditions(metric: str | None, part: PublishedExperiment) -> dict[str, ComparedFacts]:
    """Everything that must be the same in one ranking, by what a message calls it."""
    scenario, row = part.scenarios[0], _ranking_row(part, metric)
    cell = next((each for each in part.provenance.cells if each.scenario == scenario), None)
    return {
        **across.protocol_of(part),
        "the recipe of training": part.work.training.to_document(),
        "the set of seeds": {"it": ", ".join(map(str, sorted(part.summary.seeds)))},
        "the data": {"digest": ", ".join(each.digest for each in part.provenance.datasets)},
        "the forget set": {"digest": digest(cell.forget_digests) if cell else None},
        "the precision of evaluations": {"it": part.work.evaluation_precision},
        "the metric row that ranks": {"it": row},
        f"metric row {row!r}": across.meaning_of_row(part, row),
        f"margin of {row!r}": {"it": across.margin_of(part, row)},
    }


def _alike(table: Sequence[PublishedExperiment]) -> Iterator[str]:
    """Rows that mean the same in all experiments of the table."""
    for row in table[0].provenance.metrics:
        is_known = all(row in each.provenance.metrics for each in table)
        if is_known and not any(across.differences(table, partial(_meaning, row))):
            yield row


def _meaning(row: str, each: PublishedExperiment) -> dict[str, ComparedFacts]:
    return {row: across.meaning_of_row(each, row)}


def _lines(table: Sequence[PublishedExperiment], row: str) -> Iterator[LeaderboardLine]:
    """The methods in the order of their ranks, then those that have none."""
    labels = _labels(table)
    distances: dict[str, comparison.Distances] = {}
    scores: dict[str, comparison.Distances] = {}
    lacks: dict[str, str] = {}
    for place, part in enumerate(table):
        scenario = part.scenarios[0]
        kinds = {scenario: part.scenario(scenario).name}
        [block] = comparison.blocks(Rows(part.summary.rows), row, kinds=kinds)
        lost = dict(_lost_tasks(part))
        for method in (*block.distances, *block.lacks):
            label = labels[place, method]
            if lack := block.lacks.get(method, lost.get(method, "")):
                lacks[label] = lack.removeprefix(f"{scenario}: ")
                continue
            distances[label] = block.distances[method]
            scores |= {label: block.scores[method]} if method in block.scores else {}
    merged = comparison.Block(table[0].scenarios[0], distances, scores, lacks)
    ranking = comparison.ranks([merged], row)
    ranks = {rank.method: rank for rank in ranking.ranks} if ranking else {}
    found = [
        LeaderboardLine(
            label=label,
            part=table[place],
            method=method,
            rank=ranks.get(label),
            lack=lacks.get(label, "" if label in ranks else "no other method to compare with"),
        )
        for (place, method), label in labels.items()
    ]
    yield from sorted(found, key=lambda line: line.rank.mean if line.rank else len(found) + 1)


def _lost_tasks(part: PublishedExperiment) -> Iterator[tuple[str, str]]:
    """Methods that lost the task in some seed, and the reason why they have no rank: what is near
    to Retrained there is not a model that anybody wants."""
    for rate in part.summary.collapse_rates:
        if rate.scenario == part.scenarios[0] and rate.collapsed:
            seeds = number_of(rate.of, "seed")
            yield rate.method, f"lost the task in {rate.collapsed} of {seeds}"


def _labels(table: Sequence[PublishedExperiment]) -> dict[tuple[int, str], str]:
    """Labels by the place of the experiment and the method's title in it.

    Settings that a tuned experiment was given are here those of the method, as anybody's are.
    """
    titles: dict[tuple[int, str], str] = {}
    for place, part in enumerate(table):
        for method in Rows(part.summary.rows).methods(part.scenarios[0]):
            bare = method.removesuffix(names.as_given_title(""))
            titles[place, method] = bare if part.summary.tuning is None else method
    counts = Counter(titles.values())
    return {
        (place, method): title if counts[title] == 1 else f"{title} ({table[place].called})"
        for (place, method), title in titles.items()
    }
