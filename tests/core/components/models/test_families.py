"""Models of timm and torchvision as this system uses them: built, trained, stored, taken apart.

FAMILIES    one small member of each kind of architecture, with few pixels; the library's own tests
            cover the others
weights     files as their authors publish them, made here from random weights: as they are, for
            another size of images, without a head, and files of something else
downloads   without a network only; nothing is fetched here

What an input is and how a network starts is in engine/test_architecture.py, that seeds come out the
same through the whole trainer in trainer/test_pretrained.py.
"""

import re
import socket
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from safetensors.torch import load, save_file
from torch import optim

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.layers import layer_groups
from supreme_core.engine.networks.weights import load_weights, on_cpu
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.errors import SpecError
from supreme_core.registry.catalog import bundled
from tests.builders import plain, tiny_samples

CLASSES = 7

SWIN = {"embed_dim": 24, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 4, 8]}

FAMILIES = {
    "resnet18": {"width": 4},
    "timm/test_resnet": {"inputSize": 32},
    "timm/test_vit": {"inputSize": 32, "dropPathRate": 0.1},
    "timm/test_convnext": {"inputSize": 32},
    "timm/test_efficientnet": {"inputSize": 32},
    "timm/test_maxvit": {"inputSize": 32},
    "timm/mobilenetv3_small_050": {"inputSize": 32, "dropRate": 0.5},
    "timm/densenet121": {"inputSize": 32},
    "timm/regnetx_002": {"inputSize": 32},
    "timm/resmlp_12_224": {"inputSize": 32},
    "timm/swin_tiny_patch4_window7_224": {"inputSize": 32, "arguments": SWIN},
    "timm/deit_tiny_distilled_patch16_224": {"inputSize": 32},
    "torchvision/mnasnet0_5": {"inputSize": 32},
    "torchvision/regnet_y_400mf": {"inputSize": 32},
    "torchvision/squeezenet1_1": {"inputSize": 32},
    "torchvision/googlenet": {"inputSize": 32},
    "torchvision/mobilenet_v3_small": {"inputSize": 32},
}

NAMED = {
    "resnet18": 10,
    "timm/test_vit": 8,
    "timm/test_convnext": 11,
    "timm/densenet121": 60,
    "torchvision/mobilenet_v3_small": 15,
}
"""Layers that one counts: stem, blocks, head. A ViT has 6 blocks here, a ResNet-18 has 8."""

TRANSFORMERS = {
    "timm/test_vit",
    "timm/swin_tiny_patch4_window7_224",
    "timm/deit_tiny_distilled_patch16_224",
    "torchvision/vit_b_32",
    "torchvision/swin_t",
}
"""Names in both lists that one calls vision transformers; no hybrids, no mixers."""

every_family = pytest.mark.parametrize("name", FAMILIES)


def architecture(name, **params):
    chosen = registry.model.resolve(Component(name=name, params=params), at="spec.model")
    return Architecture.of(chosen)


def built(name, *, seed=0, **params):
    """A network with fresh weights from a seed, and what it sees of 32 grey pixels."""
    found = architecture(name, **{**FAMILIES.get(name, {}), **params})
    shape = found.shape(ImageShape(channels=1, size=32, classes=CLASSES))
    with global_seed(seed):
        return found.build(shape).eval(), shape


@cache
def known(name, seed=0):
    """Return what `built` gives, for tests that change nothing of it."""
    return built(name, seed=seed)


def try_out(name, **params):
    found = architecture(name, **params)
    found.try_out(found.shape(ImageShape(3, 32, CLASSES)), torch.device("cpu"))


def images(shape, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, shape.channels, shape.size, shape.size, generator=generator)


