"""Rotation of images: against Pillow and scipy, for any order and split of a batch."""

import hashlib
from math import prod

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.components.augmentations.rotation import ANGLES, angles
from supreme_core.engine.images.randomness import Draw
from supreme_core.errors import SpecError
from supreme_core.randomness.permutation import splitmix64

KEY = 77
SIZES = [(8, 8), (9, 9), (32, 32), (12, 17)]

RECORDED = {
    "nearest": "8f96b6907e143ed55975348287267ca701ce48ed359c90c31e01d4aad8d9aa12",
    "bilinear": "64bd39e30266e102ca57dae81220dc2b66aca36f495aa0a5d5d467f911f10395",
}
"""sha256 over noise turned by up to 15 and up to 180 degrees, in every size. Another value means
other numbers: then raise the version of the augmentation."""


def rotation(**params):
    return registry.augmentation.resolve(Component(name="rotation", params=params), at="rotation")


def pictures(count, height, width, channels=3):
    """Smooth, so that a pixel more or less is a small difference, and bright at the border."""
    random = np.random.default_rng(3).uniform(60, 255, (count, channels, 4, 4))
    zoomed = ndimage.zoom(random, (1, 1, height / 4, width / 4), order=1)
    return torch.from_numpy(np.rint(zoomed).clip(1, 255).astype(np.uint8))


def turned(images, ids=None, **params):
    ids = torch.arange(len(images)) if ids is None else ids
    return rotation(**params)(images, Draw(KEY, ids))


def drawn_angles(ids, degrees):
    return angles(degrees)[Draw(KEY, ids).integers(0, ANGLES).numpy()]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("degrees", [15, 180])
def test_nearest_is_what_pillow_does(size, degrees):
    """Pixels in the middle between two are left out, since rounding decides there."""
    images = pictures(20, *size)
    found = turned(images, degrees=degrees).numpy()
    different = 0
    for image, here, angle in zip(
        images.numpy(), found, drawn_angles(torch.arange(20), degrees), strict=True
    ):
        for plane, mine in zip(image, here, strict=True):
            expected = np.asarray(Image.fromarray(plane).rotate(angle, Image.Resampling.NEAREST))
            different += (expected != mine).sum()
    assert different <= 0.002 * found.size


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("degrees", [15, 180])
def test_bilinear_is_what_scipy_does(size, degrees):
    images = pictures(20, *size)
    found = turned(images, degrees=degrees, interpolation="bilinear").numpy()
    for image, here, angle in zip(
        images.numpy(), found, drawn_angles(torch.arange(20), degrees), strict=True
    ):
        for plane, mine in zip(image, here, strict=True):
            expected = ndimage.rotate(
                plane.astype(np.float64),
                angle,
                reshape=False,
                order=1,
                mode="grid-constant",
                cval=0,
            )
            assert np.abs(expected - mine).max() <= 2.5  # weights have 8 binary digits


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
class TestBoth:
    def test_a_sample_has_the_same_bits_in_every_batch(self, interpolation):
        images, ids = pictures(24, 32, 32), torch.arange(100, 124)
        whole = turned(images, ids, interpolation=interpolation)
        order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
        for part in (order, order[:7], order[7:8], order[8:]):
            alone = turned(images[part], ids[part], interpolation=interpolation)
            assert torch.equal(alone, whole[part])

    def test_its_bits_are_the_recorded_ones(self, interpolation):
        whole = hashlib.sha256()
        for size in SIZES:
            shape = (20, 3, *size)
            noise = splitmix64(KEY, np.arange(prod(shape))).astype(np.uint8).reshape(shape)
            for degrees in (15, 180):
                params = {"degrees": degrees, "interpolation": interpolation}
                whole.update(turned(torch.from_numpy(noise), **params).numpy().tobytes())
        assert whole.hexdigest() == RECORDED[interpolation]

    def test_images_stay_bytes_and_what_was_given_stays(self, interpolation):
        images = pictures(5, 9, 9)
        before = images.clone()
        found = turned(images, interpolation=interpolation)
        assert (found.dtype, found.shape) == (torch.uint8, images.shape)
        assert torch.equal(images, before)

    def test_a_view_of_a_larger_tensor_is_no_problem(self, interpolation):
        images = pictures(5, 32, 32)
        view = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        found = turned(view, interpolation=interpolation)
        assert torch.equal(found, turned(images, interpolation=interpolation))

    def test_a_tiny_angle_changes_nothing(self, interpolation):
        images = pictures(5, 32, 32)
        assert torch.equal(turned(images, interpolation=interpolation, degrees=1e-6), images)

    def test_corners_become_black_and_the_centre_stays(self, interpolation):
        images = torch.full((1, 1, 33, 33), 200, dtype=torch.uint8)
        ids = torch.arange(200)
        steep = ids[np.abs(np.abs(drawn_angles(ids, 180)) % 90 - 45) < 10][:1]
        found = turned(images, steep, degrees=180, interpolation=interpolation)[0, 0]
        assert found[0, 0] == found[0, -1] == found[-1, 0] == found[-1, -1] == 0
        assert found[16, 16] == 200


def test_angles_are_even_over_both_sides():
    found = drawn_angles(torch.arange(10_000), 15)
    assert found.min() >= -15
    assert found.max() <= 15
    counts, _ = np.histogram(found, bins=10, range=(-15, 15))
    assert np.abs(counts - 1000).max() < 5 * 1000**0.5


@pytest.mark.parametrize("params", [{"degrees": 0}, {"degrees": 181}, {"interpolation": "cubic"}])
def test_settings_that_make_no_sense_are_refused(params):
    with pytest.raises(SpecError):
        rotation(**params)
