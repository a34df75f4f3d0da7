"""Stages in the store are never computed again, and missing ones are computed exactly.

Covered: the same run again (in this process and as a command), a method, a seed, a metric, a label
and a whole experiment added, two scenarios with one forget set, and a component of each kind whose
version is raised. Counted by the records of each seed's stages and by the manifests in the store.

Left out: reuse over different machines and images, which no key depends on.
"""

import json
import shutil
from collections import Counter
from dataclasses import replace
from io import StringIO

import pytest
from supreme_trainer.process.progress import Board

from supreme_core import registry
from supreme_core.plan import steps
from supreme_core.registry.catalog import bundled
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    LIGHT,
    RANDOM_LABELS,
    RANDOM_SAMPLES,
    SSD,
    artefacts_of,
    compute,
    computed,
    experiment,
    finish,
    folder_of,
    folder_store,
    planned,
    supreme,
    written,
)

CELLS = 2
FLIPPED = {"epochs": 0, "augmentation": [{"name": "horizontal_flip"}]}
"""Counted are stages, whatever their models have learnt."""

METRICS = [{"name": "accuracy"}, {"name": "loss"}]


def base(**changes):
    fields = {"methods": [FINETUNE], "metrics": METRICS, "training": FLIPPED}
    return experiment(**{"model": LIGHT, **fields, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished experiment `base()`."""
    folder = tmp_path_factory.mktemp("finished")
    finish(base(), folder_store(folder))
    return folder


@pytest.fixture
def storage(finished, tmp_path):
    """A copy of the finished store, for one test to change."""
    return folder_store(shutil.copytree(finished, tmp_path / "store"))


def raise_version(monkeypatch, kind, name):
    raised = replace(kind.get(name), version=2)
    monkeypatch.setitem(kind._entries, raised.name, raised)


def test_every_stage_of_an_empty_store_is_computed_once(finished):
    stages = Counter(stage for stage, _ in artefacts_of(folder_store(finished)))

    assert stages == {
        "datasets": 1,
        "originals": 1,
        "retrained": CELLS,
        "predictions": 2 * CELLS,
        "unlearned": CELLS,
        "metrics": 3 * CELLS,
    }


def test_the_same_experiment_again_computes_nothing(storage):
    assert not computed(compute(base(), storage))


def test_one_more_method_computes_only_its_own_stages(storage):
    result = compute(base(methods=[FINETUNE, RANDOM_LABELS]), storage)

    assert computed(result) == {"unlearned": CELLS, "metrics": CELLS}


def test_one_more_seed_computes_all_of_it_but_the_dataset(storage):
    document = base(seeds=(260, 261))

    assert not computed(compute(document, storage, seed=260))
    assert computed(compute(document, storage, seed=261)) == {
        "originals": 1,
        "retrained": CELLS,
        "predictions": 2 * CELLS,
        "unlearned": CELLS,
        "metrics": 3 * CELLS,
    }


def test_a_second_experiment_with_the_same_recipe_shares_data_and_references(storage):
    other = base(name="another", methods=[SSD])

    importances = 2 * CELLS  # over the forget set and over the retain set
    assert computed(compute(other, storage)) == {
        "importances": importances,
        "unlearned": CELLS,
        "metrics": CELLS,
    }


def test_two_scenarios_with_one_forget_set_share_everything(storage):
    by_name = {"name": "full_class", "label": "class-three", "params": {"classes": ["3"]}}

    assert not computed(compute(base(scenarios=[FULL_CLASS, by_name]), storage))


def test_two_scenarios_with_one_forget_set_train_one_retrained_model(tmp_path):
    by_name = {"name": "full_class", "label": "class-three", "params": {"classes": ["3"]}}

    result = compute(base(scenarios=[FULL_CLASS, by_name]), folder_store(tmp_path))

    assert computed(result)["retrained"] == 1
    assert computed(result)["unlearned"] == 1


def test_progress_tells_of_every_step_of_the_plan_where_two_are_the_same_work(storage):
    """Otherwise the count of a finished run would stop short of its total."""
    by_name = {"name": "full_class", "label": "class-three", "params": {"classes": ["3"]}}
    document, events = base(scenarios=[FULL_CLASS, by_name]), StringIO()

    compute(document, storage, stream=events)

    board = Board([260], steps(planned(document).work, [], bundled()), parallel=1)
    for line in events.getvalue().splitlines():
        board.apply(260, json.loads(line))
    assert board.done == board.total


def test_another_recipe_shares_the_dataset_only(storage):
    result = compute(base(training={**FLIPPED, "batchSize": 128}), storage)

    assert computed(result) == {
        "originals": 1,
        "retrained": CELLS,
        "predictions": 2 * CELLS,
        "unlearned": CELLS,
        "metrics": 3 * CELLS,
    }


def test_one_more_metric_recomputes_numbers_but_no_model(storage):
    result = compute(base(metrics=[*METRICS, {"name": "js_divergence"}]), storage)

    assert computed(result) == {"metrics": 3 * CELLS}


def test_a_metric_that_needs_an_untrained_network_adds_its_predictions(storage):
    result = compute(base(metrics=[*METRICS, {"name": "zrf"}]), storage)

    assert computed(result) == {"predictions": CELLS, "metrics": 3 * CELLS}


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": [{**FINETUNE, "label": "our-finetune"}]},
        {"scenarios": [{**FULL_CLASS, "label": "threes"}, RANDOM_SAMPLES]},
    ],
    ids=["method", "scenario"],
)
def test_a_new_label_of_a_method_or_a_scenario_recomputes_nothing(storage, changes):
    assert not computed(compute(base(**changes), storage))


def test_a_new_label_of_a_metric_recomputes_numbers_only(storage):
    """The rows have other names, and the rows are what is stored."""
    relabelled = [{"name": "accuracy", "label": "hits"}, METRICS[1]]

    result = compute(base(metrics=relabelled, primaryMetric="forget_loss"), storage)

    assert computed(result) == {"metrics": 3 * CELLS}


def test_a_setting_at_its_default_is_the_same_work_as_the_setting_left_out(storage):
    flip = {"name": "horizontal_flip", "params": {"probability": 0.5}}
    spelled = {**FLIPPED, "augmentation": [flip]}

    assert not computed(compute(base(training=spelled), storage))


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        pytest.param(registry.metric, "loss", {"metrics": 3 * CELLS}, id="metric"),
        pytest.param(
            registry.method, "finetune", {"unlearned": CELLS, "metrics": CELLS}, id="method"
        ),
        *(
            pytest.param(
                kind,
                name,
                {
                    "originals": 1,
                    "retrained": CELLS,
                    "predictions": 2 * CELLS,
                    "unlearned": CELLS,
                    "metrics": 3 * CELLS,
                },
                id=kind.kind,
            )
            for kind, name in (
                (registry.augmentation, "horizontal_flip"),
                (registry.optimizer, "sgd"),
                (registry.schedule, "constant"),
                (registry.model, LIGHT["name"]),
            )
        ),
    ],
)
def test_a_raised_version_recomputes_the_component_and_what_depends_on_it(
    storage, monkeypatch, kind, name, expected
):
    raise_version(monkeypatch, kind, name)

    assert computed(compute(base(), storage)) == expected


def test_a_raised_version_of_a_dataset_with_the_same_arrays_recomputes_only_them(
    storage, monkeypatch
):
    """Models depend on the digest of the arrays, not on what wrote them."""
    raise_version(monkeypatch, registry.dataset, "digits")

    assert computed(compute(base(), storage)) == {"datasets": 1}


def test_a_raised_version_of_a_scenario_with_the_same_split_recomputes_nothing(
    storage, monkeypatch
):
    """Models depend on which samples are forgotten, not on what chose them."""
    raise_version(monkeypatch, registry.scenario, "full_class")

    assert not computed(compute(base(), storage))


def test_raised_versions_of_components_that_are_not_used_recompute_nothing(storage, monkeypatch):
    raise_version(monkeypatch, registry.method, "ssd")
    raise_version(monkeypatch, registry.metric, "zrf")

    assert not computed(compute(base(), storage))


def test_the_command_again_computes_nothing_and_writes_the_same_bytes(storage, tmp_path):
    file = written(tmp_path / "tiny.yaml", base())
    folder = folder_of(tmp_path / "store", base())
    before = files_of(folder)

    again = supreme("run", file, "--store", tmp_path / "store")

    assert again.code == 0, again.err
    assert again.out.splitlines()[-1] == "0 stages computed, every seed was finished"
    assert before.keys() == {
        *(
            "order.json",
            "summary.json",
            "summary.csv",
            "over_seeds.csv",
            "report.html",
            "SHA256SUMS",
        )
    }
    assert files_of(folder) == before


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
