"""benchmarks/gpu.py and what tests/gpu use of it, tried on a CPU.

All of it takes minutes: `python -m benchmarks.gpu --device cpu --tiny`.
"""

import json
import time

import pytest
import torch
import torch.distributed as dist

from benchmarks import gpu, gpu_bits
from benchmarks.gpu_bits import OFTEN, Trainer, document, same
from benchmarks.gpu_speed import TINY, Speed, training, vit
from benchmarks.ranks_on_one_gpu import share_the_gpu
from tests.real_ranks import on_two_ranks
from tests.trainer.experiments import as_configured

LONG = {"epochs": 6}


def test_each_part_of_speed_says_what_it_found(capsys):
    with as_configured() as cpu:
        speed = Speed(cpu, TINY, time.monotonic() + 600)
        training(speed)
        vit(speed)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [name for each in found for name in each]
    assert {"plain bf16", "ours fp32", "ours bf16, 4 micro-batches", "evaluation fp32"} <= {*names}
    for each in found:
        (measurements,) = each.values()
        assert "error" not in measurements, each
        assert "skipped" not in measurements
    assert all(each["evaluation fp32"]["same_bits_again"] for each in found if "evaluation" in each)


def test_what_fails_is_told_and_what_has_no_time_is_skipped(capsys):
    speed = Speed(torch.device("cpu"), TINY, time.monotonic() + 600)
    speed.tell("broken", lambda: {"rate": 1 / 0})
    speed.end = 0.0
    speed.tell("late", lambda: pytest.fail("it begins all the same"))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"broken": {"error": "ZeroDivisionError: division by zero"}},
        {"late": {"skipped": "no time left"}},
    ]


def test_the_file_has_each_part_as_soon_as_it_is_done(monkeypatch, tmp_path):
    file, seen = tmp_path / "gpu.json", []

    def parts(run):
        yield "training", {"ours": {"images_per_s": 1.0}}
        seen.append(json.loads(file.read_text())["parts"])
        yield "bits", {}

    monkeypatch.setattr(gpu, "parts", parts)
    gpu.main(["--device", "cpu", "--tiny", "--out", str(file)])
    assert [*seen[0]] == ["training"]
    whole = json.loads(file.read_text())
    assert [*whole["parts"]] == ["training", "bits"]
    assert (whole["device"], whole["tiny"], whole["torch"]) == ("cpu", True, torch.__version__)


@pytest.mark.slow
def test_a_killed_trainer_goes_on_and_leaves_the_bits_of_one_that_was_not(tmp_path):
    how = {"width": 2, "training": LONG}
    killed = Trainer(tmp_path / "killed", document(["finetune"], **how), "cpu", environment=OFTEN)
    whole = Trainer(tmp_path / "whole", document(["finetune"], **how), "cpu")
    try:
        assert killed.kill_in_training(seconds=300), killed.log
        killed.start()
        assert [each.ended(seconds=300) for each in (whole, killed)] == [0, 0]
    finally:
        for each in (killed, whole):
            each.kill()
    assert killed.went_on
    assert not whole.went_on
    found = same(whole, killed)
    assert found["same"], found
    assert found["stages"] > 4
    assert whole.failures() == []


def test_stores_that_differ_or_are_empty_are_not_the_same(tmp_path):
    class Left:
        def __init__(self, digests):
            self.digests = lambda: digests

    full, other, empty = ({"originals/a": {"weights": "1"}}, {"originals/a": {"weights": "2"}}, {})
    assert same(Left(full), Left(full))["same"]
    assert same(Left(full), Left(other))["differing"] == ["originals/a"]
    assert not same(Left(full), Left(empty))["same"]
    assert not same(Left(empty), Left(empty))["same"]


REPLACED = (
    *("all_gather", "all_gather_into_tensor", "all_to_all_single", "broadcast"),
    "init_process_group",
)


def every_collective(ranks):
    """Results of every way in which ranks exchange numbers, before and after they share a GPU."""
    mine = torch.arange(5.0) + ranks.rank

    def exchanged():
        rows = ranks.gather_rows(mine[: ranks.rank + 1], [1, 2])
        main = ranks.of_main(mine.clone())
        return [each.tolist() for each in (ranks.tree_sum(mine), rows, main)]

    apart = exchanged()
    with pytest.MonkeyPatch.context() as undone:  # these processes serve other tests too
        undone.setenv("LOCAL_RANK", "1")
        for name in REPLACED:
            undone.setattr(dist, name, getattr(dist, name))
        share_the_gpu()
        return apart, exchanged(), ranks.each(ranks.rank)


def test_ranks_that_share_a_gpu_exchange_what_they_would_apart():
    for apart, together, numbers in on_two_ranks(every_collective):
        assert together == apart
        assert numbers == [0, 1]


def test_every_method_is_among_those_that_are_tried():
    assert {"finetune", "ssd", "scrub"} <= {*gpu_bits.every_method()}
    assert gpu_bits.CHEAPER.keys() <= {*gpu_bits.every_method()}
