"""Tables to paste and the paragraph for a paper.

Compared with readers that are not ours: markdown-it for Markdown, Python's csv, and for LaTeX a
reader of this file that knows what LaTeX prints for each escape and refuses whatever else is
special. Covered: that foreign text comes back as it was, also where it would end a row, a cell or a
table; that the numbers are those of the page; what the paragraph claims; where a TeX is installed,
that every table compiles and fits. Left out: how it looks.
"""

import csv
import io
import re
import shutil
import subprocess

import pytest
from markdown_it import MarkdownIt

from supreme_core.analysis import hypotheses
from supreme_core.analysis.aggregate import aggregate
from supreme_core.api.orders import Exclusion
from supreme_core.api.summary import Floor
from supreme_core.errors import SpecError
from supreme_core.report import cells, contrasts, paper, paste, tables
from supreme_core.report.choices import COLUMNS, FORMATS, FRONT, VERDICTS
from supreme_core.report.page import render_report
from supreme_core.report.paste import Layout
from supreme_core.report.tables import IndexedSummary
from tests.core.analysis.summaries import (
    FACTS,
    failed,
    question,
    result,
    results,
    row_fact,
    run,
    summary,
)

EVIL = [
    r"a_b%c$d#e&f{g}h~i^j\k",
    r"\input{/etc/passwd}",
    "[1em] | `code` *bold* <b>",
    "*",
    "=1+1",
    "@SUM(A1)",
    "a---b ''quoted'' ,,low \"high\"",
    "two\nlines \\\\ of 'text'",
    "[click](javascript:alert(1)) ![x](y)",
    "über 忘れる",
]
PRINTED = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textendash{}": "–",
    r"\symbol{34}": '"',
    r"$-$": "−",
    r"$\times$": "×",
    r"$\pm$": "±",
    r"$\approx$": "≈",
    r"$\neq$": "≠",
    **{rf"\{each}": each for each in "{}$&#%_"},
    **{f"{{{each}}}": each for each in "[]*`"},
    "{}": "",
}
READ = re.compile(
    "|".join(map(re.escape, sorted(PRINTED, key=len, reverse=True))) + r"|[^\\{}$&#%_~^]"
)


def printed(latex):
    """Return the text that LaTeX prints; fail where a character is left that does something
    else."""
    text, at = "", 0
    while at < len(latex):
        found = READ.match(latex, at)
        assert found, f"LaTeX would not print {latex[at : at + 20]!r}"
        text += PRINTED.get(found.group(), found.group())
        at = found.end()
    return text


def latex_rows(document):
    """The rows of each tabular, as printed cells; sizes of type are left out."""
    found = []
    for body in re.findall(
        r"\\begin\{tabular\}\{@\{\}[lcr]+@\{\}\}\n(.*?)\\end\{tabular\}", document, re.S
    ):
        lines = [line for line in body.splitlines() if not re.fullmatch(r"\\\w+rule", line)]
        assert all(line.endswith(r" \\") for line in lines)
        rows = []
        for cells_of in (row(line.removesuffix(r" \\")) for line in lines):
            if cells_of[0]:
                rows.append(cells_of)
            else:  # intervals below their numbers
                rows[-1] = [
                    " ".join(filter(None, pair)) for pair in zip(rows[-1], cells_of, strict=True)
                ]
        found.append(rows)
    return found


def row(line):
    plain = re.sub(r"\{\\scriptsize (.*?)\}(?= &|$)", r"\1", line)
    plain = re.sub(r"\\rotatebox\{90\}\{(.*?)\}(?= &|$)", r"\1", plain)
    plain = re.sub(r"\\shortstack\[r\]\{(.*?)\}(?= &|$)", lambda m: m[1].replace(r"\\", " "), plain)
    return [printed(cell) for cell in re.split(r"(?<!\\) ?& ", plain)]


