"""The part of the page about tuning, its plots, and its table to paste.

Covered: that every choice, gain, trial and model stands there; the ends of searches (no trial
succeeded, one trial, an objective that final seeds lack); hostile names. Left out: the numbers
(analysis/test_tuning.py); how it looks, which a person has to see.
"""

import json
import re

import pytest

from supreme_core.api.selection import Sanity
from supreme_core.api.v1alpha1 import LabelledComponent
from supreme_core.report import axes, tuning
from supreme_core.report.page import render_report
from supreme_core.report.paste import choices, paste
from supreme_core.report.tables import IndexedSummary
from supreme_core.report.terminal import terminal_tables
from tests.core.analysis import summaries
from tests.core.analysis.test_tuning import FOUND, candidate, final_seeds, search, summary
from tests.core.report.test_across_report import latex_rows_below_groups
from tests.core.report.test_paste import EVIL, markdown_rows
from tests.core.report.test_report import Page
from tests.trainer.test_screen import WIDTHS, check

pytestmark = pytest.mark.usefixtures("plots_once")


def page_of(**changes):
    return Page(str(tuning.section(summary(**changes))).encode())


def words_of(page):
    return " ".join(page.text.split())


def test_the_page_says_what_was_chosen_and_what_it_gained_and_cost():
    text = words_of(page_of())
    for words in (
        "among 3 trials (sobol) and the given settings",
        "the mean of average_gap over 2 tuning seeds (9000 to 9001)",
        "(an oracle)",
        # given, chosen and gain on tuning seeds; chosen, gain and luck on final ones
        "lr 0.0901, alpha 0.5, epochs 9 0.5 0.2 +0.300 [+0.300, +0.300] 0.3 +0.2 [",
        "scrub 67 % 1 of 4 0.6",
        "the chosen lr lies at an end of what was tried",
        "scrub: the gain is that of 2 of 3 final seeds, in which both have a value.",
        "Original 0.7 2 of 2 none",
    ):
        assert words in text
    assert "anew" not in text


def test_every_trial_is_a_point_over_each_setting():
    page = str(tuning.section(summary()))
    for setting, values in {
        "lr": ("0.0005", "0.0901", "0.001", "0.01"),
        "alpha": ("0.5", "0.5", "0.97", "0.4"),
        "epochs": ("5", "9", "2", "3"),
    }.items():
        for trial, value in enumerate(values):
            found = "failed" if trial == 3 else f"objective {FOUND.values[trial]:.3g}"
            assert page.count(f"<title>trial {trial}: {setting} {value}, {found}</title>") == 1
    assert re.findall("best of [0-9]: [0-9.]+", page) == ["best of 2: 0.333", "best of 3: 0.2"]


def test_ids_are_unique_where_scenarios_have_the_same_methods():
    other = FOUND.model_copy(update={"scenario": "random"})
    ids = page_of(searches=[FOUND, other]).ids
    assert len(ids) == len(set(ids)) > 8


def test_values_that_are_no_numbers_have_places_of_their_own():
    setting = FOUND.settings[0].model_copy(update={"tried": [True, "a", None, "a" * 50]})
    page = str(tuning.section(summary(searches=[FOUND.model_copy(update={"settings": [setting]})])))
    for value in ("true", "a", "null", "aaa...aaa"):
        assert f">{value}</text>" in page


def test_a_trial_that_leaves_a_setting_out_has_no_place_among_numbers():
    setting = FOUND.settings[0].model_copy(update={"tried": [None, 1, 2, 3]})
    page = str(tuning.section(summary(searches=[FOUND.model_copy(update={"settings": [setting]})])))
    assert "trial 0: lr" not in page
    assert "trial 1: lr 1, objective 0.2" in page


@pytest.mark.parametrize(
    "values",
    [[0.0] * 4, [1e-7, 1e7, 1.0, 2.0], [3.0, 3.1, 4.0, 17.0], [-2.0, 0.0, 3.0, -1.0], [7.0] * 4],
    ids=str,
)
def test_values_of_any_size_are_drawn(values):
    setting = FOUND.settings[0].model_copy(update={"tried": values})
    changed = FOUND.model_copy(update={"settings": [setting]})
    assert str(tuning.section(summary(searches=[changed]))).count("<svg") == 2


def test_where_no_trial_succeeded_nothing_is_drawn():
    lost = search(0, candidate(0, None), candidate(1, None))
    page = str(tuning.section(summary(searches=[lost.model_copy(update={"note": "not tunable"})])))
    assert "<svg" not in page
    assert "scrub: not tunable." in page
    assert "<td>failed</td>" in page


@pytest.mark.parametrize(
    ("changes", "there", "not_there"),
    [
        (
            {},
            ["Expected best of so many trials", "in the set, on the tuning seeds"],
            ["first tuning seed"],
        ),
        (
            {"rounds": 2},
            [
                "and the given settings and the better half on the others.",
                "in the set, on the tuning seeds that all trials have",
                "Where rounds have left trials out, all are compared on the first tuning seed",
            ],
            ["in the order in which they were proposed"],
        ),
        (
            {"rounds": 3},
            [
                "after each of 2 rounds the better half went on.",
                "compared on the first tuning seed",
            ],
            [],
        ),
        (
            {"sampler": "tpe"},
            [
                "3 trials (tpe)",
                "Best of the first trials",
                "in which they were proposed",
                "trials that were proposed are none drawn by chance",
            ],
            ["Expected best", "pale", "is what settings drawn by chance have"],
        ),
    ],
    ids=str,
)
def test_rounds_are_told(changes, there, not_there):
    text = words_of(page_of(**changes))
    assert [words for words in there if words not in text] == []
    assert [words for words in not_there if words in text] == []


