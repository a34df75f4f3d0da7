"""Trials that are proposed from others by a tree-structured Parzen estimator.

Bergstra et al. 2011, as optuna has it: of all trials the better ones make one density over the
space and the others make another, and what is tried next is likely under the first alone.
"""

from collections.abc import Mapping, Sequence
from math import nextafter
from typing import Any, Final

from supreme_core.errors import SpecError, one_line
from supreme_core.randomness.streams import derive
from supreme_core.system.ending import install_command
from supreme_core.tuning.ranges import Space
from supreme_core.tuning.samplers import Address

BELOW_ONE: Final = nextafter(1.0, 0.0)


def check_optuna() -> None:
    """SpecError where the library is not installed, or cannot be imported."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        raise _without_optuna("" if error.name == "optuna" else str(error)) from None
    except Exception as error:  # a library may raise anything while it is imported
        raise _without_optuna(f"its import fails: {one_line(repr(error))}") from None


def _without_optuna(why: str) -> SpecError:
    there = f"; it is there, and {why}" if why else ""
    return SpecError(
        "spec.tuning.sampler is tpe, which needs optuna: use sobol, or"
        f" {install_command('tpe')}{there}"
    )


def proposed(
    space: Space,
    known: Sequence[tuple[Mapping[str, Any], float | None]],
    count: int,
    address: Address,
) -> list[dict[str, Any]]:
    """Settings of so many further trials.

    known: settings and mean objective of the trials before, in their order; None is worse than any
    number.  The same version of optuna proposes the same. SpecError where it is not installed.
    """
    check_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Places in [0, 1) of every range, so that values are spread and rounded as those of others are.
    places: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(range(len(each.values)))
        if each.kind == "choice"
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for name, each in sorted(space.items())
    }
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=0,
        constant_liar=True,  # trials that are proposed together are to differ
        seed=derive(0, "tpe", *address, len(known)) % 2**32,
    )
    study = optuna.create_study(sampler=sampler)
    worst = max((value for _, value in known if value is not None), default=0.0)
    for settings, value in known:
        study.add_trial(
            optuna.trial.create_trial(
                params={name: _place(space, name, settings[name]) for name in places},
                distributions=places,
                value=worst + 1 if value is None else value,  # only their order is looked at
            )
        )
    asked = [study.ask(places) for _ in range(count)]
    return [{name: _value(space, name, trial.params[name]) for name in places} for trial in asked]


def _place(space: Space, name: str, value: Any) -> float | int:
    range_ = space[name]
    return range_.values.index(value) if range_.kind == "choice" else range_.place_of(value)


def _value(space: Space, name: str, place: float) -> Any:
    range_ = space[name]
    return (
        range_.values[int(place)] if range_.kind == "choice" else range_.at(min(place, BELOW_ONE))
    )
