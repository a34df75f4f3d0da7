"""Pixels that a batch holds, and random numbers that belong to samples.

source, samples   closed forms: normalisation, routing of joined sources
Draw, splitmix64  the generator's published numbers, and the same formula in numpy
augmentations     a slow loop over single images, for any order and split of a batch

That two ranks see the same augmented images is part of test_fit.py: the digests there.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.engine.images import samples as samples_module
from supreme_core.engine.images.randomness import Draw, generator, global_seed
from supreme_core.engine.images.resize import resized
from supreme_core.engine.images.samples import (
    ImageSource,
    JoinedSource,
    ResidentPixels,
    Samples,
    TensorSource,
)
from supreme_core.errors import SpecError
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation, splitmix64
from tests.builders import tiny_samples

KEY = 1234567
ONE = torch.arange(1)

PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]
"""The first numbers of Vigna's splitmix64.c with the seed 1234567."""


def augmentation(name, **params):
    return registry.augmentation.resolve(Component(name=name, params=params), at="augmentation")


def random_images(count, channels=3, height=9, width=9):
    random = torch.Generator().manual_seed(2)
    size = (count, channels, height, width)
    return torch.randint(1, 256, size, dtype=torch.uint8, generator=random)


def source_of(count, *, channels=2):
    mean, std = torch.tensor([0.25, 0.5])[:channels], torch.tensor([0.5, 0.125])[:channels]
    return ImageSource(ResidentPixels(random_images(count, channels)), mean, std)


def samples_of(count, **changes):
    ids = torch.arange(count)
    return Samples(source_of(count, **changes), ids, ids % 3)


def closed_form(source, ids):
    pixels = source.pixels.values.numpy()[ids].astype(np.float64) / 255
    mean, std = (part.numpy().reshape(1, -1, 1, 1) for part in (source.mean, source.std))
    return (pixels - mean) / std


def unsigned(value):
    return np.uint64(value & (2**64 - 1))


class TestSources:
    def test_images_are_scaled_and_normalised_by_channel(self):
        source, ids = source_of(5), [3, 0, 3]
        actual = source.images(torch.tensor(ids), None)
        assert actual.dtype == torch.float32
        assert actual.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(actual.numpy(), closed_form(source, ids), atol=1e-6)

    @pytest.mark.parametrize("images", [1, 3, 50])
    def test_normalised_in_parts_they_have_the_bits_of_the_plain_formula(self, images, monkeypatch):
        source = source_of(50)
        monkeypatch.setattr(samples_module, "PART_PIXELS", images * source.pixels.values[0].numel())
        mean, std = (part[:, None, None] for part in (source.mean, source.std))
        expected = (source.pixels.values.to(torch.float32) / 255 - mean) / std
        for count in (50, 1, 0):
            assert torch.equal(source.images(torch.arange(count), None), expected[:count])

    def test_taking_images_changes_nothing_in_the_source(self):
        source = source_of(5)
        source.images(torch.arange(5), lambda images, ids: images.zero_())
        assert torch.equal(source.pixels.values, source_of(5).pixels.values)

    def test_augmentation_comes_before_normalisation_and_knows_the_ids(self):
        source, ids = source_of(5), torch.tensor([4, 2])

        def by_id(images, ids):
            assert images.dtype == torch.uint8
            return torch.ones_like(images) * ids[:, None, None, None].to(torch.uint8)

        actual = source.images(ids, by_id)
        expected = (ids[:, None] / 255 - source.mean) / source.std
        torch.testing.assert_close(actual[:, :, 0, 0], expected)

    def test_what_the_model_sees_is_made_after_augmentation_and_before_normalisation(self):
        source = replace(source_of(5), fitted=lambda images: images[:, :, :2, :2] // 2)
        actual = source.images(torch.tensor([1]), lambda images, ids: images.fill_(101))
        expected = (torch.full((2,), 50 / 255) - source.mean) / source.std
        torch.testing.assert_close(actual, expected.view(1, 2, 1, 1).expand(1, 2, 2, 2))

    def test_images_that_a_method_made_are_neither_normalised_nor_augmented(self):
        pixels = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
        ids = torch.tensor([2, 0])
        assert torch.equal(TensorSource(pixels).images(ids, torch.zeros_like), pixels[ids])

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 9), max_size=12))
    def test_a_joined_source_takes_each_image_from_where_it_is(self, ids):
        first, second = source_of(6), TensorSource(torch.arange(4.0).view(4, 1, 1, 1) + 10)
        red = ResidentPixels(first.pixels.values[:, :1, :1, :1])
        single = ImageSource(red, first.mean[:1], first.std[:1])
        joined = JoinedSource(single, second)

        actual = joined.images(torch.tensor(ids, dtype=torch.int64), None)

        each = [
            single.images(torch.tensor([i]), None) if i < 6 else second.pixels[i - 6 : i - 5]
            for i in ids
        ]
        assert len(joined) == 10
        assert torch.equal(actual, torch.cat([torch.empty(0, 1, 1, 1), *each]))


