"""Selective synaptic dampening: shrink the weights that matter to the forget set above all."""

from supreme_core.engine.toolbox.dampening import WITHOUT_SUMS, DampeningParams, dampen
from supreme_core.engine.toolbox.importance_kinds import SQUARED_LOSS
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


@method(
    paper="arXiv:2308.07707",
    needs=("retain",),
    iterative=False,
    trains=False,
    importances="squared_loss",
    importances_unless=WITHOUT_SUMS,
    for_transformers={"alpha": 5},
    search={"alpha": {"log": [0.3, 100]}, "lambda": {"log": [0.05, 5]}},
    search_source=(
        "around the authors' values, 5 to 50 and 0.1 to 1; where an alpha "
        "passes N / |F| nothing is dampened"
    ),
)
def ssd(task: UnlearningTask, params: DampeningParams) -> None:
    """Dampen weights whose Fisher information is concentrated on the forget set (Foster et al.).

    I_S[i] = mean over samples of (∂L/∂θ_i)², L the cross-entropy of one sample. Where I_F > α I_D:
    θ_i ← min(1, λ I_D / I_F) θ_i. α and λ are those of Foster et al. 2024: 10 for ResNet18, and for
    a ViT what their code has where whole classes are forgotten, 5. It has 25 there for sub-classes
    and 10 for random samples; arXiv:2606.00380 has 10 for whole classes too. Their code squares the
    gradient of a batch's mean, which depends on the batches; ours squares each sample's, the
    correction of arXiv:2510.26714, appendix B, unless the variant is `batch`.
    """
    forget, everything = params.importances(task, SQUARED_LOSS)
    dampen(task.model, forget, everything, alpha=params.alpha, lambda_=params.lambda_)
