"""Curves of a training: loss, accuracy and learning rate of each epoch, from its own steps."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any, Final

import torch
from torch import Tensor

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.training.observer import Observer

MOST_POINTS: Final = 5000
"""Points that one stage keeps over all its trainings, as a manifest is small."""


@dataclass
class Curve(Observer):
    """Curve of one training. Nothing is computed for it but sums over steps.

    name: of the training within its stage.
    memory: `rows` (epochs, 4) of epoch, rate, loss and accuracy, and the sums of the epoch that is
    not over yet: the same on every rank, so that a checkpoint of rank 0 is one of all.
    """

    name: str = ""

    def add(self, *, epoch: int, rate: float, loss: Tensor, counts: Tensor, samples: int) -> None:
        """Add a step, as it was before the optimiser moved the weights.

        epoch: from 1.  rate: learning rate of the step.  loss: mean over its samples.
        counts: see `judged`.
        """
        if "epoch" in self.memory and int(self.memory["epoch"]) != epoch:
            self._close()
        if "epoch" not in self.memory:
            self.memory["epoch"] = torch.tensor(epoch)
            self.memory["rate"] = torch.tensor(rate, dtype=torch.float64)
            self.memory["samples"] = torch.tensor(0)
            self.memory["sums"] = torch.zeros(3, device=loss.device)
        sums = self.memory["sums"].to(loss.device)
        self.memory["sums"] = sums + torch.cat([(loss * samples)[None], counts]).float()
        self.memory["samples"] += samples

    def points(self) -> dict[str, list[float | None]]:
        """Numbers by name, one for each epoch: the epoch from 1, the learning rate at its
        beginning, the mean loss, and the share of samples that were predicted right; None for what
        is not finite or not known."""
        if "epoch" in self.memory:
            self._close()
        rows = self.memory.get("rows", torch.empty(0, 4)).T.tolist()
        names = ("epoch", "rate", "loss", "accuracy")
        return {
            name: [value if isfinite(value) else None for value in values]
            for name, values in zip(names, rows, strict=True)
        }

    def _close(self) -> None:
        """Make a row of the sums; the one point at which the device is waited for."""
        loss, right, judged = self.memory.pop("sums").tolist()
        epoch, rate, samples = (
            float(self.memory.pop(name)) for name in ("epoch", "rate", "samples")
        )
        accuracy = right / judged if judged else float("nan")
        row = torch.tensor([[epoch, rate, loss / samples, accuracy]], dtype=torch.float64)
        self.memory["rows"] = torch.cat([*filter(len, [self.memory.get("rows", row[:0])]), row])


def judged(outputs: object, batch: Batch) -> Tensor:
    """(2,) how many samples were predicted right, and how many have a label to compare with.

    outputs: what the network answered to the batch; where these are no logits of its samples, there
    is nothing to compare. A label below 0 is a mark.
    """
    logits = outputs if isinstance(outputs, Tensor) else torch.empty(0)
    if logits.ndim != 2 or len(logits) != len(batch):
        return torch.zeros(2, device=batch.labels.device)
    right = logits.detach().argmax(dim=1) == batch.labels
    return torch.stack([right, batch.labels >= 0]).sum(dim=1, dtype=torch.float32)


def document(curves: Iterable[Curve]) -> list[dict[str, Any]]:
    """Curves with points, as the manifest of a stage has them; every second or third epoch of many,
    and the last one."""
    found = [(curve.name, points) for curve in curves if (points := curve.points())["epoch"]]
    every = ceil(sum(len(points["epoch"]) for _, points in found) / MOST_POINTS)
    return [
        {
            "name": name,
            **{key: [*values[: -1 : max(every, 1)], values[-1]] for key, values in points.items()},
        }
        for name, points in found[:MOST_POINTS]
    ]
