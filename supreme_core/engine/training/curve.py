"""Curves of a training: loss, accuracy and learning rate of each epoch, from its own steps."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, isfinite, nan
from typing import Any, Final

import torch
from torch import Tensor

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.training.observer import Observer

MOST_POINTS: Final = 5000
"""Points that one stage keeps over all its trainings, as a manifest is small."""


@dataclass
class TrainingCurve(Observer):
    """Curve of one training. Nothing is computed for it but sums over steps.

    name: of the training within its stage.
    memory: `rows` (epochs, 3) of epoch, rate and samples, `row_sums` (epochs, 3) of losses, of
    samples predicted right and of those that have a label, and the same of the epoch that is not
    over yet: equal on every rank, so that a checkpoint of rank 0 is one of all. Sums stay on the
    device, for which no step waits.
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
        facts, sums = (self.memory.get(name, torch.empty(0, 3)) for name in ("rows", "row_sums"))
        rows = [
            (epoch, rate, loss / samples, right / judged if judged else nan)
            for (epoch, rate, samples), (loss, right, judged) in zip(
                facts.tolist(), sums.tolist(), strict=True
            )
        ]
        names = ("epoch", "rate", "loss", "accuracy")
        return {
            name: [row[place] if isfinite(row[place]) else None for row in rows]
            for place, name in enumerate(names)
        }

    def _close(self) -> None:
        """Put the epoch behind the others that are over."""
        names = ("epoch", "rate", "samples")
        facts = [self.memory.pop(name).double() for name in names]
        self._append("rows", torch.stack(facts))
        self._append("row_sums", self.memory.pop("sums"))

    def _append(self, name: str, row: Tensor) -> None:
        before = self.memory.get(name, row.new_empty(0, len(row)))
        self.memory[name] = torch.cat([before.to(row.device), row[None]])


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


def document(curves: Iterable[TrainingCurve]) -> list[dict[str, Any]]:
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
