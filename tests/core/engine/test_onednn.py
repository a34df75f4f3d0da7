"""Networks whose training on some processors needs oneDNN without some of its kernels."""

import os

import pytest
import torch

from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.onednn import INSTRUCTIONS, keep_from_damage


@pytest.mark.parametrize(
    ("capability", "width", "expected"),
    [
        ("AVX2", 2, "AVX"),
        ("AVX2", 4, "AVX"),
        ("AVX2", 8, None),
        ("AVX2", 64, None),
        ("AVX512", 2, None),
        ("DEFAULT", 2, None),
    ],
)
def test_narrow_networks_do_without_avx2_where_it_is_the_newest(
    capability, width, expected, monkeypatch
):
    monkeypatch.delenv(INSTRUCTIONS, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    keep_from_damage(ResNet18(ImageShape(1, 8, 10), width=width))
    assert os.environ.pop(INSTRUCTIONS, None) == expected


def test_what_the_user_says_stands(monkeypatch):
    monkeypatch.setenv(INSTRUCTIONS, "SSE41")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    keep_from_damage(ResNet18(ImageShape(1, 8, 10), width=2))
    assert os.environ[INSTRUCTIONS] == "SSE41"
