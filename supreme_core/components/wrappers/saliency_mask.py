"""Saliency mask: only the weights that the forget set pulls at most may change."""

from pydantic import Field

from supreme_core.engine.toolbox.saliency import frozen_but_for_salient
from supreme_core.engine.toolbox.task import Method, UnlearningTask
from supreme_core.registry import Params, wrapper


class SaliencyMaskParams(Params):
    fraction: float = Field(
        0.5, ge=0, le=1, description="Part of all weights that may change, the most salient ones."
    )


@wrapper(paper="arXiv:2310.12508")
def saliency_mask(method: Method, task: UnlearningTask, params: SaliencyMaskParams) -> None:
    """Keep all weights as they are but those most salient to the forget set (Fan et al. 2024).

    The mask of `salun`, around any method: |Σ over the forget set of ∂CE/∂θ_i| of the model that
    the method begins with, in eval mode. The others get their values back after each step and at
    the end. BatchNorm's statistics are no weights and may change.
    """
    frozen = frozen_but_for_salient(task, params.fraction)
    method(task.observed(frozen))
    frozen.after_step()
