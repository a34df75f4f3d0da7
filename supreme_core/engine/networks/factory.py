"""Networks of one kind: with fresh weights, as a training starts with them, or with given ones."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from supreme_core.engine.images import randomness
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.onednn import keep_from_damage
from supreme_core.engine.networks.passes import counted
from supreme_core.engine.networks.weights import Weights, load_weights
from supreme_core.engine.ranks.device import layout


@dataclass(frozen=True, kw_only=True)
class NetworkFactory:
    """Makes networks of one architecture for images of one shape.

    shape: of the images as the model sees them.  device: where networks are used, in eval mode.
    pretrained: gives the weights that every training starts from; None for fresh ones.
    """

    architecture: Architecture
    shape: ImageShape
    device: torch.device
    pretrained: Callable[[], Weights] | None = None

    def new(self, seed: int) -> nn.Module:
        """A network at the start of a training."""
        return self._placed(self.started(seed))

    def random(self, seed: int) -> nn.Module:
        """A network with fresh random weights, whatever trainings start from."""
        return self._placed(self.built(seed))

    def with_weights(self, weights: Weights) -> nn.Module:
        """A network with these weights."""
        network = self.built(0)
        load_weights(network, weights)
        return self._placed(network)

    def started(self, seed: int) -> nn.Module:
        """A network at the start of a training, still on the CPU; SpecError where the pretrained
        weights are not for it."""
        network = self.built(seed)
        if self.pretrained:
            assert self.architecture.pretrained is not None
            self.architecture.pretrained.start(network, self.pretrained())
        return network

    def built(self, seed: int) -> nn.Module:
        """A network with fresh weights, drawn on the CPU so that they do not depend on the
        device."""
        with randomness.global_seed(seed, "weights"):
            return self.architecture.build(self.shape)

    def _placed(self, network: nn.Module) -> nn.Module:
        if self.device.type == "cpu":
            keep_from_damage(network)
        network = network.to(self.device).to(memory_format=layout(self.device)).eval()
        return counted(network)
