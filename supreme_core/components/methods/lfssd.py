"""Loss-free selective synaptic dampening: importances from the size of the output, no labels."""

from supreme_core.engine.toolbox.dampening import WITHOUT_SUMS, DampeningParams, dampen
from supreme_core.engine.toolbox.importance_kinds import ABSOLUTE_OUTPUT
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


@method(
    paper="arXiv:2402.19308",
    needs=("retain",),
    iterative=False,
    trains=False,
    importances="absolute_output",
    importances_unless=WITHOUT_SUMS,
    search={"alpha": {"log": [0.3, 100]}, "lambda": {"log": [0.05, 5]}},
    search_source="as ssd",
)
def lfssd(task: UnlearningTask, params: DampeningParams) -> None:
    """Dampen weights that move the output on the forget set above all (Foster et al., no labels).

    I_S[i] = mean over samples of |∂‖f(x)‖₂²/∂θ_i|. Where I_F > α I_D: θ_i ← min(1, λ I_D/I_F) θ_i.
    α and λ are those that arXiv:2606.00380 takes for whole classes; it takes α 3.5 for random
    samples. The authors' code takes the gradient of a batch's mean, which depends on the batches;
    ours takes each sample's, the correction of arXiv:2510.26714, appendix B, unless the variant is
    `batch`.
    """
    forget, everything = params.importances(task, ABSOLUTE_OUTPUT)
    dampen(task.model, forget, everything, alpha=params.alpha, lambda_=params.lambda_)
