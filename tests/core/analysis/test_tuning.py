"""Tuning in a summary: one search by hand, and its objective on final seeds.

Left out: the statistics themselves (test_trials.py); the page (report/test_tuning_report.py).
"""

from math import inf

import pytest

from supreme_core.analysis.tuning import (
    FinalSeeds,
    forgets_the_same,
    search_summary,
    told,
    tuning_summary,
)
from supreme_core.api.selection import Candidate, Sanity, SearchChoice
from supreme_core.api.summary import TuningSummary
from supreme_core.api.v1alpha1 import Component, LabelledComponent, MethodEntry
from supreme_core.registry import catalog
from supreme_core.tuning.selection import NOT_TUNABLE, select
from tests.core.analysis import summaries
from tests.core.tuning import trials

CATALOG = catalog.bundled()

ENTRY = MethodEntry(
    name="scrub",
    params={"epochs": 5},
    search={"lr": {"log": [1e-4, 1e-1]}, "alpha": {"uniform": [0, 1]}, "epochs": {"int": [1, 9]}},
)


def candidate(trial, value, *, lr=0.01, alpha=0.5, epochs=5, passes=100):
    params = {"lr": lr, "alpha": alpha, "epochs": epochs} if trial else {}
    values = [value, None if value is None else value + 0.2]
    return Candidate(trial=trial, params=params, values=values, passes=[passes, passes])


def final_seeds(**by_method):
    """Final seeds 1, 2, ... of which each method has a forget accuracy; that of Retrained is 0."""
    rows = {
        ("full_class", method.replace("_as", ".as-")): {
            seed: {"forget_accuracy": value} for seed, value in enumerate(values, 1)
        }
        for method, values in {"retrained": [0.0] * 3, **by_method}.items()
    }
    return FinalSeeds({"forget_accuracy": 1.0}, {"full_class": "classes"}, rows, 3)


FINAL = final_seeds(scrub=[0.3, 0.4, 0.2], scrub_asgiven=[0.7, 0.5, None])


def search(trial, *candidates, entry=ENTRY, final=FINAL, learns=False):
    choice = SearchChoice(
        scenario="full_class",
        method="scrub",
        plan="0" * 64,
        trial=trial,
        retraining=[900, 1100],
        candidates=list(candidates),
    )
    defaults = {"scrub": {"lr": 5e-4, "alpha": 0.5, "epochs": 10}}
    return search_summary(choice, entry, [9000, 9001], final, defaults, learns=learns)


FOUND = search(
    1,
    candidate(0, 0.4),
    candidate(1, 0.1, lr=0.0901, alpha=0.5, epochs=9),
    candidate(2, 0.5, lr=0.001, alpha=0.97, epochs=2),
    candidate(3, None, lr=0.01, alpha=0.4, epochs=3, passes=None),
)


def test_halved_trials_are_compared_where_all_of_them_were_made():
    left = candidate(2, 0.05).model_copy(
        update={"values": [0.05, None], "passes": [100, None], "left_out_after": 1}
    )
    found = search(1, candidate(0, 0.4), candidate(1, 0.1), left)
    assert (found.objective, found.given) == (pytest.approx(0.2), pytest.approx(0.5))
    assert found.values == [0.4, 0.1, 0.05]
    assert (found.beaten, found.best_of) == (0.0, [pytest.approx(0.075), 0.05])
    assert (found.retrainings, found.uncounted) == (pytest.approx(0.5), 0)


def test_proposed_trials_have_an_order():
    candidates = [candidate(0, 0.4), candidate(1, None), candidate(2, 0.3), candidate(3, 0.5)]
    found = search(2, *candidates, learns=True)
    assert found.best_of == [None, pytest.approx(0.4), pytest.approx(0.4)]


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


def test_the_setting_that_the_objective_follows_has_its_variance():
    tried = [candidate(n, n / 10, lr=0.001 * n, alpha=n * 3 % 8 / 10) for n in range(1, 9)]
    lr, alpha, epochs = search(1, candidate(0, 0.4), *tried).settings
    assert lr.share > 0.9 > alpha.share
    assert epochs.share is None  # which all trials have alike
    assert {each.share for each in search(0, candidate(0, 0.4)).settings} == {None}


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


