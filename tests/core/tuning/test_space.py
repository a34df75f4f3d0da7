"""Spaces that a user writes: what is read, and one line for each thing that cannot be searched."""

from typing import Any, Literal

import pytest
from pydantic import Field

from supreme_core import registry
from supreme_core.errors import SpecError
from supreme_core.registry import Choice, Epochs, Int, Listed, Log, LogToOne, Params, Uniform
from supreme_core.tuning.space import affordable, default_space, read_space


class TriedParams(Params):
    """A setting for each rule that a range meets."""

    lr: float = Field(0.01, gt=0, description="A rate.")
    share: float = Field(0.5, ge=0, le=1, description="A share.")
    epochs: int = Field(5, ge=0, description="Passes.")
    batch_size: int | None = Field(None, ge=1, description="Samples, or as many as there are.")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="An optimiser.")
    fast: bool = Field(False, description="Haste.")


TRIED = Listed(
    name="tried",
    version=1,
    summary="",
    facts={
        "search": {"lr": {"log": [1e-3, 1e-1]}, "epochs": {"epochs": [1, 10]}},
        "search_for_transformers": {"lr": {"log": [1e-4, 1e-2]}},
    },
    params=TriedParams.model_json_schema(by_alias=True),
)


def test_ranges_are_read_in_the_order_of_the_settings_names() -> None:
    search = {
        "share": {"uniform": [0, 1]},
        "optimizer": {"choice": ["sgd", "adam"]},
        "lr": {"log": [1e-5, 1e-1]},
        "epochs": {"int": [1, 10]},
        "batchSize": {"choice": [None, 32]},
    }
    space = read_space(search, TRIED)
    assert list(space.items()) == [
        ("batchSize", Choice((None, 32))),
        ("epochs", Int(1, 10)),
        ("lr", Log(1e-5, 1e-1)),
        ("optimizer", Choice(("sgd", "adam"))),
        ("share", Uniform(0, 1)),
    ]
    assert {setting: each.document() for setting, each in space.items()} == search
    assert read_space({"share": {"int": [0, 1]}}, TRIED) == {"share": Int(0, 1)}
    assert read_space({"epochs": {"epochs": [1, 9]}}, TRIED) == {"epochs": Epochs(1, 9)}


WRONG: list[tuple[dict[Any, Any], str]] = [
    ({}, "search is empty; give a range for a setting, or write default or none"),
    (
        {"lrr": {"log": [1, 2]}},
        "search: tried has no setting 'lrr'; did you mean 'lr'?",
    ),
    (
        {7: {"log": [1, 2]}},
        "search: tried has no setting '7'; its settings: batchSize, epochs, fast, lr, optimizer,"
        " share",
    ),
    (
        {"lr": {"logg": [1, 2]}},
        "search.lr: unknown range 'logg'; did you mean 'log'?",
    ),
    (
        {"lr": 0.1},
        "search.lr is 0.1; it should be one range, such as {log: [1.0e-4, 0.1]} or"
        " {choice: [1, 2]}",
    ),
    (
        {"lr": {"log": [1e-3, 1], "int": [1, 2]}},
        'search.lr is {"log": [0.001, 1], "int": [1, 2]}; it should be one range, such as'
        " {log: [1.0e-4, 0.1]} or {choice: [1, 2]}",
    ),
    ({"lr": {"log": 3}}, "search.lr.log is 3; it should be a list"),
    (
        {"lr": {"log": [0.1]}},
        "search.lr.log is [0.1]; it should be two numbers, the lowest and the highest",
    ),
    (
        {"lr": {"log": []}},
        "search.lr.log is []; it should be two numbers, the lowest and the highest",
    ),
    (
        {"lr": {"log": [0.1, 0.01]}},
        "search.lr.log is [0.1, 0.01]; the first number should be less than the second",
    ),
    (
        {"lr": {"log": [0.1, 0.1]}},
        "search.lr.log is [0.1, 0.1]; the first number should be less than the second",
    ),
    ({"lr": {"log": [0, 0.1]}}, "search.lr.log[0] is 0; it should be greater than 0"),
    ({"share": {"log": [0, 1]}}, "search.share.log[0] is 0; a logarithm needs a number above 0"),
    (
        {"share": {"log_to_one": [0.5, 1]}},
        "search.share.log_to_one[1] is 1; it should be less than 1",
    ),
    ({"share": {"uniform": [0, 2]}}, "search.share.uniform[1] is 2; it should be at most 1"),
    ({"lr": {"log": ["a", 1]}}, 'search.lr.log[0] is "a"; it should be of type number'),
    ({"lr": {"log": [1, True]}}, "search.lr.log[1] is true; it should be of type number"),
    (
        {"lr": {"log": [1, float("inf")]}},
        "search.lr.log[1] is Infinity; it should be of type number",
    ),
    (
        {"lr": {"uniform": [float("nan"), 1]}},
        "search.lr.uniform[0] is NaN; it should be of type number",
    ),
    (
        {"epochs": {"uniform": [1, 10]}},
        "search.epochs.uniform is [1, 10]; the setting is a whole number: write int: [...]",
    ),
    (
        {"share": {"int": [0.0, 1]}},
        "search.share.int[0] is 0.0; it should be a whole number of at most 1000000000",
    ),
    (
        {"epochs": {"int": [1, 10**60]}},
        f"search.epochs.int[1] is {10**60}; it should be a whole number of at most 1000000000",
    ),
    (
        {"batchSize": {"int": [1, None]}},
        "search.batchSize.int[1] is null; it should be a whole number of at most 1000000000",
    ),
    (
        {"optimizer": {"choice": ["adam"]}},
        'search.optimizer.choice is ["adam"]; it should have two values or more',
    ),
    (
        {"optimizer": {"choice": ["sgd", "sgd"]}},
        'search.optimizer.choice[1] is "sgd", which is in the list before',
    ),
    (
        {"optimizer": {"choice": ["sgd", "adm"]}},
        "search.optimizer.choice[1] is \"adm\"; allowed: adam, sgd; did you mean 'adam'?",
    ),
    ({"fast": {"int": [0, 1]}}, "search.fast.int[0] is 0; it should be of type boolean"),
]


