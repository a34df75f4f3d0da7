"""Spaces of settings: what an experiment may give, and what methods declare.

| given                                  | tested here | elsewhere                              |
| -------------------------------------- | ----------- | -------------------------------------- |
| a mistake: one line, with its field    | x           | whole files: trainer/test_bad_input.py |
| every method's own space               | x           |                                        |
| points, rounding, growth               | x           | Sobol points: test_sobol.py            |
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import MethodEntry
from supreme_core.engine.toolbox.retain_training import RATES_FOR_TRANSFORMERS, RetainParams
from supreme_core.errors import SpecError
from supreme_core.registry import catalog
from supreme_core.tuning.ranges import Range
from supreme_core.tuning.samplers import grid_points, points, settings_of
from supreme_core.tuning.space import default_space, document_of, read_space, space_of

NOTHING_TO_SEARCH = {"assd"}
"""Methods whose point is that they have no setting."""

AT = "spec.methods[0].search"

WRONG = {
    "empty": ({}, f"{AT} is empty; give ranges by setting, default or none"),
    "unknown setting": (
        {"lrr": {"log": [0.1, 1.0]}},
        f"{AT}.lrr: unknown setting; did you mean 'lr'?",
    ),
    "unknown kind": (
        {"lr": {"logg": [0.1, 1.0]}},
        f"{AT}.lr: unknown kind of range \"logg\"; did you mean 'log'?",
    ),
    "no range": ({"lr": 0.1}, f"{AT}.lr is 0.1; it should be one of {{log: [LOW, HIGH]}}"),
    "two kinds": (
        {"lr": {"log": [0.1, 1.0], "uniform": [0.1, 1.0]}},
        f'{AT}.lr is {{"log": [0.1, 1.0], "uniform": [0.1, 1.0]}}; it should be one of',
    ),
    "no list": ({"lr": {"log": 3}}, f"{AT}.lr.log is 3; it should be a list"),
    "one bound": ({"lr": {"log": [0.1]}}, f"{AT}.lr.log is [0.1]; it should be [LOW, HIGH]"),
    "inverted": (
        {"lr": {"log": [1.0, 0.1]}},
        f"{AT}.lr.log is [1.0, 0.1]; the first number should be less than the second",
    ),
    "empty range": (
        {"lr": {"uniform": [0.1, 0.1]}},
        f"{AT}.lr.uniform is [0.1, 0.1]; the first number should be less than the second",
    ),
    "log of 0": (
        {"lr": {"log": [0, 0.1]}},
        f"{AT}.lr.log is [0, 0.1]; a logarithm has no place for 0; begin above 0",
    ),
    "lack of 0": (
        {"alpha": {"logToOne": [0.5, 1]}},
        f"{AT}.alpha.logToOne is [0.5, 1]; a logarithm has no place for what 1 lacks to 1; end"
        " below 1",
    ),
    "no number": (
        {"lr": {"log": ["a", 1.0]}},
        f'{AT}.lr.log is ["a", 1.0]; it should be [LOW, HIGH], two numbers',
    ),
    "truth value": (
        {"epochs": {"int": [False, 3]}},
        f"{AT}.epochs.int is [false, 3]; it should be [LOW, HIGH], two whole numbers",
    ),
    "infinite": (
        {"lr": {"log": [0.1, float("inf")]}},
        f"{AT}.lr.log is [0.1, Infinity]; it should be [LOW, HIGH], two numbers",
    ),
    "not a number": (
        {"lr": {"log": [float("nan"), 1.0]}},
        f"{AT}.lr.log is [NaN, 1.0]; it should be [LOW, HIGH], two numbers",
    ),
    "huge": (
        {"epochs": {"int": [1, 10**400]}},
        f"{AT}.epochs.int is [1, 1000000000",
    ),
    "too large": (
        {"epochs": {"int": [1, 10**9 + 1]}},
        f"{AT}.epochs.int is [1, 1000000001]; it should be [LOW, HIGH], two whole numbers up to",
    ),
    "no whole number": (
        {"epochs": {"int": [1.5, 3]}},
        f"{AT}.epochs.int is [1.5, 3]; it should be [LOW, HIGH], two whole numbers",
    ),
    "real numbers for whole ones": (
        {"epochs": {"log": [1, 10]}},
        f"{AT}.epochs is 1.0; it should be of type integer",
    ),
    "below what is allowed": (
        {"weightDecay": {"uniform": [-1.0, 1.0]}},
        f"{AT}.weightDecay is -1.0; it should be at least 0",
    ),
    "one choice": (
        {"optimizer": {"choice": ["sgd"]}},
        f"{AT}.optimizer.choice has 1 values; give 2 to 64",
    ),
    "the same choice twice": (
        {"optimizer": {"choice": ["sgd", "sgd"]}},
        f'{AT}.optimizer.choice has "sgd" twice',
    ),
    "unknown choice": (
        {"optimizer": {"choice": ["sgd", "adamm"]}},
        f'{AT}.optimizer is "adamm"; allowed: adam, sgd',
    ),
    "ours alone": (
        {"epochs": {"epochs": [1, 3]}},
        f'{AT}.epochs: unknown kind of range "epochs"; kinds: log, logToOne, uniform, int,',
    ),
    "many settings": (
        {f"s{number}": {"log": [1, 2]} for number in range(9)},
        f"{AT} has 9 settings; search at most 8 of a method",
    ),
}


def read(search, name="scrub", **entry):
    method = MethodEntry(name=name, search=search, **entry)
    return read_space(method, at="spec.methods[0]", catalog=catalog.bundled())


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line_that_names_its_field(case):
    search, message = WRONG[case]
    with pytest.raises(SpecError) as refused:
        read(search)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_every_mistake_of_a_space_is_told_at_once():
    with pytest.raises(SpecError) as refused:
        read({"lr": {"log": [0, 1]}, "alpha": {"uniform": [1, 0]}})
    assert len(str(refused.value).splitlines()) == 2


def test_a_space_is_read_as_it_is_given():
    search = {"lr": {"log": [1e-4, 0.1]}, "epochs": {"int": [1, 3]}}
    assert document_of(read(search)) == search
    assert space_of(search) == read(search)


def test_a_setting_that_is_given_too_is_where_the_search_begins():
    assert list(read({"lr": {"log": [1e-4, 0.1]}}, params={"lr": 0.01})) == ["lr"]


@pytest.mark.parametrize("transformer", [False, True])
@pytest.mark.parametrize("entry", registry.method.entries(), ids=lambda entry: entry.name)
def test_every_method_declares_a_space_with_its_defaults_inside(entry, transformer):
    space = default_space(entry.listed, is_transformer=transformer, epochs=10**6)
    assert (not space) == (entry.name in NOTHING_TO_SEARCH)
    assert len(space) <= 4
    assert bool(entry.facts.search_source) == bool(space)
    given = entry.params().to_document()
    given |= entry.facts.for_transformers if transformer else {}
    for setting, each in space.items():
        low, high = each.values
        assert low <= given[setting] <= high, setting
    document = {name: each for name, each in document_of(space).items()}
    if document:
        assert read(document, name=entry.name) == space
    for sampler in ("sobol", "random"):
        for number in range(1, 9 if space else 1):
            parse(entry.params, settings_of(space, number, sampler, ("s", entry.name)))


@pytest.mark.parametrize(("epochs", "high"), [(1, 1), (2, 2), (10, 10), (50, 10)])
def test_epochs_are_cut_to_what_a_trial_may_take(epochs, high):
    listed = registry.method.get("finetune").listed
    space = default_space(listed, is_transformer=False, epochs=epochs)
    assert space["epochs"] == Range("int", (1, high))


@pytest.mark.parametrize("entry", registry.method.entries(), ids=lambda entry: entry.name)
def test_transformers_have_lower_rates_of_training_on_retained_samples(entry):
    if issubclass(entry.params, RetainParams):
        kinds = (default_space(entry.listed, is_transformer=t, epochs=5) for t in (False, True))
        rates, of_transformers = (space["lr"].values for space in kinds)
        assert of_transformers[0] < rates[0]
        assert of_transformers[1] <= min(rates[1], 0.03)
        assert RATES_FOR_TRANSFORMERS in entry.facts.search_source


NUMBERS = st.floats(1e-6, 1e6)


@given(st.sampled_from(["log", "uniform"]), NUMBERS, NUMBERS, st.floats(0, 1, exclude_max=True))
def test_a_value_lies_in_its_range_and_has_four_digits(kind, one, other, place):
    low, high = sorted((one, other))
    value = Range(kind, (low, high)).at(place)
    assert low <= value <= high
    assert value in (low, high, float(f"{value:.4g}"))


LACKS = st.floats(1e-9, 1.0)


@given(LACKS, LACKS, st.floats(0, 1, exclude_max=True))
def test_what_a_value_lacks_to_one_has_four_digits(one, other, place):
    low, high = sorted((1 - one, 1 - other))
    value = Range("logToOne", (low, high)).at(place)
    assert low <= value <= high
    rounded = float(f"{1 - value:.4g}")
    assert any(value == pytest.approx(each, abs=1e-14) for each in (low, high, 1 - rounded))


@given(st.integers(-50, 50), st.integers(0, 50))
def test_whole_numbers_are_equally_many(low, more):
    count = more + 1
    found = [Range("int", (low, low + more)).at((k + 0.5) / (4 * count)) for k in range(4 * count)]
    assert found == [low + k // 4 for k in range(4 * count)]


@pytest.mark.parametrize(
    ("range_", "place", "value"),
    [
        (Range("log", (1e-4, 1.0)), 0.5, 0.01),
        (Range("log", (1e-4, 1.0)), 0.0, 1e-4),
        (Range("logToOne", (0.9, 0.9999)), 0.0, 0.9),
        (Range("logToOne", (0.9, 0.9999)), 1 / 3, 0.99),
        (Range("logToOne", (0.9, 0.9999)), 2 / 3, 0.999),
        (Range("logToOne", (0.5, 0.9999)), 0.5, 0.992929),
        (Range("uniform", (0.0, 3.0)), 1 / 3, 1.0),
        (Range("uniform", (0.0, 1.0)), 0.123456, 0.1235),
        (Range("choice", ("a", "b", "c")), 0.7, "c"),
        (Range("int", (1, 3)), 0.999, 3),
    ],
)
def test_values(range_, place, value):
    assert range_.at(place) == value


SPACE = space_of({"lr": {"log": [1e-4, 0.1]}, "alpha": {"uniform": [0, 1]}})
CHOICES = space_of({"b": {"choice": [1, 2]}, "a": {"choice": ["x", "y", "z"]}})


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_a_trial_is_the_same_whatever_is_asked_for_beside_it(sampler):
    few = [settings_of(SPACE, n, sampler, ("s", "m")) for n in range(1, 5)]
    many = [settings_of(SPACE, n, sampler, ("s", "m")) for n in range(1, 17)]
    assert many[:4] == few
    assert len({tuple(each.values()) for each in many}) == 16
    assert settings_of(SPACE, 1, sampler, ("s", "other")) != few[0]
    assert settings_of(SPACE, 1, sampler, ("other", "m")) != few[0]


def test_the_order_in_which_settings_are_written_changes_nothing():
    turned = dict(reversed(SPACE.items()))
    assert settings_of(turned, 3, "sobol", ("s", "m")) == settings_of(SPACE, 3, "sobol", ("s", "m"))


def test_a_grid_has_each_combination_once():
    found = [settings_of(CHOICES, n, "grid", ("s", "m")) for n in range(1, 7)]
    assert grid_points(CHOICES) == 6
    assert found == [{"a": a, "b": b} for a in "xyz" for b in (1, 2)]


@pytest.mark.parametrize(
    ("sampler", "trials", "number"), [("grid", 64, 6), ("grid", 4, 4), ("sobol", 64, 64)]
)
def test_a_grid_has_no_more_trials_than_points(sampler, trials, number):
    assert points(CHOICES, trials, sampler) == number
