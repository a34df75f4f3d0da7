"""Successive random labels: other wrong labels for the forget set in each epoch."""

from collections.abc import Sequence
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, optim

from supreme_core.engine.toolbox.relabelling import wrong_labels
from supreme_core.engine.toolbox.retain_training import RATES_FOR_TRANSFORMERS, RetainParams
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.sample_order import one_after_other
from supreme_core.registry import method


class SuccessiveRandomLabelsParams(RetainParams):
    epochs: int = Field(10, ge=0, description="Passes over both sets.")
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD.")


@method(
    paper="arXiv:2410.01276",
    needs=("retain",),
    search={"lr": {"log": [1e-4, 1e-1]}, "epochs": {"epochs": [1, 10]}},
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=f"rates from Cadet et al. 2024 (arXiv:2410.01276); {RATES_FOR_TRANSFORMERS}",
)
def successive_random_labels(task: UnlearningTask, params: SuccessiveRandomLabelsParams) -> None:
    """Train on the forget set with labels that are drawn anew each epoch, then on the retain set.

    A baseline of Cadet et al. 2024, whose epochs and rate these are. Labels are those of
    random_labels, never the true one, where their code draws any label.
    """
    forget, retain = task.forget, task.retain
    drawn = [wrong_labels(task, "labels", epoch) for epoch in range(params.epochs)]
    samples = retain
    for labels in drawn:
        samples = samples.join(forget.with_labels(labels))
    plain = one_after_other(len(forget), len(retain), batch_size=params.batch_size)

    def order(epoch: int, seed: int) -> Sequence[Tensor]:
        """The retain set stands first, then the forget set once for each epoch."""
        place = len(retain) + epoch * len(forget)
        return [
            torch.where(step < len(forget), step + place, step - len(forget))
            for step in plain(epoch, seed)
        ]

    task.fit(
        samples,
        name="relabelled",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(
            optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        ),
        order=order,
    )
