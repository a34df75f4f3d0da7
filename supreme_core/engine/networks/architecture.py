"""A model of a family before it is built: what it sees, and what it starts from."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import kept_global_generator
from supreme_core.engine.images.resize import Interpolation, central, resized
from supreme_core.engine.networks.weights import Weights, load_weights
from supreme_core.engine.ranks.device import naming_operations
from supreme_core.errors import SpecError, number_of, one_line
from supreme_core.registry import Chosen, Params
from supreme_core.system.faults import raise_fault
from supreme_core.system.files import require_file

NAMED = 3
"""Most tensors of a wrong file that are named in an error."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel of ImageNet, as every recipe has them."""


class FamilyParams(Params):
    """Settings of each model of a family."""

    pretrained: bool = Field(
        False,
        description="Start from the published weights, of which the name may choose some:"
        " NAME.WEIGHTS; `supreme prepare` puts them into the store.",
    )
    input_size: int | None = Field(
        None, ge=8, le=1024, description="Side in pixels of what the model sees; null: its own."
    )
    crop_fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Part of an image's side that the model sees: an image of another size is"
        " resized to inputSize / cropFraction and its middle cut out; null: the model's own.",
    )
    statistics: Literal["model", "imagenet", "dataset"] = Field(
        "model",
        description="Mean and standard deviation that images are normalised with: those of the"
        " model's published weights, of ImageNet, or of the dataset's own training images.",
    )


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """Square images of `size` pixels with `channels` channels.

    resize: what the short side of an image of another size becomes before its middle is cut out.
    mean, std: of each channel on the scale 0..1; None for those of the dataset.
    """

    channels: int
    size: int
    resize: int
    interpolation: Interpolation
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def of(
        cls,
        params: FamilyParams,
        *,
        size: int,
        crop_fraction: float,
        interpolation: Interpolation,
        mean: Iterable[float],
        std: Iterable[float],
    ) -> "ModelInput":
        """Input that a model sees by itself, changed by what a user says."""
        size = params.input_size or size
        own: dict[str, Any] = {"model": (tuple(mean), tuple(std)), "imagenet": IMAGENET}
        chosen = own.get(params.statistics, (None, None))
        return cls(
            channels=3,
            size=size,
            resize=int(size / (params.crop_fraction or crop_fraction) + 1e-6),  # as timm rounds it
            interpolation=interpolation,
            mean=chosen[0],
            std=chosen[1],
        )

    def identity(self) -> dict[str, Any]:
        """Settings that mean something for a result."""
        return asdict(self)

    def fitted(self, images: Tensor) -> Tensor:
        """uint8 images as the model sees them. Those of its size, as a random crop leaves them,
        are taken as they are; grey ones get their channel in each of the model's channels."""
        if images.shape[2:] != (self.size, self.size):
            images = central(resized(images, self.resize, self.interpolation), self.size)
        return images.expand(-1, self.channels, -1, -1)


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Published weights.

    name: of the model with that of the weights.  size: side of the images for which they are
    fitted, None where they fit any.  fetch: download them.  of_file: fit what a file holds to the
    model, or any error.  origin: the file that a user can get.  head: names of the modules that are
    replaced for the data set.
    """

    name: str
    size: int | None
    origin: str
    head: tuple[str, ...]
    fetch: Callable[[], Weights]
    of_file: Callable[[Weights], Weights]

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size}

    def download(self) -> Weights:
        """The weights from where they are published; SpecError says how else to have them."""
        try:
            return self.fetch()
        except Exception as error:  # of a network, of a hub, or of a file that is another one
            raise_fault(error)
            told = one_line(error, 300)
            raise SpecError(
                f"cannot download the weights of {self.name}: {told}\n"
                f"get {self.origin} where there is a network, and give"
                " `supreme prepare FILE --weights PATH --store URI`"
            ) from None

    def read(self, path: Path) -> Weights:
        """The weights of a file that a user has; SpecError where it is another one."""
        tensors = tensors_of(path)
        try:
            return self.of_file(tensors)
        except Exception as error:  # whatever a library says to tensors of another model
            raise_fault(error)
            told = _mismatch(str(error))
            raise SpecError(f"--weights: {path} is not that of {self.name}: {told}") from None

    def start(self, network: nn.Module, weights: Weights) -> None:
        """Give a network these weights; a head of other classes keeps those that it has.

        SpecError where the arguments of a user made another network of it.
        """
        fresh = network.state_dict()
        kept = {
            name: fresh[name]
            for name in fresh
            if self._is_head(name)
            if name not in weights or weights[name].shape != fresh[name].shape
        }
        try:
            load_weights(network, {**weights, **kept})
        except RuntimeError as error:
            raise_fault(error)
            raise SpecError(
                f"spec.model.params.arguments: the published weights of {self.name} are for another"
                f" network: {_mismatch(str(error))}; leave these arguments out, or pretrained"
            ) from None

    def _is_head(self, name: str) -> bool:
        return name.rpartition(".")[0] in self.head


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A model as an experiment asked for it.

    build: make the network with fresh weights; SpecError where that cannot be.
    input: what it wants to see, None for the images of the data set as they are.
    pretrained: what it starts from, None for fresh weights.
    """

    build: Callable[[ImageShape], nn.Module]
    input: ModelInput | None = None
    pretrained: Pretrained | None = None

    @classmethod
    def of(cls, chosen: Chosen[Any, Any]) -> "Architecture":
        if not chosen.variant:
            return cls(build=chosen)
        made: Architecture = chosen()
        return made

    def shape(self, images: ImageShape) -> ImageShape:
        """Shape of what the network sees, where the data set has images of the given shape."""
        if self.input is None:
            return images
        if images.channels not in (1, self.input.channels):
            raise SpecError(
                f"spec.model sees {number_of(self.input.channels, 'channel')}, and the dataset has"
                f" {images.channels}"
            )
        return ImageShape(self.input.channels, self.input.size, images.classes)

    def try_out(self, shape: ImageShape, device: torch.device) -> None:
        """Build it and look at one black image, then learn from two on the device.

        SpecError where it gives no logits, or has an operation that cannot be repeated there.
        """
        network = self.build(shape).eval()
        images = torch.zeros(2, shape.channels, shape.size, shape.size)
        try:
            with torch.inference_mode():
                logits = network(images[:1])
        except Exception as error:  # of code that knows nothing of these images
            raise unbuildable(error, f"images of {number_of(shape.size, 'pixel')}") from None
        if not isinstance(logits, Tensor) or logits.shape != (1, shape.classes):
            raise SpecError("spec.model: it does not give one logit for each class")
        try:
            with kept_global_generator(device), naming_operations(device):
                network.to(device).train()(images.to(device)).sum().backward()
        except SpecError:
            raise
        except Exception as error:
            raise unbuildable(
                error, f"training with images of {number_of(shape.size, 'pixel')}"
            ) from None


