"""Random labels: train on with wrong labels for the forget set and right ones for the rest."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor, optim

from supreme_core.engine.task import UnlearningTask
from supreme_core.registry import Params, method


class RandomLabelsParams(Params):
    epochs: int = Field(3, ge=0, description="Passes over the whole training set.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")
    batch_size: int = Field(128, ge=1, description="Samples of one step.")


@method(paper="arXiv:1911.04933")
def random_labels(task: UnlearningTask, params: RandomLabelsParams) -> None:
    """Relabel the forget set at random, once, and train on it together with the retain set.

    Golatkar et al. 2020; known as the relabelling half of amnesiac unlearning, arXiv:2010.10981.
    Settings are those of the baselines in Foster et al. 2024, arXiv:2308.07707.
    """
    task.fit(
        task.forget.with_labels(_wrong_labels(task)).join(task.retain),
        name="relabelled",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(optim.Adam, lr=params.lr),
    )


def _wrong_labels(task: UnlearningTask) -> Tensor:
    """(|F|,) uniform over the classes that stay: all but the true one, if no class goes as a whole.

    Where several classes are forgotten, a label of another one of them would teach it anew. Where a
    part of a class is, its label stays valid for its siblings, but is the one to be unlearnt here.
    """
    generator = task.generator("labels")
    count, classes = len(task.forget), task.shape.classes
    if task.forget_classes:
        allowed = torch.tensor([c for c in range(classes) if c not in task.forget_classes])
        return allowed[torch.randint(len(allowed), (count,), generator=generator)]
    shifts = torch.randint(1, classes, (count,), generator=generator)
    return (task.forget.labels.cpu() + shifts) % classes
