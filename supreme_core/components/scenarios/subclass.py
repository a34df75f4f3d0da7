"""Forget a part of a class: one or more fine classes, whose siblings keep the label."""

from pydantic import Field

from supreme_core.data.split import Labels, Split, by_fine_class, class_numbers
from supreme_core.errors import SpecError
from supreme_core.registry import Params, scenario


class SubclassParams(Params):
    classes: list[int | str] = Field(
        min_length=1, max_length=1000, description="Fine classes to forget, by number or by name."
    )


@scenario(forgets="classes")
def subclass(labels: Labels, seed: int, params: SubclassParams) -> Split:
    """Forget all samples of some fine classes; the test samples of these are held out."""
    if labels.train_fine is None:
        raise SpecError("the dataset has no fine classes, as cifar20 has; use full_class")
    return by_fine_class(
        labels, class_numbers(params.classes, labels.fine_class_names, kind="fine class")
    )
