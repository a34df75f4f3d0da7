"""Every architecture of timm, the library of image models of Wightman and others.

timm takes seconds to import, so that is done where somebody asks for one of its models.
"""

from collections import defaultdict
from functools import cache
from typing import Any, Final

import torch
from pydantic import Field
from torch import nn

from supreme_core import downloads
from supreme_core.engine.architecture import (
    Architecture,
    FamilyParams,
    ModelInput,
    Pretrained,
    some,
    unbuildable,
)
from supreme_core.engine.randomness import global_seed
from supreme_core.engine.shape import ImageShape
from supreme_core.engine.weights import Weights
from supreme_core.errors import SpecError
from supreme_core.registry import Variants, model


class TimmParams(FamilyParams):
    drop_rate: float | None = Field(
        None, ge=0, lt=1, description="Dropout before the head; null: the model's own."
    )
    drop_path_rate: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Stochastic depth: how often a block is left out; null: the model's own.",
    )


OPTIONS: Final = {
    "drop_rate": "dropRate",
    "drop_path_rate": "dropPathRate",
    "img_size": "inputSize",
}
"""What is passed on to an architecture that takes it, by the name that users give it."""


TRANSFORMERS: Final = (
    "beit",
    "cait",
    "deit",
    "eva",
    "naflexvit",
    "swin_transformer",
    "swin_transformer_v2",
    "swin_transformer_v2_cr",
    "vision_transformer",
    "vision_transformer_relpos",
)
"""The modules of timm whose models are attention throughout, on patches: no hybrids."""


@cache
def variants() -> Variants:
    from timm import list_models, list_pretrained

    found = defaultdict[str, list[str]](list, {name: [] for name in list_models()})
    for name in list_pretrained():
        architecture, _, weights = name.partition(".")
        found[architecture].append(weights)
    return dict(found)


@cache
def transformers() -> list[str]:
    from timm import list_models

    return sorted(name for module in TRANSFORMERS for name in list_models(module=module))


@model(variants=variants, transformers=transformers)
def timm(variant: str, params: TimmParams) -> Architecture:
    """Any model of timm, with its own input size and normalisation, fresh or pretrained."""
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(variant)
    _, *sides = config.input_size
    if len(set(sides)) > 1 and params.input_size is None:
        raise SpecError(
            f"spec.model.params.inputSize is needed: timm/{variant} sees {sides[0]} x {sides[1]}"
            " pixels, and images are square here"
        )
    size = params.input_size or sides[0]
    options = {"drop_rate": params.drop_rate, "drop_path_rate": params.drop_path_rate}
    if config.fixed_input_size:
        options["img_size"] = size

    def build(shape: ImageShape) -> nn.Module:
        return _create(variant, num_classes=shape.classes, **options)

    return Architecture(
        build=build,
        input=ModelInput.of(
            params,
            size=size,
            crop_fraction=config.crop_pct,
            interpolation=config.interpolation,
            mean=config.mean,
            std=config.std,
        ),
        pretrained=_pretrained(variant, config, options) if params.pretrained else None,
    )


def _create(variant: str, **options: Any) -> nn.Module:
    """The network; SpecError for what its architecture does not take."""
    from timm import create_model

    try:
        network: nn.Module = create_model(variant, **options)
    except TypeError as error:
        for name, setting in OPTIONS.items():
            if options.get(name) is not None and f"'{name}'" in str(error):
                at = f"spec.model.params.{setting}"
                raise SpecError(f"{at}: timm/{variant} does not take it; leave it out") from None
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        asked = ", ".join(f"{OPTIONS[name]} {options[name]}" for name in OPTIONS if name in options)
        raise unbuildable(error, f"timm/{variant} with {asked}") from None
    return network


def _pretrained(variant: str, config: Any, options: dict[str, Any]) -> Pretrained:
    from timm import create_model

    name = f"timm/{config.architecture}" + (f".{config.tag}" if config.tag else "")
    fitted = {key: value for key, value in options.items() if key == "img_size"}
    named = config.classifier or ()
    head = (named,) if isinstance(named, str) else tuple(named)

    def fetch() -> Weights:
        if not config.has_weights:
            raise SpecError("timm knows of none")
        away = _go_offline_where_there_is_no_network()
        try:
            return dict(create_model(variant, pretrained=True, **fitted).state_dict())
        except Exception:
            if not away:
                raise
            raise SpecError(f"{away}, and the hub's cache does not have them") from None

    def of_file(tensors: Weights) -> Weights:
        heads = [tensors[f"{each}.weight"] for each in head if f"{each}.weight" in tensors]
        classes = len(heads[0]) if heads else 0

        def made(seed: int) -> Weights:
            source = {"state_dict": dict(tensors), "num_classes": classes, "label_offset": None}
            with global_seed(seed):
                network = create_model(
                    variant,
                    pretrained=True,
                    num_classes=classes,
                    pretrained_cfg_overlay=source,
                    **fitted,
                )
                return dict(network.state_dict())

        # Not every architecture insists on all of its tensors. Those that the file did not give are
        # random, so they differ between two networks.
        one, other = made(0), made(1)
        missing = [key for key in one if not torch.equal(one[key], other[key])]
        if missing:
            raise SpecError(f"missing {some(missing)}")
        return one

    return Pretrained(
        name=name,
        size=fitted.get("img_size"),
        origin=_origin(config),
        head=head,
        fetch=fetch,
        of_file=of_file,
    )


def _origin(config: Any) -> str:
    if config.hf_hub_id:
        return f"model.safetensors of {config.hf_hub_id} on the Hugging Face hub"
    return f"the file {config.url}" if config.url else "a file of such weights"


def _go_offline_where_there_is_no_network() -> str:
    """Why the hub cannot be reached, "" where it can.

    Its client tries for a minute; told that it is offline it looks into its cache alone.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    away = downloads.why_unreachable(constants.ENDPOINT)
    if away:
        constants.HF_HUB_OFFLINE = True
    return away
