"""Arithmetic of a training, and of the predictions that metrics read. What is kept and compared is
fp32 or better, and so is what is evaluated unless spec.evaluationPrecision says otherwise.

fp32, fp64   everything; the process's default type, set once by `reproducibility.configure`
tf32         matrix products of a GPU on 19 bits; numbers are stored as fp32
bf16, fp16   the model's forward pass, and so the backward pass, under autocast; weights, loss,
             gradients and the optimiser's state are fp32. fp16 scales the loss, because small
             gradients would be 0 (Micikevicius et al. 2018, arXiv:1710.03740).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from supreme_core.api.v1alpha1 import Precision
from supreme_core.errors import SpecError

AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(
    precision: Precision,
    device: torch.device,
    *,
    field: str = "training.precision",
    allowed: Any = Precision,
) -> None:
    """SpecError where the device has no such arithmetic.

    field: of the spec, which asks for it.  allowed: the literal type of its values.
    """
    if device.type == "mps" and precision != "fp32":
        raise SpecError(
            f"spec.{field} is {precision!r}, and Apple's GPUs (mps) compute in fp32 only"
            " here; use fp32, or --device cpu"
        )
    if precision == "tf32" and device.type != "cuda":
        *others, last = (each for each in get_args(allowed) if each != "tf32")
        raise SpecError(
            f"spec.{field} is 'tf32', which only GPUs compute in, and this is a {device.type}; use"
            f" {', '.join(others)} or {last}"
        )


def loss_scaler(precision: Precision, device: torch.device) -> GradScaler:
    """Does nothing but for fp16."""
    return GradScaler(device.type, enabled=precision == "fp16")


@contextmanager
def computing_in(precision: Precision, model: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, the model's forward and backward passes compute in `precision`.

    The model still gives logits of the default type, so a loss never meets half precision.
    """
    if precision == "tf32":
        with _tensor_float(allowed=True):
            yield
    elif precision in AUTOCAST:
        with _forward_under_autocast(model, device, AUTOCAST[precision]):
            yield
    else:
        yield


@contextmanager
def evaluating(precision: Precision, model: nn.Module) -> Iterator[None]:
    """Inside, which is inside `computing_in`, the model computes as it does outside of it."""
    if precision == "tf32":
        with _tensor_float(allowed=False):
            yield
    elif precision in AUTOCAST:
        trained = type(model)
        model.__class__ = trained.__bases__[0]
        try:
            yield
        finally:
            model.__class__ = trained
    else:
        yield


@contextmanager
def _tensor_float(*, allowed: bool) -> Iterator[None]:
    switches: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = allowed
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


@contextmanager
def _forward_under_autocast(
    model: nn.Module, device: torch.device, dtype: torch.dtype
) -> Iterator[None]:
    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Tensor:
        with torch.autocast(device.type, dtype=dtype):
            logits: Tensor = kind.forward(self, *arguments, **named)
        return logits.to(torch.get_default_dtype())

    # A subclass, not a function in the instance: a copy of the model then is one of this kind too,
    # where a function would go on to belong to the first model.
    kind = type(model)
    model.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    try:
        yield
    finally:
        model.__class__ = kind
