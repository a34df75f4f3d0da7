"""Settings of trial n: a pure function of the space, the number, the sampler and an address.

No sampler looks at another trial, so more trials add points and change none.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final, Literal

from supreme_core.errors import SpecError
from supreme_core.randomness.streams import derive
from supreme_core.registry import Choice
from supreme_core.tuning import sobol
from supreme_core.tuning.space import Space

Sampler = Literal["sobol", "random", "grid"]
"""Points that fill the space evenly, points at random, or every combination of lists."""

Address = tuple[str | int, ...]
"""What a trial is for: the titles of its scenario and of its method."""


def settings_of(space: Space, number: int, sampler: Sampler, address: Address) -> dict[str, Any]:
    """Settings of trial `number`, from 1, by their names. They go over those that are given."""
    assert number >= 1, "trial 0 is the settings as they are given"
    return _SAMPLERS[sampler](space, number, address)


def is_power_of_two(trials: int) -> bool:
    """Return whether Sobol points of that number lie evenly: of others, some parts have too few."""
    return trials > 0 and trials & trials - 1 == 0


def grid_size(space: Space, *, at: str = "search") -> int:
    """Number of combinations of a space of lists; SpecError where another range is in it."""
    for setting, each in space.items():
        if not isinstance(each, Choice):
            raise SpecError(
                f"{at}.{setting} is a range, {each.kind}; a grid takes lists only, choice: [...];"
                " give one, or take the sampler sobol or random"
            )
    return prod(len(each.values) for each in space.values() if isinstance(each, Choice))


def _sobol(space: Space, number: int, address: Address) -> dict[str, Any]:
    where = ("trials", "sobol", *address)
    return {
        setting: each.at(sobol.scrambled(number - 1, axis, where))
        for axis, (setting, each) in enumerate(space.items())
    }


def _random(space: Space, number: int, address: Address) -> dict[str, Any]:
    where = ("trials", "random", *address, number)
    return {
        setting: each.at(_fraction(derive(0, *where, setting))) for setting, each in space.items()
    }


def _fraction(drawn: int) -> float:
    """A number in [0, 1) of 53 bits, as many as a float has: of 63, it could be rounded up to 1."""
    return (drawn >> 10) / 2**53


def _grid(space: Space, number: int, address: Address) -> dict[str, Any]:
    """Combination number n of all, the last setting first; after all of them the first again."""
    place, settings = (number - 1) % grid_size(space), {}
    for setting in reversed(list(space)):
        each = space[setting]
        assert isinstance(each, Choice)
        place, which = divmod(place, len(each.values))
        settings[setting] = each.values[which]
    return dict(reversed(settings.items()))


_SAMPLERS: Final[Mapping[Sampler, Callable[[Space, int, Address], dict[str, Any]]]] = {
    "sobol": _sobol,
    "random": _random,
    "grid": _grid,
}
