"""Tuning in a summary and on the page: one search by hand.

Left out: the statistics themselves (test_trials.py).
"""

from math import inf

import pytest

from supreme_core.analysis.tuning import search_summary
from supreme_core.api.selection import Candidate, Sanity, SearchChoice
from supreme_core.api.summary import TuningSummary
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.report import tuning

ENTRY = MethodEntry(
    name="scrub",
    params={"epochs": 5},
    search={"lr": {"log": [1e-4, 1e-1]}, "alpha": {"uniform": [0, 1]}, "epochs": {"int": [1, 9]}},
)


def candidate(trial, value, *, lr=0.01, alpha=0.5, epochs=5, passes=100):
    params = {"lr": lr, "alpha": alpha, "epochs": epochs} if trial else {}
    values = [value, None if value is None else value + 0.2]
    return Candidate(trial=trial, params=params, values=values, passes=[passes, passes])


def search(trial, *candidates, entry=ENTRY):
    choice = SearchChoice(
        scenario="full_class",
        method="scrub",
        plan="0" * 64,
        trial=trial,
        retraining=[900, 1100],
        candidates=list(candidates),
    )
    return search_summary(choice, entry, {"scrub": {"lr": 5e-4, "alpha": 0.5, "epochs": 10}})


FOUND = search(
    1,
    candidate(0, 0.4),
    candidate(1, 0.1, lr=0.0901, alpha=0.5, epochs=9),
    candidate(2, 0.5, lr=0.001, alpha=0.97, epochs=2),
    candidate(3, None, lr=0.01, alpha=0.4, epochs=3, passes=None),
)


def test_a_search_by_hand():
    assert (FOUND.objective, FOUND.given) == (pytest.approx(0.2), pytest.approx(0.5))
    assert FOUND.values == [pytest.approx(0.5), pytest.approx(0.2), pytest.approx(0.6), None]
    assert FOUND.beaten == pytest.approx(2 / 3)
    assert FOUND.retrainings == pytest.approx(0.6)  # 3 trials of 2 times 100, over 1000
    assert FOUND.uncounted == 2
    assert FOUND.best_of == [None, pytest.approx(1 / 3), pytest.approx(0.2)]


def test_settings_of_a_search_by_hand():
    lr, alpha, epochs = FOUND.settings
    assert (lr.name, lr.given, lr.chosen) == ("lr", 5e-4, 0.0901)
    assert lr.tried == [5e-4, 0.0901, 0.001, 0.01]
    assert (epochs.given, epochs.tried) == (5, [5, 9, 2, 3])  # what the experiment gives
    assert (lr.at_end, alpha.at_end, epochs.at_end) == (True, False, False)


@pytest.mark.parametrize(
    ("lr", "alpha", "ends"),
    [
        (1.42e-4, 0.5, []),
        (1.4e-4, 0.5, ["lr"]),
        (0.01, 0.049, ["alpha"]),
        (0.01, 0.951, ["alpha"]),
        (0.0707, 0.051, []),
    ],
)
def test_the_outer_twentieth_of_a_range_is_its_end(lr, alpha, ends):
    found = search(1, candidate(0, 0.4), candidate(1, 0.1, lr=lr, alpha=alpha))
    assert [each.name for each in found.settings if each.at_end] == ends


@pytest.mark.parametrize(
    ("value", "is_end"), [(0.92, True), (0.93, False), (0.9987, False), (0.9988, True)]
)
def test_a_range_by_what_is_lacking_to_one_ends_where_little_of_it_is_left(value, is_end):
    """A twentieth of the two powers of ten is 0.1 of one, a factor of 1.26."""
    near = ENTRY.model_copy(update={"search": {"alpha": {"logToOne": [0.9, 0.999]}}})
    found = search(1, candidate(0, 0.4), candidate(1, 0.1, alpha=value), entry=near)
    assert [each.at_end for each in found.settings] == [is_end]


def test_given_settings_lie_at_no_end():
    found = search(0, candidate(0, 0.1), candidate(1, 0.4))
    assert not any(each.at_end for each in found.settings)


def summary(**changes):
    fields = {
        "objective": "average_gap",
        "track": "oracle",
        "seeds": [9000, 9001],
        "trials": 3,
        "sampler": "sobol",
        "share": 0.2,
        "retuned": 0,
        "searches": [FOUND],
        "sanity": [Sanity(scenario="full_class", model="original", values=[0.6, 0.8])],
    }
    return TuningSummary(**{**fields, **changes})


def test_the_page_says_what_was_chosen_and_what_it_cost():
    page = str(tuning.section(summary()))
    for words in (
        "among 3 trials (sobol) and the given settings",
        "the mean of average_gap over 2 tuning seeds (9000 to 9001)",
        "(an oracle)",
        "lr 0.0901, alpha 0.5, epochs 9</td><td>0.2</td><td>0.5</td>",
        "<td>67%</td><td>1 of 4</td><td>0.6</td>",
        "the chosen lr lies at an end of what was tried",
        '<th scope="row">Original</th><td>no trial</td><td>0.7</td>',
        "<svg",
    ):
        assert words in page
    assert "anew" not in page


def test_a_choice_that_was_made_anew_is_told():
    assert "Settings were chosen anew 2 times" in str(tuning.section(summary(retuned=2)))
    assert "Settings were chosen anew 1 time." in tuning.in_short(summary(retuned=1))


def test_a_blind_search_says_so_and_hostile_names_stay_text():
    hostile = FOUND.model_copy(update={"method": "<script>", "note": "not tunable: <b>"})
    page = str(tuning.section(summary(track="blind", searches=[hostile])))
    assert "sees no retrained model (blind)" in page
    assert "<script>" not in page
    assert "<b>" not in page


def test_nothing_is_said_where_nothing_was_tuned():
    assert tuning.section(None) == ""
    assert tuning.section(summary(searches=[])) == ""


def test_an_infinite_value_is_none():
    with pytest.raises(ValueError, match="finite"):
        Candidate(trial=0, values=[inf], passes=[1])
