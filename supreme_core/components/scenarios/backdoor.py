"""Forget a backdoor: images with a trigger that the original was taught to take for one class."""

import numpy as np
from pydantic import Field

from supreme_core.data.draw import DrawParams, first
from supreme_core.data.split import (
    Corner,
    Indices,
    Labels,
    Split,
    Trigger,
    by_poison,
    class_numbers,
    named_as,
)
from supreme_core.errors import SpecError, number_of
from supreme_core.registry import scenario


class BackdoorParams(DrawParams):
    target: int | str = Field(description="Class that the trigger stands for, by number or name.")
    fraction: float = Field(
        gt=0,
        lt=1,
        description="Share of the training set that gets the trigger and the target's label; drawn"
        " from the other classes.",
    )
    size: float = Field(
        0.125, gt=0, le=1, description="Side of the trigger, a square, as a share of the image's."
    )
    corner: Corner = Field("bottom_right", description="Place of the trigger.")
    value: int = Field(
        255, ge=0, le=255, description="Brightness of the trigger's pixels; 255 is white."
    )


@scenario(forgets="samples", poisons=True)
def backdoor(labels: Labels, seed: int, params: BackdoorParams) -> Split:
    """Forget samples that were trained on with a trigger in the image and the label of a target.

    BadNets, Gu et al. 2017, arXiv:1708.06733. Held out are all test samples of the other classes,
    with the trigger and the target's label too: the accuracy there is the attack's success rate.
    """
    (target,) = class_numbers([params.target], labels.class_names)
    total = len(labels.train)
    order = params.order(seed, "backdoor", total)
    others = order[labels.train[order] != target]
    forget = first(order, params.fraction, total)
    if len(forget) > len(others):
        raise SpecError(
            f"fraction {params.fraction} of {number_of(total, 'training sample')} is"
            f" {len(forget)}, and only {len(others)} of them are of other classes than the target"
        )

    def aimed_at(true: Indices) -> Indices:
        return np.full_like(true, target)

    return by_poison(
        labels,
        others[: len(forget)],
        np.flatnonzero(labels.test != target),
        wrong=aimed_at,
        trigger=Trigger(size=params.size, corner=params.corner, value=params.value),
        named=named_as([target], labels.class_names, role="target"),
    )
