"""Selection of the epoch of a training that is kept, where a validation set decides it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from supreme_core.engine.evaluation.prediction import accuracy
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.networks.weights import Weights, load_weights, on_cpu
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.observer import Observer


@dataclass
class BestEpoch(Observer):
    """Keeps the weights of the epoch with the best accuracy, the first of equally good ones."""

    model: nn.Module
    samples: Samples
    classes: int
    ranks: Ranks

    def after_epoch(self) -> None:
        epoch = int(self.memory.get("epoch", 0)) + 1
        found = accuracy(self.model, self.samples, classes=self.classes, ranks=self.ranks)
        if self.accuracy is None or found > self.accuracy:
            self.memory |= copied("weights", self.model)
            self.memory["accuracy"] = torch.tensor(found, dtype=torch.float64)
            self.memory["kept"] = torch.tensor(epoch)
        self.memory["epoch"] = torch.tensor(epoch)
        measured = torch.tensor([found], dtype=torch.float64)
        self.memory["measured"] = torch.cat([self.memory.get("measured", measured[:0]), measured])

    def accuracies(self, epochs: Sequence[float]) -> list[float | None]:
        """Accuracy after each of these epochs, which count from 1; None where a checkpoint of an
        earlier version did not hold it."""
        measured: list[float] = self.memory.get("measured", torch.empty(0)).tolist()
        unknown = int(self.memory.get("epoch", 0)) - len(measured)
        places = [int(epoch) - 1 - unknown for epoch in epochs]
        return [measured[place] if place >= 0 else None for place in places]

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the epoch that is kept; None before the first."""
        return float(self.memory["accuracy"]) if "accuracy" in self.memory else None

    @property
    def epoch(self) -> int:
        """The one that is kept, from 1; 0 before the first."""
        return int(self.memory.get("kept", 0))

    def restore(self) -> None:
        """Give the model the weights that are kept, if there are any."""
        if self.epoch:
            load_copied(self.model, "weights", self.memory)


def copied(name: str, model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's weights and buffers as they are now, in memory of their own, under a name."""
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    return {f"{name}/{key}": value for key, value in on_cpu(state).items()}


def load_copied(model: nn.Module, name: str, memory: Weights) -> None:
    """Give the model back what was copied under that name."""
    prefix = f"{name}/"
    load_weights(
        model,
        {
            key.removeprefix(prefix): value
            for key, value in memory.items()
            if key.startswith(prefix)
        },
    )
