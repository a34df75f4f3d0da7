"""Tuned methods beside settings as given: each track is what it would be without the other.

The oracle is the summary of an experiment that has the methods of one track alone. Left out: over
several experiments (test_across.py); words (report/test_answer.py, report/test_tuning_report.py).
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.tracks import by_track
from supreme_core.report.lead import lead_table
from supreme_core.report.page import render_report
from supreme_core.report.paper import paragraph
from supreme_core.report.paste import paste
from supreme_core.report.tables import IndexedSummary, by_nearness
from tests.core.analysis.summaries import FACTS, question, result, run, with_choices

SEEDS = range(6)
METHODS = ("scrub", "scrub.as-given", "finetune", "finetune.as-given", "ssd", "unsir")
TUNED = ("scrub", "finetune", "unsir")
AS_GIVEN = ("scrub.as-given", "finetune.as-given", "ssd")
ROWS = {row: FACTS[row] for row in ("forget_accuracy", "test_accuracy", "wall_seconds")}


def summed(values, methods=METHODS, tuned=TUNED):
    """Summary of these forget accuracies; those on the test set and costs follow from them.

    values: of each seed by method, None where the method failed.
    """
    found = []
    for seed in SEEDS:
        runs = [run("original", forget_accuracy=0.9, test_accuracy=0.9)]
        for place, method in enumerate(("retrained", *METHODS)):
            value = values[method][seed]
            if method in ("retrained", *methods) and value is not None:
                of = {"test_accuracy": 0.9 - value / 4, "wall_seconds": 1 + 5 * value + place}
                runs.append(run(method, forget_accuracy=value, **of))
        found.append(result(seed, runs))
    return aggregate(found, question(SEEDS, methods=methods, metrics=ROWS, tuned=tuned))


def front_of(summary):
    """Points of the only front, and who has no place on it."""
    (front,) = summary.pareto
    return front.points, front.left_out


VALUES = {
    "retrained": [0.1, 0.12, 0.11, 0.1, 0.13, 0.1],
    "scrub": [0.11, 0.12, 0.12, 0.1, 0.13, 0.11],
    "scrub.as-given": [0.3, 0.31, 0.29, 0.3, 0.32, 0.3],
    "finetune": [0.8, 0.81, 0.8, 0.82, 0.8, 0.8],
    "finetune.as-given": [0.85, 0.85, 0.86, 0.85, 0.85, 0.86],
    "ssd": [0.1, 0.12, 0.11, 0.1, 0.13, 0.11],
    "unsir": [0.5, 0.4, 0.5, 0.4, 0.5, 0.4],
}


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_track_is_what_it_would_be_without_the_other(data):
    value = st.sampled_from([None, 0.1, 0.11, 0.12, 0.2, 0.4, 0.5, 0.8])
    values = {m: data.draw(st.lists(value, min_size=6, max_size=6), label=m) for m in METHODS}
    values["retrained"] = VALUES["retrained"]
    both = summed(values)
    points, left_out = front_of(both)
    for methods, ranks in ((TUNED, both.ranks), (AS_GIVEN, both.ranks_as_given)):
        alone = summed(values, methods, tuned=())
        there = {*methods, "original", "retrained"}
        assert [row for row in both.rows if row.method in there] == alone.rows
        verdicts = [each for each in both.joint_verdicts if each.method in there]
        assert verdicts == alone.joint_verdicts
        pairs = [each for each in both.comparisons if each.method in there]
        assert pairs == alone.comparisons
        assert ranks == alone.ranks
        own = [each for each in points if each.method in there]
        out = [each for each in left_out if each.method in there]
        assert (own, out) == front_of(alone)


def test_where_nothing_is_tuned_there_is_one_track():
    found = summed(VALUES, tuned=())
    assert len(found.comparisons) == 15
    assert [each.method for each in found.ranks.ranks] == list(METHODS)
    assert found.ranks_as_given is None
    assert "ranks_as_given" not in found.to_document()
    assert by_track(["original", *METHODS], ()) == [list(METHODS), ["original"]]


@pytest.fixture(scope="module")
def indexed():
    return IndexedSummary(with_choices(summed(VALUES), *TUNED))


def test_methods_stand_with_those_of_their_track_the_nearest_first(indexed):
    """ssd is the nearest of all."""
    order = ["scrub", "unsir", "finetune", "ssd", "scrub.as-given", "finetune.as-given"]
    assert by_nearness(indexed, "full_class") == [*order, "original"]
    assert [line.title for line in lead_table(indexed, "full_class").methods] == order


def test_the_page_ranks_each_track_by_itself(indexed):
    page = render_report(indexed.summary).decode()
    for title in ("Ranks of chosen settings", "Ranks of settings as given"):
        assert f"<h3>{title}</h3>" in page
    assert "Chosen settings and settings as given are not compared" in page


def test_ranks_are_pasted_track_by_track(indexed):
    lines = [line.split(",")[:2] for line in paste(indexed, "ranks", "csv").splitlines()]
    assert [title for _, title in lines if title in METHODS] == [
        *("scrub", "unsir", "finetune"),
        *("ssd", "scrub.as-given", "finetune.as-given"),
    ]
    latex = paste(indexed, "ranks", "latex")
    for of in ("Chosen settings, mean rank", "Settings as given, mean rank"):
        assert of in latex


def test_a_paper_is_told_of_each_method_once_and_that_tracks_are_apart(indexed):
    text = paragraph(indexed)
    assert "4 methods started from Original: scrub, finetune, ssd and unsir;" in text
    assert "Of these, scrub, finetune and unsir ran with these settings and once more" in text
    assert "among methods with chosen settings and, apart from them, among those" in text


def test_the_page_counts_a_method_once(indexed):
    assert "1 scenario · 4 methods" in render_report(indexed.summary).decode()
