"""The page of a leaderboard: its headings, its numbers, and foreign text that stays text."""

import re

from supreme_core.analysis.leaderboard import leaderboards
from supreme_core.report.cells import Scale, estimate_cell, gap_cell
from supreme_core.report.leaderboard import PLAIN, leaderboard_page
from tests.core.analysis.summaries import published
from tests.core.analysis.test_leaderboard import searched

POINTS = Scale(100, "%", "points")


def page(*found, metric=None):
    return leaderboard_page(leaderboards(found, metric))


def test_a_page_names_boards_searches_seeds_and_experiments():
    text = page(searched("A"), published("B", methods=("unsir",), seeds=range(10)))
    heads = re.findall("^#+ .*", text, re.M)
    assert heads == [
        "# Leaderboard",
        "## digits, tiny: full\\_class",
        "### Tuned",
        "### Settings that nobody searched",
        "## Experiments",
    ]
    assert "16 trials (sobol)" in text
    assert "2 tuning seeds (9000 to 9001)" in text
    assert "average\\_gap" in text
    assert "lr 0.0901, alpha 0.5, epochs 9" in text
    assert "Not ranked with the table above: the set of seeds differs" in text
    assert "10 training seeds (0 to 9)" in text
    for source in ("A", "B"):
        assert re.search(rf"^\| {source} \| [0-9a-f]{{12}} \|", text, re.M)


def test_the_numbers_are_those_of_the_summary():
    one = published("A", methods=("scrub", "ssd"))
    rows = {(row.method, row.metric): row for row in one.summary.rows}
    gap = rows["scrub", "forget_accuracy"].gap
    seconds = rows["scrub", "wall_seconds"]
    [line] = [line for line in page(one).splitlines() if line.startswith("| scrub |")]
    for cell in (gap_cell(gap, POINTS), estimate_cell(seconds, PLAIN)):
        assert f" {cell.text} [{', '.join(cell.ends)}] |" in line


def test_a_tie_shares_a_place_and_its_interval():
    """Two experiments of the same numbers, ten seeds each."""
    text = page(*(published(source, seeds=range(10)) for source in ("A", "B")))
    for source in ("A", "B"):
        assert f"| scrub ({source}) | 1.5 [1.5, 1.5] |" in text


def test_foreign_text_stays_text():
    methods = [{"name": "scrub", "params": {"note": "a|b <script>"}}]
    text = page(published("A", changes={"methods": methods}))
    assert "note a\\|b \\<script\\>" in text
    assert "<script" not in text.replace("\\<", "")
