"""Images at another size: Pillow's bits, and the same ones in every batch.

larger and smaller, odd and even, square or not    both filters
middle                                             where a window of the size is cut
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from supreme_core.engine.images.resize import central, resized

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def random_images(count, height, width, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = (count, 3, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def by_pillow(image, height, width, interpolation):
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    array = np.asarray(picture.resize((width, height), FILTERS[interpolation]))
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


@given(
    before=st.integers(1, 40),
    after=st.integers(1, 60),
    interpolation=st.sampled_from(sorted(FILTERS)),
    seed=st.integers(0, 9),
)
def test_a_square_image_has_pillows_bits(before, after, interpolation, seed):
    (image,) = images = random_images(1, before, before, seed=seed)
    actual = resized(images, after, interpolation)[0]
    assert torch.equal(actual, by_pillow(image, after, after, interpolation))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("before", "size", "after"), [((20, 31), 12, (12, 19)), ((31, 20), 45, (70, 45))]
)
def test_the_long_side_keeps_its_share(interpolation, before, size, after):
    (image,) = images = random_images(1, *before)
    actual = resized(images, size, interpolation)[0]
    assert actual.shape[1:] == after
    assert torch.equal(actual, by_pillow(image, *after, interpolation))


@pytest.mark.parametrize("interpolation", FILTERS)
def test_black_and_white_stay_black_and_white(interpolation):
    flat = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 9, 9)
    assert torch.equal(resized(flat, 14, interpolation), flat[:, :, :1, :1].expand(2, 3, 14, 14))


@pytest.mark.parametrize("interpolation", FILTERS)
def test_an_image_is_the_same_alone_and_in_any_batch(interpolation):
    images = random_images(9, 17, 17)
    together = resized(images, 32, interpolation)
    alone = [resized(images[i : i + 1], 32, interpolation) for i in range(9)]
    channels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(resized(images[[5, 2]], 32, interpolation), together[[5, 2]])
    assert torch.equal(resized(channels_last, 32, interpolation), together)


def test_images_of_the_size_are_left_alone():
    images = random_images(2, 16, 16)
    assert resized(images, 16, "bicubic") is images


def test_the_middle_is_where_other_recipes_cut_it():
    image = torch.arange(9).expand(1, 1, 9, 9)
    assert central(image, 3)[0, 0, 0].tolist() == [3, 4, 5]
    assert central(image, 6)[0, 0, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert central(image, 4)[0, 0, 0].tolist() == [2, 3, 4, 5]
