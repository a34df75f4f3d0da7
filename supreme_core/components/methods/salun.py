"""SalUn: train with wrong labels, but only the weights that the forget set pulls at most."""

from functools import partial

from pydantic import Field
from torch import optim

from supreme_core.engine.toolbox.relabelling import wrong_labels
from supreme_core.engine.toolbox.retain_training import RATES_FOR_TRANSFORMERS, RetainParams
from supreme_core.engine.toolbox.saliency import frozen_but_for_salient
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.sample_order import one_after_other
from supreme_core.registry import method


class SalunParams(RetainParams):
    epochs: int = Field(10, ge=0, description="Passes over both sets.")
    lr: float = Field(0.013, gt=0, description="Learning rate of SGD.")
    batch_size: int = Field(256, ge=1, description="Samples of one step.")
    fraction: float = Field(
        0.5, ge=0, le=1, description="Part of all weights that is trained, the most salient ones."
    )


@method(
    paper="arXiv:2310.12508",
    needs=("retain",),
    search={
        "lr": {"log": [5e-4, 1e-1]},
        "fraction": {"uniform": [0.1, 1]},
        "epochs": {"epochs": [1, 10]},
    },
    search_for_transformers={"lr": {"log": [5e-5, 3e-2]}},
    search_source=(
        "masks that the authors offer, and the rates of Fan et al. 2024 (arXiv:2403.07362), "
        f"appendix B.1; {RATES_FOR_TRANSFORMERS}"
    ),
)
def salun(task: UnlearningTask, params: SalunParams) -> None:
    """Relabel the forget set and train the weights salient to it on both sets (Fan et al. 2024).

    A weight's saliency is |Σ over the forget set of ∂CE/∂θ_i|, of the original in eval mode. The
    others get their values back after each step, because momentum and weight decay would move them
    even without a gradient. An epoch goes over the forget set, then over the retain set. Settings
    are those of the authors for a tenth of CIFAR-10. Wrong labels are drawn once, as those of
    random_labels, where their code draws any label in each step.
    """
    frozen = frozen_but_for_salient(task, params.fraction)
    task.observed(frozen).fit(
        task.forget.with_labels(wrong_labels(task, "labels")).join(task.retain),
        name="relabelled",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(
            optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        ),
        order=one_after_other(len(task.forget), len(task.retain), batch_size=params.batch_size),
    )