@pytest.mark.parametrize(("search", "line"), WRONG)
def test_what_cannot_be_searched_is_said_in_one_line(search: dict[Any, Any], line: str) -> None:
    with pytest.raises(SpecError) as error:
        read_space(search, TRIED)
    assert str(error.value).splitlines()[0] == line


def test_setting_that_is_given_is_not_searched() -> None:
    with pytest.raises(SpecError) as error:
        read_space({"lr": {"log": [1e-3, 1]}}, TRIED, given={"lr"}, at="spec.methods[0].search")
    assert str(error.value) == (
        "spec.methods[0].search.lr is given in params too; leave it out of one of them"
    )
    assert default_space(TRIED, given={"lr"}) == {"epochs": Epochs(1, 10)}


def test_more_settings_than_a_sampler_has_dimensions_are_refused() -> None:
    scrub = registry.catalog.bundled().get("method", "scrub")
    search = {each: {"choice": [1, 2]} for each in list(scrub.params["properties"])[:9]}
    with pytest.raises(SpecError, match="search has 9 settings; at most 8"):
        read_space(search, scrub)


def test_own_space_of_a_method_is_another_for_transformers() -> None:
    assert default_space(TRIED) == {"epochs": Epochs(1, 10), "lr": Log(1e-3, 1e-1)}
    assert default_space(TRIED, for_transformers=True)["lr"] == Log(1e-4, 1e-2)


@pytest.mark.parametrize(
    ("share", "epochs", "cut"), [(0.2, 25, (1, 5)), (0.2, 3, (1, 1)), (1, 200, (1, 10))]
)
def test_epochs_are_cut_to_the_budget(share: float, epochs: int, cut: tuple[int, int]) -> None:
    space = affordable(default_space(TRIED), share=share, epochs=epochs)
    assert space == {"epochs": Int(*cut), "lr": Log(1e-3, 1e-1)}
    assert affordable({"a": Epochs(3, 9)}, share=0.2, epochs=5) == {"a": Int(1, 1)}


@pytest.mark.parametrize(
    ("of", "low", "middle", "high"),
    [
        (Log(1e-4, 1e-2), 1e-4, 1e-3, 0.009999),
        (Uniform(0, 0.123456), 0, 0.06173, 0.1235),
        (LogToOne(0.5, 0.9999), 0.5, 0.992929, 0.9999),
        (Int(1, 10), 1, 6, 10),
        (Choice(("a", "b")), "a", "b", "b"),
    ],
)
def test_range_from_end_to_end(of: registry.Range, low: Any, middle: Any, high: Any) -> None:
    assert of.at(0) == pytest.approx(low) if not isinstance(low, str) else of.at(0) == low
    assert of.at(0.5) == middle
    assert of.at(1 - 2**-32) == pytest.approx(high, rel=1e-3) if not isinstance(high, str) else True
    assert all(of.holds(of.at(point / 64)) for point in range(64))
