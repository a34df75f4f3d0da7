"""Leaderboards of made-up experiments: who is ranked with whom, by which distances, and who is not.

order       of the mean distances to Retrained, whatever experiment a method is from
apart       each thing that must be the same; tuned methods from settings that nobody searched
no place    a method that lost the task or a seed
refusals    rows that cannot rank, an experiment twice
Left out: intervals of ranks (test_comparison.py); the page (report/test_leaderboard_report.py).
"""

import pytest

from supreme_core.analysis.leaderboard import leaderboards
from supreme_core.api.summary import CollapseRate
from supreme_core.errors import SpecError
from tests.core.analysis.summaries import PublishedExperiment, published
from tests.core.analysis.test_across import slow_distance, tuned
from tests.core.analysis.test_tuning import FOUND


def changed(source, *, summary=None, **facts):
    """A published experiment.  summary: changes of its summary."""
    found = published(source, **facts)
    return PublishedExperiment(source, found.summary.model_copy(update=summary or {}))


def labels(table):
    return [line.label for line in table.lines]


def searched(source):
    """An experiment in which scrub was tuned and ssd was not."""
    tuning = tuned(source, searches=[FOUND]).summary.tuning
    methods = ("scrub", "scrub.as-given", "ssd")
    return changed(source, methods=methods, summary={"tuning": tuning})


def test_methods_of_several_experiments_stand_in_the_order_of_their_distances():
    one = published("A", methods=("scrub", "ssd", "finetune"))
    other = published("B", methods=("unsir", "salun"))

    [board] = leaderboards([other, one])

    [table] = board.tables
    slow = {
        method: slow_distance(each, "full_class", method, "forget_accuracy")
        for each, methods in ((one, ("scrub", "ssd", "finetune")), (other, ("unsir", "salun")))
        for method in methods
    }
    assert [slow[label] for label in labels(table)] == sorted(slow.values())
    places = [line.rank.mean for line in table.lines]
    assert places == sorted(places)
    assert sum(places) == 1 + 2 + 3 + 4 + 5


def test_a_method_that_two_have_measured_is_called_by_its_experiment_too():
    [board] = leaderboards([published("A"), published("B", methods=("scrub", "ssd"))])
    assert {*labels(board.tables[0])} == {"scrub (A)", "scrub (B)", "ssd"}


def test_every_scenario_model_and_dataset_has_a_board_of_its_own():
    found = leaderboards(
        [
            published("A", scenarios=("full_class", "random")),
            published("B", model="vit"),
            published("C", dataset="cifar10"),
        ]
    )
    assert [(b.first.source, *b.first.scenarios) for b in found] == [
        ("A", "full_class"),
        ("A", "random"),
        ("B", "full_class"),
        ("C", "full_class"),
    ]


def test_chosen_settings_are_ranked_apart_from_those_that_nobody_searched():
    [board] = leaderboards([searched("A"), published("B", methods=("unsir", "salun"))])
    chosen, others = board.tables
    assert labels(chosen) == ["scrub"]
    assert chosen.lines[0].search == FOUND
    assert {*labels(others)} == {"scrub", "ssd", "unsir", "salun"}
    assert all(line.search is None for line in others.lines)
    assert chosen.apart == others.apart == []


def test_two_searches_that_differ_are_two_tables():
    more = tuned("B", trials=32, searches=[FOUND]).summary.tuning
    other = changed("B", summary={"tuning": more})
    [board] = leaderboards([searched("A"), other])
    first, second, others = board.tables
    assert (labels(first), labels(second)) == (["scrub"], ["scrub"])
    assert others.apart == []
    assert second.apart == ["the tuning differs: trials is 16 in A and 32 in B"]


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (published("B", seeds=range(3)), "the set of seeds differs: it is 0, 1, 2, 3, 4 in A and"),
        (published("B", changes={"training": {"epochs": 3}}), "the recipe of training differs"),
        (published("B", changes={"protocol": "matched"}), "the seed protocol differs"),
        (
            published("B", changes={"evaluationPrecision": "tf32"}),
            "the precision of evaluations differs: it is fp32 in A and tf32 in B",
        ),
        (published("B", margins={"forget_accuracy": 0.2}), "margin of 'forget_accuracy' differs"),
        (published("B", primary="test_accuracy"), "the metric row that ranks differs"),
    ],
    ids=["seeds", "recipe", "protocol", "precision", "margin", "metric"],
)
def test_what_was_measured_otherwise_has_a_table_of_its_own(other, line):
    [board] = leaderboards([published("A"), other])
    first, second = board.tables
    assert (labels(first), labels(second)) == (["scrub"], ["scrub"])
    assert first.apart == []
    assert second.apart[0].startswith(line)


@pytest.mark.parametrize("field", ["datasets", "cells"])
def test_other_data_and_other_forget_sets_are_not_ranked_together(field):
    other = published("B").summary
    changes = {"datasets": {"digest": "0" * 64}, "cells": {"forgetDigests": {"0": "0" * 64}}}
    [record] = other.provenance[field]
    provenance = {**other.provenance, field: [{**record, **changes[field]}]}
    other = other.model_copy(update={"provenance": provenance})
    [board] = leaderboards([published("A"), PublishedExperiment("B", other)])
    assert len(board.tables) == 2
    assert "digest is" in board.tables[1].apart[0]


def test_who_lost_the_task_has_no_place_whatever_the_distance():
    rate = CollapseRate(
        scenario="full_class",
        method="ssd",
        collapsed=2,
        failed=0,
        of=5,
        rate=0.4,
        low=0.1,
        high=0.8,
    )
    [board] = leaderboards(
        [changed("A", methods=("scrub", "ssd", "salun"), summary={"collapse_rates": [rate]})]
    )
    *_, last = board.tables[0].lines
    assert (last.label, last.rank, last.lack) == ("ssd", None, "lost the task in 2 of 5 seeds")
    assert sorted(line.rank.mean for line in board.tables[0].lines[:2]) == [1, 2]


def test_a_method_alone_has_no_place():
    [board] = leaderboards([published("A")])
    [line] = board.tables[0].lines
    assert (line.rank, line.lack) == (None, "no other method to compare with")


@pytest.mark.parametrize(
    ("found", "metric", "line"),
    [
        ([published("A")], "wall_seconds", "A: wall_seconds is measured on a machine"),
        ([published("A")], "forget_acuracy", "did you mean 'forget_accuracy'?"),
        ([published("A"), published("A")], None, "A is given twice"),
    ],
)
def test_what_cannot_rank_is_refused_in_one_line(found, metric, line):
    with pytest.raises(SpecError) as error:
        leaderboards(found, metric)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
