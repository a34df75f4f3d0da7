"""Every method, wrapper and probe on a simulated GPU, and each kind in each precision.

What is shown: no tensors of two devices meet, no generator of the CPU draws on the GPU, nothing is
called that has no deterministic kernel there, and no step of a training waits for the device. The
numbers are those of a CPU, to the bit, because the simulated GPU computes on one and samples are
few; so nothing is computed otherwise only because there is a GPU, except for the sizes by kind of
device. Which waits there are outside of steps is not limited, but they do not become more with the
number of samples.

Left out: bits of real kernels (tests/gpu).
"""

from contextlib import contextmanager
from functools import cache

import pytest
import torch

from supreme_core import registry
from supreme_core.api.model import parse
from tests.builders import digest, plain, tiny_task, tiny_validation
from tests.core.components.methods.test_every_method import (
    AUGMENTATION,
    FORGETS,
    ONE_OF_EACH,
    unlearn,
)
from tests.core.components.methods.test_every_method import ENTRIES as METHODS
from tests.core.components.probes.probe_tasks import probe_task
from tests.core.components.wrappers.inside import METHODS as WRAPPED
from tests.core.components.wrappers.inside import chosen
from tests.core.components.wrappers.test_every_wrapper import CASES, SETTINGS, WRAPPERS
from tests.simulated_gpu import GPU, simulated_gpu

ARITHMETIC = {
    "fp32": {},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "whole batch": {"batch_norm": "batch", "micro_batches": 2},
}
"""Ways in which a step may compute: every method goes the first, one of each kind most others."""

SCALED = "fit.py apply: self.scaler.step(self.optimizer)"
"""The one wait in a step: of fp16, where torch asks if a gradient is too large for its scale and
leaves the step out."""

METHODS_IN = {"fp32": METHODS, "tf32": {"finetune", "ssd"}}
"""Methods that go an arithmetic: all, and of tf32, a switch of the device, two."""

FEATURES = "head.py head_inputs"
"""Where the host takes the features of each batch, so that they need not fit on the device."""

PROBES = {entry.name: entry for entry in registry.probe.entries()}

RUNS = [
    (*case, arithmetic)
    for arithmetic in ARITHMETIC
    for case in ONE_OF_EACH
    if case[0] in METHODS_IN.get(arithmetic, {*WRAPPED, "unsir"})
]
PROBED = [
    (name, arithmetic)
    for arithmetic in ARITHMETIC
    for name in PROBES
    if arithmetic == "fp32" or name == "relearning"  # the one that trains
]


@contextmanager
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def gpu_alone():
    """A simulated GPU that refuses what it cannot repeat."""
    with deterministic(), simulated_gpu() as gpu:
        yield gpu


def numerics(arithmetic, device):
    how = {"micro_batches": 1, "device": device, **ARITHMETIC[arithmetic]}
    if torch.device(device).type == "cpu" and arithmetic == "tf32":
        del how["precision"]  # which only GPUs have, and which no kernel of a CPU knows
    return plain(**how)


def unlearned(name, kind, *, device="cpu", arithmetic="fp32", count=48):
    """The model after a method whose trainings, if there are any, see augmented images."""
    how = {"numerics": numerics(arithmetic, device), "device": device, "count": count}
    if METHODS[name].facts.trains:
        how["augmentation"] = AUGMENTATION
    task = tiny_task(**FORGETS[kind], **how)
    unlearn(task, name)
    return task.model


@cache
def on_the_gpu(name, kind, *, arithmetic="fp32", count=48):
    """Return the digest of what a method leaves there, and the GPU with its waits."""
    with gpu_alone() as gpu:
        model = unlearned(name, kind, device=GPU, arithmetic=arithmetic, count=count)
        return digest(model.cpu()), gpu


@pytest.mark.parametrize(("name", "kind", "arithmetic"), RUNS, ids=map("-".join, RUNS))
def test_a_method_runs_on_a_gpu_and_no_step_waits_for_it(name, kind, arithmetic):
    found, gpu = on_the_gpu(name, kind, arithmetic=arithmetic)
    with deterministic():
        assert found == digest(unlearned(name, kind, arithmetic=arithmetic))
    waits = gpu.in_steps()
    if arithmetic == "fp16":
        waits.pop(SCALED, None)
    assert not waits


@pytest.mark.parametrize(("name", "kind"), ONE_OF_EACH, ids=map("-".join, ONE_OF_EACH))
def test_a_method_waits_no_more_often_for_more_samples(name, kind):
    few, more = (on_the_gpu(name, kind, count=count)[1].counted() for count in (48, 144))
    further = more - few
    further.pop(FEATURES, None)
    assert not further


def wrapped(wrapper, method, device="cpu"):
    entry, validation = WRAPPERS[wrapper], tiny_validation(device=device)
    alike = validation.take((validation.labels == 1).nonzero().flatten())
    task = tiny_task(validation=validation, forget_validation=alike, device=device)
    entry.function(chosen(method), task, parse(entry.params, SETTINGS.get(wrapper, {})))
    return task.model


@pytest.mark.parametrize(
    ("wrapper", "method"),
    [case for case in CASES if case[1] == next(iter(WRAPPED))],
    ids=lambda name: name,
)
def test_a_wrapped_method_runs_on_a_gpu_and_no_step_waits_for_it(wrapper, method):
    with gpu_alone() as gpu:
        found = digest(wrapped(wrapper, method, GPU).cpu())
    with deterministic():
        assert found == digest(wrapped(wrapper, method))
    assert not gpu.in_steps()


def findings(name, arithmetic, device="cpu"):
    entry = PROBES[name]
    task = probe_task(numerics=numerics(arithmetic, device), device=device)
    return dict(entry.function(task, entry.params()))


@pytest.mark.parametrize(("name", "arithmetic"), PROBED, ids=map("-".join, PROBED))
def test_a_probe_runs_on_a_gpu_and_no_step_waits_for_it(name, arithmetic):
    with gpu_alone() as gpu:
        found = findings(name, arithmetic, GPU)
    with deterministic():
        assert found == findings(name, arithmetic)
    waits = gpu.in_steps()
    if arithmetic == "fp16":
        waits.pop(SCALED, None)
    assert not waits