def test_settings_that_somebody_wrote_into_a_selection_are_shown_as_they_are():
    chosen = Candidate(trial=1, params={"lr": "fast"}, values=[0.1, 0.3], passes=[1, 1])
    lr, alpha, _ = search(1, candidate(0, 0.4), chosen).settings
    assert (lr.chosen, lr.at_end, alpha.chosen) == ("fast", False, 0.5)


def test_given_settings_lie_at_no_end():
    at_an_end = ENTRY.model_copy(update={"params": {"alpha": 0.01}})
    found = search(0, candidate(0, 0.1), candidate(1, 0.4), entry=at_an_end)
    assert [each.chosen for each in found.settings if each.name == "alpha"] == [0.01]
    assert not any(each.at_end for each in found.settings)


def test_the_gain_is_that_of_seeds_which_have_both():
    """On tuning seeds 0.4 and 0.6 minus 0.1 and 0.3; on the final ones 0.4 and 0.1."""
    assert FOUND.tuning_gain.mean == pytest.approx(0.3)
    assert (FOUND.tuning_gain.low, FOUND.tuning_gain.high) == (FOUND.tuning_gain.mean,) * 2
    assert (FOUND.final_gain.n, FOUND.final_gain.asked) == (2, 3)
    assert FOUND.final_gain.mean == pytest.approx(0.25)
    assert FOUND.final_gain.low < 0 < FOUND.final_gain.high
    assert FOUND.final == pytest.approx(0.3)
    assert FINAL.values("full_class", "scrub.as-given")[3] is None


def test_luck_is_what_final_seeds_lack():
    assert FOUND.optimism.mean == pytest.approx(0.3 - 0.2)
    assert FOUND.optimism.low < 0.1 < FOUND.optimism.high


def test_of_one_tuning_seed_and_no_final_one_nothing_is_claimed():
    lucky = search(0, candidate(0, 0.4), final=final_seeds())
    assert (lucky.final, lucky.final_gain.n, lucky.final_gain.mean) == (None, 0, None)
    assert (lucky.optimism.mean, lucky.tuning_gain.mean) == (None, 0)
    assert (lucky.beaten, lucky.best_of) == (None, [])


def test_where_every_trial_failed_the_final_seeds_still_have_an_objective():
    lost = search(0, candidate(0, None), candidate(1, None))
    assert (lost.objective, lost.optimism.mean, lost.tuning_gain.n) == (None, None, 0)
    assert lost.final == pytest.approx(0.3)


def test_the_objective_of_final_seeds_is_read_from_the_rows_of_the_summary():
    found = summaries.summary(range(2), methods=("scrub",))
    work = summaries.work()
    weights = {"forget_accuracy": 1.0}
    without = FinalSeeds.of(weights, work, found.rows, CATALOG)
    assert without.lack == "spec.metrics has no, or another, 'accuracy', which the objective reads"
    assert (without.values("full_class", "scrub"), without.asked) == ({}, 0)
    work = work.model_copy(update={"metrics": [LabelledComponent(name="accuracy")]})
    final = FinalSeeds.of(weights, work, found.rows, CATALOG)
    (row,) = (r for r in found.rows if (r.method, r.metric) == ("scrub", "forget_accuracy"))
    assert (final.lack, final.asked) == ("", 2)
    assert FinalSeeds.of(weights, work, [], CATALOG).asked == 0
    assert sum(final.values("full_class", "scrub").values()) / 2 == pytest.approx(row.gap.mean)


@pytest.mark.parametrize(
    ("scenario", "same"),
    [
        ({"name": "full_class", "params": {"classes": [3]}}, True),
        ({"name": "random_samples", "params": {"fraction": 0.1}}, False),
        ({"name": "random_samples", "params": {"fraction": 0.1, "draw": "fixed"}}, True),
        ({"name": "memorised_samples", "params": {"fraction": 0.1, "memorisation": "low"}}, False),
        ({"name": "identity"}, True),
    ],
    ids=str,
)
def test_a_scenario_says_whether_seeds_forget_the_same(scenario, same):
    assert forgets_the_same(Component(**scenario), CATALOG) == same
    both = [{"name": "full_class", "params": {"classes": [1]}}, scenario]
    sequence = Component(name="sequential", params={"requests": both})
    assert forgets_the_same(sequence, CATALOG) == same


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


