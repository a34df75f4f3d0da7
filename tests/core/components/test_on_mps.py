"""Every method, wrapper and probe on a simulated GPU of Apple, in the one precision that it has.

What is shown: nothing is called that has no deterministic kernel there or none at all, nothing is
float64 there, and no tensors of two devices meet. Left out: kernels of Metal, which only a Mac has;
which waits there are (test_on_a_gpu.py); bits, for images lie otherwise there than on a CPU.
"""

import pytest
import torch
from torch.nn import functional

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.ranks.device import naming_operations
from supreme_core.errors import SpecError
from tests.core.components.methods.test_every_method import ONE_OF_EACH
from tests.core.components.test_on_a_gpu import (
    PROBES,
    WRAPPED,
    WRAPPERS,
    deterministic,
    findings,
    unlearned,
    wrapped,
)
from tests.simulated_gpu import MPS, simulated_gpu

UNREPEATABLE = {
    "max_pool2d_with_indices_backward": lambda x: functional.max_pool2d(x, 2),
    "index_put": lambda x: x[torch.tensor([0, 0])],
}


@pytest.fixture
def gpu():
    with deterministic(), simulated_gpu(MPS):
        yield


@pytest.mark.usefixtures("gpu")
class TestThere:
    @pytest.mark.parametrize(("name", "kind"), ONE_OF_EACH, ids=map("-".join, ONE_OF_EACH))
    def test_a_method_runs(self, name, kind):
        unlearned(name, kind, device=MPS)

    @pytest.mark.parametrize("wrapper", WRAPPERS)
    def test_a_wrapped_method_runs(self, wrapper):
        wrapped(wrapper, next(iter(WRAPPED)), MPS)

    @pytest.mark.parametrize("name", PROBES)
    def test_a_probe_runs(self, name):
        findings(name, "fp32", MPS)

    @pytest.mark.parametrize(("name", "of"), UNREPEATABLE.items(), ids=UNREPEATABLE)
    def test_what_could_not_be_repeated_is_refused_by_name(self, name, of):
        images = torch.rand(2, 1, 4, 4).to(MPS).requires_grad_()
        words = f"{name}\\w* has no deterministic implementation on mps"
        with pytest.raises(SpecError, match=words), naming_operations(MPS):
            of(images).sum().backward()

    def test_a_model_with_such_an_operation_is_refused_before_anything_is_trained(self):
        chosen = registry.model.resolve(Component(name="torchvision/resnet18"), at="spec.model")
        with pytest.raises(SpecError, match="max_pool2d_with_indices_backward has no"):
            Architecture.of(chosen).try_out(ImageShape(3, 64, 2), MPS)

    @pytest.mark.parametrize(
        ("asked", "error", "words"),
        [
            (lambda x: x.double(), TypeError, "doesn't support float64"),
            (lambda x: x.sum(dtype=torch.float64), TypeError, "doesn't support float64"),
            (lambda x: x.new_zeros(2, dtype=torch.float64), TypeError, "doesn't support float64"),
            (lambda x: x.mode(), NotImplementedError, "aten::mode"),
            (lambda x: x + torch.ones(2, 3), RuntimeError, "at least two devices, mps and cpu"),
        ],
    )
    def test_the_simulation_refuses_what_a_mac_does(self, asked, error, words):
        with pytest.raises(error, match=words):
            asked(torch.ones(2, 3, device=MPS))
