"""Models of an experiment from its store, and images as they see them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from supreme_core import registry
from supreme_core.api.canonical import digest
from supreme_core.api.names import WEIGHTS
from supreme_core.api.orders import ExperimentOrder
from supreme_core.api.records import RunRecord
from supreme_core.data.image_set import dataset_meaning
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import ImageSource, ResidentPixels
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.errors import SpecError
from supreme_core.publishing.stored_run import SeedStore, trained_manifest
from supreme_core.store.artefacts import Artefacts, Manifest

CPU = torch.device("cpu")


def stored_model(artefacts: Artefacts, order: ExperimentOrder, run: RunRecord) -> nn.Module:
    """The network of a run; SpecError where its weights were not kept."""
    manifest = trained_manifest(SeedStore(artefacts), run)
    if WEIGHTS not in manifest.files:
        raise SpecError(
            f"method is {run.method!r}, and models of methods were not kept in this store; give the"
            " experiment spec.storage.keepUnlearnedModels: true and run it again"
        )
    architecture = Architecture.of(registry.model.resolve(order.work.model, at="spec.model"))
    shape = _shape(artefacts, order, architecture)
    networks = NetworkFactory(architecture=architecture, shape=shape, device=CPU)
    return networks.with_weights(load_file(artefacts.open(manifest, WEIGHTS)))


def prepared(artefacts: Artefacts, order: ExperimentOrder, images: NDArray[np.uint8]) -> Tensor:
    """Images as the models see them."""
    channels = _test_shape(artefacts, order)[1]
    try:
        found = np.asarray(images)
    except ValueError:
        raise SpecError("images is no array: its parts have several lengths") from None
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[1] != channels:
        raise SpecError(
            f"images is an array {found.shape} of {found.dtype}; allowed: (n, {channels}, height,"
            " width) of uint8"
        )
    seen = Architecture.of(registry.model.resolve(order.work.model, at="spec.model")).input
    facts: Any = _dataset(artefacts, order).facts
    source = ImageSource(
        ResidentPixels(torch.from_numpy(np.array(found))),
        torch.tensor((seen and seen.mean) or facts["mean"]),
        torch.tensor((seen and seen.std) or facts["std"]),
        fitted=seen.fitted if seen else None,
    )
    return source.images(torch.arange(len(found)), None)


def _shape(artefacts: Artefacts, order: ExperimentOrder, architecture: Architecture) -> ImageShape:
    """Shape of the images as the models see them."""
    manifest = _dataset(artefacts, order)
    classes = len(manifest.facts["classNames"])  # type: ignore[arg-type]
    _, channels, size, *_ = _test_shape(artefacts, order)
    return architecture.shape(ImageShape(channels, size, classes))


def _test_shape(artefacts: Artefacts, order: ExperimentOrder) -> tuple[int, ...]:
    """Shape of the test images, which are the smaller part: nothing but their header is read into
    memory."""
    file = artefacts.open(_dataset(artefacts, order), "test_images.npy")
    found: tuple[int, ...] = np.load(file, mmap_mode="r", allow_pickle=False).shape
    return found


def _dataset(artefacts: Artefacts, order: ExperimentOrder) -> Manifest:
    chosen = registry.dataset.resolve(order.work.dataset, at="spec.dataset")
    return SeedStore(artefacts).manifest("datasets", digest(dataset_meaning(chosen)))
