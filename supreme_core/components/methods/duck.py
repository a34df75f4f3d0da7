"""DUCK: pull the features of forgotten samples to the centroid of the nearest other class."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn, optim
from torch.nn import functional

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.continued_optimizer import continued
from supreme_core.engine.toolbox.head import Features, head_inputs, watched_head
from supreme_core.engine.toolbox.signed_labels import is_forgotten, marked, unmarked
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import steady
from supreme_core.engine.training.sample_order import paired
from supreme_core.registry import Params, method


class DuckParams(Params):
    epochs: int = Field(20, ge=0, description="Most passes over the forget set.")
    lr: float = Field(4e-4, gt=0, description="Learning rate of Adam.")
    batch_size: int = Field(256, ge=1, description="Forgotten samples of one step.")
    partners: int = Field(
        5,
        ge=1,
        description="Times that each forgotten sample comes in a pass, each time with"
        " another retained one.",
    )
    lambda_forget: float = Field(1, ge=0, description="λ₁: weight of the distance.")
    lambda_retain: float = Field(1.4, ge=0, description="λ₂: weight of the cross-entropy.")
    temperature: float = Field(
        2, gt=0, description="T: logits of retained samples are divided by it."
    )
    target_accuracy: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Accuracy on the forget set; training ends after a pass that brings it below"
        " this.",
    )


@method(
    version=2,
    paper="arXiv:2312.02052",
    needs=("retain", "linear_head"),
    search={
        "lr": {"log": [1e-5, 3e-3]},
        "lambdaRetain": {"log": [0.1, 10]},
        "temperature": {"log": [0.5, 5]},
    },
    search_source="around the values of the authors' code for five data sets",
)
def duck(task: UnlearningTask, params: DuckParams) -> None:
    """Move forgotten samples to the nearest wrong centroid of the features (Cotogni et al. 2023).

    Centroids are the means of the head's inputs over the retained samples of a class; the nearest
    one by cosine distance, but for that of the true class, is found once. A step minimises λ₁ times
    the mean distance of forgotten samples to theirs plus λ₂ CE(z / T) of as many retained ones.
    Settings are those of the authors' code for single classes, but for the most passes, of which it
    allows 200; for single samples they choose others, and the accuracy on test data as the target.
    Its ratio of 5 lets six partners pass, and its centroids are of the first 50 retained batches.
    The second phase of that code at a small rate is left out.
    """
    centroids, present = _centroids(task)
    nearest = _nearest_wrong(task, centroids, present)
    again = torch.arange(len(task.forget)).repeat(params.partners)
    samples = marked(task.forget.with_labels(nearest), task.retain)
    positions = torch.cat([torch.arange(len(task.forget), len(samples)), again])
    samples = samples.take(positions)  # the retain set, then the forget set so many times
    optimizer = continued(optim.Adam(trainable(task.model), lr=params.lr))
    with watched_head(task.model) as features:
        for epoch in range(params.epochs):
            task.fit(
                samples,
                name=f"pass {epoch}",
                epochs=1,
                batch_size=2 * params.batch_size,
                optimizer=optimizer,
                loss=steady(partial(_loss, features=features, centroids=centroids, params=params)),
                order=paired(len(task.retain), len(again), batch_size=params.batch_size),
            )
            if task.accuracy(task.forget) < params.target_accuracy:
                return


def _loss(
    model: nn.Module,
    batch: Batch,
    *,
    features: Features,
    centroids: Tensor,
    params: DuckParams,
) -> Tensor:
    """Twice that of each part: half of a step's samples are of either."""
    forgotten, batch = is_forgotten(batch), unmarked(batch)
    inputs, logits = features(model, batch.images)
    targets = centroids[batch.labels]
    distances = 1 - functional.cosine_similarity(inputs.to(targets.dtype), targets, dim=1)
    right = functional.cross_entropy(logits / params.temperature, batch.labels, reduction="none")
    return 2 * torch.where(
        forgotten, params.lambda_forget * distances, params.lambda_retain * right
    )


def _centroids(task: UnlearningTask) -> tuple[Tensor, Tensor]:
    """(classes, features), and which classes have retained samples, (classes,)."""
    inputs, labels = head_inputs(task, task.retain), task.retain.labels.cpu()
    counts = labels.bincount(minlength=task.shape.classes)
    sums = torch.zeros(task.shape.classes, inputs.shape[1], dtype=inputs.dtype)
    sums.index_add_(0, labels, inputs)
    means = sums / counts.clamp(min=1)[:, None]
    weight = next(task.model.parameters())
    return means.to(weight), counts > 0


def _nearest_wrong(task: UnlearningTask, centroids: Tensor, present: Tensor) -> Tensor:
    """(|F|,) the class of the nearest centroid that is not the sample's own."""
    inputs = functional.normalize(head_inputs(task, task.forget), dim=1)
    likeness = inputs @ functional.normalize(centroids.cpu().double(), dim=1).mT
    likeness[:, ~present] = -torch.inf
    likeness.scatter_(1, task.forget.labels.cpu()[:, None], -torch.inf)
    return likeness.argmax(dim=1)
