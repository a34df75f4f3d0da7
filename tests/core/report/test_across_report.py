"""Page, CSV, LaTeX and terminal tables of several experiments.

Covered: that every method, block and number stands in each of them; that foreign text stays text;
that the page needs nothing from outside. Left out: how it looks, which a person has to see; the
numbers, which test_across.py has.
"""

import csv
import io
import re

import pytest

from supreme_core.analysis.across import compare
from supreme_core.report import across as report
from supreme_core.report import cells
from tests.core.analysis.summaries import published, six_blocks, with_choices
from tests.core.report.test_paste import EVIL, latex_rows
from tests.core.report.test_report import Page
from tests.trainer.test_screen import WIDTHS, check

pytestmark = pytest.mark.usefixtures("plots_once")

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def six():
    return compare(six_blocks(), ["forget_accuracy", "wall_seconds"])


@pytest.fixture(scope="module")
def four():
    return compare(six_blocks()[:2], ["forget_accuracy"])


def hostile(text):
    """Two experiments whose address, method, setting of the dataset and metric say that."""
    several = []
    for model in ("resnet18", "vit"):
        each = published(text, model=model)
        provenance = each.summary.provenance
        dataset = {"name": "digits", "params": {"path": f"{text}{model}"}}
        facts = provenance["metrics"]["forget_accuracy"] | {"summary": text}
        provenance = provenance | {
            "work": provenance["work"] | {"dataset": dataset},
            "metrics": provenance["metrics"] | {"forget_accuracy": facts},
        }
        rows = [
            row.model_copy(update={"method": text if row.method == "scrub" else row.method})
            for row in each.summary.rows
        ]
        changed = {"rows": rows, "provenance": provenance}
        several.append(type(each)(text, each.summary.model_copy(update=changed)))
    return compare(several, ["forget_accuracy"])


def test_the_page_is_well_formed_and_its_ids_are_unique(six):
    page = Page(report.render_comparison(six))
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 2  # ranks by each metric


def test_every_method_block_and_experiment_stands_on_the_page(six):
    text = Page(report.render_comparison(six)).text
    for word in ("Original", "scrub", "ssd", "finetune", "resnet18", "vit", "cifar10", "random"):
        assert re.search(rf"\b{word}\b", text), word
    assert "Friedman's test over 6 blocks" in text


def test_the_page_asks_for_nothing_from_outside_and_allows_nothing(six):
    page = report.render_comparison(six)
    assert b"default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(rb"https?://|@import|url\((?!#)", page)
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    references = [value for name, value in parsed.attributes if name in ("href", "src")]
    assert all(value.startswith("#") for value in references)


def test_blocks_of_one_dataset_and_model_stand_under_one_head(six):
    page = report.render_comparison(six).decode()
    for title in ("digits, resnet18", "digits, vit", "cifar10, vit"):
        assert page.count(f'class="group" colspan="2">{title}</th>') == len(six.rows)
    latex = report.comparison_latex(six)
    assert latex.count(r"\multicolumn{2}{c}{digits, vit}") == len(six.rows)
    assert latex.count(r"\cmidrule(lr){3-4} \cmidrule(lr){5-6} \cmidrule(lr){7-8}") == len(six.rows)


def test_methods_stand_in_the_order_of_their_ranks_behind_the_references(six):
    for row in six.rows:
        titles = [line.title for line in report.table(six, row).lines]
        ranked = sorted(row.ranking.ranks, key=lambda rank: rank.mean)
        assert titles[1:] == [rank.method for rank in ranked]
        assert titles[0] in ("Original", "Retrained")


@pytest.fixture(scope="module")
def tracks():
    """Six blocks in which scrub, finetune and unsir were tuned."""
    methods = ("ssd", "scrub", "scrub.as-given", "finetune", "finetune.as-given", "unsir")
    several = [
        type(each)(each.source, with_choices(each.summary, "scrub", "finetune", "unsir"))
        for each in six_blocks(methods)
    ]
    return compare(several, ["forget_accuracy"])