def same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, as ranks do; more are slower with so few pixels."""
    torch.set_num_threads(THREADS)


@every_family
def test_a_model_is_built_trained_and_stored(name):
    network, shape = built(name)
    before = on_cpu({key: tensor.clone() for key, tensor in network.state_dict().items()})
    with torch.inference_mode():
        assert network(images(shape)).shape == (2, CLASSES)

    how = Fit(epochs=1, batch_size=8, optimizer=partial(optim.SGD, lr=0.01))
    fit(network, tiny_samples(8, shape), how, seed=5, numerics=plain(), report=unreported)

    after = network.state_dict()
    *_, head = layer_groups(network)
    assert any(not torch.equal(after[key], before[key]) for key in head.parameters)
    assert all(tensor.isfinite().all() for tensor in after.values() if tensor.is_floating_point())
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() | TRANSFORMERS))
def test_a_vision_transformer_is_known_by_its_name(name):
    listed = bundled().get("model", name)
    assert listed.is_transformer(name) == (name in TRANSFORMERS)


@every_family
def test_fresh_weights_depend_on_their_seed_alone(name):
    first, _ = known(name)
    torch.rand(5)
    again, _ = built(name)
    other, _ = known(name, seed=1)
    assert same(first.state_dict(), again.state_dict())
    assert not same(first.state_dict(), other.state_dict())


@every_family
def test_a_file_of_weights_gives_the_same_network_again(name, tmp_path):
    network, shape = known(name)
    save_file(on_cpu(network.state_dict()), tmp_path / "weights.safetensors")
    other = deepcopy(known(name, seed=1)[0])

    load_weights(other, load((tmp_path / "weights.safetensors").read_bytes()))

    assert same(network.state_dict(), other.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(images(shape)), network(images(shape)))


@every_family
def test_each_trainable_parameter_is_in_one_layer_and_the_head_in_the_last(name):
    network, _ = known(name)
    groups = layer_groups(network)

    listed = [parameter for group in groups for parameter in group.parameters]
    trainable = [key for key, each in network.named_parameters() if each.requires_grad]
    assert sorted(listed) == sorted(trainable)
    assert all(group.parameters for group in groups)

    shapes = dict(network.named_parameters())
    assert all(shapes[key].shape[0] == CLASSES for key in groups[-1].parameters)
    assert len(groups) == NAMED.get(name, len(groups))

    owners = [key for group in groups for key in group.buffers]
    assert len(set(owners)) == len(owners)
    statistics = {key for key, _ in network.named_buffers() if key.endswith("running_mean")}
    assert statistics <= set(owners)


@every_family
def test_a_model_says_what_it_sees(name):
    seen = architecture(name).input
    if name == "resnet18":
        assert seen is None
    else:
        assert seen.size <= seen.resize <= seen.size * 1.2
        assert (seen.channels, len(seen.mean), len(seen.std)) == (3, 3, 3)


def test_torchvisions_and_timms_own_recipes_are_kept():
    """The tables of both projects have side of the image, side of the middle and normalisation."""
    rows = {
        "timm/vit_base_patch16_224": (224, 248, "bicubic", 0.5),
        "timm/vit_base_patch16_224.mae": (224, 248, "bicubic", 0.485),
        "timm/resnet18": (224, 235, "bicubic", 0.485),
        "torchvision/resnet18": (224, 256, "bilinear", 0.485),
        "torchvision/resnet50.IMAGENET1K_V2": (224, 232, "bilinear", 0.485),
        "torchvision/inception_v3": (299, 342, "bilinear", 0.485),
        "torchvision/efficientnet_b1.IMAGENET1K_V1": (240, 256, "bicubic", 0.485),
    }
    for name, row in rows.items():
        seen = architecture(name).input
        assert (seen.size, seen.resize, seen.interpolation, seen.mean[0]) == row, name


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("timm/vit_tiny_patch16_242", "did you mean 'timm/vit_tiny_patch16_224'?"),
            ("timm/test_vit.r160_in1", "did you mean 'timm/test_vit.r160_in1k'?"),
            ("torchvision/resnet51", "did you mean 'torchvision/resnet50'?"),
            ("torchvision/resnet50.IMAGENET1K_V3", "did you mean 'torchvision/resnet50.IMAGENET1K"),
            ("vit_tiny_patch16_224", "did you mean 'timm/vit_tiny_patch16_224'?"),
            ("resnet18/tiny", "unknown model 'resnet18/tiny'"),
            ("timm", "model 'timm' is a family of"),
            ("timm/", "unknown model 'timm/'"),
            ("timm/test_vit.", "unknown model 'timm/test_vit.'"),
        ],
    )
    def test_a_wrong_name_is_told_with_the_nearest_by_the_library_and_by_the_catalogue(
        self, name, message
    ):
        with pytest.raises(SpecError) as error:
            architecture(name)
        assert message in str(error.value)
        (line,) = bundled().problems("model", Component(name=name), at="spec.model")
        assert line == str(error.value)

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            (
                "timm/vgg11",
                {"dropPathRate": 0.1},
                "spec.model.params.dropPathRate: timm/vgg11 does not take it; leave it out",
            ),
            (
                "timm/vit_base_patch16_sapiens2",
                {},
                "spec.model.params.inputSize is needed: timm/vit_base_patch16_sapiens2 sees"
                " 1024 x 768 pixels, and images are square here",
            ),
            (
                "torchvision/vit_b_16",
                {"inputSize": 100},
                "spec.model cannot be built for torchvision/vit_b_16 with inputSize 100: Input"
                " shape indivisible by patch size!",
            ),
            ("torchvision/alexnet", {"inputSize": 8}, "spec.model cannot be built for images of 8"),
        ],
        ids=["option", "not square", "patches", "pooled away"],
    )
    def test_what_an_architecture_cannot_do_is_one_line(self, name, params, message):
        with pytest.raises(SpecError) as error:
            try_out(name, **params)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


VIT = "timm/test_vit"
REFUSED_ARGUMENTS = {
    "misspelt": ("patchsize", "VisionTransformer, which timm/test_vit is, has none; did you mean"),
    "unknown": ("zzz", "VisionTransformer, which timm/test_vit is, has none; it has patch_size, "),
    "of timm's factory": ("checkpoint_path", "VisionTransformer, which timm/test_vit is, has none"),
    "classes": ("num_classes", "is set by SUPREME; the dataset decides it"),
    "size": ("img_size", "is set by SUPREME; give spec.model.params.inputSize"),
    "dropout": ("drop_rate", "is set by SUPREME; give spec.model.params.dropRate"),
    "weights": ("pretrained", "is set by SUPREME; give spec.model.params.pretrained"),
    "channels": ("in_chans", "is set by SUPREME; every model here sees 3 channels"),
}


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "given", "layers"),
        [
            (VIT, {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}, 4),
            ("timm/deit_tiny_distilled_patch16_224", {"embed_dim": 24, "depth": 1}, 3),
            ("timm/test_convnext", {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}, None),
            ("timm/resnet18", {"layers": [1, 1, 1, 1]}, None),
        ],
    )
    def test_a_model_is_made_of_them(self, name, given, layers):
        own, shape = built(name, inputSize=32)
        changed, _ = built(name, inputSize=32, arguments=given)
        assert sum(map(torch.numel, changed.parameters())) < sum(map(torch.numel, own.parameters()))
        assert changed(images(shape)).shape == (2, CLASSES)
        if layers:
            assert len(layer_groups(changed)) == layers

    @pytest.mark.parametrize(
        ("argument", "message"), REFUSED_ARGUMENTS.values(), ids=list(REFUSED_ARGUMENTS)
    )
    def test_what_the_models_class_does_not_take_is_refused(self, argument, message):
        with pytest.raises(SpecError) as error:
            architecture(VIT, arguments={argument: 4})
        assert re.match(
            rf"spec.model.params.arguments.{argument}:? {re.escape(message)}", str(error.value)
        )

    @pytest.mark.parametrize(
        "given",
        [
            {"embed_dim": 25},
            {"embed_dim": "wide"},
            {"norm_layer": "none_such"},
            {"global_pool": ""},
            {"patch_size": 64},
        ],
        ids=str,
    )
    def test_values_that_give_no_model_are_one_line(self, given):
        with pytest.raises(SpecError) as error:
            try_out(VIT, inputSize=32, arguments=given)
        assert str(error.value).startswith("spec.model")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("value", [None, {"a": 1}, [None], [[[1]]], float("nan")], ids=str)
    def test_a_value_is_a_number_a_text_or_a_list_of_such(self, value):
        (line,) = bundled().problems(
            "model", Component(name=VIT, params={"arguments": {"depth": value}}), at="spec.model"
        )
        assert line.startswith("spec.model.params.arguments.depth")
        with pytest.raises(SpecError):
            architecture(VIT, arguments={"depth": value})

    def test_they_are_part_of_the_key_and_none_are_not(self):
        def identity(**params):
            component = Component(name=VIT, params=params)
            return registry.model.resolve(component, at="spec.model").identity()

        assert identity(arguments={}) == identity()
        assert "arguments" not in identity()["params"]
        assert identity(arguments={"depth": 2})["params"]["arguments"] == {"depth": 2}

    def test_of_a_class_that_hands_arguments_on_those_of_its_configuration_are_known(self):
        with pytest.raises(SpecError, match="did you mean 'stem_chs'"):
            architecture("timm/test_byobnet", arguments={"stem_ch": 8})

    def test_published_weights_that_do_not_fit_are_one_line(self, tmp_path):
        published(VIT, tmp_path / "file.safetensors", inputSize=32)
        given = {"embed_dim": 24, "num_heads": 2}
        found = architecture(VIT, pretrained=True, inputSize=32, arguments=given)
        weights = found.pretrained.read(tmp_path / "file.safetensors")
        with pytest.raises(SpecError) as error:
            found.pretrained.start(built(VIT, inputSize=32, arguments=given)[0], weights)
        assert str(error.value).startswith(
            "spec.model.params.arguments: the published weights of timm/test_vit.r160_in1k are for"
            " another network: of another shape cls_token"
        )
        assert str(error.value).endswith("; leave these arguments out, or pretrained")
        assert "\n" not in str(error.value)


def published(name, path, *, classes=1000, drop=(), **params):
    """A file as the authors of a model would publish it; gives its tensors."""
    found = architecture(name, **params)
    size = found.input.size
    with global_seed(9):
        state = found.build(ImageShape(3, size, classes)).state_dict()
    tensors = {key: tensor for key, tensor in on_cpu(state).items() if not key.startswith(drop)}
    save_file(tensors, path)
    return tensors


class TestWeights:
    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("timm/test_vit", {"inputSize": 160}),
            ("timm/test_efficientnet", {}),
            ("timm/deit_tiny_distilled_patch16_224", {"inputSize": 224}),
            ("torchvision/squeezenet1_1", {}),
            ("torchvision/mnasnet0_5", {}),
        ],
    )
    def test_a_network_starts_from_them_with_a_head_of_its_own(self, name, params, tmp_path):
        tensors = published(name, tmp_path / "file.safetensors")
        found = architecture(name, pretrained=True, **params)
        weights = found.pretrained.read(tmp_path / "file.safetensors")
        assert same(weights, tensors)

        fresh, _ = built(name, **params)
        started, shape = built(name, **params)
        found.pretrained.start(started, weights)

        *_, head = layer_groups(started)
        for key, tensor in started.state_dict().items():
            expected = fresh.state_dict() if key in head.parameters else weights
            assert torch.equal(tensor, expected[key]), key
        with torch.inference_mode():
            assert started(images(shape)).shape == (2, CLASSES)

    def test_a_head_of_as_many_classes_is_kept(self, tmp_path):
        published("timm/test_vit", tmp_path / "file.safetensors", classes=CLASSES)
        found = architecture("timm/test_vit", pretrained=True)
        weights = found.pretrained.read(tmp_path / "file.safetensors")
        started, _ = built("timm/test_vit", inputSize=160)
        found.pretrained.start(started, weights)
        assert torch.equal(started.head.weight, weights["head.weight"])

    @pytest.mark.parametrize("name", ["timm/test_vit", "torchvision/squeezenet1_1"])
    def test_a_file_without_a_head_will_do(self, name, tmp_path):
        head = "head" if "timm" in name else "classifier"
        tensors = published(name, tmp_path / "file.safetensors", drop=head)
        found = architecture(name, pretrained=True)
        weights = found.pretrained.read(tmp_path / "file.safetensors")
        assert {key for key in weights if not key.startswith(head)} == set(tensors)

    def test_embeddings_of_positions_are_fitted_to_another_size(self, tmp_path):
        tensors = published("timm/test_vit", tmp_path / "file.safetensors")
        found = architecture("timm/test_vit", pretrained=True, inputSize=64)
        weights = found.pretrained.read(tmp_path / "file.safetensors")
        assert found.pretrained.identity() == {"name": "timm/test_vit.r160_in1k", "size": 64}
        changed = {key for key in tensors if not torch.equal(weights[key], tensors[key])}
        assert changed == {"pos_embed"}
        assert weights["pos_embed"].shape == (1, 17, tensors["pos_embed"].shape[2])

    def test_files_of_torchvision_with_old_names_and_further_heads_are_read(self, tmp_path):
        tensors = published("torchvision/densenet121", tmp_path / "new.safetensors", inputSize=32)
        old = {
            key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): each
            for key, each in tensors.items()
        }
        assert old.keys() != tensors.keys()
        torch.save(old, tmp_path / "old.pth")
        found = architecture("torchvision/densenet121", pretrained=True, inputSize=32)
        assert same(found.pretrained.read(tmp_path / "old.pth"), tensors)

        tensors = published("torchvision/googlenet", tmp_path / "one.safetensors")
        more = {**tensors, "aux1.fc2.weight": torch.zeros(1000, 1024)}
        save_file(more, tmp_path / "more.safetensors")
        found = architecture("torchvision/googlenet", pretrained=True)
        assert same(found.pretrained.read(tmp_path / "more.safetensors"), tensors)

    @pytest.mark.parametrize("name", ["timm/test_vit", "torchvision/mnasnet0_5", "timm/dla46_c"])
    def test_a_file_of_another_model_is_told_with_its_first_tensors(self, name, tmp_path):
        published("timm/test_resnet", tmp_path / "file.safetensors", drop="fc")
        with pytest.raises(SpecError) as error:
            architecture(name, pretrained=True).pretrained.read(tmp_path / "file.safetensors")
        message = str(error.value)
        assert message.startswith(f"--weights: {tmp_path}/file.safetensors is not that of {name}.")
        assert "missing " in message
        assert " more" in message
        assert len(message) < 500 + len(str(tmp_path))

    def test_missing_unknown_and_misshapen_tensors_are_named(self, tmp_path):
        tensors = published("timm/test_vit", tmp_path / "file.safetensors")
        del tensors["cls_token"], tensors["blocks.0.attn.qkv.weight"]
        tensors |= {"colour": torch.zeros(2), "norm.weight": torch.zeros(3)}
        save_file(tensors, tmp_path / "file.safetensors")
        with pytest.raises(SpecError) as error:
            architecture("timm/test_vit", pretrained=True).pretrained.read(
                tmp_path / "file.safetensors"
            )
        assert str(error.value) == (
            f"--weights: {tmp_path}/file.safetensors is not that of timm/test_vit.r160_in1k:"
            " missing cls_token, blocks.0.attn.qkv.weight; unexpected colour; of another shape"
            " norm.weight (3)"
        )

    def test_which_weights_they_are_is_said_in_full(self):
        for name, full in {
            "timm/resnet18": "timm/resnet18.a1_in1k",
            "timm/resnet18.tv_in1k": "timm/resnet18.tv_in1k",
            "torchvision/resnet50": "torchvision/resnet50.IMAGENET1K_V2",
            "torchvision/resnet50.IMAGENET1K_V1": "torchvision/resnet50.IMAGENET1K_V1",
        }.items():
            assert architecture(name, pretrained=True).pretrained.name == full

    def test_without_them_a_model_starts_afresh(self):
        assert architecture("timm/test_vit").pretrained is None


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Nobody at the hub's address, and an empty cache."""
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


