"""Absurd input ends in an error of the project's own, in lines that can be read.

| what                                                | YAML | JSON | message | page | table |
| --------------------------------------------------- | ---- | ---- | ------- | ---- | ----- |
| halves of surrogate pairs                           |  x   |  x   |    x    |  x   |       |
| whole numbers that nobody can write again           |  x   |  x   |    x    |      |       |
| control sequences of terminals, marks of direction  |      |      |    x    |  x   |       |
| thousands of mistakes, names of a megabyte          |      |      |    x    |      |       |
| finite numbers whose squares are not                |      |      |         |      |   x   |
"""

import io
import json
import random
import warnings
from contextlib import redirect_stderr

import pytest
from rich.console import Console
from supreme_trainer.command.sentences import say

from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.files import summary_json
from supreme_core.api.load import load_setting
from supreme_core.api.model import parse, parse_json, shown
from supreme_core.api.records import Progress
from supreme_core.api.v1alpha1 import UnlearningExperiment
from supreme_core.errors import MISTAKES_SHOWN, SpecError, escaped, mistakes
from supreme_core.plan import plan
from supreme_core.registry import catalog
from supreme_core.report.page import render_report
from supreme_core.scoring.run_scoring import reason
from supreme_core.system.ending import tell_plainly
from tests.core.analysis.summaries import FACTS, failed, question, result, row_fact, run
from tests.documents import documents_of
from tests.trainer.experiments import experiment

ESCAPE, RIGHT_TO_LEFT, CONTROL = "\x1b[31m", "\u202e", "\x9b"


def refusal(use, *arguments, **options):
    """The lines of the SpecError that something ends in; all of them can be read."""
    with pytest.raises(SpecError) as caught:
        use(*arguments, **options)
    lines = str(caught.value).splitlines()
    assert all(line.isprintable() for line in lines)
    assert all(len(line) < 1000 for line in lines)
    return lines


YAML = {
    "half of a pair": ('{a: {b: ["\\ud800"]}}', r"x.yaml: a.b[0] is "),
    "half of a pair, the other one": ('{a: "x\\udfffy"}', "x.yaml: a is "),
    "half of a pair in a name": ('{"\\ud800": 1}', "x.yaml: the name "),
    "hex": (f"{{a: 0x{'f' * 5000}}}", "x.yaml, line 1, column 5 is not YAML: a number has more"),
    "short hex": (f"{{a: 0x{'f' * 300}}}", "x.yaml: a is a whole number of 1200 bits"),
    "binary": (f"{{a: 0b{'1' * 1100}}}", "x.yaml, line 1, column 5 is not YAML: a number has"),
    "octal": (f"{{a: 07{'7' * 390}}}", "x.yaml: a is a whole number of 1173 bits"),
    "base 60": (f"{{a: 1{':59' * 300_000}}}", "x.yaml, line 1, column 5 is not YAML: a number has"),
    "base 60 with a fraction": (f"{{a: 1{':59' * 300_000}.5}}", "x.yaml, line 1, column 5 is not"),
    "decimal": (f"{{a: -{'9' * 5000}}}", "x.yaml, line 1, column 5 is not YAML: a number has more"),
    "short decimal": (f"{{a: -{'9' * 390}}}", "x.yaml: a is a whole number of 1296 bits"),
    "by its tag": (
        f'{{a: !!int "{"1" * 5000}"}}',
        "x.yaml, line 1, column 5 is not YAML: a number",
    ),
}


@pytest.mark.parametrize(("text", "start"), YAML.values(), ids=YAML)
def test_yaml_holds_only_what_can_be_written_again(text, start):
    (line,) = refusal(documents_of, text, source="x.yaml")
    assert line.startswith(start)
    refusal(load_setting, f"training.epochs={text}")


@pytest.mark.parametrize("text", ["0xff", str(2**64), "1e300", f"0x{'f' * 250}", "😀"])
def test_ordinary_numbers_and_texts_are_no_concern(text):
    assert documents_of(f"a: {text}", source="x.yaml")


