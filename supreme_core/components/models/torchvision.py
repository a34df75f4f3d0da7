"""Every classification model of torchvision, the image library of the PyTorch project.

torchvision takes seconds to import, so that is done where somebody asks for one of its models.
"""

import re
from functools import cache
from typing import Any, Final

from torch import nn

from supreme_core.data.downloads import RemoteFile, cache_folder, cached
from supreme_core.engine.networks.architecture import (
    Architecture,
    FamilyParams,
    ModelInput,
    Pretrained,
    tensors_of,
    unbuildable,
)
from supreme_core.engine.networks.weights import Weights, load_weights
from supreme_core.registry import Variants, model

WITHOUT_AUXILIARY_HEADS: Final = {"aux_logits": False, "init_weights": True}
AUXILIARY_HEADS: Final = ("aux1.", "aux2.", "AuxLogits.")
"""GoogLeNet and Inception were trained with further heads, which give no logits of their own."""

OF_OLD_DENSENETS: Final = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
"""Names in the published files of DenseNets have a dot too many."""


class TorchvisionParams(FamilyParams):
    """Nothing but what each family has."""


@cache
def variants() -> Variants:
    from torchvision import models

    return {
        name: [weights.name for weights in models.get_model_weights(name)]
        for name in models.list_models(module=models)
    }


@cache
def transformers() -> list[str]:
    return [name for name in variants() if name.startswith(("swin_", "vit_"))]


@model(variants=variants, transformers=transformers)
def torchvision(variant: str, params: TorchvisionParams) -> Architecture:
    """Any classification model of torchvision, with its own input, fresh or pretrained."""
    from torchvision.models import get_model_weights

    name, _, asked = variant.partition(".")
    known = get_model_weights(name)
    weights = known[asked] if asked else known.DEFAULT
    transform = weights.transforms()
    size = params.input_size or transform.crop_size[0]
    return Architecture(
        build=lambda shape: _create(name, size, num_classes=shape.classes),
        input=ModelInput.of(
            params,
            size=transform.crop_size[0],
            crop_fraction=transform.crop_size[0] / transform.resize_size[0],
            interpolation=transform.interpolation.value,
            mean=transform.mean,
            std=transform.std,
        ),
        pretrained=_pretrained(name, weights, size) if params.pretrained else None,
    )


def _create(name: str, size: int, *, num_classes: int) -> nn.Module:
    """The network; SpecError where it cannot see images of that size."""
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {**WITHOUT_AUXILIARY_HEADS, "transform_input": True}
    elif name.startswith("vit_"):
        options = {"image_size": size}
    elif name.startswith("maxvit_"):
        options = {"input_size": (size, size)}
    try:
        network: nn.Module = get_model(name, weights=None, num_classes=num_classes, **options)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise unbuildable(error, f"torchvision/{name} with inputSize {size}") from None
    return network


def _pretrained(name: str, weights: Any, size: int) -> Pretrained:
    head = _last_layer(_create(name, size, num_classes=2))
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
    file = RemoteFile(weights.url, f"sha256:{digits[1] if digits else ''}")

    def of_file(tensors: Weights) -> Weights:
        own = {
            OF_OLD_DENSENETS.sub(r"\1", key): tensor
            for key, tensor in tensors.items()
            if not key.startswith(AUXILIARY_HEADS)
        }
        found = own.get(f"{head}.weight")
        network = _create(name, size, num_classes=2 if found is None else len(found))
        if found is None:
            own |= {key: t for key, t in network.state_dict().items() if key.startswith(f"{head}.")}
        load_weights(network, own)
        return network.state_dict()

    return Pretrained(
        name=f"torchvision/{name}.{weights.name}",
        size=size if name.startswith(("vit_", "maxvit_")) else None,
        origin=f"the file {weights.url}",
        head=(head,),
        fetch=lambda: of_file(tensors_of(cached(file, cache_folder() / "torchvision"))),
        of_file=of_file,
    )


def _last_layer(network: nn.Module) -> str:
    """The name of the module that gives the logits."""
    *_, (name, _) = network.named_parameters()
    return name.rpartition(".")[0]
