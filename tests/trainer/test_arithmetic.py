"""Whole seeds in each arithmetic: every stage computes in it and leaves finite numbers.

    precision   bf16, fp16, fp64 against fp32
    evaluation  bf16: of models that were trained in fp32
    batchNorm   batch
    clipping
    reduction   ddp: labelled with its ranks, in the keys and in what the report says
    operations  one that torch cannot repeat is named

What a step computes is covered by tests/core/engine/test_numerics.py. Left out: tf32, for want of
a GPU.
"""

from dataclasses import replace
from math import isfinite

import pytest
import torch
from safetensors.torch import load_file

from supreme_core import registry
from supreme_core.errors import EXIT_INVALID, SpecError
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    SIX_METHODS,
    SSD,
    compute,
    experiment,
    folder_store,
    results_of,
    run,
    summary_of,
)

RESNET = {"name": "resnet18", "params": {"width": 2}}
METRICS = [{"name": "accuracy"}, {"name": "loss"}]
"""Others read the same predictions, and know nothing of how they came about."""


TWO = (FINETUNE, SSD)
"""One that trains, and one that computes with gradients itself."""


def work(*methods, model=RESNET, **training):
    """Two micro-batches, two methods unless some are named, one scenario."""
    recipe = {"microBatches": 2, "augmentation": [{"name": "rotation"}], **training}
    fields = {"model": model, "training": recipe, "metrics": METRICS}
    return experiment(methods=methods or TWO, scenarios=[FULL_CLASS], **fields)


def computed_of(result):
    """The records of a stored result but that of the dataset, which one rank prepares."""
    return [record for record in result["stages"] if record["stage"] != "datasets"]


def keys_of(result):
    """Return the keys of everything that depends on training."""
    trained = ("originals", "retrained", "unlearned", "metrics")
    return {record.key for record in result.stages if record.stage in trained}


@pytest.fixture(scope="module")
def in_fp32(tmp_path_factory):
    """(store, result) of a seed in the default arithmetic."""
    storage = folder_store(tmp_path_factory.mktemp("fp32"))
    return storage, compute(work(), storage)


@pytest.fixture(scope="module")
def keys_in_fp32(in_fp32, tmp_path_factory):
    """Keys of the default arithmetic, of both models."""
    light = compute(work(model=LIGHT), folder_store(tmp_path_factory.mktemp("light")))
    return keys_of(in_fp32[1]) | keys_of(light)


DDP = {"reduction": "ddp", "microBatches": 1}


@pytest.fixture(scope="module")
def in_ddp_alone(tmp_path_factory):
    """(folder, result) of a seed on one rank with the reduction ddp."""
    folder = tmp_path_factory.mktemp("ddp")
    return folder, compute(work(**DDP), folder_store(folder))


def ends_well(folder, result, keys_in_fp32, *, dtype=torch.float32):
    """All methods have finite numbers and weights of a type; no stage is that of fp32."""
    assert {run.status for run in result.runs} == {"ok"}
    assert all(isfinite(run.metrics["test_loss"]) for run in result.runs)
    assert not keys_of(result) & keys_in_fp32
    assert {tensor.dtype for tensor in weights_of(folder) if tensor.is_floating_point()} == {dtype}


@pytest.mark.parametrize(
    ("model", "methods", "recipe"),
    [
        (RESNET, TWO, {"precision": "bf16"}),
        (LIGHT, TWO, {"precision": "fp16"}),
        (LIGHT, SIX_METHODS, {"precision": "fp64"}),
        (RESNET, TWO, {"batchNorm": "batch"}),
        (LIGHT, TWO, {"maxGradientNorm": 1.0}),
    ],
    ids=["bf16", "fp16", "fp64", "batch", "1.0"],
)
def test_each_arithmetic_computes_every_stage_anew_and_ends_well(
    keys_in_fp32, tmp_path, model, methods, recipe
):
    """All methods in bf16, in fp16 and with BatchNorm over the batch: test_every_method.py; all
    layers in each precision: test_numerics.py."""
    result = compute(work(*methods, model=model, **recipe), folder_store(tmp_path))

    assert len(result.runs) == 2 + len(methods)
    is_double = recipe.get("precision") == "fp64"
    ends_well(tmp_path, result, keys_in_fp32, dtype=torch.float64 if is_double else torch.float32)


def test_evaluations_in_bf16_share_what_was_trained_in_fp32(in_fp32):
    """Nothing else is shared, and the numbers are near but not the same."""
    storage, before = in_fp32
    document = work()
    document["spec"]["evaluationPrecision"] = "bf16"

    result = compute(document, storage)

    trained = ("datasets", "originals", "retrained", "importances")
    assert {record.status for record in result.stages if record.stage in trained} == {"reused"}
    others = {record.key: record.status for record in result.stages if record.stage not in trained}
    assert set(others.values()) == {"computed"}
    assert not others.keys() & {record.key for record in before.stages}
    for now, then in zip(result.runs, before.runs, strict=True):
        assert now.status == "ok"
        assert now.metrics["test_loss"] != then.metrics["test_loss"]
        assert now.metrics["test_loss"] == pytest.approx(then.metrics["test_loss"], rel=0.05)


def test_the_reduction_ddp_computes_every_stage_anew_and_ends_well(keys_in_fp32, in_ddp_alone):
    ends_well(*in_ddp_alone, keys_in_fp32)


def test_data_parallel_results_say_on_how_many_ranks_they_are(in_ddp_alone, tmp_path):
    document = work(**DDP)
    _, alone = in_ddp_alone

    store = run(document, tmp_path, "--ranks", 2)

    (result,) = results_of(store, document)
    assert all(run["status"] == "ok" for run in result["runs"])
    environments = [result["environments"][record["environment"]] for record in computed_of(result)]
    assert {environment["ranks"] for environment in environments} == {2}
    assert not {record["key"] for record in computed_of(result)} & keys_of(alone)
    assert not summary_of(folder_store(store), document).provenance["mixedEnvironments"]
    (page,) = store.glob("experiments/*/*/report.html")
    assert "ranks" in page.read_text()


class Unrepeatable(torch.nn.Module):
    """A network with an operation that torch cannot do in a fixed order."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(64, 10)

    def forward(self, images):
        features = images.flatten(1)
        noise = torch.zeros_like(features).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
        return self.head(features + noise)


def test_an_operation_that_torch_cannot_repeat_is_named(tmp_path, monkeypatch):
    registry.model.discover()
    build = lambda shape, params: Unrepeatable()  # noqa: E731
    changed = replace(registry.model.get("resnet18"), function=build)
    monkeypatch.setitem(registry.model._entries, "resnet18", changed)

    with pytest.raises(SpecError) as refused:
        compute(work(), folder_store(tmp_path))

    assert str(refused.value) == (
        "put_ has no deterministic implementation on cpu, so no seed could be repeated; use a"
        " model, a method or a device that does without"
    )
    assert refused.value.exit_code == EXIT_INVALID


def weights_of(folder):
    """All weights of a store that is a folder."""
    for path in folder.rglob("weights-*.safetensors"):
        yield from load_file(path).values()