class TestDownloads:
    def test_without_a_network_the_message_says_at_once_how_to_bring_a_file(self, no_network):
        with pytest.raises(SpecError) as error:
            architecture("timm/test_vit", pretrained=True).pretrained.download()
        first, second = str(error.value).splitlines()
        assert first.startswith(
            "cannot download the weights of timm/test_vit.r160_in1k: no connection: "
        )
        assert first.endswith("Connection refused, and the hub's cache does not have them")
        assert second == (
            "get model.safetensors of timm/test_vit.r160_in1k on the Hugging Face hub where there"
            " is a network, and give `supreme prepare FILE --weights PATH --store URI`"
        )

    def test_what_the_hubs_cache_holds_needs_no_network(self, no_network, tmp_path):
        """The files have the layout in which the hub's own client leaves a download."""
        commit = "0" * 40
        folder = tmp_path / "models--timm--test_vit.r160_in1k"
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        file = folder / "snapshots" / commit / "model.safetensors"
        tensors = published("timm/test_vit", file)
        assert same(architecture("timm/test_vit", pretrained=True).pretrained.download(), tensors)

    def test_weights_that_nobody_published_are_told(self):
        with pytest.raises(SpecError) as error:
            architecture("timm/botnet50ts_256", pretrained=True).pretrained.download()
        assert "cannot download the weights of timm/botnet50ts_256" in str(error.value)
        assert "timm knows of none" in str(error.value)

    def test_files_of_torchvision_are_kept_and_verified(self, tmp_path, monkeypatch):
        """A file that was left in the cache by an earlier download, and a wrong one."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        folder = tmp_path / "supreme" / "torchvision"
        folder.mkdir(parents=True)
        (folder / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"something else")
        with pytest.raises(SpecError) as error:
            architecture("torchvision/squeezenet1_1", pretrained=True).pretrained.download()
        assert "it has the sha256" in str(error.value)
        assert "which should be b8a52dc0" in str(error.value)
        assert "get the file https://download.pytorch.org/" in str(error.value)
