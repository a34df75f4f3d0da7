"""Input of a model of a family, and files of weights that are none.

fitted      an image of the size, of another one, grey ones; against Pillow step by step
input       whose normalisation, which part of the image
files       not there, of another format, with other objects than tensors
weights     a parameter in two places

Real models and their weights are in models/test_families.py.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save
from torch import nn

from supreme_core.api.model import parse
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.architecture import (
    IMAGENET,
    Architecture,
    FamilyParams,
    ModelInput,
    tensors_of,
)
from supreme_core.engine.networks.weights import load_weights, on_cpu
from supreme_core.errors import SpecError


def seen(*, size=8, crop_fraction=0.8, interpolation="bilinear", **params):
    """The input of a model that has mean and deviation 0.5."""
    return ModelInput.of(
        parse(FamilyParams, params),
        size=size,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        mean=[0.5, 0.5, 0.5],
        std=[0.5, 0.5, 0.5],
    )


def random_images(count, channels, side):
    generator = torch.Generator().manual_seed(3)
    size = (count, channels, side, side)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


class TestFitted:
    def test_images_of_the_size_are_taken_as_they_are(self):
        images = random_images(2, 3, 8)
        assert torch.equal(seen().fitted(images), images)

    @pytest.mark.parametrize("side", [7, 10, 13, 20])
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_other_images_are_resized_and_their_middle_is_cut_out(self, side, interpolation):
        (image,) = images = random_images(1, 3, side)
        how = getattr(Image.Resampling, interpolation.upper())
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((10, 10), how)
        expected = np.asarray(picture.crop((1, 1, 9, 9))).transpose(2, 0, 1)
        (actual,) = seen(interpolation=interpolation).fitted(images)
        assert np.array_equal(actual.numpy(), expected)

    @pytest.mark.parametrize("side", [8, 11])
    def test_grey_images_have_their_channel_three_times(self, side):
        grey = random_images(2, 1, side)
        actual = seen().fitted(grey)
        assert torch.equal(actual, seen().fitted(grey.repeat(1, 3, 1, 1)))

    def test_an_image_is_the_same_alone_and_in_any_batch(self):
        images = random_images(7, 3, 19)
        together = seen().fitted(images)
        alone = [seen().fitted(images[i : i + 1]) for i in range(7)]
        assert torch.equal(torch.cat(alone), together)


class TestInput:
    def test_what_the_model_says_stands_where_nobody_says_more(self):
        found = seen(size=224, crop_fraction=0.9)
        assert (found.size, found.resize) == (224, 248)  # 248.9, as timm rounds it
        assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def test_the_reference_recipe_of_a_vit_can_be_asked_for(self):
        found = seen(size=224, crop_fraction=0.9, cropFraction=0.875, statistics="imagenet")
        assert (found.size, found.resize) == (224, 256)
        assert (found.mean, found.std) == IMAGENET

    def test_another_size_keeps_the_part_of_the_image(self):
        found = seen(size=224, crop_fraction=0.875, inputSize=64)
        assert (found.size, found.resize) == (64, 73)

    def test_the_statistics_of_the_data_are_nobody_elses(self):
        found = seen(statistics="dataset")
        assert (found.mean, found.std) == (None, None)

    def test_everything_is_part_of_its_meaning(self):
        assert seen().identity() == {
            "channels": 3,
            "size": 8,
            "resize": 10,
            "interpolation": "bilinear",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        }

    def test_a_network_sees_the_data_as_they_are_without_an_input_of_its_own(self):
        images = ImageShape(channels=1, size=28, classes=4)
        assert Architecture(build=nn.Identity).shape(images) == images

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_network_sees_its_own_size_and_channels(self, channels):
        found = Architecture(build=nn.Identity, input=seen())
        assert found.shape(ImageShape(channels, 28, 4)) == ImageShape(3, 8, 4)

    def test_other_channels_are_refused(self):
        with pytest.raises(SpecError, match=r"spec\.model sees 3 channels, and the dataset has 4"):
            Architecture(build=nn.Identity, input=seen()).shape(ImageShape(4, 28, 4))

    def test_a_network_without_one_logit_for_each_class_is_refused(self):
        found = Architecture(build=lambda shape: nn.Flatten())
        with pytest.raises(SpecError, match="does not give one logit for each class"):
            found.try_out(ImageShape(1, 2, 5), torch.device("cpu"))


class PutsInTraining(nn.Module):
    """A network whose training has an operation that cannot be repeated."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        logits = self.head(images.flatten(1))
        if self.training:
            logits = logits.clone().put_(torch.tensor([0]), torch.ones(1))
        return logits


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_an_operation_of_training_that_cannot_be_repeated_is_named_before_anything_trains():
    found = Architecture(build=lambda shape: PutsInTraining())
    with pytest.raises(SpecError, match="put_ has no deterministic implementation on cpu"):
        found.try_out(ImageShape(1, 2, 5), torch.device("cpu"))


class Opens:
    """An object whose unpickling would run code, as a hostile file does."""

    def __reduce__(self):
        return (open, ("/dev/null",))


class TestFiles:
    @pytest.mark.parametrize("name", ["file.safetensors", "file.pth"])
    def test_what_is_no_file_of_weights_is_one_line(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(SpecError) as error:
            tensors_of(tmp_path / name)
        assert "is no readable .safetensors or .pth file" in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_file_that_is_not_there_is_one_line(self, tmp_path):
        with pytest.raises(SpecError, match="is no readable"):
            tensors_of(tmp_path / "none.safetensors")

    def test_nothing_but_tensors_is_ever_unpickled(self, tmp_path):
        torch.save({"weight": Opens()}, tmp_path / "file.pth")
        with pytest.raises(SpecError, match="is no readable"):
            tensors_of(tmp_path / "file.pth")

    @pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}], ids=["list", "other"])
    def test_something_else_than_tensors_by_name_is_refused(self, tmp_path, content):
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(SpecError, match="something else than tensors by their names"):
            tensors_of(tmp_path / "file.pth")


class Tied(nn.Module):
    """One parameter in two places, as in models that share embeddings."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


class TestWeights:
    def test_a_parameter_in_two_places_comes_back_as_one(self):
        network, other = Tied(), Tied()
        load_weights(other, load(save(on_cpu(network.state_dict()))))
        assert other.second.weight is other.first.weight
        assert torch.equal(other.first.weight, network.first.weight)

    def test_weights_of_another_network_are_refused(self):
        with pytest.raises(RuntimeError, match="Missing key"):
            load_weights(Tied(), {"first.weight": torch.zeros(3, 3)})
