"""A trigger on images against arrays that were stamped beforehand, pixel by pixel.

                    | resident | streamed, with and without hints
bytes               |    x     |    x
augmented, resized  |    x     |    x      as the same steps do to the stamped array
"""

from itertools import product

import numpy as np
import pytest
import torch

from supreme_core.api.v1alpha1 import Component, Training
from supreme_core.data.split import Trigger
from supreme_core.engine.images.resize import resized
from supreme_core.engine.images.samples import ImageSource, Samples
from supreme_core.engine.images.streaming import placed
from supreme_core.engine.images.trigger import stamped, window
from supreme_core.engine.training.recipe import Recipe

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(1).integers(0, 256, (30, 3, 12, 12), dtype=np.uint8)
MARKED = [2, 3, 11, 29]
TRIGGER = Trigger(size=0.25, corner="bottom_left", value=200)
AUGMENT = Recipe.of(
    Training(augmentation=[Component(name=name) for name in ("random_crop", "rotation")])
).fit(5)

both_placements = pytest.mark.parametrize("placement", ["Resident", "Streamed"])


def drawn_by_hand(trigger=TRIGGER, marked=MARKED):
    """Copies of the images, with every pixel of the square set by itself."""
    images = IMAGES.copy()
    side = 3
    bottom, right = trigger.corner.startswith("bottom"), trigger.corner.endswith("right")
    for image, channel, i, j in product(marked, range(3), range(side), range(side)):
        row = 12 - side + i if bottom else i
        column = 12 - side + j if right else j
        images[image, channel, row, column] = trigger.value
    return images


def samples(values, placement, **how):
    half, quarter = torch.full((3,), 0.5), torch.full((3,), 0.25)
    ids = torch.arange(len(values))
    return Samples(ImageSource(placed(values, placement, CPU), half, quarter, **how), ids, ids % 4)


def of(values, placement="Resident", trigger=TRIGGER, **how):
    return stamped(samples(values, placement, **how), torch.tensor(MARKED), trigger)


def batches(found, augment=None):
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(2))
    return list(found.batches(torch.split(order, 7), augment))


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        for field in ("images", "labels", "ids"):
            assert torch.equal(getattr(ours, field), getattr(theirs, field))


@both_placements
@pytest.mark.parametrize("corner", ["top_left", "top_right", "bottom_left", "bottom_right"])
def test_the_square_is_where_it_was_asked_for_and_nowhere_else(placement, corner):
    trigger = Trigger(size=0.25, corner=corner, value=200)
    expected = samples(drawn_by_hand(trigger), placement)
    assert_same(batches(of(IMAGES, placement, trigger)), batches(expected))


@both_placements
def test_it_is_augmented_and_resized_like_any_other_pixel(placement):
    how = {"fitted": lambda images: resized(images, 20, "bicubic")}
    augment = AUGMENT.augment(0)
    expected = samples(drawn_by_hand(), placement, **how)
    assert_same(batches(of(IMAGES, placement, **how), augment), batches(expected, augment))


@both_placements
def test_the_dataset_itself_stays_clean(placement):
    before = IMAGES.copy()
    plain = samples(IMAGES, placement)
    batches(stamped(plain, torch.tensor(MARKED), TRIGGER))
    assert np.array_equal(IMAGES, before)
    assert_same(batches(plain), batches(samples(before, "Resident")))


def test_a_part_of_the_samples_has_the_same_images():
    part = torch.tensor([11, 4, 2])
    expected = samples(drawn_by_hand(), "Resident").batch(part).images
    assert torch.equal(of(IMAGES).take(part).batch(torch.arange(3)).images, expected)


@pytest.mark.parametrize(
    ("share", "side"), [(1e-9, 1), (0.125, 4), (0.2, 6), (1.0, 32)], ids=["least", "4", "6", "all"]
)
def test_the_side_is_a_share_of_the_images_and_at_least_a_pixel(share, side):
    trigger = Trigger(size=share, corner="top_right", value=0)
    assert window(32, 32, trigger) == (slice(0, side), slice(32 - side, 32))