def test_every_table_says_how_settings_were_chosen():
    methods = ["scrub", "scrub.as-given"]
    text = (
        "Settings of scrub were tuned: 3 trials each, 2 tuning seeds, objective average_gap"
        " (oracle); rows that end in .as-given{} have the settings of the experiment. Chosen"
        " settings and those as given are tested and ranked apart."
    )
    assert told([summary()], methods) == text.format("")
    one, two = [*methods, "ssd"], [*methods, "ssd", "assd"]
    assert told([summary()], one) == text.format(", and ssd, which was not tuned,")
    assert told([summary()], two) == text.format(", and ssd, assd, which were not tuned,")
    lost = FOUND.model_copy(update={"note": NOT_TUNABLE})
    not_tunable = " Not tunable, so with the settings as given: scrub in full_class."
    assert told([summary(searches=[lost])], methods) == text.format("") + not_tunable
    assert "2 tuning seeds in 2 rounds of successive" in told([summary(rounds=2)], methods)
    assert "Settings were chosen anew 1 time." in told([summary(retuned=1), summary()], [])
    same = summary(same_forget=["full_class"], objective={"forget_accuracy": 1})
    assert "objective weighted gaps (oracle)" in told([same], [])
    assert "objective average_gap (rehearsal)" in told([summary(track="rehearsal")], [])
    text = told([summary(), same], [])
    assert "Tuning seeds forgot what final seeds forget in full_class." in text


BOTH = [
    {"name": "full_class", "params": {"classes": [3]}},
    {"name": "random_samples", "params": {"fraction": 0.1}},
]
"""Scenarios, of which the second has no run in the results of trials."""


def summary_of(order, selection):
    final = FinalSeeds(order.tuning.objective, {}, {}, 2, lack="no row")
    return tuning_summary(order.tuning, selection, final, defaults={}, catalog=CATALOG)


def test_a_summary_has_each_search_and_says_what_tuning_seeds_forgot():
    order = trials.order_of(scenarios=BOTH)
    flat = [0.5] * 3
    table = trials.values(flat, flat, [0.2] * 3, flat, flat)
    found = summary_of(order, select(order, trials.results(table), CATALOG))
    plan = (found.trials, found.sampler, found.share, found.seeds, found.final_lack)
    assert plan == (4, "sobol", 0.2, trials.SEEDS, "no row")
    assert [(each.scenario, each.trial, each.note) for each in found.searches] == [
        ("full_class", 2, ""),
        ("random_samples", 0, NOT_TUNABLE),
    ]
    assert (found.same_forget, found.rehearsal) == (["full_class"], [])
    assert {(each.retrainings, each.uncounted) for each in found.searches} == {
        (None, 0),
        (None, 15),
    }


def test_a_rehearsal_forgets_nothing_that_final_seeds_forget():
    rehearsal = [{"name": "full_class", "params": {"classes": [5]}}]
    order = trials.order_of(**trials.tuning(rehearsal=rehearsal))
    found = summary_of(order, select(order, trials.results({}), CATALOG))
    assert ([each.params for each in found.rehearsal], found.same_forget) == (
        [{"classes": [5]}],
        [],
    )


def test_a_choice_for_a_method_that_is_gone_is_in_no_summary():
    selection = select(trials.ORDER, trials.results({}), CATALOG)
    assert summary_of(trials.order_of(methods=[{"name": "ssd"}]), selection).searches == []


def test_of_many_methods_few_are_named():
    many = [FOUND.model_copy(update={"method": f"m{n}"}) for n in range(8)]
    six = told([summary(searches=many[:6])], [])
    assert "Settings of m0, m1, m2, m3, m4, m5 were" in six
    seven = told([summary(searches=many[:7])], [])
    assert "Settings of m0, m1, m2, m3, m4, m5 and 1 more were" in seven
    assert "Settings of m0, m1, m2, m3, m4, m5 and 2 more were" in told(
        [summary(searches=many)], []
    )


def test_an_infinite_value_is_none():
    with pytest.raises(ValueError, match="finite"):
        Candidate(trial=0, values=[inf], passes=[1])
