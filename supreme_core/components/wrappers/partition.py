"""Partition: forget what the model has learnt easily first, and what it memorised last."""

from dataclasses import replace
from itertools import chain
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.toolbox.task import Method, UnlearningTask
from supreme_core.randomness import streams
from supreme_core.registry import Chosen, MethodFacts, Need, Params, wrapper
from supreme_core.scoring.evaluation import Outputs, without_class


class PartitionParams(Params):
    groups: int = Field(
        3, ge=1, le=100, description="k: groups of equal size; at most one a sample."
    )
    proxy: Literal["confidence", "margin", "entropy"] = Field(
        "confidence",
        description="Proxy of memorisation: a low probability of the label, a small lead of its"
        " logit over the next one, or a high entropy of the answer.",
    )
    methods: list[Component] = Field(
        default_factory=list,
        max_length=100,
        exclude_if=lambda value: not value,  # so that older keys stay what they are
        description="Methods of the first groups, in their order, each with its name and params;"
        " the groups after them have the wrapped one.",
        json_schema_extra={"componentKind": "method"},
    )

    @model_validator(mode="after")
    def _no_more_methods_than_groups(self) -> Self:
        if len(self.methods) > self.groups:
            raise ValueError(
                f"methods names {len(self.methods)} and groups is {self.groups}; there is at most"
                " one method for each group"
            )
        return self

    def identity(self) -> dict[str, Any]:
        document = self.to_document()
        if self.methods:
            document["methods"] = [method.identity() for method in self.chosen()]
        return document

    def needs(self) -> tuple[Need, ...]:
        parts = [method.entry.facts.needs + method.params.needs() for method in self.chosen()]
        return tuple(dict.fromkeys(chain(*parts)))

    def chosen(self) -> "list[Chosen[Any, MethodFacts]]":
        """Methods of the groups, with their settings."""
        return [
            registry.method.resolve(method, at=f"partition.methods[{position}]")
            for position, method in enumerate(self.methods)
        ]


@wrapper(paper="arXiv:2406.01257")
def partition(method: Method, task: UnlearningTask, params: PartitionParams) -> None:
    """Unlearn the forget set in groups, one after the other, from low to high memorisation (RUM).

    Zhao et al. 2024, with a proxy of memorisation that the model which is to unlearn tells of
    itself. Every group is forgotten with random streams of its own, by the same method, or by one
    for each group, as the paper chooses them from a pool. The retain set is the same each time:
    groups that come later are not among it, so that nobody trains on what is to be forgotten.
    """
    methods = params.chosen()
    order = np.argsort(_memorisation(task, params.proxy), kind="stable")
    for number, group in enumerate(np.array_split(order, min(params.groups, len(order)))):
        forget = task.forget.take(torch.from_numpy(np.sort(group)))
        unlearn = methods[number] if number < len(methods) else method
        unlearn(replace(task, forget=forget, seed=streams.derive(task.seed, "group", number)))


def _memorisation(task: UnlearningTask, proxy: str) -> NDArray[np.float64]:
    """(|F|,) higher where a sample is more likely to be memorised."""
    logits = predict(task.model, task.forget, classes=task.shape.classes, ranks=task.ranks)
    return memorisation(logits.astype(np.float64), task.forget.labels.cpu().numpy(), proxy)


def memorisation(
    logits: NDArray[np.float64], labels: NDArray[np.int64], proxy: str
) -> NDArray[np.float64]:
    """(n,) of logits (n, classes)."""
    if proxy == "margin":
        own = logits[np.arange(len(labels)), labels]
        return np.asarray(without_class(logits, labels).max(axis=1) - own)
    outputs = Outputs.of(logits, labels)
    return outputs.loss if proxy == "confidence" else outputs.entropy