def test_chosen_settings_stand_before_those_as_given_with_ranks_of_their_own(tracks):
    (row,) = tracks.rows
    chosen, given = (
        [rank.method for rank in sorted(ranking.ranks, key=lambda rank: rank.mean)]
        for ranking in (row.ranking, row.ranking_as_given)
    )
    assert [line.title for line in report.table(tracks, row).lines][1:] == [*chosen, *given]
    assert {*given} == {"ssd", "scrub.as-given", "finetune.as-given"}
    remarks = " ".join(report.table(tracks, row).remarks)
    for of in ("Chosen settings: Friedman's test over 6", "Settings as given: Friedman's test"):
        assert of in remarks
    titles = [line.title for line in report.pairs(row).lines]
    assert len(titles) == 6
    assert not any((" – " in t) and len({*t.split(" – ")} & {*given}) == 1 for t in titles)


def test_a_method_is_counted_once_and_each_line_says_whose_settings_it_has(tracks):
    assert report.title(tracks) == "4 methods over 6 blocks of 3 experiments"
    lines = csv.DictReader(io.StringIO(report.comparison_csv(tracks).decode()))
    assert {(each["method"], each["settings"]) for each in lines} == {
        ("original", ""),
        *((m, "chosen") for m in ("scrub", "finetune", "unsir")),
        *((m, "given") for m in ("ssd", "scrub.as-given", "finetune.as-given")),
    }


def test_a_band_shows_who_is_within_the_critical_difference_of_the_best(six, four):
    """The band is what the plot has in the colour of a reference."""
    assert b"within the critical difference" in (page := report.render_comparison(six))
    assert page.count(b"var(--retrained); opacity: 0.13") == len(six.rows)
    assert b"critical difference" not in report.render_comparison(four)


def test_notes_stand_in_every_caption(six):
    noted = six.model_copy(update={"notes": ["Settings of ssd differ."]})
    assert report.comparison_latex(noted).count("Settings of ssd differ.") == len(six.rows)


def test_below_six_blocks_it_is_said_how_many_are_missing(four):
    for text in (
        Page(report.render_comparison(four)).text,
        report.comparison_latex(four),
        " ".join(report.comparison_tables(four)[0].notes),
    ):
        assert "Ranks are not tested: 4 blocks of the 6 that tests need, so 2 blocks are" in text
        assert "Friedman" not in text


def test_csv_has_a_line_for_each_metric_block_and_method_with_every_digit(six):
    lines = list(csv.DictReader(io.StringIO(report.comparison_csv(six).decode())))
    for row in six.rows:
        for method, values in row.values.items():
            for block, value in zip(six.blocks, values, strict=True):
                (line,) = (
                    each
                    for each in lines
                    if (each["metric"], each["method"]) == (row.metric, method)
                    and (each["model"], each["dataset"]) == (block.model, block.dataset)
                    and each["scenario"] == block.scenario
                )
                assert line["mean"] == ("" if value.mean is None else str(value.mean))
    assert len(lines) == sum(len(row.values) for row in six.rows) * 6


@pytest.mark.parametrize("text", [*EVIL, SCRIPT])
def test_foreign_text_stays_text(text):
    across = hostile(text)
    page = report.render_comparison(across)
    Page(page)
    assert b"<script" not in page
    rows = latex_rows_below_groups(report.comparison_latex(across))
    assert [line[0] for line in rows[1:]] == ["Original", " ".join(text.split())]
    for line in csv.reader(io.StringIO(report.comparison_csv(across).decode())):
        assert not any(field.startswith(("=", "@", "+")) for field in line)


def latex_rows_below_groups(document):
    """Printed cells of the only table, which has a line of groups and its rules on top."""
    lines = [
        line
        for line in document.splitlines()
        if not line.startswith((" & \\multicolumn", "\\cmidrule"))
    ]
    (rows,) = latex_rows("\n".join(lines))
    return rows


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_never_cuts_a_number_and_names_the_blocks_that_it_leaves_out(six, width):
    for table in report.comparison_tables(six):
        check(table, width)


def test_the_numbers_of_terminal_page_and_latex_are_the_same(four):
    (table,) = report.comparison_tables(four)
    page = Page(report.render_comparison(four)).text
    latex = report.comparison_latex(four).replace("$-$", "-")
    for row in table.rows:
        for cell in row[1:]:
            mean = cell.split()[0]
            if mean != cells.NONE:
                assert mean in latex
                assert mean.replace("-", cells.MINUS) in page
