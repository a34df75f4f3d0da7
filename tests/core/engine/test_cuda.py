"""Words with CUDA, of which there is none here.

Shown: which GPU a rank takes, by what its ranks speak, what a variable may not change, and which
facts of a device a result names. Left out: whatever only a GPU can show, its numbers first of all.
"""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from supreme_core.engine.evaluation.reproducibility import configure, environment
from supreme_core.engine.ranks import device
from supreme_core.engine.ranks.failure_watch import Watch
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import SpecError
from tests.real_ranks import on_two_ranks

CUDA = torch.device("cuda", 1)


@pytest.fixture
def two_gpus(monkeypatch):
    """torch.cuda as far as a rank's start calls it; gives the GPUs that were taken."""
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    return taken


def test_ranks_of_gpus_move_numbers_by_nccl_and_words_by_gloo(monkeypatch, two_gpus):
    asked = {}
    monkeypatch.setattr(
        dist, "init_process_group", lambda *words, **more: asked.update(more, backend=words)
    )
    monkeypatch.setenv("LOCAL_RANK", "1")
    ranks = Ranks.start("cuda", Watch(1, 2, lambda end: None), dist.HashStore())
    assert two_gpus == [ranks.device] == [CUDA]
    assert asked["backend"] == ("cpu:gloo,cuda:nccl",)
    assert asked["device_id"] == CUDA
    assert asked["timeout"] >= timedelta(minutes=30)


def test_a_rank_beyond_the_gpus_of_its_machine_is_one_line(monkeypatch, two_gpus):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(SpecError) as refused:
        Ranks.start("cuda", Watch(2, 3, lambda end: None), dist.HashStore())
    assert str(refused.value) == (
        "LOCAL_RANK is 2, and torch sees 2 CUDA devices, of which each rank takes one; use no more"
        " ranks on a machine (processesPerNode, --ranks) than it has"
    )
    assert two_gpus == []


def test_processes_that_are_alone_share_the_gpus_that_there_are(monkeypatch, two_gpus):
    """More of them than GPUs may share out the stages of a seed; their costs say so."""
    monkeypatch.setenv("LOCAL_RANK", "3")
    found = {}
    for workers in ("4", "2"):
        monkeypatch.setenv("SUPREME_WORKERS_ON_DEVICE", workers)
        found[workers] = Ranks.start("cuda", Watch(0, 1, lambda end: None), None)
    assert {each.device for each in found.values()} == {*two_gpus} == {torch.device("cuda", 1)}
    assert [each.shares_device for each in found.values()] == [True, False]


def words(ranks):
    """Words of ranks that compute on GPUs, which are not here."""
    there = replace(ranks, device=torch.device("cuda", ranks.rank))
    return there.each(ranks.rank + 0.5), there.share({"of": ranks.rank})


def test_words_do_not_pass_through_the_device():
    assert on_two_ranks(words) == [([0.5, 1.5], {"of": 0})] * 2


@pytest.mark.parametrize(
    ("value", "precision"), [("1", "fp32"), ("1", "tf32"), ("0", "tf32"), ("yes", "bf16")]
)
def test_a_variable_that_goes_before_the_precision_is_refused(monkeypatch, value, precision):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", value)
    with pytest.raises(SpecError) as refused:
        configure(CUDA, precision)
    assert str(refused.value).startswith(f"NVIDIA_TF32_OVERRIDE is {value!r}, which goes before")
    assert str(refused.value).endswith("unset it")


def test_a_variable_that_goes_before_the_precision_of_evaluations_is_refused(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with pytest.raises(SpecError, match=r"which goes before spec\.evaluationPrecision 'tf32'"):
        configure(CUDA, "fp32", evaluation="tf32")


VERSION = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""


def test_a_result_names_what_chooses_the_kernels_of_a_gpu(monkeypatch, tmp_path):
    file = tmp_path / "version"
    file.write_text(VERSION)
    monkeypatch.setattr(device, "DRIVER", file)
    slice_ = SimpleNamespace(
        major=9, minor=0, total_memory=12_000_000_000, multi_processor_count=16
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda chosen: slice_)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda chosen: "NVIDIA H200 MIG 1g.18gb")
    installed = [
        SimpleNamespace(name=name, version=version)
        for name, version in (
            *(("nvidia-cublas-tools", "1"), ("nvidia-cublas-cu12", "12.8.4.1")),
            *(("nvidia-nccl-cu13", "2.29.1"), (None, "3")),
        )
    ]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: installed)
    facts = environment(Ranks.alone(CUDA), reduction="tree")
    assert facts["device"] == "NVIDIA H200 MIG 1g.18gb"
    assert (facts["capability"], facts["memory"]) == ("9.0", 12_000_000_000)
    assert (facts["multiprocessors"], facts["driver"]) == (16, "550.54.15")
    assert (facts["cublas"], facts["nccl"]) == ("12.8.4.1", "2.29.1")


def test_a_machine_that_does_not_tell_its_driver_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "DRIVER", tmp_path / "none")
    assert device._driver() == "unknown"


def test_a_cpu_has_no_facts_of_a_gpu():
    facts = environment(Ranks.alone(torch.device("cpu")), reduction="tree")
    assert facts.keys().isdisjoint({"cuda", "driver", "capability", "cublas", "nccl", "memory"})
