"""Forget one thing after another, as requests come in."""

from functools import partial

from pydantic import Field

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.split import Labels, Split, in_sequence
from supreme_core.errors import SpecError
from supreme_core.randomness import streams
from supreme_core.registry import Params, scenario


class SequentialParams(Params):
    requests: list[Component] = Field(
        min_length=2,
        max_length=16,
        description="Scenarios in the order of their requests, each with its name and params.",
        json_schema_extra={"componentKind": "scenario"},
    )


@scenario(forgets="samples")
def sequential(labels: Labels, seed: int, params: SequentialParams) -> Split:
    """Forget what several requests ask for, one after another; each starts from what is left.

    A method is applied to each request in turn, to the model that it left. What is measured is the
    model after the last request, on all that was forgotten, beside a model that was retrained
    without any of it. A share counts what is left; requests after the first draw by themselves.
    """
    return in_sequence(
        labels,
        [
            partial(_requested, seed, number, request)
            for number, request in enumerate(params.requests)
        ],
    )


def _requested(seed: int, number: int, request: Component, labels: Labels) -> Split:
    at = f"requests[{number}]"
    chosen = registry.scenario.resolve(request, at=at)
    own_seed = streams.derive(seed, "requests", number) if number else seed
    facts = chosen.entry.facts
    if facts.poisons or facts.needs or request.name == "sequential":
        raise SpecError(
            f"{at}.name is {request.name!r}, which cannot be one of several requests; those can"
            " that choose among the dataset's samples by their labels"
        )
    try:
        split: Split = chosen(labels, own_seed)
    except SpecError as error:
        raise SpecError(f"{at} ({request.name}): {error}") from None
    return split
