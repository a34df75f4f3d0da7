"""Random labels: train on with wrong labels for the forget set and right ones for the rest."""

from functools import partial

from pydantic import Field
from torch import optim

from supreme_core.engine.toolbox.relabelling import wrong_labels
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import Params, method


class RandomLabelsParams(Params):
    epochs: int = Field(3, ge=0, description="Passes over the whole training set.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")
    batch_size: int = Field(128, ge=1, description="Samples of one step.")


@method(
    paper="arXiv:1911.04933",
    needs=("retain",),
    search={"lr": {"log": [1e-5, 3e-3]}, "epochs": {"epochs": [1, 10]}},
    search_source="around the rate of Foster et al. 2024 (arXiv:2308.07707), for Adam",
)
def random_labels(task: UnlearningTask, params: RandomLabelsParams) -> None:
    """Relabel the forget set at random, once, and train on it together with the retain set.

    Golatkar et al. 2020; known as the relabelling half of amnesiac unlearning, arXiv:2010.10981.
    Settings are those of the baselines in Foster et al. 2024, arXiv:2308.07707.
    """
    task.fit(
        task.forget.with_labels(wrong_labels(task, "labels")).join(task.retain),
        name="relabelled",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(optim.Adam, lr=params.lr),
    )