def progress(**changes):
    document = {"seed": 1, "attempt": 0, "done": 1, "total": 2, "updatedAt": "now", **changes}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "changes",
    [{"now": "\ud800"}, {"\udc00": 1}, {"seed": 10**4000}, {"done": -(10**400)}, {"x": [2**1001]}],
    ids=["text", "name", "thousands of digits", "below", "above"],
)
def test_json_of_a_store_holds_only_what_can_be_written_again(changes):
    assert parse_json(Progress, progress(now="\U0001f600"), source="x.json").now == "\U0001f600"
    first, *_ = refusal(parse_json, Progress, progress(**changes), source="x.json")
    assert first.startswith("x.json")


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("größe 日本 \N{NO-BREAK SPACE}− 😀", "größe 日本 \N{NO-BREAK SPACE}− 😀"),
        (f"{ESCAPE}red", r"\x1b[31mred"),
        (f"a{RIGHT_TO_LEFT}b", r"a\u202eb"),
        (f"{CONTROL}2J\x07", r"\x9b2J\x07"),
        ("a\u2028b\u200bc\u2066", r"a\u2028b\u200bc\u2066"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_shows_nothing_or_changes_the_rest_is_shown_as_its_escape(text, readable):
    assert escaped(text) == readable


def test_messages_name_fields_and_values_in_what_can_be_read():
    document = experiment()
    document["spec"][f"{ESCAPE}seeds{RIGHT_TO_LEFT}"] = 1
    document["spec"]["model"]["params"] = {f"width{CONTROL}": f"{ESCAPE}"}
    document["spec"]["training"]["precision"] = f"fp32{RIGHT_TO_LEFT}"
    lines = refusal(parse, UnlearningExperiment, document)
    assert any(r"spec.\x1b[31mseeds\u202e" in line for line in lines)
    del document["spec"][f"{ESCAPE}seeds{RIGHT_TO_LEFT}"]
    document["spec"]["training"]["precision"] = "fp32"
    (line,) = admitted(document)
    assert r"spec.model.params.width\x9b: unknown field 'width\x9b'" in line


def test_a_terminal_gets_no_sequence_of_anybody():
    error, said = SpecError(f"x is {ESCAPE}\nand {RIGHT_TO_LEFT}y"), io.StringIO()
    with redirect_stderr(said):
        tell_plainly(error)
    say(Console(file=said, width=80), f"z is {CONTROL}")
    assert said.getvalue().splitlines() == [
        r"error: x is \x1b[31m",
        r"error: and \u202ey",
        r"z is \x9b",
    ]


def test_values_of_thousands_of_digits_can_be_shown():
    assert shown(16**5000) == "a number of thousands of digits"
    assert shown({"a": "b\u202e"}) == r'{"a": "b\u202e"}'


def test_the_page_shows_what_a_name_or_a_reason_hides():
    strange = f"{ESCAPE}red{RIGHT_TO_LEFT}gnp.exe"
    runs = [run("original", test_accuracy=0.9), run("retrained", test_accuracy=0.8)]
    summary = aggregate([result(1, [*runs, failed("scrub", strange)])], question([1]))
    page = render_report(summary).decode()
    assert r"\x1b[31mred\u202egnp.exe" in page
    assert not [each for each in page if escaped(each) != each and each not in "\n\t"]


def test_whatever_a_method_says_can_be_recorded():
    told = reason(ValueError(f"{ESCAPE}\ud800{RIGHT_TO_LEFT}\nmore"))
    assert told == r"ValueError: \x1b[31m\ud800\u202e"
    assert failed("scrub", told).reason == told


def admitted(document):
    """The mistakes in an experiment, as the operator and `supreme validate` look for them."""
    return refusal(
        lambda: plan(parse(UnlearningExperiment, document), catalog.bundled(), namespace="n")
    )


def with_params(**sections):
    document = experiment()
    document["spec"].update(sections)
    return document


MANY = {f"setting{number}": number for number in range(70_000)}
MANY_MISTAKES = {
    "settings of the model": with_params(model={"name": "resnet18", "params": MANY}),
    "settings of a method": with_params(methods=[{"name": "finetune", "params": MANY}]),
    "methods": with_params(methods=[{"name": f"m{number}"} for number in range(64)]),
    "fields": with_params(**MANY),
    "entries of the wrong type": with_params(
        scenarios=[{"name": "full_class", "params": {"classes": [1.5] * 900}}]
    ),
}


@pytest.mark.parametrize("document", MANY_MISTAKES.values(), ids=MANY_MISTAKES)
def test_fifty_mistakes_are_told(document):
    *lines, last = admitted(document)
    assert len(lines) == MISTAKES_SHOWN
    assert last == "there are more mistakes than these"


def test_further_mistakes_are_not_looked_for():
    def wrong():
        for number in range(MISTAKES_SHOWN + 1):
            yield f"{number} is wrong"
            yield f"{number} is wrong"
        raise AssertionError("nobody reads this one")

    assert len(str(mistakes(wrong())).splitlines()) == MISTAKES_SHOWN + 1
    assert str(mistakes(["a is wrong"] * 3)) == "a is wrong"


def test_the_entries_of_a_list_that_is_too_long_are_not_looked_at():
    scenario = {"name": "full_class", "params": {"classes": [1.5] * 300_000}}
    (line,) = admitted(with_params(scenarios=[scenario]))
    assert "at most 1000 entries" in line


@pytest.mark.parametrize("section", ["name", "setting"])
def test_a_name_of_a_megabyte_is_told_in_short(section):
    long = "x" * 1_400_000
    model = {"name": long} if section == "name" else {"name": "resnet18", "params": {long: 1}}
    (line,) = admitted(with_params(model=model))
    assert line.startswith("spec.model.")


FREE = {**FACTS, "free": row_fact("free", low=None, high=None, group="distance", margin=None)}
EXTREME = (1e308, -1e308, 1.79e308, 1e155, 1e100, 9e74, -9e74, 5e-324, 1e-310, 0.0, 1.0)


@pytest.mark.parametrize("case", range(24))
def test_numbers_near_the_largest_float_give_a_table_all_the_same(case):
    draw = random.Random(case)
    pool, seeds = draw.sample(EXTREME, draw.randint(1, 4)), range(draw.choice([1, 2, 3, 6]))

    def metrics():
        values = {name: draw.random() for name in ("forget_accuracy", "test_accuracy")}
        return {**values, "free": draw.choice(pool), "wall_seconds": abs(draw.choice(pool))}

    methods = ("original", "retrained", "scrub", "finetune")
    results = [result(seed, [run(name, **metrics()) for name in methods]) for seed in seeds]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = aggregate(
            results, question(seeds, metrics=FREE, primary="free", methods=methods[2:])
        )
    json.loads(summary_json(summary), parse_constant=pytest.fail)
    lost = [each for each in summary.failures if each.kind == "undefined"]
    if max(map(abs, pool)) < 1e75:
        assert not lost
