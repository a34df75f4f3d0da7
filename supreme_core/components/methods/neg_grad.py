"""NegGrad: climb up the loss on the forget set."""

from pydantic import Field
from torch import Tensor, nn

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.toolbox.forget_training import ForgetParams, train_on_forget
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy, steady
from supreme_core.registry import method


class NegGradParams(ForgetParams):
    epochs: int = Field(5, ge=0, description="Passes over the forget set.")
    lr: float = Field(0.02, gt=0, description="Learning rate of SGD.")


@method(
    paper="arXiv:1911.04933",
    search={"lr": {"log": [1e-6, 3e-2]}, "epochs": {"int": [1, 10]}},
    search_source=("rates around 1e-4, which fits classes, and 1e-3, which fits single samples"),
)
def neg_grad(task: UnlearningTask, params: NegGradParams) -> None:
    """Maximise the cross-entropy of the forget set (baseline of Golatkar et al. 2020).

    Nothing bounds it: long or fast ascent destroys the model, or ends in a loss that is not finite,
    which fails the run. Settings are those of finetune, its counterpart in Foster et al. 2024,
    arXiv:2308.07707.
    """

    @steady
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return -cross_entropy(model, batch)

    train_on_forget(task, params, loss)