def test_one_trial_has_points_and_no_curve():
    one = search(1, candidate(0, 0.4), candidate(1, 0.1))
    page = str(tuning.section(summary(searches=[one], sanity=[])))
    assert page.count("<svg") == len(one.settings)
    assert "Expected best" not in page
    assert "no trials" not in page


def test_before_the_first_final_seed_gains_are_dashes():
    begun = search(1, candidate(0, 0.4), candidate(1, 0.1), final=final_seeds())
    assert "+0.300 [+0.300, +0.300] \N{EN DASH} \N{EN DASH} \N{EN DASH}" in words_of(
        page_of(searches=[begun])
    )


def test_an_objective_that_final_seeds_lack_is_told_and_has_no_columns():
    text = words_of(page_of(final_lack="spec.metrics has no 'accuracy'"))
    assert "No gain on final seeds is known: spec.metrics has no 'accuracy'." in text
    assert "luck" not in text


def test_models_that_are_no_trials_have_places_among_the_methods():
    better = FOUND.model_copy(update={"method": "ssd", "objective": 0.7})
    models = [
        Sanity(scenario="full_class", model="original", values=[0.6, 0.8]),
        Sanity(scenario="full_class", model="retrained", values=[0.0, 0.0]),
        Sanity(scenario="full_class", model="untrained", values=[0.9, None]),
        Sanity(scenario="other", model="original", values=[0.1, 0.1]),
    ]
    text = words_of(page_of(searches=[FOUND, better], sanity=models))
    for words in ("Original 0.7 2.5 of 3 none", "Retrained 0 1 of 3 scrub, ssd"):
        assert words in text
    assert "Untrained network failed 3 of 3 none" in text


def test_of_very_many_searches_not_all_are_drawn(monkeypatch):
    monkeypatch.setattr(tuning, "MOST_PANELS", 4)
    text = str(tuning.section(summary(searches=[FOUND, FOUND])))
    assert text.count("<svg") == 4
    assert "further searches stand in summary.json" in text


def test_a_choice_that_was_made_anew_and_a_forget_set_that_was_seen_are_told():
    text = words_of(page_of(retuned=2, same_forget=["full_class", "other"]))
    assert "Settings were chosen anew 2 times" in text
    assert "forgot the same as the final seeds in full_class and other." in text


def test_a_rehearsal_says_what_trials_forgot():
    rehearsal = [LabelledComponent(name="full_class", label=each) for each in ("one", "two")]
    rehearsal[0].params["classes"] = [5]
    text = words_of(page_of(track="rehearsal", rehearsal=rehearsal))
    assert "saw trials that forget other samples than the experiment does (a rehearsal)" in text
    assert "other samples than the experiment: one with classes [5] and two with its defa" in text


@pytest.mark.parametrize("text", ["<script>", *EVIL])
def test_hostile_names_stay_text(text):
    setting = FOUND.settings[0].model_copy(update={"name": text, "chosen": text})
    hostile = FOUND.model_copy(
        update={"method": text, "note": text, "scenario": text, "settings": [setting]}
    )
    made = summary(track="blind", searches=[hostile], objective=text, same_forget=[text])
    page = str(tuning.section(made))
    assert "sees no retrained model (blind)" in page
    assert "<script" not in page
    Page(page.encode())
    told = with_tuning(made)
    latex = latex_rows_below_groups(paste(told, "tuning", "latex"))
    (markdown,) = markdown_rows(paste(told, "tuning", "markdown"))
    assert latex[-1][0] == markdown[-1][0] == " ".join(text.split())


def test_nothing_is_said_where_nothing_was_tuned():
    assert tuning.section(None) == ""
    assert tuning.section(summary(searches=[])) == ""
    assert "tuning" not in choices(IndexedSummary(summaries.summary()))


def with_tuning(found):
    made = summaries.summary(methods=("scrub", "scrub.as-given"))
    return IndexedSummary(made.model_copy(update={"tuning": found}))


def test_the_trials_of_a_method_are_found_from_its_line():
    """The page's script looks for them by method and scenario."""
    indexed = with_tuning(summary())
    page = render_report(indexed.summary).decode()
    (anchor, method, scenario) = re.search(
        r'<h4 id="([^"]+)" data-trials="([^"]+)" data-of="([^"]+)">', page
    ).groups()
    named = json.loads(axes.numbers(indexed))["scenarios"][0]
    assert scenario == named["name"]
    assert [method, "method"] in named["methods"]
    assert Page(page.encode()).ids.count(anchor) == 1


def test_every_table_to_paste_says_how_settings_were_chosen():
    indexed = with_tuning(summary())
    for choice in choices(indexed):
        for form in ("latex", "markdown"):
            assert "3 trials" in paste(indexed, choice, form), choice


def test_the_gains_are_a_table_to_paste():
    indexed = with_tuning(summary())
    heads, row = paste(indexed, "tuning", "csv").splitlines()
    assert heads.startswith('scenario,method,chosen settings,"as given, tuning seeds"')
    assert row.startswith('full_class,scrub,"lr 0.0901, alpha 0.5, epochs 9",0.5,0.2,0.300,')
    (rows,) = markdown_rows(paste(indexed, "tuning", "markdown"))
    assert rows[0][3] == "objective, tuning seeds: chosen"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_terminal_says_how_settings_were_chosen(width):
    last = terminal_tables(with_tuning(summary()).summary)[-1]
    assert any("2 tuning seeds, objective average_gap (oracle)" in note for note in last.notes)
    check(last, width)


def test_it_is_a_section_of_the_whole_page():
    page = Page(render_report(with_tuning(summary()).summary))
    assert "tuning" in page.ids
    assert "Expected best of so many trials" in page.text
