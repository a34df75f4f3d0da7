"""Fine-tuning: train on with the retained data only, and hope that the rest fades."""

from pydantic import Field

from supreme_core.engine.toolbox.retain_training import (
    RATES_FOR_TRANSFORMERS,
    RetainParams,
    train_on_retain,
)
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


class FinetuneParams(RetainParams):
    epochs: int = Field(5, ge=0, description="Passes over the retain set.")
    lr: float = Field(0.02, gt=0, description="Learning rate of SGD.")


@method(
    paper="arXiv:1911.04933",
    needs=("retain",),
    for_transformers={"lr": 1e-3},
    search={"lr": {"log": [1e-4, 1e-1]}, "epochs": {"epochs": [1, 10]}},
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=(
        f"rates from Fan et al. 2024 (arXiv:2403.07362), appendix B.1; {RATES_FOR_TRANSFORMERS}"
    ),
)
def finetune(task: UnlearningTask, params: FinetuneParams) -> None:
    """Train on with the retain set only (baseline of Golatkar et al. 2020).

    Settings are those of the baselines in Foster et al. 2024, arXiv:2308.07707. Their rate was
    found for ResNets; that for transformers is the lowest with which Dosovitskiy et al. 2021,
    arXiv:2010.11929, fine-tune a ViT on CIFAR by SGD with momentum 0.9 (appendix B.1.1).
    """
    train_on_retain(task, params)
