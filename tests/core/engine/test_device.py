"""Differences of Apple's GPUs (mps), of which there is none here.

Shown: which device is chosen, what is refused by name, and what torch is asked for: no copy that
runs aside, no channels last, sums in float64 on the CPU, memory from Metal. Left out: whatever only
a Mac can show, its numbers first of all.
"""

import os
from types import SimpleNamespace

import pytest
import torch

from supreme_core.api.v1alpha1 import Training
from supreme_core.engine.evaluation.cost import CostMeter
from supreme_core.engine.evaluation.reproducibility import environment
from supreme_core.engine.images.randomness import (
    Draw,
    check_draws,
    global_seed,
    kept_global_generator,
    seed_generators,
)
from supreme_core.engine.images.streaming import StreamedPixels, free_memory
from supreme_core.engine.ranks import device
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.errors import SpecError

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))

NO_CUDA = "--device is cuda, but torch sees no CUDA device here; use cpu or auto"
HIDDEN = (
    "--device is cuda, but torch sees no CUDA device here, where CUDA_VISIBLE_DEVICES is '0,0'; use"
    " cpu or auto"
)
ROCM = (
    "--device is cuda, but this torch is for AMD's GPUs (ROCm), on which nothing was tried; use cpu"
    " or auto"
)
NO_MPS = "--device is mps, but torch sees no GPU of Apple here; use cpu or auto"
TOO_OLD = (
    "--device is mps, but torch 2.9.1 does not refuse what it cannot repeat there; 2.15 does; use"
    " cpu or auto"
)

CHOICES = {
    "auto without a GPU": ("auto", {}, "cpu"),
    "auto with CUDA": ("auto", {"cuda": True}, "cuda"),
    "auto on a Mac": ("auto", {"mps": True}, "cpu"),
    "auto with ROCm": ("auto", {"cuda": True, "hip": "6.4"}, "cpu"),
    "cpu beside CUDA": ("cpu", {"cuda": True}, "cpu"),
    "cuda": ("cuda", {"cuda": True}, "cuda"),
    "cuda without": ("cuda", {}, NO_CUDA),
    "cuda with a list that hides it": ("cuda", {"visible": "0,0"}, HIDDEN),
    "cuda with ROCm": ("cuda", {"cuda": True, "hip": "6.4"}, ROCM),
    "mps": ("mps", {"mps": True}, "mps"),
    "mps without": ("mps", {}, NO_MPS),
    "mps with an old torch": ("mps", {"mps": True, "torch": "2.9.1"}, TOO_OLD),
}


