"""The dataset: read once from its source, and from the store ever after."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from supreme_trainer.seed.components import AnyChosen
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.stage import Made, Stage, Stored

from supreme_core.data.image_set import (
    DatasetParams,
    ImageSet,
    check,
    dataset_digest,
    dataset_meaning,
    refuse_changed_source,
)
from supreme_core.data.split import Labels, Split
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.images.streaming import Placement, free_memory, placement
from supreme_core.engine.images.trigger import stamped
from supreme_core.engine.networks.model_samples import model_samples, model_shape
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.errors import SpecError
from supreme_core.plan import Step


@dataclass(frozen=True)
class Data:
    """A dataset for this rank's device.  shape: of the images as the model sees them.

    held_out: in a cell with a poisoned forget set, test samples that are poisoned alike.
    """

    images: ImageSet
    digest: str
    placement: Placement
    train: Samples
    test: Samples
    shape: ImageShape
    held_out: Samples | None = None

    @classmethod
    def of(cls, context: SeedContext, images: ImageSet, digest: str) -> "Data":
        """The images where they are to lie, and their labels on the device."""
        device = context.ranks.device
        where = placement(
            context.data_placement,
            image_bytes=images.train_images.nbytes + images.test_images.nbytes,
            free_bytes=free_memory(device),
        )
        shape = model_shape(images, context.architecture)
        train, test = model_samples(images, context.architecture, device, where)
        return cls(images, digest, where, train, test, shape)

    @property
    def labels(self) -> Labels:
        return self.images.labels

    def of_cell(self, split: Split) -> "Data":
        """The data of a cell: these, but for what its split puts in place of the test set and for
        a forget set that is poisoned."""
        if len(split.in_place_of_test):
            test = self.train.take(torch.from_numpy(split.in_place_of_test))
            return replace(self, test=test)._poisoned(split)
        return self._poisoned(split)

    def _poisoned(self, split: Split) -> "Data":
        poison = split.poison
        if poison is None:
            return self
        forget = torch.from_numpy(split.forget)
        labels = self.train.labels.clone()
        labels[forget.to(labels.device)] = torch.from_numpy(poison.labels).to(labels.device)
        train = self.train.with_labels(labels)
        held_out = self.test.take(torch.from_numpy(poison.held_out))
        held_out = held_out.with_labels(torch.from_numpy(poison.held_out_labels))
        if poison.trigger:
            train = stamped(train, train.ids[forget], poison.trigger)
            held_out = stamped(held_out, held_out.ids, poison.trigger)
        return replace(self, train=train, held_out=held_out)


@dataclass(frozen=True)
class DatasetStage(Stage[Data]):
    """params: the dataset's settings, see `reading_from`; where its files lie says nothing of what
    they are, so it is in no key."""

    context: SeedContext
    params: DatasetParams

    name = "datasets"
    is_data = True

    @property
    def step(self) -> Step:
        return Step("dataset")

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return dataset_meaning(self.context.components.dataset)

    def make(self, checkpoints: Checkpoints) -> Made:
        if not self.context.ranks.is_main:  # one rank reads the source; the others wait for it
            return Made({}, {})
        chosen = replace(self.context.components.dataset, params=self.params)
        images = check(chosen(), chosen.entry.name)
        content = self.params.source_content()
        facts = {
            **images.facts(),
            "source": self.params.source_state(),
            **({"sourceContent": content} if content else {}),
        }
        return Made(images.write(self.context.scratch), facts)

    def read(self, stored: Stored) -> Data:
        facts = stored.manifest.facts
        refuse_changed_source(self.params, facts)
        images = ImageSet.read(stored.files, facts)
        return Data.of(self.context, images, dataset_digest(stored.manifest))


def reading_from(chosen: AnyChosen, source: str = "") -> DatasetParams:
    """The settings of a dataset.

    source: a folder to read from instead of the one that they name; SpecError where the dataset is
    not read from one.
    """
    params = chosen.params
    assert isinstance(params, DatasetParams), "a dataset's settings derive from DatasetParams"
    if not source:
        return params
    if params.location is None:
        raise SpecError(f"--from: dataset {chosen.entry.name!r} is not read from a folder")
    return params.model_copy(update={params.location: source})
