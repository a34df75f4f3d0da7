"""Trials as pure functions: the same for each process, and no other when more are asked for."""

import pytest

from supreme_core.errors import SpecError
from supreme_core.registry import Choice, Int, Log
from supreme_core.tuning.samplers import (
    Sampler,
    grid_size,
    is_power_of_two,
    settings_of,
)

SPACE = {"epochs": Int(1, 8), "lr": Log(1e-4, 1e-1)}
LISTS = {"a": Choice((1, 2, 3)), "b": Choice(("x", "y"))}
ADDRESS = ("fullclass", "scrub")


def test_sobol_trials_take_each_part_of_each_range_alike() -> None:
    trials = [settings_of(SPACE, number, "sobol", ADDRESS) for number in range(1, 17)]
    assert sorted(each["epochs"] for each in trials) == sorted([*range(1, 9), *range(1, 9)])
    for low in (1e-4, 1e-3, 1e-2):
        assert sum(low <= each["lr"] < 10 * low for each in trials) in (5, 6)
    assert all(each["lr"] == float(f"{each['lr']:.4g}") for each in trials)
    assert all(type(each["epochs"]) is int for each in trials)


def test_trials_stay_what_they_are() -> None:
    assert settings_of(SPACE, 1, "sobol", ADDRESS) == {"epochs": 7, "lr": 0.07014}
    assert settings_of(SPACE, 1, "random", ADDRESS) == {"epochs": 7, "lr": 0.0003873}


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_trials_of_other_methods_are_others(sampler: Sampler) -> None:
    trials = [settings_of(SPACE, number, sampler, ADDRESS) for number in range(1, 9)]
    others = [settings_of(SPACE, number, sampler, ("fullclass", "ssd")) for number in range(1, 9)]
    assert trials != others
    assert len({each["lr"] for each in trials}) == 8


def test_grid_has_each_combination_once_in_order() -> None:
    assert grid_size(LISTS) == 6
    trials = [settings_of(LISTS, number, "grid", ADDRESS) for number in range(1, 7)]
    assert [tuple(each.values()) for each in trials] == [
        (1, "x"),
        (1, "y"),
        (2, "x"),
        (2, "y"),
        (3, "x"),
        (3, "y"),
    ]
    assert list(trials[0]) == ["a", "b"]


def test_grid_refuses_a_range() -> None:
    with pytest.raises(SpecError) as error:
        grid_size(SPACE, at="spec.methods[1].search")
    assert str(error.value) == (
        "spec.methods[1].search.epochs is a range, int; a grid takes lists only, choice: [...];"
        " give one, or take the sampler sobol or random"
    )


def test_powers_of_two() -> None:
    assert [each for each in range(-2, 20) if is_power_of_two(each)] == [1, 2, 4, 8, 16]
