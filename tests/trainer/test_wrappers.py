"""Wrappers, augmentation of methods and validation samples in a whole seed: who is trained on what,
which epoch is kept, and that what does not use them is the same work as before."""

import json

import pytest

from tests.trainer.experiments import (
    FINETUNE,
    LIGHT,
    TRAIN,
    compute,
    computed,
    experiment,
    folder_store,
    manifests,
)

WRAPPED = [
    FINETUNE,
    {**FINETUNE, "label": "rewound", "wrappers": [{"name": "rewind"}]},
    {**FINETUNE, "label": "stopped", "wrappers": [{"name": "early_stop"}]},
    {"name": "ssd", "label": "parted", "wrappers": [{"name": "partition"}]},
    {
        **FINETUNE,
        "label": "both",
        "wrappers": [{"name": "prune_first"}, {"name": "saliency_mask"}],
    },
    {**FINETUNE, "label": "augmented", "augmentation": "Training"},
]
RECIPE = {"epochs": 3, "validation": {"fraction": 0.2}, "selection": "best_validation"}
RECIPE |= {"augmentation": [{"name": "random_crop", "params": {"padding": 1}}]}
METRICS = [{"name": "accuracy"}, {"name": "loss"}]


def work(methods):
    return experiment(model=LIGHT, methods=methods, training=RECIPE, metrics=METRICS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def result(store):
    return compute(work(WRAPPED), folder_store(store))


def test_each_wrapped_method_has_numbers(result):
    assert {run.status for run in result.runs} == {"ok"}
    assert {run.method for run in result.runs} >= {"rewound", "stopped", "parted", "both"}


def test_what_is_set_aside_is_neither_forgotten_nor_retained(result):
    for cell in result.cells:
        assert cell.forget_samples + cell.retain_samples == pytest.approx(0.8 * TRAIN, abs=10)
    of_class, of_samples = result.cells
    assert of_samples.forget_samples == int(
        0.1 * (of_samples.forget_samples + of_samples.retain_samples)
    )
    assert of_class.forget_samples < TRAIN / 10


def test_original_and_retrained_say_which_epoch_is_kept(result, store):
    for stage in ("originals", "retrained"):
        for manifest in manifests(store, stage):
            selected, (curve,) = manifest["facts"]["selected"], manifest["facts"]["curves"]
            assert 1 <= selected["epoch"] <= 3
            assert 0 < selected["accuracy"] <= 1
            assert curve["epoch"] == [1, 2, 3]
            assert curve["validation"][selected["epoch"] - 1] == selected["accuracy"]
            assert max(curve["validation"]) == selected["accuracy"]


def test_wrappers_are_part_of_a_key_only_where_there_are_some(result, store):
    meanings = [manifest["meaning"] for manifest in manifests(store, "unlearned")]
    assert sum("wrappers" in meaning for meaning in meanings) == 2 * 4
    names = {json.dumps([each["name"] for each in m.get("wrappers", [])]) for m in meanings}
    assert json.dumps(["prune_first", "saliency_mask"]) in names


def test_augmentation_is_part_of_a_key_only_where_it_is_asked_for(result, store):
    found = [m["meaning"].get("augmentation") for m in manifests(store, "unlearned")]
    assert sorted(map(str, found)) == ["None"] * 2 * 5 + ["Training"] * 2
    for cell in result.cells:
        losses = {
            run.method: run.metrics["retain_loss"]
            for run in result.runs
            if run.scenario == cell.scenario and run.method in ("finetune", "augmented")
        }
        assert losses["finetune"] != losses["augmented"]


def test_a_wrapper_that_is_added_computes_nothing_else_again(result, store):
    more = [*WRAPPED, {"name": "ssd"}]
    again = compute(work(more), folder_store(store))
    assert computed(again)["unlearned"] == 2
    assert not computed(again)["originals"]
    assert not computed(again)["retrained"]
