"""Tables and sentences on terminals of several widths, in ASCII, without colours, and in a pipe.

For each summary, width and encoding: no line is longer than the terminal, each number that is shown
is whole, each column that is not shown is named, each name of a method is there in full.
"""

import re
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from supreme_trainer.command.screen import fit, show
from supreme_trainer.command.sentences import described, say, wrapped
from supreme_trainer.process.spelling import spelt

from supreme_core.report.terminal import TextTable, terminal_tables
from tests.core.analysis.summaries import summary

WIDTHS = (40, 60, 80, 100, 120)
LONG = (
    "an-unlearning-method-whose-label-is-longer-than-any-terminal-is-wide-and-then-some-more-of-it"
)
WIDE = "何度も忘れる方法と長い名前"
HEADS = (
    *("method", "n", "forget accuracy, %", "gap to Retrained, points", "verdict"),
    *("retain test accuracy, %", "speed up, ×"),
)


def table(*rows):
    return TextTable("full_class", HEADS, (2, 3, 4, 1, 5, 6), rows, ())


def row(name, mean="0.08", gap="-12.5 [-20.0, -5.0]", verdict="inconclusive"):
    return name, "12", f"{mean} [0.01, 100.0]", gap, verdict, "99.7", "1.2e+06"


def of_summary(**facts):
    (found,) = terminal_tables(summary(**facts))
    return found


TABLES = {
    "short names": table(row("Original"), row("Retrained", gap="–", verdict="–"), row("ssd")),
    "long names": table(row(LONG), row(f"{LONG}-2")),
    "wide names": table(row(WIDE), row(f"{WIDE}の二"), row("ssd")),
    "no values": table(("scrub", "0", "–", "–", "–", "–", "–")),
    "nothing but a line for the noise floor": table(("noise floor", *[""] * 5, "none claimed")),
    "thirty methods": of_summary(methods=tuple(f"method_{n}" for n in range(30))),
    "a distance first": of_summary(primary="forget_js_divergence"),
    "one seed": of_summary(seeds=(1,)),
}
every_table = pytest.mark.parametrize("each", TABLES.values(), ids=TABLES)
every_width = pytest.mark.parametrize("width", WIDTHS)
every_encoding = pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
NUMBER = re.compile(r"[-+]?\d[\d.e+]*")


def check(each, width, encoding="utf-8"):
    """Check what is true of every table in every terminal."""
    fitted = fit(each, width, encoding=encoding)
    text = "\n".join(fitted.lines)
    text.encode(encoding)
    assert all(cell_len(line) <= width for line in fitted.lines)
    left_out = [spelt(head, encoding) for head in fitted.left_out]
    shown = [n for n, head in enumerate(each.columns) if spelt(head, encoding) not in left_out]
    assert len(shown) + len(left_out) == len(each.columns)
    assert {0, each.by_importance[0]} <= set(shown)
    places = each.by_importance
    assert sorted(shown[1:]) == sorted(places[: len(shown) - 1])  # the most important ones

    body = fitted.lines[next(n for n, line in enumerate(fitted.lines) if set(line) <= set("─- ")) :]
    kept = [row for row in each.rows if any(row[place] for place in shown[1:])]
    expected = [spelt(row[place], encoding) for row in kept for place in shown[1:]]
    names = "".join(spelt(row[0], encoding) for row in kept)
    first = cell_len(body[0].split()[0])  # cells of the first column
    numbers = [" ".join(_cut(line, first)[1].split()) for line in body[1:]]
    assert sorted(NUMBER.findall(" ".join(numbers))) == sorted(NUMBER.findall(" ".join(expected)))
    assert "".join(_cut(line, first)[0].strip() for line in body[1:]) == names.replace(" ", "")
    return fitted


def _cut(line, cells):
    """The first so many cells, without blanks, and the rest."""
    place = 0
    while place < len(line) and cell_len(line[:place]) < cells:
        place += 1
    return line[:place].replace(" ", ""), line[place:]


@every_table
@every_width
@every_encoding
def test_a_table_fits_with_whole_numbers_names_and_columns(each, width, encoding):
    check(each, width, encoding)


words = st.text(st.sampled_from("abcz_-. 何é"), min_size=1, max_size=60).map(str.strip)
numbers = st.floats(-1e7, 1e7).map(lambda value: f"{value:+.2f}")


@given(
    st.lists(words.filter(bool), min_size=1, max_size=4),
    st.lists(numbers, min_size=4, max_size=4),
    st.integers(36, 200),
)
def test_any_table_fits(names, values, width):
    mean, low, high, other = values
    interval = f"{mean} [{low}, {high}]"
    check(table(*((name, "3", interval, interval, "–", other, mean) for name in names)), width)


def test_at_eighty_columns_the_table_keeps_what_matters_most():
    fitted = check(TABLES["short names"], 60)
    assert fitted.left_out == ["retain test accuracy, %", "speed up, ×"]
    assert any("0.08" in line and "inconclusive" in line for line in fitted.lines)

    assert check(TABLES["short names"], 40).left_out == [
        *("n", "verdict", "retain test accuracy, %", "speed up, ×")
    ]
    assert not check(TABLES["short names"], 100).left_out