def unbuildable(error: Exception, what: str) -> SpecError:
    """An error of a model's own code, in a line; one that comes from a fault is raised."""
    raise_fault(error)
    told = one_line(error, 300) or type(error).__name__
    return SpecError(f"spec.model cannot be built for {what}: {told}")


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth file without unpickling any other object."""
    try:
        require_file(path)
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the file system, safetensors, zip or pickle
        raise_fault(error)
        told = one_line(getattr(error, "strerror", None) or error, 200)
        raise SpecError(
            f"--weights: {path} is no readable .safetensors or .pth file: {told}"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise SpecError(f"--weights: {path} holds something else than tensors by their names")
    return found


def _mismatch(message: str) -> str:
    """The first tensors that torch's message about a wrong state dict names, of each kind."""
    told = []
    for kind in ("Missing", "Unexpected"):
        listed = re.search(rf"{kind} key\(s\) in state_dict: (.*)", message)
        if listed:
            names = re.findall('"([^"]+)"', listed[1])
            told.append(f"{kind.lower()} {some(names)}")
    sizes = re.findall(r"size mismatch for ([^:]+): .*?shape torch.Size\(\[([\d, ]*)\]\)", message)
    if sizes:
        told.append(f"of another shape {some([f'{name} ({shape})' for name, shape in sizes])}")
    return "; ".join(told) or one_line(message, 300)


def some(names: list[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
