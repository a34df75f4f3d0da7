"""Data sets and networks of others, as the engine takes them."""

from collections.abc import Sized
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from supreme_core.data.split import Split
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import Augment, Samples
from supreme_core.engine.ranks.device import EVALUATION_BATCH, layout, sent
from supreme_core.engine.toolbox.unlearning import nonfinite
from supreme_core.errors import SpecError, one_line
from supreme_core.registry import Forgets
from supreme_core.system.faults import raise_fault

Images = Dataset[tuple[Tensor, int]]
"""Pairs (image, label), where an image is a float tensor (channels, size, size) as the model sees
it, and a label a class number, by positions from 0. An image is read each time that it is used."""


@dataclass(frozen=True)
class DatasetSource:
    """Images of a data set, on a device.

    black, white: (channels,) smallest and largest values of its images.
    """

    dataset: Images
    device: torch.device
    dtype: torch.dtype
    black: Tensor
    white: Tensor

    def __len__(self) -> int:
        return _length(self.dataset)

    def images(self, ids: Tensor, augment: Augment | None) -> Tensor:
        assert augment is None, "images of others are augmented by their data set, or not at all"
        whole: object = self.dataset
        if type(whole) is TensorDataset:  # a class of one's own may give other images
            chosen = whole.tensors[0][ids.to(whole.tensors[0].device)]
        else:
            chosen = torch.stack([self.dataset[number][0] for number in ids.tolist()])
        chosen = sent(chosen, self.device) if chosen.device.type == "cpu" else chosen
        return chosen.to(self.device, self.dtype, memory_format=layout(self.device))

    def ahead(self, ids: Tensor) -> None:
        """Nothing to fetch: a data set is asked when its images are needed."""

    def pixel_range(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest values of each channel, (channels, 1, 1) each."""
        return self.black[:, None, None], self.white[:, None, None]


@dataclass(frozen=True)
class OwnNetwork:
    """A network of somebody else, with what is known of its images."""

    network: nn.Module
    shape: ImageShape
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, network: nn.Module, images: Images, *, name: str) -> "OwnNetwork":
        """A copy of the network in eval mode.

        images: some that it sees.  name: what errors call it.  SpecError where it cannot be used.
        """
        weights = next(network.parameters(), None) if isinstance(network, nn.Module) else None
        if weights is None:
            raise SpecError(
                f"{name} is {_kind(network)}; allowed: a torch.nn.Module with parameters"
            )
        if weights.device.type not in EVALUATION_BATCH:
            raise SpecError(
                f"{name} is on {weights.device}; allowed: {', '.join(EVALUATION_BATCH)}"
            )
        try:
            copy = deepcopy(network).eval()
        except Exception as error:  # of code that is no part of torch
            raise_fault(error)
            raise SpecError(f"{name} cannot be copied: {one_line(error, 300)}") from None
        image, _ = images[0]
        try:
            with torch.inference_mode():
                logits = copy(image[None].to(weights.device, weights.dtype))
        except Exception as error:  # of code that knows nothing of these images
            raise_fault(error)
            told = one_line(error, 300) or type(error).__name__
            raise SpecError(f"{name} cannot see an image {tuple(image.shape)}: {told}") from None
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
            came = (
                tuple(logits.shape) if isinstance(logits, Tensor) else f"an output {_kind(logits)}"
            )
            raise SpecError(f"{name} gives {came} for one image; allowed: logits (1, classes)")
        if lost := nonfinite(copy):
            raise SpecError(f"{name} has non-finite numbers in {lost}; allowed: a model that works")
        shape = ImageShape(image.shape[0], image.shape[1], logits.shape[1])
        return cls(copy, shape, weights.device, weights.dtype)

    def samples(self, **parts: Images) -> Samples:
        """The samples of several data sets as one, in this order; the name of each is the one in
        errors.

        All images are looked at once, for labels and for the range of their values.
        """
        joined = [*parts.values()]
        labels = []
        ranges = [torch.full((self.shape.channels,), bound) for bound in (torch.inf, -torch.inf)]
        for name, dataset in parts.items():
            for number in range(_length(dataset)):
                image, label = self._checked(dataset[number], f"{name}[{number}]")
                labels.append(label)
                flat = image.detach().flatten(1).to("cpu", torch.float32)
                low, high = flat.amin(1), flat.amax(1)  # NaN where one value is
                if not bool((low.isfinite() & high.isfinite()).all()):
                    raise SpecError(
                        f"{name}[{number}] has an image with values that are not finite"
                    )
                ranges[0] = torch.minimum(ranges[0], low)
                ranges[1] = torch.maximum(ranges[1], high)
        black, white = (each.to(self.device, self.dtype) for each in ranges)
        whole = joined[0] if len(joined) == 1 else cast(Images, ConcatDataset(joined))
        source = DatasetSource(whole, self.device, self.dtype, black, white)
        on_device = torch.tensor(labels, dtype=torch.int64).to(self.device)
        return Samples(source, torch.arange(len(labels)), on_device)

    def _checked(self, item: Any, at: str) -> tuple[Tensor, int]:
        """An image and its label; SpecError where the network cannot learn from them."""
        image, label = checked(item, at)
        if image.shape != (expected := (self.shape.channels, self.shape.size, self.shape.size)):
            raise SpecError(
                f"{at} has an image {tuple(image.shape)}; allowed: {expected}, as the first one"
            )
        if not 0 <= label < self.shape.classes:
            raise SpecError(
                f"{at} has label {label}; allowed: 0 to {self.shape.classes - 1}, the classes of"
                " the model"
            )
        return image, label


def checked(item: Any, at: str) -> tuple[Tensor, int]:
    """An image and its label; SpecError where an item is something else."""
    allowed = "allowed: (image, label), an image as a float tensor (channels, size, size)"
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise SpecError(f"{at} is {_kind(item)}; {allowed}")
    image, label = item
    if not isinstance(image, Tensor) or not image.is_floating_point():
        came = f"of {image.dtype}" if isinstance(image, Tensor) else _kind(image)
        raise SpecError(f"{at} has an image {came}; {allowed}")
    if image.ndim != 3 or image.shape[1] != image.shape[2]:
        raise SpecError(f"{at} has an image {tuple(image.shape)}; {allowed}")
    try:
        number = int(label)
        if number == label:  # 1.5 is none, nor is the text 1
            return image, number
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise SpecError(
        f"{at} has a label {one_line(repr(label), 80)} {_kind(label)}; allowed: a class number"
    )


def check_datasets(**parts: Images) -> None:
    """Refuse a data set without samples, and what is none; the name of each is the one in
    errors."""
    for name, dataset in parts.items():
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise SpecError(
                f"{name} is {_kind(dataset)}; allowed: a torch.utils.data.Dataset with a length"
            )
        if not _length(dataset):
            raise SpecError(f"{name} has no sample; at least 1 is needed")
        checked(dataset[0], f"{name}[0]")


def refuse_untrainable(network: nn.Module) -> None:
    """Refuse a network that no method can change."""
    if isinstance(network, torch.jit.ScriptModule):
        raise SpecError(
            f"model is {_kind(network)}, which cannot be trained; give the"
            " torch.nn.Module that it was made from"
        )
    if not any(each.requires_grad for each in network.parameters()):
        raise SpecError(
            "model has no parameter that requires a gradient; call requires_grad_() on those that"
            " may be changed"
        )


def refuse_other_weights(network: object, model: nn.Module, *, name: str) -> None:
    """Refuse what is no network with weights of the names and shapes of the model's."""
    if not isinstance(network, nn.Module):
        raise SpecError(f"{name} gives an object {_kind(network)}; allowed: a torch.nn.Module")
    found, wanted = (
        {key: tuple(each.shape) for key, each in of.state_dict().items()} for of in (network, model)
    )
    if found != wanted:
        key = next(each for each in {**wanted, **found} if found.get(each) != wanted.get(each))
        raise SpecError(
            f"{name} gives a network whose weights are not shaped as those of model, such as"
            f" {key!r}; give an untrained one of the same kind"
        )


def split_by_labels(
    train: Samples, forget: Images, test: Samples | None = None
) -> tuple[Split, Forgets]:
    """The split of samples of which those to be forgotten come first, and what it is about.

    Classes that only they have are forgotten as a whole, if all of them are of such classes.
    """
    labels, forgotten = train.labels.cpu().numpy(), _length(forget)
    gone = np.setdiff1d(labels[:forgotten], labels[forgotten:])
    is_whole = bool(np.isin(labels[:forgotten], gone).all())
    everything = np.arange(len(labels))
    alike = np.zeros(len(test) if test else 0, dtype=bool)
    if test and is_whole:
        alike = np.isin(test.labels.cpu().numpy(), gone)
    split = Split(
        everything[:forgotten],
        everything[forgotten:],
        np.flatnonzero(alike),
        np.flatnonzero(~alike),
        tuple(gone.tolist()) if is_whole else (),
    )
    return split, "classes" if is_whole else "samples"


def _length(dataset: Images) -> int:
    return len(cast(Sized, dataset))


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