@every_table
def test_the_width_that_is_said_to_show_all_does_and_no_smaller_one(each):
    needs = check(each, 40).needs
    if needs > 40:
        assert not check(each, needs).left_out
        assert check(each, needs - 1).left_out


def test_a_pipe_gets_every_column_and_each_row_on_a_line():
    each = TABLES["long names"]
    lines = fit(each, None).lines
    assert sum(line.startswith(LONG) for line in lines) == len(each.rows)
    ruler = next(line for line in lines if set(line) == {"-", " "})
    assert ruler.count("  ") == len(HEADS) - 1
    assert max(map(cell_len, lines)) == len(ruler)


def test_a_row_of_wide_characters_is_aligned_in_a_pipe_too():
    lines = fit(TABLES["wide names"], None).lines
    *_, one, two, three = lines
    assert {cell_len(one), cell_len(two), cell_len(three)} == {cell_len(one)}


def terminal(width, **facts):
    return Console(file=StringIO(), width=width, height=30, **{"force_terminal": True, **facts})


@every_width
def test_everything_that_is_shown_fits_and_says_what_is_left_out(width):
    console = terminal(width, color_system=None)
    show(summary(methods=("scrub", "ssd")), console)
    said = console.file.getvalue()

    assert all(cell_len(line) <= width for line in said.splitlines())
    text = " ".join(said.split())
    assert ("Left out, because the terminal is narrow: " in text) == (width < 103)
    if width < 103:
        assert "A terminal of 103 columns has all of it, and so have the report and" in text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colours_nothing_but_text_is_written(environment):
    environment = {"TERM": "xterm-256color", **environment}
    console = terminal(60, color_system="auto", _environ=environment)
    show(summary(), console)

    said = console.file.getvalue()
    assert "\x1b" not in said
    assert ("Left out" in said) == ("NO_COLOR" in environment)


def test_an_ascii_stream_gets_ascii():
    file = TextIOWrapper(BytesIO(), encoding="ascii")
    found = summary()
    rows = [row.model_copy(update={"method": WIDE}) for row in found.rows if row.method == "scrub"]
    found = found.model_copy(update={"rows": [*found.rows, *rows]})
    show(found, Console(file=file, width=60, force_terminal=True))
    file.flush()
    said = file.buffer.getvalue().decode("ascii")
    assert r"\u4f55" in said


def test_foreign_text_is_neither_markup_nor_an_emoji():
    console = terminal(100, color_system=None)
    say(console, "[bold]KeyError[/nothing] :smile:")
    assert console.file.getvalue() == "[bold]KeyError[/nothing] :smile:\n"


@given(st.lists(st.sampled_from(["a", "word", "何度", "x" * 50]), min_size=1), st.integers(10, 90))
def test_words_are_wrapped_and_none_is_cut_or_lost(words, width):
    lines = wrapped(" ".join(words), width, indent="  ")
    assert " ".join(lines).split() == words
    assert all(cell_len(line) <= width or len(line.split()) == 1 for line in lines)


def test_a_sentence_is_one_line_in_a_pipe_and_wrapped_on_a_terminal():
    sentence = "error: spec.methods[0].name: unknown method 'finetoon'; did you mean 'finetune'?"
    pipe, narrow = Console(file=StringIO(), width=40), terminal(40, color_system=None)
    say(pipe, sentence)
    say(narrow, sentence, indent="  ")
    assert pipe.file.getvalue() == f"{sentence}\n"
    assert narrow.file.getvalue().splitlines() == [
        "error: spec.methods[0].name: unknown",
        "  method 'finetoon'; did you mean",
        "  'finetune'?",
    ]


def test_a_line_that_is_indented_goes_on_deeper_than_it_begins():
    narrow = terminal(40, color_system=None)
    say(
        narrow,
        "2 left behind, 1.0 kB\n  objects/a/b: of a process that is gone, 512 bytes",
        indent="  ",
    )
    assert narrow.file.getvalue().splitlines() == [
        "2 left behind, 1.0 kB",
        "  objects/a/b: of a process that is",
        "    gone, 512 bytes",
    ]


def test_a_description_stands_beside_its_name_or_where_that_is_narrow_below():
    about = "Train on with the retain set only."
    assert described("finetune", about, column=10, width=None) == [f"finetune    {about}"]
    assert described("finetune", about, column=10, width=40) == [
        "finetune    Train on with the retain set",
        "            only.",
    ]
    assert described("finetune", about, column=26, width=40) == ["finetune", f"    {about}"]


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("margin ±1.0 – 1.5 × ≈ ≠ …", "margin +/-1.0 - 1.5 x ~ != ..."),
        ("α / F_i, γ_t ‖θ‖₁", "alpha / F_i, gamma_t ||theta||1"),
        ("finetune · full_class", "finetune - full_class"),
        ("é 何", r"\xe9 \u4f55"),
    ],
)
def test_what_ascii_lacks_is_spelt(text, ascii_text):
    assert spelt(text, "ascii") == ascii_text
    assert spelt(text, "utf-8") == text