class TestSamples:
    def test_take_keeps_ids_and_labels_together(self):
        samples = samples_of(9).take(torch.tensor([8, 1, 5])).take(torch.tensor([2, 0]))
        assert samples.ids.tolist() == [5, 8]
        assert samples.labels.tolist() == [2, 2]
        assert len(samples) == 2

    def test_with_labels_changes_labels_only(self):
        samples = samples_of(4)
        changed = samples.with_labels(torch.tensor([7, 7, 7, 7]))
        assert changed.labels.tolist() == [7, 7, 7, 7]
        assert torch.equal(changed.ids, samples.ids)
        assert samples.labels.tolist() == [0, 1, 2, 0]

    def test_with_labels_of_another_number_is_refused(self):
        with pytest.raises(AssertionError):
            samples_of(4).with_labels(torch.zeros(3, dtype=torch.int64))

    def test_parts_of_one_source_join_without_a_second_copy(self):
        samples = samples_of(6)
        joined = samples.take(torch.tensor([4, 5])).join(samples.take(torch.tensor([0])))
        assert joined.source is samples.source
        assert joined.ids.tolist() == [4, 5, 0]
        assert joined.labels.tolist() == [1, 2, 0]

    def test_samples_of_two_sources_join_in_order(self):
        first, second = samples_of(6), samples_of(3)
        second = Samples(TensorSource(torch.randn(3, 2, 9, 9)), second.ids, second.labels + 5)
        joined = first.take(torch.tensor([4, 5])).join(second.take(torch.tensor([2, 0])))

        batch = joined.batch(torch.arange(4))

        assert joined.labels.tolist() == batch.labels.tolist() == [1, 2, 7, 5]
        assert torch.equal(batch.images[:2], first.batch(torch.tensor([4, 5])).images)
        assert torch.equal(batch.images[2:], second.batch(torch.tensor([2, 0])).images)

    def test_a_batch_holds_what_stands_at_its_positions(self):
        samples = samples_of(9).take(torch.tensor([8, 1, 5]))
        batch = samples.batch(torch.tensor([2, 0]))
        assert batch.ids.tolist() == [5, 8]
        assert batch.labels.tolist() == [2, 2]
        np.testing.assert_allclose(batch.images, closed_form(samples.source, [5, 8]), atol=1e-6)


