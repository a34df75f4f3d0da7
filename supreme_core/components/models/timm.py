"""Every architecture of timm, the library of image models of Wightman and others.

timm takes seconds to import, so that is done where somebody asks for one of its models.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from traceback import walk_tb
from typing import Any, Final, get_args, get_type_hints

import torch
from pydantic import Field
from torch import nn

from supreme_core.data import downloads
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.networks.architecture import (
    Architecture,
    FamilyParams,
    ModelInput,
    Pretrained,
    some,
    unbuildable,
)
from supreme_core.engine.networks.weights import Weights
from supreme_core.errors import SpecError, nearest
from supreme_core.registry import Variants, model

Scalar = bool | int | float | str


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
    arguments: dict[str, Scalar | list[Scalar | list[Scalar]]] = Field(
        {},
        max_length=64,
        exclude_if=lambda value: not value,  # so that older digests stay what they are
        description="Arguments of the model's own class in timm, by its names, over those that the"
        " variant has: {patch_size: 4, embed_dim: 96}.",
    )


OPTIONS: Final = {
    "drop_rate": "dropRate",
    "drop_path_rate": "dropPathRate",
    "img_size": "inputSize",
}
"""Arguments passed on to an architecture that takes them, by the name that users give them."""

NOT_AN_ARGUMENT: Final = {
    **{name: f"give spec.model.params.{setting}" for name, setting in OPTIONS.items()},
    "pretrained": "give spec.model.params.pretrained",
    "num_classes": "the dataset decides it",
    "in_chans": "every model here sees 3 channels, and grey images get theirs in each",
    "device": "`supreme run --device` decides it",
    "dtype": "spec.training.precision decides it",
}
"""Arguments that are set here, and what a user does instead."""

NO_ARGUMENT: Final[dict[str, Any]] = {"supreme_asks_for_the_class": True}

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
    _check_arguments(variant, params.arguments)
    options = {
        **params.arguments,
        "drop_rate": params.drop_rate,
        "drop_path_rate": params.drop_path_rate,
    }
    if config.fixed_input_size:
        options["img_size"] = size

    def build(shape: ImageShape) -> nn.Module:
        return _create(variant, params.arguments, num_classes=shape.classes, **options)

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


def _check_arguments(variant: str, arguments: Mapping[str, object]) -> None:
    """SpecError where one is set here, or where the model's class does not have it."""
    if not arguments:
        return
    made = _class_of(variant)
    taken = dict.fromkeys(each for each in _taken(made) if each not in NOT_AN_ARGUMENT)
    for name in arguments:
        at = f"spec.model.params.arguments.{name}"
        if instead := NOT_AN_ARGUMENT.get(name):
            raise SpecError(f"{at} is set by SUPREME; {instead}")
        if name not in taken:
            hint = nearest(name, taken) or f"; it has {', '.join(taken)}"
            raise SpecError(f"{at}: {made.__name__}, which timm/{variant} is, has none{hint}")


@cache
def _class_of(variant: str) -> type[nn.Module]:
    """The class of an architecture, without a network being made.

    timm says it nowhere, so its builder is asked with an argument that no class has.
    """
    from timm import create_model

    try:
        network: nn.Module = create_model(variant, **NO_ARGUMENT)
    except TypeError as error:
        for frame, _ in walk_tb(error.__traceback__):
            if made := frame.f_locals.get("model_cls"):
                found: type[nn.Module] = made
                return found
        raise
    return type(network)


def _taken(made: type[nn.Module]) -> Iterator[str]:
    """Names of the arguments of a class; where it hands further ones on, also those of its bases or
    of its configuration."""
    for base in made.__mro__[: made.__mro__.index(nn.Module)]:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        named = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        yield from (each.name for each in named if each.name != "cfg")
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return
        config = get_type_hints(vars(base)["__init__"]).get("cfg")
        for part in (config, *get_args(config)):
            if is_dataclass(part):
                yield from (each.name for each in fields(part))


def _create(variant: str, arguments: Mapping[str, object], **options: Any) -> nn.Module:
    """The network; SpecError for what its architecture does not take.

    arguments: those of the options that a user gave by timm's names.
    """
    from timm import create_model

    try:
        network: nn.Module = create_model(variant, **options)
    except TypeError as error:
        for name, setting in OPTIONS.items():
            if options.get(name) is not None and f"'{name}'" in str(error):
                at = f"spec.model.params.{setting}"
                raise SpecError(f"{at}: timm/{variant} does not take it; leave it out") from None
        if not arguments:
            raise
        raise _unbuildable(error, variant, arguments, options) from None
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _unbuildable(error, variant, arguments, options) from None
    except Exception as error:
        if not arguments:
            raise
        raise _unbuildable(error, variant, arguments, options) from None
    return network


def _unbuildable(
    error: Exception, variant: str, arguments: Mapping[str, object], options: Mapping[str, object]
) -> SpecError:
    asked = {OPTIONS[name]: options.get(name) for name in OPTIONS} | dict(arguments)
    told = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
    return unbuildable(error, f"timm/{variant} with {told}")


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
    """Return why the hub cannot be reached, "" where it can.

    Its client tries for a minute; told that it is offline it looks into its cache alone.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    away = downloads.why_unreachable(constants.ENDPOINT)
    if away:
        constants.HF_HUB_OFFLINE = True
    return away
