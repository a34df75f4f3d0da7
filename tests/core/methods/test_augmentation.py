"""Augmentation of what a method trains on.

methods       every one: those that train see other images, those that do not never ask for any
address       seed of the training, epoch and sample; not its batch, its place or its rank
sources       images of the dataset; images that the method made stay as they are
"""

import pytest
import torch

from supreme_core import registry, seeds
from supreme_core.api.model import parse
from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.arithmetic import Arithmetic
from supreme_core.engine.recipe import Recipe
from supreme_core.engine.reduction import Reduction
from supreme_core.engine.samples import TensorSource
from supreme_core.errors import MethodFailed
from tests.builders import RecordingTask, digest, plain, tiny_samples, tiny_task
from tests.real_ranks import on_two_ranks

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
CHEAP = {
    "l2ul": {"epochs": 1, "examples": 2, "steps": 1},
    "scar": {"epochs": 1, "surrogates": 20},
    "unsir": {"noiseSteps": 1, "noiseSize": 4, "copies": 2, "retainPerClass": 8},
}
"""Settings of methods whose defaults would take long."""

ENTRIES = {entry.name: entry for entry in registry.method.entries()}
ON_RANKS = ("finetune", "l2ul", "scrub", "unsir")
"""Retained samples alone; with images that the method made; both sets in turn; in phases."""


def unlearned(name, task, **params):
    entry = ENTRIES[name]
    short = {"epochs": 1} if "epochs" in entry.params.model_fields else {}
    entry.function(task, parse(entry.params, {**short, **CHEAP.get(name, {}), **params}))
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


@pytest.mark.parametrize("name", ENTRIES)
def test_a_method_that_trains_sees_augmented_images_and_no_other_asks_for_them(name):
    entry, spy = ENTRIES[name], Spy()
    forget = {"forget_classes": (1,) if "classes" in entry.facts.forgets else ()}
    plainly = unlearned(name, tiny_task(**forget))
    augmented = unlearned(name, tiny_task(**forget, augmentation=spy))
    assert bool(spy.seen) == entry.facts.trains
    assert (digest(augmented) != digest(plainly)) == entry.facts.trains
    assert all(tensor.isfinite().all() for tensor in augmented.state_dict().values())


def on_ranks(ranks):
    arithmetic = Arithmetic(Reduction(ranks, micro_batches=2))
    return {name: augmented_digest(name, arithmetic) for name in ON_RANKS}


def augmented_digest(name, arithmetic):
    return digest(
        unlearned(name, tiny_task(arithmetic=arithmetic, augmentation=RECIPE.augmentation))
    )


def test_two_ranks_give_the_bits_of_one():
    expected = {name: augmented_digest(name, plain(2)) for name in ON_RANKS}
    assert on_two_ranks(on_ranks) == [expected, expected]


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
    assert seed == seeds.derive(task.seed, "retain")
    numbers = task.retain.ids.tolist()
    assert one.keys() == {(seed, epoch, number) for epoch in (0, 1) for number in numbers}
    assert any(not torch.equal(one[seed, 0, number], one[seed, 1, number]) for number in numbers)


def test_each_phase_of_a_method_has_an_augmentation_of_its_own():
    spy = Spy()
    unlearned("unsir", tiny_task(augmentation=spy))
    assert spy.trainings == [seeds.derive(7, "impair"), seeds.derive(7, "repair")]


def test_images_that_a_method_made_stay_as_they_are():
    made = TensorSource(torch.rand(4, 1, 8, 8))
    assert torch.equal(made.images(torch.arange(4), RECIPE.augmentation(1)(0)), made.pixels)


def test_images_that_a_method_looks_at_without_training_stay_as_they_are():
    """Such as the noise of UNSIR, or DUCK's centroids: the same before the first step."""
    noise = []
    for augmentation in (None, RECIPE.augmentation):
        task = tiny_task(kind=RecordingTask, augmentation=augmentation)
        unlearned("unsir", task)
        noise.append(task.phases["impair"][0].batch(torch.arange(8)).images)
    assert torch.equal(*noise)


def test_a_smaller_window_than_the_images_that_a_method_makes_fails_in_words():
    cut = [{"name": "random_crop", "params": {"padding": 0, "size": 6}}]
    recipe = Recipe.of(parse(Training, {"augmentation": cut}))
    expected = r"\(1, 8, 8\) and of \(1, 6, 6\).* use augmentation None"
    with pytest.raises(MethodFailed, match=expected):
        unlearned("unsir", tiny_task(augmentation=recipe.augmentation))


def test_a_batch_without_an_image_of_the_dataset_is_augmented_too():
    made = tiny_task().forget
    joined = tiny_samples().join(
        type(made)(TensorSource(torch.rand(4, 1, 8, 8)), torch.arange(4), torch.zeros(4).long())
    )
    batch = joined.batch(torch.arange(48, 52), RECIPE.augmentation(1)(0))
    assert batch.images.shape == (4, 1, 8, 8)