class TestDraw:
    def test_splitmix64_gives_the_published_numbers(self):
        assert splitmix64(1234567, np.arange(5)).tolist() == PUBLISHED

    @settings(deadline=None)
    @given(
        st.integers(0, 2**63 - 1),
        st.integers(0, 5),
        st.lists(st.integers(0, 2**62), min_size=1, max_size=9),
    )
    def test_bits_are_the_upper_63_of_splitmix64(self, key, stream, ids):
        with np.errstate(over="ignore"):
            z = unsigned(streams.derive(key, stream)) + unsigned(0x9E3779B97F4A7C15) * np.array(
                [number + 1 for number in ids], dtype=np.uint64
            )
            z = (z ^ (z >> np.uint64(30))) * unsigned(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * unsigned(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
        expected = (z >> np.uint64(1)).tolist()

        assert Draw(key, torch.tensor(ids)).bits(stream).tolist() == expected
        assert (splitmix64(streams.derive(key, stream), np.array(ids)) >> 1).tolist() == expected

    def test_uniform_numbers_are_from_0_to_below_1_and_even(self):
        drawn = Draw(KEY, torch.arange(100_000)).uniform(0)
        assert drawn.dtype == torch.float32
        assert float(drawn.min()) >= 0
        assert float(drawn.max()) < 1
        shares = torch.histc(drawn, 10, 0, 1) / len(drawn)
        torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.004)

    def test_integers_cover_their_range_evenly(self):
        drawn = Draw(KEY, torch.arange(50_000)).integers(1, 9)
        shares = torch.bincount(drawn, minlength=9) / len(drawn)
        torch.testing.assert_close(shares, torch.full((9,), 1 / 9), rtol=0, atol=0.005)

    def test_streams_and_keys_are_independent(self):
        ids = torch.arange(10_000)
        draws = [
            Draw(KEY, ids).uniform(0),
            Draw(KEY, ids).uniform(1),
            Draw(KEY + 1, ids).uniform(0),
        ]
        correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(3)
        assert float(correlation.abs().max()) < 0.03

    @settings(deadline=None)
    @given(st.integers(0, 2**63 - 1), st.integers(0, 50))
    def test_a_permutation_holds_each_number_once(self, key, n):
        assert sorted(permutation(key, n)) == list(range(n))

    def test_a_generator_belongs_to_its_address(self):
        def numbers(*address):
            return torch.randperm(20, generator=generator(KEY, *address)).tolist()

        assert numbers("methods", "scrub") == numbers("methods", "scrub")
        assert numbers("methods", "scrub") != numbers("methods", "ssd")

    def test_global_seed_leaves_the_global_generator_as_it_was(self):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        with global_seed(KEY, "weights"):
            inside = torch.rand(3)
        assert torch.equal(torch.rand(3), expected)
        assert not torch.equal(inside, expected)


def slow_crop(image, number, padding, size=None):
    """One image (channels, height, width) of the sample `number`, by numpy."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    window = [size or side for side in image.shape[1:]]
    row, column = (
        int(splitmix64(streams.derive(KEY, stream), np.array([number]))[0] >> np.uint64(1))
        % (padded.shape[1 + stream] - window[stream] + 1)
        for stream in (0, 1)
    )
    return padded[:, row : row + window[0], column : column + window[1]]


def slow_flip(image, number, probability):
    bits = splitmix64(streams.derive(KEY, 0), np.array([number]))[0] >> np.uint64(1)
    return image[:, :, ::-1] if int(bits) / 2**63 < probability else image


class TestAugmentations:
    @pytest.mark.parametrize("padding", [1, 4])
    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)], ids=["grey", "wide"])
    def test_random_crop_equals_a_window_cut_image_by_image(self, padding, shape):
        images, ids = random_images(40, *shape), torch.arange(40) + 1000
        actual = augmentation("random_crop", padding=padding)(images, Draw(KEY, ids))
        expected = [
            slow_crop(image, number, padding)
            for image, number in zip(images.numpy(), ids.tolist(), strict=True)
        ]
        assert np.array_equal(actual.numpy(), np.stack(expected))
        assert len({image.tobytes() for image in expected}) > 30  # nothing is trivially equal

    @pytest.mark.parametrize(("padding", "size"), [(0, 5), (2, 5), (3, 9), (0, 7)])
    def test_a_smaller_window_is_cut_anywhere_out_of_the_image(self, padding, size):
        images, ids = random_images(40, 3, 9, 8 if size < 9 else 9), torch.arange(40)
        actual = augmentation("random_crop", padding=padding, size=size)(images, Draw(KEY, ids))
        expected = [
            slow_crop(image, number, padding, size)
            for image, number in zip(images.numpy(), ids.tolist(), strict=True)
        ]
        assert np.array_equal(actual.numpy(), np.stack(expected))

    def test_a_window_larger_than_the_image_is_refused_with_what_to_do(self):
        with pytest.raises(SpecError) as error:
            augmentation("random_crop", padding=0, size=12)(random_images(1), Draw(KEY, ONE))
        assert str(error.value) == (
            "spec.training.augmentation: random_crop cannot cut a window of 12 pixels out of 9 x 9;"
            " put a resize before it"
        )

    def test_resize_brings_the_short_side_to_its_size(self):
        images = random_images(2, 3, 9, 12)
        actual = augmentation("resize", size=18)(images, Draw(KEY, torch.arange(2)))
        assert actual.shape == (2, 3, 18, 24)
        assert torch.equal(actual, resized(images, 18, "bicubic"))

    def test_horizontal_flip_equals_mirroring_image_by_image(self):
        images, ids = random_images(40), torch.arange(40) + 1000
        actual = augmentation("horizontal_flip", probability=0.3)(images, Draw(KEY, ids))
        expected = [
            slow_flip(image, number, 0.3)
            for image, number in zip(images.numpy(), ids.tolist(), strict=True)
        ]
        assert np.array_equal(actual.numpy(), np.stack(expected))

    @pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
    def test_the_share_of_mirrored_images_is_the_probability(self, probability):
        """10,000 sample ids; the tolerance is three standard errors at 0.5."""
        images = torch.tensor([[[[0, 1]]]], dtype=torch.uint8).expand(10_000, 1, 1, 2)
        draw = Draw(KEY, torch.arange(10_000))
        mirrored = augmentation("horizontal_flip", probability=probability)(images, draw)
        share = float(mirrored[:, 0, 0, 0].to(torch.float32).mean())
        assert share == pytest.approx(probability, abs=0.015)
        assert share == probability or 0 < probability < 1

    @pytest.mark.parametrize("name", ["random_crop", "horizontal_flip", "resize"])
    def test_what_happens_to_an_image_depends_on_its_id_only(self, name):
        """Neither its place in the batch nor the other images matter."""
        settings = {"size": 11} if name == "resize" else {}
        images, ids, chosen = (
            random_images(30),
            torch.arange(30) + 7,
            augmentation(name, **settings),
        )
        together = chosen(images, Draw(KEY, ids))
        order = torch.randperm(30, generator=torch.Generator().manual_seed(4))

        shuffled = chosen(images[order], Draw(KEY, ids[order]))
        alone = [chosen(images[i : i + 1], Draw(KEY, ids[i : i + 1])) for i in range(30)]

        assert torch.equal(shuffled, together[order])
        assert torch.equal(torch.cat(alone), together)
        assert not torch.equal(together[:, :, :9, :9], images)

    @pytest.mark.parametrize("name", ["random_crop", "horizontal_flip", "rotation"])
    def test_no_image_at_all_is_no_problem(self, name):
        nothing = random_images(0)
        assert augmentation(name)(nothing, Draw(KEY, torch.arange(0))).shape == nothing.shape

    def test_a_sample_is_augmented_alike_in_any_part_of_the_samples(self):
        samples, flip = tiny_samples(), augmentation("horizontal_flip")

        def augment(images, ids):
            return flip(images, Draw(KEY, ids))

        whole = samples.batch(torch.arange(48), augment).images
        part = samples.take(torch.tensor([40, 3])).batch(torch.tensor([1, 0]), augment).images
        assert torch.equal(part, whole[[3, 40]])