@pytest.mark.parametrize(("asked", "here", "answer"), CHOICES.values(), ids=CHOICES)
def test_a_device_is_chosen_or_refused_by_name(monkeypatch, asked, here, answer):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: here.get("cuda", False))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: here.get("mps", False))
    monkeypatch.setattr(torch.version, "hip", here.get("hip"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if "visible" in here:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", here["visible"])
    monkeypatch.setattr(torch, "__version__", here.get("torch", "2.15.0+cpu"))
    if answer in ("cpu", "cuda", "mps"):
        assert device.chosen(asked) == answer
    else:
        with pytest.raises(SpecError) as refused:
            device.chosen(asked)
        assert str(refused.value) == answer


def training(**changes):
    return Training.model_validate(
        {"epochs": 1, "batchSize": 8, "optimizer": {"name": "sgd"}, **changes}
    )


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16", "fp64"])
def test_mps_computes_in_fp32_only(precision):
    with pytest.raises(SpecError, match=f"precision is '{precision}', and Apple's GPUs"):
        NumericsPolicy.of(training(precision=precision), Ranks.alone(MPS))


def test_mps_has_no_batchnorm_over_several_micro_batches():
    with pytest.raises(SpecError, match=r"batchNorm is 'batch', whose statistics are float64"):
        NumericsPolicy.of(training(batchNorm="batch", microBatches=2), Ranks.alone(MPS))


@pytest.mark.parametrize("changes", [{}, {"batchNorm": "batch"}, {"microBatches": 4}])
def test_mps_computes_what_one_process_does_in_fp32(changes):
    assert NumericsPolicy.of(training(**changes), Ranks.alone(MPS)).precision == "fp32"


@pytest.mark.parametrize(("kind", "aside"), [(CPU, False), (CUDA, True), (MPS, False)])
def test_only_copies_to_cuda_run_aside(kind, aside):
    asked = []
    source = SimpleNamespace(to=lambda *words, **options: asked.append((words, options)))
    device.sent(source, kind)
    assert asked == [((kind,), {"non_blocking": aside})]


def test_images_lie_contiguous_on_mps_and_channels_last_elsewhere():
    layouts = [device.layout(kind) for kind in (CPU, CUDA, MPS)]
    assert layouts == [torch.channels_last, torch.channels_last, torch.contiguous_format]


def test_sums_in_float64_of_mps_are_on_the_cpu():
    on_mps = SimpleNamespace(device=MPS, cpu=lambda: "on the CPU")
    assert device.for_float64(on_mps) == "on the CPU"
    here = torch.ones(2)
    assert device.for_float64(here) is here


def test_streamed_images_reach_a_device_that_is_no_gpu_of_nvidia():
    """The device `meta`, which has no values, stands for one that is not the CPU."""
    pixels = StreamedPixels(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.device("meta"))
    assert pixels.take(torch.tensor([1, 2])).device.type == "meta"


def test_mps_has_no_memory_apart_from_the_hosts():
    assert free_memory(MPS) is None


@pytest.fixture
def metal(monkeypatch):
    """torch.mps as far as it is called; gives the calls."""
    calls = []
    state = torch.zeros(4, dtype=torch.uint8)
    for name, answer in {
        "synchronize": None,
        "empty_cache": None,
        "driver_allocated_memory": 123_456,
        "get_rng_state": state,
        "set_rng_state": None,
    }.items():
        monkeypatch.setattr(torch.mps, name, lambda *_, n=name, a=answer: (calls.append(n), a)[1])
    return calls


def test_a_cost_on_mps_is_wall_time_and_what_metal_gave(metal):
    with CostMeter(Ranks.alone(MPS)).measured() as meter:
        pass
    assert metal == ["empty_cache", "synchronize", "synchronize", "driver_allocated_memory"]
    assert meter.cost.peak_memory_bytes == 123_456
    assert meter.cost.device_seconds == meter.cost.wall_seconds


def test_the_generator_of_mps_is_afterwards_as_before(metal):
    with kept_global_generator(MPS):
        pass
    assert metal == ["get_rng_state", "set_rng_state"]


def test_generators_begin_as_torch_would_have_them_begin_and_no_device_is_told():
    """On a CPU, where to tell those that have not started takes longer than the draws."""
    with global_seed(0), pytest.MonkeyPatch.context() as patched:
        torch.manual_seed(7)
        expected = torch.rand(3)
        patched.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("it was told"))
        seed_generators(7, CPU)
        assert torch.equal(torch.rand(3), expected)


def test_an_environment_names_the_chip_and_the_version_of_macos(monkeypatch, tmp_path):
    """A program stands for macOS's sysctl."""
    program = tmp_path / "sysctl"
    program.write_text(
        '#!/bin/sh\ntest "$*" = "-n machdep.cpu.brand_string" && echo "Apple M2 Pro"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("platform.mac_ver", lambda: ("26.1", ("", "", ""), "arm64"))
    facts = environment(Ranks.alone(MPS), reduction="tree")
    assert (facts["device"], facts["macos"]) == ("Apple M2 Pro (mps)", "26.1")


def test_a_device_whose_integers_are_others_is_refused(monkeypatch):
    check_draws(CPU)
    draws = iter([torch.arange(1000), torch.arange(1000) // 2])
    monkeypatch.setattr(Draw, "integers", lambda *_: next(draws))
    with pytest.raises(SpecError, match="integers of 64 bits on cpu in another way"):
        check_draws(CPU)


MISSING = (
    "The operator 'aten::linalg_qr' is not currently implemented for the MPS device. If you want"
)
UNSTEADY = "embedding_dense_backward_mps does not have a deterministic implementation, but you set"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (MISSING, "torch has no aten::linalg_qr for mps; use a model"),
        (UNSTEADY, "embedding_dense_backward_mps has no deterministic implementation on mps, so"),
    ],
)
def test_what_mps_cannot_compute_or_repeat_is_named(said, words):
    with pytest.raises(SpecError, match=words), device.naming_operations(MPS):
        raise NotImplementedError(said)
