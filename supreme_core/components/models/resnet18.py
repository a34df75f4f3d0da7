"""ResNet-18 in its CIFAR form: a 3x3 stem without pooling, for images of about 32 pixels.

He et al. 2016, arXiv:1512.03385, with the stem that image-unlearning papers use on CIFAR.
"""

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.registry import Params, model


class Resnet18Params(Params):
    width: int = Field(
        64, ge=1, le=1024, description="Channels of the first stage; 64 is the paper's network."
    )


@model()
def resnet18(shape: ImageShape, params: Resnet18Params) -> nn.Module:
    """ResNet-18 for small images (3x3 stem, no pooling), 11.2 million weights at width 64."""
    return ResNet18(shape, width=params.width)


class ResNet18(nn.Module):
    """(n, channels, height, width) to logits (n, classes)."""

    def __init__(self, shape: ImageShape, *, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(shape.channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(
            _stage(width, width, stride=1),
            _stage(width, 2 * width, stride=2),
            _stage(2 * width, 4 * width, stride=2),
            _stage(4 * width, 8 * width, stride=2),
        )
        self.head = nn.Linear(8 * width, shape.classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(images))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.relu(self.norm1(self.convolution1(features)))
        return functional.relu(self.norm2(self.convolution2(hidden)) + self.shortcut(features))


def _stage(channels_in: int, channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(channels_in, channels, stride=stride), BasicBlock(channels, channels, stride=1)
    )