def markdown_rows(document):
    """The text of each table's rows, as a reader of GitHub's Markdown has it."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(document):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level > 2:
            assert {child.type for child in token.children} <= {"text", "text_special"}
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


def csv_rows(document):
    return list(csv.reader(io.StringIO(document)))


def renamed(found, title):
    """Return the summary with another title for the method scrub, wherever it has one."""
    rows = [
        r.model_copy(update={"method": title}) if r.method == "scrub" else r for r in found.rows
    ]
    return found.model_copy(update={"rows": rows})


@pytest.mark.parametrize("title", EVIL)
def test_a_title_is_printed_as_it_was_in_every_format(title):
    indexed = IndexedSummary(renamed(summary(), title))
    shown = " ".join(title.split())

    latex = latex_rows(paste.paste(indexed, "primary", "latex"))[0]
    markdown = markdown_rows(paste.paste(indexed, "primary", "markdown"))[0]
    table = csv_rows(paste.paste(indexed, "primary", "csv"))

    for rows in (latex, markdown):
        assert rows[3][0] == shown
        assert {len(each) for each in rows} == {6}
    assert table[3][1].removeprefix("'") == title
    assert table[3][1][0] not in "=@+-"


@pytest.mark.parametrize("text", EVIL)
def test_latex_prints_foreign_text_and_does_nothing_else(text):
    assert printed(paste.latex_text(text)) == " ".join(text.split())


def test_no_two_characters_become_one_in_latex():
    assert not re.search("--|''|,,|[?!]`", paste.latex_text("--- ''' ,,, ?` !`"))


@pytest.fixture(scope="module")
def reading_of_pairs():
    """Return a summary of two methods in two scenarios, with every kind of table."""
    return IndexedSummary(summary(range(12), scenarios=("a", "b"), methods=("scrub", "ssd")))


@pytest.mark.parametrize("form", FORMATS)
def test_every_table_has_every_method_of_the_page(reading_of_pairs, form):
    for choice in paste.choices(reading_of_pairs):
        document = paste.paste(reading_of_pairs, choice, form)
        assert document.endswith("\n")
        for method in ("scrub", "ssd"):
            assert method in document, choice


def test_tables_are_told_apart_by_their_labels_also_those_of_two_experiments_of_one_name():
    found = summary(scenarios=("a", "b"), methods=("scrub", "ssd"))
    named = found.experiment.model_copy(update={"digest": "ab" * 32})
    several = [
        IndexedSummary(found),
        IndexedSummary(found.model_copy(update={"experiment": named})),
    ]
    documents = [
        paste.paste(indexed, choice, "latex")
        for indexed in several
        for choice in paste.choices(indexed)
    ]
    labels = re.findall(r"\\label\{tab:([a-z0-9-]+)\}", "".join(documents))
    assert len(labels) == len(set(labels)) == "".join(documents).count(r"\begin{table}")


def test_a_caption_names_the_data_and_the_model():
    for choice in paste.choices(indexed := IndexedSummary(summary(methods=("scrub", "ssd")))):
        captions = re.findall(r"\\caption\{(.*)\}", paste.paste(indexed, choice, "latex"))
        assert captions
        assert all(caption.startswith("digits, tiny") for caption in captions)


def test_two_columns_have_a_wide_table_with_intervals_beside_their_numbers():
    indexed = IndexedSummary(summary())
    narrow, wide = (
        paste.paste(indexed, "primary", "latex", layout=Layout(columns)) for columns in COLUMNS
    )
    assert r"\begin{table}" in narrow
    assert r"\begin{table*}" in wide
    assert latex_rows(narrow) == latex_rows(wide)
    assert narrow.count(r" \\") > wide.count(r" \\")
    assert narrow.startswith("% in the preamble: \\usepackage{booktabs,adjustbox}\n")


@pytest.mark.parametrize("width", ["3.25in", ".5cm", "0.05em", r"\columnwidth", r"0.9\textwidth"])
def test_a_table_is_shrunk_to_the_width_that_is_asked_for(width):
    indexed = IndexedSummary(summary())
    document = paste.paste(indexed, "primary", "latex", layout=Layout(width=width))
    assert f"{{max width={width}, " in document


@pytest.mark.parametrize(
    "width", ["3.25", "wide", r"\input{/etc/passwd}", "1in}", "", "0cm", r"0.0\linewidth"]
)
def test_what_is_no_width_is_told(width):
    with pytest.raises(SpecError, match=r"it is a length of LaTeX, such as 3\.25in"):
        Layout(width=width)


def test_letters_that_not_every_latex_has_are_announced():
    needs = "% for XeLaTeX or LuaLaTeX, with a font that has the letters of the labels"
    found = summary()
    for title, needed in (("über", False), ("忘れる", True)):
        document = paste.paste(IndexedSummary(renamed(found, title)), "primary", "latex")
        assert (needs in document.splitlines()) is needed


def tex_is_installed():
    found = shutil.which("pdflatex") and shutil.which("kpsewhich")
    asked = ["kpsewhich", "booktabs.sty", "adjustbox.sty"]
    return bool(found) and subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not tex_is_installed(), reason="no pdflatex with booktabs and adjustbox")
@pytest.mark.parametrize("columns", COLUMNS)
def test_every_table_compiles_and_fits(columns, tmp_path):
    latin = [title.encode("ascii", "replace").decode() for title in EVIL]
    methods = [f"m{place}" for place in range(len(latin))]
    found = summary(range(12), scenarios=("a", "b"), methods=tuple(methods))
    titles = dict(zip(methods, latin, strict=True))
    rows = [
        row.model_copy(update={"method": titles.get(row.method, row.method)}) for row in found.rows
    ]
    indexed = IndexedSummary(found.model_copy(update={"rows": rows}))
    layout = Layout(columns)
    documents = [
        paste.paste(indexed, choice, "latex", layout=layout) for choice in paste.choices(indexed)
    ]
    packages = {p for text in documents for p in re.findall(r"usepackage\{(.*)\}", text)}
    text = "\n".join(
        (
            r"\documentclass[twocolumn]{article}",
            *(rf"\usepackage{{{each}}}" for each in sorted(packages)),
            r"\begin{document}",
            paste.latex_text(paper.paragraph(indexed)),
            *(f"{document}\n\\clearpage" for document in documents),
            r"\end{document}",
        )
    )
    (tmp_path / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert ran.returncode == 0, log[-2000:]
    assert not re.search(r"Overfull \\hbox.*(?:alignment|float)|Float too large|multiply", log)


def test_the_numbers_are_those_of_the_page():
    indexed = IndexedSummary(summary())
    (table,) = latex_rows(paste.paste(indexed, "primary", "latex"))
    (same,) = markdown_rows(paste.paste(indexed, "primary", "markdown"))
    shown = tables.headline(indexed, "full_class")
    expected = [
        [
            line.title,
            *(
                cell.text if c.kind == "verdict" else str(cell)
                for cell, c in zip(line.cells, shown.columns, strict=True)
            ),
        ]
        for line in shown.lines
    ]
    assert table[1:] == same[1:] == expected


def test_csv_has_numbers_that_a_program_reads_and_the_ends_of_intervals_apart():
    indexed = IndexedSummary(summary(range(6)))
    head, *rows = csv_rows(paste.paste(indexed, "primary", "csv"))
    assert head[:6] == [
        "scenario",
        "method",
        "n",
        "forget accuracy (%)",
        "forget accuracy (%), low",
        "forget accuracy (%), high",
    ]
    for found in rows:
        row = next(
            r
            for r in indexed.summary.rows
            if r.metric == "forget_accuracy" and cells.method_title(r.method) == found[1]
        )
        shown = [float(text) for text in found[3:6]]
        assert shown == pytest.approx([100 * x for x in (row.mean, row.low, row.high)], abs=0.05)
    retrained = next(each for each in rows if each[1] == "Retrained")
    assert retrained[6:] == [""] * 7  # no gap to itself


def test_csv_has_one_line_for_each_method_where_the_page_has_several_tables():
    facts = {**FACTS, "forget_loss": row_fact("loss", "forget", unit="nats")}
    indexed = IndexedSummary(summary(scenarios=("a", "b"), metrics=facts))
    _, *rows = csv_rows(paste.paste(indexed, "accuracy", "csv"))
    assert [found[:2] for found in rows] == [
        [scenario, method]
        for scenario in ("a", "b")
        for method in ("Original", "Retrained", "scrub")
    ]


def test_a_noise_floor_is_pasted_below_the_distances():
    floor = Floor(n=4, mean=0.02, low=0.01, high=0.03, source="seeds")
    indexed = IndexedSummary(summary(floors={("full_class", "forget_js_divergence"): floor}))
    (table,) = markdown_rows(paste.paste(indexed, "distance", "markdown"))
    assert table[-1] == ["noise floor", "0.020 (0.010 to 0.030)"]


@pytest.mark.parametrize("choice", ["verdict", "costs"])
def test_a_table_that_is_not_there_is_named_with_the_nearest_one(choice):
    with pytest.raises(SpecError, match=f"unknown table '{choice}'; did you mean '{choice[:4]}"):
        paste.paste(IndexedSummary(summary()), choice, "csv")


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_method_and_few_seeds_are_pasted_too(seeds):
    indexed = IndexedSummary(summary(range(seeds)))
    assert "pairs" not in paste.choices(indexed)
    for choice in paste.choices(indexed):
        for form in FORMATS:
            assert "scrub" in paste.paste(indexed, choice, form)


def test_where_every_run_failed_the_tables_are_empty_and_valid():
    names = ("original", "retrained", "scrub")
    found = aggregate([result(1, [failed(name, "lost") for name in names])], question([1]))
    indexed = IndexedSummary(found)
    (table,) = latex_rows(paste.paste(indexed, "primary", "latex"))
    assert [each[0] for each in table[1:]] == ["Original", "Retrained", "scrub"]
    assert "Without a value: 3 runs failed; a method that lacks a seed" in paper.paragraph(indexed)
    assert b"For a paper" in render_report(found)


def test_the_page_has_each_table_in_each_format():
    found = summary(methods=("scrub", "ssd"))
    page = render_report(found).decode()
    indexed = IndexedSummary(found)
    for choice in paste.choices(indexed):
        assert f"Table {choice}: latex, markdown, csv" in page
    assert page.count(r"\begin{tabular}") >= len(paste.choices(indexed))


def test_a_pair_is_told_with_the_nearer_method_first():
    """The distances are computed here, seed by seed."""
    found = summary(range(8), methods=("scrub", "ssd"))
    indexed = IndexedSummary(found)
    far = {}
    for method in ("scrub", "ssd"):
        row = indexed.row("full_class", method, "forget_accuracy")
        retrained = indexed.row("full_class", "retrained", "forget_accuracy")
        far[method] = [abs(row.values[s] - retrained.values[s]) for s in row.values]
    near, other = sorted(far, key=lambda method: sum(far[method]))
    wins = [(a < b) + 0.5 * (a == b) for a, b in zip(far[near], far[other], strict=True)]

    (line,) = contrasts.pairs(indexed, "full_class").lines

    assert line.title == f"{near} – {other}"
    difference = 100 * (sum(far[near]) - sum(far[other])) / 8
    assert float(line.cells[1].text.replace("−", "-")) == pytest.approx(difference, abs=0.5)
    assert float(line.cells[2].text) == pytest.approx(100 * sum(wins) / 8, abs=0.5)


def test_the_matrix_of_methods_adds_up_to_a_hundred_and_has_an_empty_diagonal():
    indexed = IndexedSummary(summary(range(9), methods=("x", "y", "z")))
    table = contrasts.matrix(indexed, "full_class")
    assert [line.title[0] for line in table.lines] == ["1", "2", "3"]
    for i, line in enumerate(table.lines):
        assert line.cells[i].text == ""
        for j in range(i):
            one, other = (
                cell.text.rstrip("*") for cell in (line.cells[j], table.lines[j].cells[i])
            )
            assert int(one) + int(other) in (99, 100, 101)


def test_the_paragraph_names_what_was_done():
    found = summary(range(260, 270), methods=("scrub", "ssd"))
    text = paper.paragraph(IndexedSummary(found))
    for words in (
        "digits, 1,437 training and 360 test images of 10 classes",
        "each of 10 training seeds (260 to 269)",
        "8 epochs, batches of 64, optimiser sgd (lr 0.1, momentum 0.9, weightDecay 0.0005)",
        "146 training images to forget and 1291 to retain, the same for all seeds",
        "2 methods started from Original: scrub and ssd",
        "0.01 for accuracy",
        "exact two-sided sign-flip test",
        "SUPREME 0.1.0 and torch 2.9.1 on cpu",
        found.experiment.digest,
    ):
        assert words in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"seeds": range(2)}, "No verdict is claimed", id="few seeds"),
        pytest.param(
            {"seeds": range(hypotheses.EXACT_SIGN_FLIPS + 1)}, "100,000 random flips", id="many"
        ),
        pytest.param({"unlearning_repeats": 3}, "3 unlearning repeats were averaged", id="repeats"),
        pytest.param(
            {"excluded": [Exclusion(scenario="full_class", method="unsir", reason="so")]},
            "left out: unsir in full_class",
            id="left out",
        ),
    ],
)
def test_the_paragraph_says_what_is_special(changes, words):
    seeds = changes.pop("seeds", range(5))
    assert words in paper.paragraph(IndexedSummary(summary(seeds, **changes)))
    assert words not in paper.paragraph(IndexedSummary(summary(range(8))))


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        ({}, "Margins are 0.01 for accuracy and 0.01 for MIA loss AUC, or the lower"),
        ({"forget_accuracy": 0.02}, "Margins that were not set are 0.01 for accuracy"),
        (dict.fromkeys(("forget_accuracy", "test_accuracy", "mia_loss_auc"), 0.02), None),
    ],
)
def test_the_paragraph_says_where_each_margin_is_from(margins, words):
    text = paper.paragraph(IndexedSummary(summary(margins=margins)))
    assert (words in text) if words else ("Margins are" not in text and "not set" not in text)
    assert ("Margins that were set before the experiment: 0.02 for" in text) == bool(margins)


def test_captions_and_the_paragraph_count_the_seeds_that_have_a_result():
    indexed = IndexedSummary(aggregate(results(range(4)), question(range(10))))
    assert FRONT not in paste.choices(indexed)  # of seeds that are not all there
    for choice in (VERDICTS, "accuracy"):
        assert "4 of 10 training seeds" in paste.paste(indexed, choice, "markdown")
    assert "each of 4 training seeds (0 to 3)" in paper.paragraph(indexed)


def test_collapses_are_part_of_the_paragraph():
    runs = [
        [run("retrained", test_accuracy=0.9), run("scrub", test_accuracy=x)] for x in (0.9, 0.1)
    ]
    found = aggregate(
        [result(seed, each) for seed, each in enumerate(runs)],
        question([0, 1], primary="test_accuracy"),
    )
    assert "1 run collapsed (test accuracy below half the median of Retrained)" in paper.paragraph(
        IndexedSummary(found)
    )
