"""The part of the page about trainings: sentences, figure, tables, what is said where curves lack.

Left out: quartiles and ends (tests/core/analysis/test_training_curves.py), a browser
(test_browser.py).
"""

import re

import pytest

from supreme_core.report import training_curves
from supreme_core.report.page import render_report
from tests.core.analysis import summaries
from tests.core.analysis.test_training_curves import curve, found, halving
from tests.core.report.test_report import EVIL, Page

pytestmark = pytest.mark.usefixtures("plots_once")

LONG = curve(halving(20, 8))
FALLING = curve(halving(20, 3))


def section(curves_of, **changes):
    return str(training_curves.section(found(curves_of, **changes)))


def words_of(page):
    return " ".join(Page(page.encode()).text.split())


def of_method(**curves):
    """Curves by method, the same in every seed and scenario; others have none."""
    return lambda seed, scenario, method: curves.get(method, [])


@pytest.mark.parametrize(
    ("retrained", "sentence"),
    [
        pytest.param(LONG, "Original and Retrained had levelled off at the end", id="level"),
        pytest.param(
            FALLING,
            "Retrained was still falling at the end of its 20 epochs, in 3 of 3 seeds",
            id="falling",
        ),
    ],
)
def test_the_page_says_whether_the_references_had_converged(retrained, sentence):
    assert sentence in words_of(section(of_method(original=[LONG], retrained=[retrained])))


def test_few_epochs_are_not_judged():
    short = [curve([2.0, 1.0])]
    text = words_of(section(of_method(original=short, retrained=short)))
    assert "After 2 epochs nothing is said" in text
    assert "levelled off at the end" not in text


def test_each_training_has_a_line_with_its_curves():
    later = curve(
        [2.0, 1.0, 0.25], name="repair", rate=[0.1, 0.2, 0.05], validation=[0.5, 0.6, 0.7]
    )
    page = section(
        of_method(original=[LONG], retrained=[LONG], unsir=[FALLING, later]), methods=("unsir",)
    )
    text = words_of(page)
    assert "unsir: training 20 3 seeds 2 to 0.277" in text
    assert (
        "unsir: repair 3 3 seeds 2 to 0.25 50.0 to 50.0 50.0 to 70.0 0.1 to 0.05 at most 0.2"
        in text
    )
    assert "still falling 3 of 3 seeds" in text
    assert page.count('class="spark method"') == 5  # one more of validation
    assert 'aria-label="loss of unsir: repair, epochs 1 to 3: 2 to 0.25"' in page


def test_seeds_that_ended_otherwise_are_counted():
    text = words_of(section(lambda seed, *_: [FALLING if seed == 1 else LONG]))
    assert "levelled off but not in 1 of 3 seeds" in text


def test_retrained_of_several_scenarios_are_told_apart():
    scenarios = ("full_class", "random_samples")
    page = section(of_method(original=[LONG], retrained=[LONG]), scenarios=scenarios)
    assert "Retrained (full_class) and Retrained (random_samples)" in words_of(page)
    assert "stroke-dasharray" in page


def test_of_more_scenarios_than_can_be_told_apart_the_table_has_the_others():
    scenarios = tuple(f"random_samples_{number}" for number in range(8))
    curves = of_method(original=[LONG], retrained=[LONG])
    text = words_of(section(curves, scenarios=scenarios))
    assert "The table has further ones." in text
    assert "The table has further ones." not in words_of(section(curves))


def test_without_any_curve_one_sentence_says_so():
    page = section(lambda *_: [])
    assert words_of(page) == (
        "No model has a curve: all were computed by a version that kept none."
    )


def test_models_without_a_curve_are_named():
    assert (
        "No curve of ssd and unsir: made without a training of epochs, or by a version that kept no"
        " curves."
    ) in words_of(section(of_method(original=[LONG], retrained=[LONG]), methods=("ssd", "unsir")))


def test_a_model_that_lacks_a_curve_in_one_scenario_is_named_with_it():
    page = section(
        lambda seed, scenario, method: [] if (scenario, method) == ("b", "ssd") else [LONG],
        scenarios=("a", "b"),
        methods=("ssd",),
    )
    assert "No curve of ssd in b:" in words_of(page)


def test_a_single_epoch_and_a_single_seed_have_no_figure_and_no_band():
    page = section(of_method(original=[curve([1.0])], retrained=[curve([1.0])]), seeds=(1,))
    assert "<svg" not in page
    assert 'class="band"' not in section(lambda *_: [LONG], seeds=(1,))


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([1.0, 1.0], id="equal"),
        pytest.param([0.0, 0.0], id="zero"),
        pytest.param([-3.0, -1e6], id="negative"),
        pytest.param([1e-9, 1e9], id="far"),
        pytest.param([3e38, -3e38], id="as far as can be"),
        pytest.param([3e38, 1e-44], id="of all sizes"),
        pytest.param([None, None], id="unknown"),
        pytest.param([1.0, None], id="one known"),
    ],
)
def test_any_numbers_give_a_page(numbers):
    page = section(lambda *_: [curve(numbers, accuracy=numbers, validation=numbers)])
    assert "nan" not in page.lower().replace("finance", "")


def test_foreign_text_stays_text():
    page = section(
        of_method(original=[LONG], retrained=[LONG], finetune=[curve([2.0, 1.0], name=EVIL), LONG])
    )
    assert EVIL not in page
    Page(page.encode())


def test_the_page_grows_by_little_for_each_method():
    methods = tuple(f"method{number}" for number in range(30))
    long = curve(halving(300, 5), validation=[0.5] * 300)
    few = len(section(lambda *_: [long], methods=methods[:1]))
    many = len(section(lambda *_: [long], methods=methods))
    assert (many - few) / 29 < 5_000


def test_the_fold_stands_on_the_page_where_there_are_models():
    summary = summaries.summary(range(3))
    assert "Training curves" not in render_report(summary).decode()
    curves = found(of_method(original=[LONG], retrained=[LONG]))
    page = render_report(summary.model_copy(update={"training_curves": curves})).decode()
    assert re.search(r"<h2>Training curves</h2>", page)
    Page(page.encode())
