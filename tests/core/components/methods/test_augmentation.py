"""Augmentation of what a method trains on: its addresses and its limits. That every method that
trains has it, and that it gives the same bits on two ranks, is in test_every_method.py.

address       seed of the training, epoch and sample; not its batch, its place or its rank
sources       images of the dataset; images that the method made stay as they are
"""

import pytest
import torch

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.images.samples import TensorSource
from supreme_core.engine.training.recipe import Recipe
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from tests.builders import RecordingTask, tiny_samples, tiny_task

RECIPE = Recipe.of(
    parse(
        Training,
        {
            "augmentation": [
                {"name": "random_crop", "params": {"padding": 2}},
                {"name": "horizontal_flip"},
                {"name": "rotation"},
            ]
        },
    )
)
L2UL = {"epochs": 1, "examples": 2, "steps": 1}


def unlearned(name, task, **params):
    entry = registry.method.get(name)
    entry.function(task, parse(entry.params, params))
    return task.model


class Spy:
    """The recipe's augmentation, and what each training asked of it."""

    def __init__(self):
        self.trainings, self.seen = [], {}

    def __call__(self, seed):
        self.trainings.append(seed)
        augmentation = RECIPE.augmentation(seed)

        def of_epoch(epoch):
            augment = augmentation(epoch)

            def remembered(images, ids):
                found = augment(images, ids)
                for number, image in zip(ids.tolist(), found, strict=True):
                    known = self.seen.setdefault((seed, epoch, number), image.clone())
                    assert torch.equal(known, image)
                return found

            return remembered

        return of_epoch


def test_an_image_depends_on_training_epoch_and_sample_and_not_on_its_batch():
    spies = []
    for batch_size in (5, 16):
        spies.append(Spy())
        task = tiny_task(augmentation=spies[-1])
        unlearned("finetune", task, epochs=2, batchSize=batch_size)
    one, other = (spy.seen for spy in spies)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[address], other[address]) for address in one)
    (seed,) = spies[0].trainings
    assert seed == streams.derive(task.seed, "retain")
    numbers = task.retain.ids.tolist()
    assert one.keys() == {(seed, epoch, number) for epoch in (0, 1) for number in numbers}
    assert any(not torch.equal(one[seed, 0, number], one[seed, 1, number]) for number in numbers)


def test_each_phase_of_a_method_has_an_augmentation_of_its_own():
    spy = Spy()
    unlearned("fcs", tiny_task(augmentation=spy), epochs=1)
    phases = ("flatten", "repel 0", "repair 0")
    assert spy.trainings == [streams.derive(7, phase) for phase in phases]


def test_images_that_a_method_made_stay_as_they_are():
    made = TensorSource(torch.rand(4, 1, 8, 8))
    assert torch.equal(made.images(torch.arange(4), RECIPE.augmentation(1)(0)), made.pixels)


def test_images_that_a_method_looks_at_without_training_stay_as_they_are():
    """L2UL makes adversarial images from these."""
    made = []
    for augmentation in (None, RECIPE.augmentation):
        task = tiny_task(kind=RecordingTask, augmentation=augmentation)
        unlearned("l2ul", task, **L2UL)
        made.append(task.phases["pass 0"][0].batch(torch.arange(12, 36)).images)
    assert torch.equal(*made)


def test_a_smaller_window_than_the_images_that_a_method_makes_fails_in_words():
    cut = [{"name": "random_crop", "params": {"padding": 0, "size": 6}}]
    recipe = Recipe.of(parse(Training, {"augmentation": cut}))
    expected = r"\(1, 6, 6\) and of \(1, 8, 8\).* use augmentation None"
    with pytest.raises(MethodFailed, match=expected):
        unlearned("l2ul", tiny_task(augmentation=recipe.augmentation), **L2UL)


def test_a_batch_without_an_image_of_the_dataset_is_augmented_too():
    made = tiny_task().forget
    joined = tiny_samples().join(
        type(made)(TensorSource(torch.rand(4, 1, 8, 8)), torch.arange(4), torch.zeros(4).long())
    )
    batch = joined.batch(torch.arange(48, 52), RECIPE.augmentation(1)(0))
    assert batch.images.shape == (4, 1, 8, 8)
