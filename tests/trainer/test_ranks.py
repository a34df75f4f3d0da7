"""Whole experiments on 2 and 4 real ranks (gloo) leave the artefacts and the summary of one rank.

                         | precision | data     | methods                 | ranks
resnet18, whole batch    | bf16      | streamed | finetune, ssd           | 1, 4
vision transformer       | bf16      | resident | finetune, random_labels | 1, 2

Compared: sha256 of all weights and predictions, accuracies and distances as stored, and the sha256
of summary.json without measurements. What starts ranks here is the test. Left to others: torchrun,
fp32 and the main six on two ranks to test_same_bits.py; steps in more combinations, ConvNeXt among
them, to tests/core/engine/test_numerics.py.
"""

from functools import cache
from typing import Any, NamedTuple

import pytest

from tests.real_ranks import on_ranks
from tests.trainer.experiments import (
    FINETUNE,
    RANDOM_LABELS,
    SSD,
    artefacts_of,
    experiment,
    finish,
    folder_store,
    summary_digest,
    summary_of,
)

MOST = {"name": "full_class", "params": {"classes": [0, 1, 2, 3, 4, 5, 6, 7]}}
"""Forgets so much that only the first training is of many steps."""

FEW = [{"name": "accuracy"}]
"""All are functions of predictions, which are compared to the bit."""


def work(*methods, model="resnet18", training=(), params=(), **changes):
    return experiment(
        model={"name": model, "params": dict(params)},
        methods=methods,
        scenarios=[MOST],
        training={"microBatches": 4, "batchSize": 400, **dict(training)},
        metrics=FEW,
        **changes,
    )


EXPERIMENTS = {
    "resnet18, whole batch": work(
        FINETUNE,
        SSD,
        params={"width": 2},
        training={"batchNorm": "batch", "precision": "bf16", "maxGradientNorm": 1.0},
        execution={"dataPlacement": "Streamed"},
    ),
    "vision transformer": work(
        FINETUNE,
        RANDOM_LABELS,
        model="timm/test_vit",
        params={
            "inputSize": 16,
            "dropRate": 0.1,
            "dropPathRate": 0.1,
            "arguments": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
        },
        training={
            "precision": "bf16",
            "optimizer": {"name": "adamw", "params": {"lr": 0.001}},
        },
    ),
}

CASES = [(4, "resnet18, whole batch"), (2, "vision transformer")]


class Left(NamedTuple):
    """artefacts: as `artefacts_of` gives them.  digest: of the summary."""

    storage: Any
    artefacts: dict
    digest: str


def finish_on(ranks, name, folder):
    finish(EXPERIMENTS[name], folder_store(folder), ranks=ranks)


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """left(ranks, name): what so many ranks left of an experiment, which they compute once."""

    @cache
    def run(ranks, name):
        folder = tmp_path_factory.mktemp("store")
        if ranks == 1:
            finish_on(None, name, folder)
        else:
            on_ranks(ranks, finish_on, name, str(folder))
        storage = folder_store(folder)
        return Left(storage, artefacts_of(storage), summary_digest(storage, EXPERIMENTS[name]))

    return run


@pytest.mark.parametrize(("ranks", "name"), CASES)
def test_several_ranks_leave_what_one_leaves(ranks, name, left):
    several, one = left(ranks, name), left(1, name)
    assert (several.artefacts, several.digest) == (one.artefacts, one.digest)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_run_of_it_ends_well(name, left):
    one = left(1, name)
    failures = summary_of(one.storage, EXPERIMENTS[name]).failures
    assert {failure.kind for failure in failures} <= {"undefined"}
    assert {stage for stage, _ in one.artefacts} >= {"originals", "retrained", "unlearned"}
